"""What we or the engine can do wrong. What the guest does wrong is an `ExecutionResult`.

SandboxError
├── SandboxUnavailableError    nothing ran: no engine, no image, no container
│   ├── ImageError             the guest image is missing, damaged or cannot be built
│   ├── UnknownRuntimeError    the policy names a runtime that the engine does not list
│   ├── LimitsNotHeldError     the policy demands limits that the runtime does not hold
│   └── SandboxBusyError       too much is waiting already
├── PackagesError              nothing ran: a set of packages is not there
│   ├── PackagesRefusedError   it cannot be made of what was declared
│   └── PackagesUnavailableError   it could be, but the installer or its index is missing
├── SandboxPostureError        nothing ran: the walls are not as demanded
└── SandboxLostError           the engine failed in mid-call; the outcome is unknown
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_SHOWN_REQUIREMENTS: Final = 8


class SandboxError(Exception):
    """Base class: the sandbox, not the guest, failed."""

    retry_safe: bool = True
    """True: nothing ran, so the same call may be made again. False: the outcome is unknown."""


class SandboxUnavailableError(SandboxError):
    """No environment could be started, so the guest code did not run."""

    def __init__(self, reason: str, *, engine: str) -> None:
        super().__init__(
            f"cannot run a container on the engine at {engine}: {reason}. "
            "Start the engine, or point DOCKER_HOST at one that this user may use; "
            "`toolkiln doctor` says what is missing. No tool code was run."
        )
        self.reason = reason
        self.engine = engine


class ImageError(SandboxUnavailableError):
    """The guest image is missing, is not what its digest says, or could not be built."""


class SandboxBusyError(SandboxUnavailableError):
    """More calls wait than may wait, or one has waited for too long."""

    def __init__(self, reason: str) -> None:
        SandboxError.__init__(
            self,
            f"the sandbox is busy: {reason}. No tool code was run; the same call may be made "
            "again when some of the others have ended.",
        )
        self.reason = reason
        self.engine = ""


class UnknownRuntimeError(SandboxUnavailableError):
    """The runtime that was demanded is not there; no other one is taken instead."""

    def __init__(self, name: str, *, listed: tuple[str, ...], nearest: str | None) -> None:
        hint = f" Did you mean {nearest!r}?" if nearest else ""
        reason = f"no runtime is called {name!r}; the engine lists {', '.join(listed)}"
        SandboxError.__init__(
            self,
            f"the policy demands a runtime that the engine does not have: {reason}.{hint} "
            "Register it as one of `runtimes` in the engine's daemon.json and reload the engine, "
            "or name a listed one as `runtime` in the policy's section [sandbox]. "
            "No tool code was run.",
        )
        self.reason = reason
        self.engine = ""
        self.name = name
        self.listed = listed


class LimitsNotHeldError(SandboxUnavailableError):
    """The runtime leaves limits of the control group unheld, and the policy demands them."""

    def __init__(self, runtime: str, *, limits: tuple[str, ...]) -> None:
        named = ", ".join(limits)
        reason = f"on the runtime {runtime!r} no control group holds: {named}"
        SandboxError.__init__(
            self,
            f"the policy demands limits that are not held: {reason}. Register the runtime without "
            "`--ignore-cgroups`, name another as `runtime` in the policy's section [sandbox], or "
            "set `require_limits = false` there to accept the weaker limits of single processes. "
            "No tool code was run; `toolkiln doctor` shows what each runtime holds.",
        )
        self.reason = reason
        self.engine = ""
        self.runtime = runtime
        self.limits = limits


class PackagesError(SandboxError):
    """A set of packages could not be made ready, so nothing ran that needs it."""

    def __init__(self, requirements: Sequence[str], reason: str, advice: str) -> None:
        self.requirements = tuple(requirements)
        self.reason = reason
        shown = ", ".join(self.requirements[:_SHOWN_REQUIREMENTS])
        more = len(self.requirements) - _SHOWN_REQUIREMENTS
        shown += f" and {more} more" if more > 0 else ""
        super().__init__(f"cannot get the packages {shown}: {reason}; {advice}. No tool was run.")


class PackagesRefusedError(PackagesError):
    """The set cannot be made of what was declared; another declaration is needed."""

    def __init__(self, requirements: Sequence[str], reason: str) -> None:
        super().__init__(requirements, reason, "declare other packages or versions, or none")


class PackagesUnavailableError(PackagesError):
    """The installer, its index or the engine is not there; the declaration may be fine."""


class SandboxPostureError(SandboxError):
    """A container came up with other walls than were asked for, so it got no code."""

    def __init__(self, differences: tuple[str, ...]) -> None:
        super().__init__(
            "a container did not come up as demanded: "
            + "; ".join(differences)
            + ". No tool code was run. `toolkiln doctor` probes what this engine can hold."
        )
        self.differences = differences


class SandboxLostError(SandboxError):
    """The engine failed while the guest ran; whether the call had its effect is unknown."""

    retry_safe = False

    def __init__(self, reason: str, *, engine: str) -> None:
        super().__init__(
            f"lost the container in mid-call on the engine at {engine}: {reason}. "
            "Whether the call completed is unknown."
        )
        self.reason = reason
        self.engine = engine
