"""What can go wrong in the store.

ToolStoreError
├── ToolNotFoundError      no such tool or version
├── ToolNotCallableError   there, but its state or channel forbids calling it
├── TransitionError        a change of state that its life-cycle does not have
│   ├── VoteOvertakenError     another step of the version came in between
│   ├── PredecessorChangedError  the evidence is about another predecessor
│   └── QuotaError             as many are stored or were proposed as the policy allows
├── StoreDamagedError      bytes are not what their digest says, or the event chain is broken
├── StoreBusyError         another process held the write lock too long; a retry mends it
├── StoreUnusableError     the folder or file cannot be opened as a store here
├── TextError              a text that no store keeps: NUL, half a character, too long a name
└── BundleError            a file that is no exported tool, or not what its digest says
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches


class ToolStoreError(Exception):
    """Base class: the store could not answer or could not be trusted."""


class ToolNotFoundError(ToolStoreError):
    """The store holds no such tool or version."""

    def __init__(
        self, ref: str, *, known: Collection[str] = (), ambiguous: Collection[str] = ()
    ) -> None:
        if ambiguous:
            several = ", ".join(sorted(ambiguous))
            super().__init__(f"{ref!r} means more than one version: {several}. Write one of them.")
            self.ref = ref
            return
        near = get_close_matches(ref, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else " `toolkiln tools list` shows what is."
        super().__init__(f"no tool {ref!r} in the store.{hint}")
        self.ref = ref


class ToolNotCallableError(ToolStoreError):
    """The version exists, and its state forbids calling it."""

    def __init__(self, ref: str, state: str, reason: str) -> None:
        super().__init__(f"{ref} is {state} and cannot be called: {reason}")
        self.ref = ref
        self.state = state
        self.reason = reason


class TransitionError(ToolStoreError):
    """The life-cycle has no such step, or it is not bound to what was shown."""

    def __init__(self, ref: str, problem: str) -> None:
        super().__init__(f"{ref} was left as it is: {problem}")
        self.ref = ref
        self.problem = problem


class VoteOvertakenError(TransitionError):
    """Somebody else's step came between the look at a version and the vote on it."""

    def __init__(self, ref: str, seen: int, last: int) -> None:
        super().__init__(
            ref,
            f"the log goes on after event {seen}, which the vote rests on, to event {last}; "
            "look at it again",
        )


class PredecessorChangedError(TransitionError):
    """Another version became current since the new one was compared; nothing was written."""

    def __init__(self, name: str, *, compared: str | None, current: str | None) -> None:
        beside = "with no other version" if compared is None else f"with {compared}"
        now = "none is current any more" if current is None else f"{current} is current by now"
        super().__init__(
            name, f"the new version was compared {beside}, and {now}; compare it again"
        )


class QuotaError(TransitionError):
    """As many are stored, or were proposed, as the policy allows; nothing was written."""

    def __init__(self, name: str, count: str, limit: str, advice: str) -> None:
        super().__init__(name, f"{count}, and {limit}. {advice}")


class StoreDamagedError(ToolStoreError):
    """What the store holds is not what was put in; nothing of it may run."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the store is damaged: {what}. Nothing damaged was loaded; "
            "`toolkiln tools verify` lists what can still be trusted."
        )
        self.what = what


class StoreBusyError(ToolStoreError):
    """The write lock could not be had in time; nothing was written, and a retry mends it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"another process held the store's write lock for {seconds:g} s; "
            "nothing was written, retry"
        )


class StoreUnusableError(ToolStoreError):
    """The folder or the file cannot be opened as a store here; nothing was read or written."""

    def __init__(self, where: str, problem: str, *, advice: str) -> None:
        super().__init__(f"cannot use the store at {where}: {problem}. {advice}")
        self.where = where
        self.problem = problem


class TextError(ToolStoreError):
    """A text that no store keeps, whatever its database is; nothing was written."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}. Nothing was written.")
        self.problem = problem


class BundleError(ToolStoreError):
    """The bytes are no exported tool, or not what their digest says."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"not a tool bundle that can be trusted: {problem}. Nothing was imported; "
            "get the file again with `toolkiln tools export`."
        )
        self.problem = problem
