"""What can be wrong with signatures. All of it keeps a version from being loaded."""

from __future__ import annotations

from enum import StrEnum

from toolstore.errors import StoreDamagedError, ToolNotCallableError, ToolStoreError


class Flaw(StrEnum):
    """What is wrong with a statement or with the chain."""

    UNSIGNED = "unsigned"
    """Nothing about the version was ever signed: it was kept without keys."""

    MISSING = "missing"
    ALTERED = "altered"
    UNKNOWN_KEY = "unknown_key"
    WRONG_ROLE = "wrong_role"
    WRONG_SUBJECT = "wrong_subject"
    EXPIRED = "expired"
    """The key was not in use at the time that the statement gives."""

    CHAIN = "chain"
    """Each statement is right by itself, and they do not belong together."""

    LOG = "log"
    """The log is not what was signed: shortened, rewritten, or written without keys."""


class AttestationError(StoreDamagedError):
    """What the store holds is not what the keys vouched for; nothing of it may run."""

    def __init__(self, what: str, flaw: Flaw) -> None:
        super().__init__(what)
        self.flaw = flaw


class UnsignedError(AttestationError):
    """A version or a log that was kept without signatures."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: it was kept without signatures. Look at it, then let "
            "`toolkiln store sign` vouch for what is there",
            Flaw.UNSIGNED,
        )


class NotInForceError(ToolNotCallableError):
    """What vouches for a version is whole, and does not count any more, or is not enough."""

    def __init__(self, ref: str, reason: str, flaw: Flaw) -> None:
        super().__init__(ref, "not in force", reason)
        self.flaw = flaw


class RolledBackError(AttestationError):
    """The store is older than what this host has seen of it, or another one."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(
            f"{where} {problem}. If it was put back on purpose, "
            "`toolkiln store checkpoint --accept` goes on from what is there",
            Flaw.LOG,
        )


class KeysError(ToolStoreError):
    """The folder of keys cannot be used; nothing was signed and nothing trusted."""

    def __init__(self, where: str, problem: str, *, advice: str) -> None:
        super().__init__(f"cannot use the keys in {where}: {problem}. {advice}")
        self.where = where
        self.problem = problem
