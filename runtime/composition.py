"""Tools that call tools: where a call stands among the calls around it, and what it may do there.

A callee is the pinned version, run in a sandbox of its own like any other call. It has no more
rights than its caller declares, no more time than its caller has left, and all calls inside one
outermost call share one count. A pinned version names versions that were there before it, so
there are no cycles; the depth is bounded all the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol, Self

from pydantic import JsonValue

from policies.access import Principal, PrincipalKind
from policies.config import PolicyProfile
from policies.limits import ResourceLimits
from policies.permissions import Permissions
from policies.toolcalls import callee_name, missing_rights
from policies.value import JsonObject
from runtime.outcome import CallOutcome
from sandbox.artefacts import Artefact
from sandbox.files import FilesRefusedError
from sandbox.toolcalls import ToolCallFailedError, ToolCallService
from toolstore.errors import StoreDamagedError, ToolNotCallableError, ToolNotFoundError
from toolstore.models import ToolRef, ToolVersion

__all__ = ["CallScope", "Composition", "Execute"]

_LEAST_SECONDS: Final = 0.05
"""A call that has less than this left is not begun."""


@dataclass(slots=True)
class _Count:
    """Calls that are left to all that one outermost call calls."""

    left: int


@dataclass(frozen=True)
class CallScope:
    """Where one call stands: inside which others, with which files, for how long."""

    profile: PolicyProfile
    files: Mapping[str, bytes]
    """What a tool that declares `files: input` is given."""

    depth: int
    """How many calls stand around it."""

    wall_seconds: float | None
    """What the caller has left; None for an outermost call."""

    count: _Count
    principal: Principal | None = None
    """Whose rights all calls in it have; None is the person whom the runtime works for."""

    recorded: bool = True
    """Whether calls in it are; what trials call is not."""

    made: list[Artefact] = field(default_factory=list)
    """What the calls inside this one left behind."""

    @classmethod
    def outermost(
        cls,
        profile: PolicyProfile,
        *,
        files: Mapping[str, bytes] | None = None,
        calls: int = 1,
        principal: Principal | None = None,
        recorded: bool = True,
    ) -> Self:
        """The scope of a call that no tool made, or of a batch of `calls` of them."""
        return cls(
            profile=profile,
            files=files or {},
            depth=0,
            wall_seconds=None,
            count=_Count(profile.tools.calls * calls),
            principal=principal,
            recorded=recorded,
        )

    @property
    def nested(self) -> bool:
        """Whether another call waits for this one."""
        return self.depth > 0

    @property
    def session(self) -> str | None:
        """The conversation that the calls belong to; None where no model calls."""
        principal = self.principal
        is_session = principal is not None and principal.kind is PrincipalKind.SESSION
        return principal.name if principal is not None and is_session else None

    def limits(self, limits: ResourceLimits) -> ResourceLimits:
        """`limits`, with no more time than the caller has left."""
        if self.wall_seconds is None or self.wall_seconds >= limits.wall_seconds:
            return limits
        return limits.model_copy(update={"wall_seconds": self.wall_seconds})

    def inside(self, name: str, seconds_left: float) -> CallScope:
        """The scope of a call of `name` that this call makes; it is counted.

        Raises:
            ToolCallFailedError: It would be one too many, too deep or too late.
        """
        tools = self.profile.tools
        if not tools.allow:
            raise ToolCallFailedError(
                f"{name} was not called: policy {self.profile.name} lets no tool call another"
            )
        if self.depth >= tools.depth:
            raise ToolCallFailedError(
                f"{name} was not called: {tools.depth} call(s) stand inside one another already, "
                "which is all that the policy allows (tools.depth)"
            )
        if self.count.left <= 0:
            raise ToolCallFailedError(
                f"{name} was not called: {tools.calls} calls of other tools are all that the "
                "policy allows within one call (tools.calls); call less often, with more at a time"
            )
        if seconds_left < _LEAST_SECONDS:
            raise ToolCallFailedError(f"{name} was not called: the time of this call is up")
        self.count.left -= 1
        return CallScope(
            profile=self.profile,
            files=self.files,
            depth=self.depth + 1,
            wall_seconds=seconds_left,
            count=self.count,
            principal=self.principal,
            recorded=self.recorded,
        )

    def gather(self, own: Iterable[Artefact]) -> tuple[Artefact, ...]:
        """What a call leaves behind in all: its own files and those of the calls inside it.

        Raises:
            FilesRefusedError: Together they are more than the policy allows.
        """
        return self._within((*own, *self.made))

    def take(self, artefacts: Iterable[Artefact]) -> None:
        """Note what a call inside this one left behind.

        Raises:
            FilesRefusedError: Together they are more than the policy allows.
        """
        self.made[:] = self._within((*self.made, *artefacts))

    def _within(self, artefacts: tuple[Artefact, ...]) -> tuple[Artefact, ...]:
        files = self.profile.files
        total = sum(each.size_bytes for each in artefacts)
        if len(artefacts) > files.artefacts or total > files.artefact_bytes:
            raise FilesRefusedError(
                f"with the files of the tools that it called, it leaves {len(artefacts)} files of "
                f"{total:,} bytes, where the policy allows {files.artefacts} of "
                f"{files.artefact_bytes:,} (files.artefacts, files.artefact_bytes)"
            )
        return _with_distinct_names(artefacts)


class Execute(Protocol):
    """Runs a verified version; what is wrong with the call is in the outcome."""

    def __call__(
        self, version: ToolVersion, arguments: JsonObject, scope: CallScope
    ) -> Awaitable[CallOutcome]:
        """Run it where `scope` says."""
        ...


class Find(Protocol):
    """Finds a pinned version, verified."""

    def __call__(self, ref: ToolRef, *, session: str | None) -> Awaitable[ToolVersion]:
        """Find what `ref` means for a call in `session`."""
        ...


class Composition:
    """Carries out the calls that tools make of one another."""

    def __init__(self, find: Find, execute: Execute) -> None:
        """Find pinned versions by `find`, as `ToolStore.get` does, and run them by `execute`."""
        self._find = find
        self._execute = execute

    def service(
        self,
        permissions: Permissions,
        scope: CallScope,
        *,
        wall_seconds: float,
        calls: int = 1,
    ) -> ToolCallService | None:
        """The service of a call (or of a batch of `calls`) of a tool with `permissions`.

        None where it calls no other. `wall_seconds` is what each call of it has.
        """
        pins = {callee_name(pin) or pin: pin for pin in permissions.tools}
        if not pins:
            return None
        return ToolCallService(
            partial(self._call, permissions, pins, scope),
            pins,
            wall_seconds=wall_seconds * calls,
            granted=scope.count.left,
        )

    async def _call(  # noqa: PLR0913, PLR0917 - the first three are bound once for a call
        self,
        caller: Permissions,
        pins: Mapping[str, str],
        scope: CallScope,
        name: str,
        arguments: JsonObject,
        seconds_left: float,
    ) -> JsonValue:
        inner = scope.inside(name, seconds_left)
        version = await self._pinned(pins[name], scope.session)
        if missing := missing_rights(version.source.permissions, caller):
            raise ToolCallFailedError(
                f"{version.ref} was not called: it needs what its caller does not declare "
                f"({'; '.join(missing)})"
            )
        outcome = await self._execute(version, arguments, inner)
        if outcome.is_error:
            raise ToolCallFailedError(str(outcome.content))
        try:
            scope.take(outcome.artefacts)
        except FilesRefusedError as error:
            raise ToolCallFailedError(str(error)) from None
        return outcome.content

    async def _pinned(self, pin: str, session: str | None) -> ToolVersion:
        ref = ToolRef.parse(pin)
        if ref.digest is None:
            raise ToolCallFailedError(
                f"{pin} was not called: the caller is not pinned to one version of it"
            )
        try:
            return await self._find(ref, session=session)
        except ToolNotCallableError as error:
            raise ToolCallFailedError(
                f"{error}. The caller is pinned to that version: it must be defined again with "
                "another one"
            ) from None
        except (ToolNotFoundError, StoreDamagedError) as error:
            raise ToolCallFailedError(f"{pin} was not called: {error}") from None


def _with_distinct_names(artefacts: Iterable[Artefact]) -> tuple[Artefact, ...]:
    """The second `plot.png` becomes `plot-2.png`: two tools may think of one name."""
    taken: dict[str, Artefact] = {}
    for artefact in artefacts:
        name, number = artefact.name, 1
        while name in taken:
            number += 1
            stem, dot, ending = artefact.name.rpartition(".")
            name = f"{stem or ending}-{number}{dot if stem else ''}{ending if stem else ''}"
        taken[name] = (
            artefact if name == artefact.name else artefact.model_copy(update={"name": name})
        )
    return tuple(taken.values())
