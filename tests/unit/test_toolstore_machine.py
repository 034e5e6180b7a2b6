"""The store against a plain model of it, over whatever sequence of calls Hypothesis finds."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from factories import NOON, allowed, make_submission, needs_review, refused
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from policies.decision import Approval, Channel, Decision
from policies.sequential import CanarySettings
from toolstore.channels import share
from toolstore.errors import ToolNotCallableError, ToolNotFoundError, TransitionError
from toolstore.models import Submission, ToolRef
from toolstore.store import ToolStore
from toolstore.terms import Terms

NAMES = ("alpha", "beta")
SESSION = "session-1"
"""The session that all versions of the tests come from."""

DECISIONS = {"allow": allowed(), "review": needs_review(), "refuse": refused()}

HASTY = CanarySettings(false_alarm=0.9)
"""Takes a canary out after few failures."""

names = st.sampled_from(NAMES)
variants = st.integers(1, 4)
channels = st.sampled_from(sorted(Channel))
decisions = st.sampled_from(sorted(DECISIONS))
picks = st.integers(0, 5)


@dataclass
class Known:
    """A version as the model has it."""

    digest: str
    state: str
    place: str | None = None
    """`stable`, `canary`, or a session."""

    taken_out: bool = False
    """It is not approved because somebody did not want it, not because another one came."""

    was_stable: bool = False
    """When it was last approved."""

    replaced_at: int = 0


@dataclass
class Model:
    """All versions of each name, oldest first."""

    tools: dict[str, list[Known]] = field(default_factory=lambda: {name: [] for name in NAMES})
    pins: dict[str, Known] = field(default_factory=dict)
    """Of the one session, by name."""

    clock: int = 0

    def current(self, name: str) -> Known | None:
        return self.at(name, "stable")

    def at(self, name: str, place: str) -> Known | None:
        return next((known for known in self.tools[name] if known.place == place), None)

    def put(self, name: str, known: Known, place: str = "stable", *, back: bool = False) -> None:
        versions = self.tools[name]
        for other in versions:
            gives_way = other.place == place or (place == "stable" and other.place == "canary")
            if other is not known and gives_way:
                was_stable = other.place == "stable"
                earlier = versions.index(known) < versions.index(other)
                self.end(other, taken_out=back and was_stable and earlier)
        known.state, known.place = "approved", place

    def end(self, known: Known, state: str = "deprecated", *, taken_out: bool = False) -> None:
        self.clock += 1
        known.was_stable = known.place == "stable"
        known.state, known.place, known.taken_out = state, None, taken_out
        known.replaced_at = self.clock

    def predecessor(self, name: str) -> Known | None:
        replaced = [
            known
            for known in self.tools[name]
            if known.state == "deprecated" and known.was_stable and not known.taken_out
        ]
        return max(replaced, key=lambda known: known.replaced_at, default=None)

    def place_of(self, name: str, channel: str) -> str:
        """Where a version goes that is approved on these terms."""
        if channel == "session":
            return SESSION
        return "canary" if channel == "canary" and self.current(name) else "stable"


class StoreMachine(RuleBasedStateMachine):
    """Every call does what the model says, or is refused where the model refuses it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="toolstore-"))
        self.loop = asyncio.Runner()
        self.store = self.loop.run(ToolStore.open(self.folder))
        self.model = Model()

    def teardown(self) -> None:
        try:
            report = self.loop.run(self.store.verify())
            assert report.damage == ()
            assert len(report.trusted) == report.versions
        finally:
            self.loop.run(self.store.close())
            self.loop.close()
            shutil.rmtree(self.folder)

    def call(self, coroutine: Any, *, works: bool, late: bool = False) -> None:
        """A vote that comes `late` is refused, and in the log all the same."""
        head = self.store.head()
        if works:
            self.loop.run(coroutine)
            return
        with pytest.raises((TransitionError, ToolNotFoundError)):
            self.loop.run(coroutine)
        assert self.store.head() == head + late

    def pick(self, name: str, number: int) -> tuple[int, Known] | None:
        versions = self.model.tools[name]
        return (number % len(versions), versions[number % len(versions)]) if versions else None

    @rule(name=names, variant=variants, verdict=decisions, channel=channels)
    def admit(self, name: str, variant: int, verdict: str, channel: str) -> None:
        submission = make_variant(name, variant, DECISIONS[verdict])
        versions = self.model.tools[name]
        known = next((v for v in versions if v.digest == submission.digest), None)
        state = known.state if known else None
        works = verdict != "refuse" and (
            state in {None, "quarantined", "approved"}
            or (state == "deprecated" and verdict == "allow" and not known.taken_out)  # type: ignore[union-attr]
        )
        terms = Terms(channel=Channel(channel), weight=0.5)
        late = state == "revoked" and verdict != "refuse"
        self.call(self.store.admit(submission, actor="ada", terms=terms), works=works, late=late)
        if not works:
            return
        if known is None:
            known = Known(submission.digest, "quarantined")
            versions.append(known)
        if verdict == "allow" and known.state != "approved":
            self.model.put(name, known, self.model.place_of(name, channel))

    @rule(name=names, number=picks, verdict=decisions)
    def approve(self, name: str, number: int, verdict: str) -> None:
        if (picked := self.pick(name, number)) is None:
            return
        _, known = picked
        approval = Approval(principal="bob", digest=known.digest, at=NOON)
        # A yes that is not enough yet is kept, and the version waits on.
        works = known.state == "quarantined" and verdict != "refuse"
        self.call(
            self.store.approve(known.digest, approval, DECISIONS[verdict], actor="bob"),
            works=works,
            late=known.state != "quarantined",
        )
        if works and verdict == "allow":
            self.model.put(name, known)

    @rule(name=names, number=picks)
    def reject(self, name: str, number: int) -> None:
        if (picked := self.pick(name, number)) is None:
            return
        _, known = picked
        works = known.state == "quarantined"
        reject = self.store.reject(known.digest, actor="bob", reason="no")
        self.call(reject, works=works, late=not works)
        if works:
            known.state = "revoked"

    @rule(name=names, number=picks)
    def revoke(self, name: str, number: int) -> None:
        if (picked := self.pick(name, number)) is None:
            return
        position, known = picked
        works = known.state != "revoked"
        ref = ToolRef(name=name, sequence=position + 1)
        self.call(self.store.revoke(ref, actor="bob", reason="no"), works=works)
        known.state, known.place = "revoked", None

    @rule(name=names)
    def roll_back(self, name: str) -> None:
        if (canary := self.model.at(name, "canary")) is not None:
            self.call(self.store.rollback(name, actor="bob", reason="slow"), works=True)
            self.model.end(canary, taken_out=True)
            return
        target = self.model.predecessor(name)
        self.call(self.store.rollback(name, actor="bob", reason="slow"), works=target is not None)
        if target is not None:
            self.model.put(name, target, back=True)

    @rule(name=names, number=picks)
    def roll_back_to(self, name: str, number: int) -> None:
        if (picked := self.pick(name, number)) is None:
            return
        position, known = picked
        works = known.state in {"deprecated", "archived"}
        to = ToolRef(name=name, sequence=position + 1)
        self.call(self.store.rollback(name, actor="bob", reason="slow", to=to), works=works)
        if works:
            self.model.put(name, known, back=True)

    @rule(name=names, number=picks)
    def promote(self, name: str, number: int) -> None:
        if (picked := self.pick(name, number)) is None:
            return
        position, known = picked
        works = known.state == "approved" and known.place != "stable"
        ref = ToolRef(name=name, sequence=position + 1)
        self.call(self.store.lifecycle.promote(ref, actor="bob", reason="good"), works=works)
        if works:
            self.model.put(name, known)

    @rule(name=names, number=picks)
    def try_as_canary(self, name: str, number: int) -> None:
        if (picked := self.pick(name, number)) is None:
            return
        position, known = picked
        callable_ = known.state in {"approved", "deprecated"}
        stable = self.model.current(name)
        works = callable_ and stable is not None and stable is not known
        ref = ToolRef(name=name, sequence=position + 1)
        move = self.store.lifecycle.canary(ref, weight=0.5, actor="bob", reason="try")
        self.call(move, works=works)
        if works:
            self.model.put(name, known, "canary")

    @rule(name=names, number=picks, works_out=st.booleans())
    def count_calls(self, name: str, number: int, works_out: bool) -> None:
        """Enough calls of the canary to end it, or as many that say nothing against it."""
        canary = self.model.at(name, "canary")
        for _ in range(6):
            if canary is not None:
                counted = self.store.lifecycle.count_call(
                    name, canary.digest, HASTY, actor="toolkiln", succeeded=works_out
                )
                if self.loop.run(counted) is not None:
                    self.model.end(canary, taken_out=True)
                    return

    @rule(name=names, number=picks, step=st.sampled_from(["deprecate", "archive", "suspend"]))
    def retire(self, name: str, number: int, step: str) -> None:
        if (picked := self.pick(name, number)) is None:
            return
        position, known = picked
        ref, life = ToolRef(name=name, sequence=position + 1), self.store.lifecycle
        froms = {
            "deprecate": {"approved"},
            "archive": {"deprecated"},
            "suspend": {"approved", "deprecated"},
        }[step]
        works = known.state in froms
        if step == "suspend":
            self.call(life.suspend(known.digest, refused(), actor="b", reason="r"), works=works)
        else:
            self.call(getattr(life, step)(ref, actor="bob", reason="unused"), works=works)
        if works:
            into = {"deprecate": "deprecated", "archive": "archived", "suspend": "quarantined"}
            self.model.end(known, into[step], taken_out=True)

    @rule(name=names, number=picks)
    def pin(self, name: str, number: int) -> None:
        if (picked := self.pick(name, number)) is None:
            return
        position, known = picked
        works = known.state in {"approved", "deprecated"}
        ref = ToolRef(name=name, sequence=position + 1)
        move = self.store.lifecycle.pin(ref, session=SESSION, actor="bob", reason="keep")
        self.call(move, works=works)
        if works:
            self.model.pins[name] = known

    @rule(name=names)
    def unpin(self, name: str) -> None:
        works = name in self.model.pins
        move = self.store.lifecycle.unpin(name, session=SESSION, actor="bob", reason="done")
        self.call(move, works=works)
        self.model.pins.pop(name, None)

    @precondition(lambda self: self.store.head() > 0)
    @rule()
    def open_again(self) -> None:
        self.loop.run(self.store.close())
        self.store = self.loop.run(ToolStore.open(self.folder))

    @invariant()
    def the_store_is_the_model(self) -> None:
        summaries = self.loop.run(self.store.summaries())
        places = [
            None if s.place is None else s.place.session or s.place.channel for s in summaries
        ]
        assert [
            (s.name, s.sequence, s.digest, s.state.value, place)
            for s, place in zip(summaries, places, strict=True)
        ] == [
            (name, position, known.digest, known.state, known.place)
            for name in NAMES
            for position, known in enumerate(self.model.tools[name], 1)
        ]

    @invariant()
    def a_session_has_its_pin_its_own_or_its_share(self) -> None:
        for name in NAMES:
            mine, canary = self.model.at(name, SESSION), self.model.at(name, "canary")
            shared = canary if canary is not None and share(SESSION, name) < 0.5 else None
            wanted = self.model.pins.get(name) or mine or shared or self.model.current(name)
            if wanted is not None and wanted.state in {"approved", "deprecated"}:
                found = self.loop.run(self.store.get(ToolRef(name=name), session=SESSION))
                assert found.digest == wanted.digest
            else:
                with pytest.raises((ToolNotFoundError, ToolNotCallableError)):
                    self.loop.run(self.store.get(ToolRef(name=name), session=SESSION))

    @invariant()
    def a_name_means_its_approved_version(self) -> None:
        for name in NAMES:
            current = self.model.current(name)
            if current is not None:
                version = self.loop.run(self.store.get(ToolRef(name=name)))
                assert version.digest == current.digest
            else:
                with pytest.raises((ToolNotFoundError, ToolNotCallableError)):
                    self.loop.run(self.store.get(ToolRef(name=name)))


def make_variant(name: str, variant: int, decision: Decision) -> Submission:
    """One of few submissions, so that the same comes twice."""
    code = f"def {name}(number: int) -> int:\n    return number * {variant}\n"
    return make_submission(name, code, decision=decision)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)
