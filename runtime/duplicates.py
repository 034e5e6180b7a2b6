"""Finding the tool that does already what a proposed one would do.

First by its text: the same normal form, the same schema, the same permissions. Then by what it
does: the examples of each on the other, and generated arguments on both. Found is only what is
approved, is what a call of its name runs here, and has another name: a tool is never a duplicate
of itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from policies.analysis import Analysis
from policies.evidence import Evidence, Outcome, Trial
from policies.limits import SourceLimits
from policies.normal import shape_digest
from policies.replay import Answer, Difference
from policies.source import ToolSource
from policies.validation import validate
from policies.value import JsonObject, canonical_json
from runtime.analyzer import Analyzer
from runtime.beside import answer_of, difference_of
from runtime.replay import Candidate, Replayer
from runtime.replayinputs import REPLAY_SEED
from runtime.trials import inputs_for
from sandbox.base import Sandbox
from toolstore.errors import StoreDamagedError, ToolNotCallableError, ToolNotFoundError
from toolstore.models import ToolRef, ToolVersion
from toolstore.store import ToolStore

FEWEST_INPUTS: Final = 10
"""Agreement on fewer inputs says nothing."""

FEWEST_TELLING: Final = 3
"""So many of them must be answered otherwise than most are: where nearly all give False, or
nothing but an exception, any tool of that shape would agree."""

_GENERATED: Final = 25
_MOST_CANDIDATES: Final = 20


class Likeness(StrEnum):
    """How a duplicate was found."""

    TEXT = "text"
    BEHAVIOUR = "behaviour"


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A tool of the store that does what the proposed one would."""

    version: ToolVersion
    likeness: Likeness
    inputs: int = 0
    """On how many inputs both agreed; for the text none are needed."""

    @property
    def reason(self) -> str:
        """How it was found, in words for the author."""
        if self.likeness is Likeness.TEXT:
            return (
                "its code is the same but for names of locals, comments, docstring and layout; "
                "parameters, result and permissions are the same"
            )
        return (
            f"it takes and returns the same types, and gave the same answers on all {self.inputs} "
            "inputs that were tried: your examples, its own, and generated ones. Where yours is "
            "meant to answer otherwise, add an example that shows it, and define it again"
        )


class DuplicateFinder:
    """Looks for duplicates in one store."""

    def __init__(
        self,
        store: ToolStore,
        analyzer: Analyzer,
        replayer: Replayer,
        limits: SourceLimits,
        session: str | None,
    ) -> None:
        """Look for what calls in `session` would get."""
        self._store = store
        self._session = session
        self._analyzer = analyzer
        self._replayer = replayer
        self._limits = limits

    async def by_text(self, source: ToolSource, analysis: Analysis, image: str) -> Duplicate | None:
        """An approved tool of another name whose normal form and shape are those of `analysis`."""
        if analysis.normal is None or analysis.source_schema is None:
            return None
        shape = shape_digest(analysis.source_schema)
        for version in await self._alike(source, image, normal=analysis.normal, shape=shape):
            # The table of forms is a hint that no log covers: look at the verified text itself.
            again = await self._analyzer.analyse(version.source, self._limits)
            if again.normal == analysis.normal:
                return Duplicate(version, Likeness.TEXT)
        return None

    async def by_behaviour(
        self, new: Candidate, trials: Sequence[Trial], sandbox: Sandbox
    ) -> Duplicate | None:
        """An approved tool of another name that does the same on everything that both were given.

        Raises:
            SandboxError: The sandbox failed.
        """
        permissions = new.source.permissions
        if (
            permissions.hosts
            or permissions.files
            or not new.source_schema.parameters.get("properties")
        ):
            return None
        candidates = await self._alike(new.source, new.image, shape=shape_digest(new.source_schema))
        for version in await self._agreeing(new, trials, candidates, sandbox):
            mine = _answers(trials)
            generated = await inputs_for(
                new.source_schema,
                (*new.source.examples, *version.source.examples),
                _GENERATED,
                seed=REPLAY_SEED,
            )
            mine |= await self._run(new, _new_ones(generated, mine), sandbox)
            mine |= await self._run(new, _new_ones(_arguments(version.evidence), mine), sandbox)
            theirs = _answers(version.evidence.trials)
            wanted = [arguments for arguments, _ in mine.values()]
            program = Candidate(version.source, version.source_schema, version.image_digest)
            theirs |= await self._run(program, _new_ones(wanted, theirs), sandbox)
            if _agree(mine, theirs) and says_something(mine):
                return Duplicate(version, Likeness.BEHAVIOUR, len(mine))
        return None

    async def _alike(
        self, source: ToolSource, image: str, *, shape: str, normal: str | None = None
    ) -> list[ToolVersion]:
        """Verified versions of that form that could be called in place of `source`."""
        found = []
        for ref in await self._store.approved_alike(
            normal=normal, shape=shape, limit=_MOST_CANDIDATES
        ):
            if ref.name == source.name:
                continue
            try:
                version = await self._store.get(ToolRef(name=ref.name), session=self._session)
            except (ToolNotFoundError, ToolNotCallableError, StoreDamagedError):
                continue
            if version.digest != ref.digest:  # a canary, or another session's
                continue
            if version.source.permissions == source.permissions and version.image_digest == image:
                found.append(version)
        return found

    async def _agreeing(
        self,
        new: Candidate,
        trials: Sequence[Trial],
        candidates: Sequence[ToolVersion],
        sandbox: Sandbox,
    ) -> list[ToolVersion]:
        """Those of `candidates` whose examples hold for `new`: one batch for all of them."""
        mine = _answers(trials)
        wanted = [e.arguments for v in candidates for e in v.source.examples]
        mine |= await self._run(new, _new_ones(wanted, mine), sandbox)
        return [v for v in candidates if _agree(_answers(v.evidence.trials), mine, some=True)]

    async def _run(
        self, what: Candidate, inputs: Sequence[JsonObject], sandbox: Sandbox
    ) -> _Answers:
        fitting = [each for each in inputs if not validate(each, what.source_schema.parameters)]
        if not fitting:
            return {}
        results = await self._replayer.run_all(what, fitting, sandbox)
        return {
            canonical_json(arguments): (arguments, answer_of(result))
            for arguments, result in zip(fitting, results, strict=False)
        }


_Answers = dict[bytes, tuple[JsonObject, Answer]]
"""What a tool made of each input, by the input's bytes."""


def _answers(trials: Sequence[Trial]) -> _Answers:
    return {
        canonical_json(trial.arguments): (trial.arguments, _answer(trial))
        for trial in trials
        if not trial.files
    }


def _answer(trial: Trial) -> Answer:
    raised = trial.outcome is Outcome.RAISED
    return Answer(
        outcome=trial.outcome,
        value=trial.value,
        error_type=(trial.error or "").partition(":")[0] if raised else None,
    )


def _arguments(evidence: Evidence) -> list[JsonObject]:
    return [trial.arguments for trial in evidence.trials if not trial.files]


def _new_ones(inputs: Sequence[JsonObject], known: Mapping[bytes, object]) -> list[JsonObject]:
    """The inputs that are not known yet, each once."""
    wanted = {canonical_json(arguments): arguments for arguments in inputs}
    return [arguments for identity, arguments in wanted.items() if identity not in known]


def _agree(mine: _Answers, theirs: _Answers, *, some: bool = False) -> bool:
    """Whether both made the same of every input, or (`some`) of those that both were given."""
    shared = mine.keys() & theirs.keys()
    if not shared or (not some and shared != mine.keys()):
        return False
    same = {Difference.SAME, Difference.SLOWER}
    return all(difference_of(mine[each][1], theirs[each][1]) in same for each in shared)


def says_something(answers: _Answers) -> bool:
    """Enough inputs, and enough that are answered otherwise than most, so that few would agree."""
    kinds = Counter(
        canonical_json(answer.model_dump(mode="json", exclude={"wall_seconds"}))
        for _, answer in answers.values()
    )
    ((_, most),) = kinds.most_common(1) or [(b"", 0)]
    return kinds.total() >= FEWEST_INPUTS and kinds.total() - most >= FEWEST_TELLING
