"""What can go wrong in the runtime, and the exit code of every kind of failure.

RuntimeFailure
├── UsageError             what was asked cannot be done as asked (exit 2)
│   └── AccessRefusedError     the policy does not let this principal do it (exit 1)
├── SettingsError          a setting is not understood (exit 2)
├── ReviewChangedError     what a person voted on is not what is there any more (exit 1)
├── ModelError             the model's service gave no answer (exit 3)
│   └── ModelUnavailableError  no key, no such model, no connection
├── AnalyzerError          the analysis process could not be run (exit 4)
├── TranscriptError        a session's record cannot be read (exit 1)
└── ArtefactError          a file that a call left is missing, damaged, or cannot be kept (exit 1)
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policies.decision import Decision


class ExitCode(IntEnum):
    """What the command line's exit status means."""

    OK = 0
    NO = 1
    """Answered "no": refused, tests failed, damaged."""

    USAGE = 2
    MISSING = 3
    """Something outside is missing: engine, model, key."""

    INTERNAL = 4
    INTERRUPTED = 130


class RuntimeFailure(Exception):  # noqa: N818 - the base of a tree whose leaves end in Error
    """Base class: the runtime could not do what was asked."""

    exit_code = ExitCode.INTERNAL


class UsageError(RuntimeFailure):
    """What was asked cannot be done as asked."""

    exit_code = ExitCode.USAGE


class SettingsError(RuntimeFailure):
    """A setting is not exactly understood."""

    exit_code = ExitCode.USAGE


class ReviewChangedError(RuntimeFailure):
    """A vote was about something else than what is there now; nothing was done."""

    exit_code = ExitCode.NO


class ModelError(RuntimeFailure):
    """The model's service gave no usable answer."""

    exit_code = ExitCode.MISSING

    def __init__(self, model: str, reason: str, *, advice: str) -> None:
        super().__init__(f"model {model}: {reason}. {advice}")
        self.model = model
        self.reason = reason


class ModelUnavailableError(ModelError):
    """No key, no such model, or no connection."""


class AnalyzerError(RuntimeFailure):
    """The process that analyses sources could not be started; says nothing about a source."""


class AccessRefusedError(UsageError):
    """The policy in force does not let this principal do this; nothing was done."""

    exit_code = ExitCode.NO

    def __init__(self, decision: Decision) -> None:
        super().__init__(
            f"{'; '.join(decision.reasons)}. Nothing was done; "
            "`toolkiln policy explain` says what would change it."
        )
        self.decision = decision


class TranscriptError(RuntimeFailure):
    """A session's record is missing or unreadable."""

    exit_code = ExitCode.NO


class ArtefactError(RuntimeFailure):
    """A file that a call left behind is missing or damaged, or cannot be kept."""

    exit_code = ExitCode.NO
