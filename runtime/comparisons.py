"""A proposed tool beside those of the store: duplicates of it, and its predecessor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from policies.access import Action, Principal, PrincipalKind
from policies.analysis import Analysis
from policies.evidence import Trial
from policies.findings import Finding, Severity, Stage
from policies.replay import Replay
from policies.source import ToolSource
from runtime.analyzer import Analyzer
from runtime.authorize import resource_of
from runtime.composition import Composition
from runtime.duplicates import Duplicate, DuplicateFinder
from runtime.equipment import Equipment
from runtime.replay import Candidate, Replayer
from sandbox.base import Sandbox
from toolstore.errors import StoreDamagedError, ToolNotFoundError
from toolstore.models import ToolRef
from toolstore.store import ToolStore

__all__ = ["Candidate", "Comparisons", "Duplicate", "replay_findings"]


class Comparisons:
    """Compares what `author` proposes."""

    def __init__(
        self,
        store: ToolStore,
        analyzer: Analyzer,
        equipment: Equipment,
        composition: Composition,
        author: Principal,
    ) -> None:
        self._store = store
        self._author = author
        self._access = equipment.access
        self._check = equipment.profile.duplicates.check
        self._replayer = Replayer(store, replace(equipment, principal=author), composition)
        session = author.name if author.kind is PrincipalKind.SESSION else None
        self._finder = DuplicateFinder(
            store, analyzer, self._replayer, equipment.profile.source, session
        )

    async def twin_by_text(
        self, source: ToolSource, analysis: Analysis, image: str
    ) -> Duplicate | None:
        """The tool that has the same text, where the proposed one has a name of its own."""
        if self._check == "none" or await self._is_update(source):
            return None
        return self._allowed(await self._finder.by_text(source, analysis, image))

    async def twin_by_behaviour(
        self, new: Candidate, trials: Sequence[Trial], sandbox: Sandbox
    ) -> Duplicate | None:
        """The tool that does the same, where the proposed one has a name of its own.

        Raises:
            SandboxError: The sandbox failed.
        """
        if self._check != "behaviour" or await self._is_update(new.source):
            return None
        return self._allowed(await self._finder.by_behaviour(new, trials, sandbox))

    async def replay(self, new: Candidate, sandbox: Sandbox) -> Replay | None:
        """How it behaves beside its predecessor; None where it has none.

        Raises:
            SandboxError: The sandbox failed.
        """
        return await self._replayer.compare(new, sandbox)

    async def _is_update(self, source: ToolSource) -> bool:
        """Whether there is a tool of that name: then this is meant as a version of it."""
        try:
            await self._store.find(ToolRef(name=source.name))
        except ToolNotFoundError:
            return False
        except StoreDamagedError:
            pass  # it is there, whatever became of it
        return True

    def _allowed(self, twin: Duplicate | None) -> Duplicate | None:
        """`twin`, if the author may call it: others are none of theirs, and no help."""
        if twin is None:
            return None
        may = self._access.decide(self._author, Action.CALL, resource_of(twin.version))
        return twin if may.allowed else None


def replay_findings(replay: Replay | None) -> tuple[Finding, ...]:
    """What the author should hear of the comparison with the predecessor."""
    if replay is None or not replay.differences:
        return ()
    return (
        Finding(
            rule="TR401",
            severity=Severity.WARNING,
            stage=Stage.TRIALS,
            message=f"it {replay.summary}",
            suggestion="if that is what you want, say so in the description; else keep to what "
            "callers of the present version rely on",
        ),
    )
