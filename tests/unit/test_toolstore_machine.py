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

from policies.decision import Approval, Decision
from toolstore.errors import ToolNotCallableError, ToolNotFoundError, TransitionError
from toolstore.models import Submission, ToolRef
from toolstore.store import ToolStore

NAMES = ("alpha", "beta")
DECISIONS = {"allow": allowed(), "review": needs_review(), "refuse": refused()}

names = st.sampled_from(NAMES)
variants = st.integers(1, 4)
decisions = st.sampled_from(sorted(DECISIONS))
picks = st.integers(0, 5)


@dataclass
class Known:
    """A version as the model has it."""

    digest: str
    state: str
    gone_back_from: bool = False
    replaced_at: int = 0


@dataclass
class Model:
    """All versions of each name, oldest first."""

    tools: dict[str, list[Known]] = field(default_factory=lambda: {name: [] for name in NAMES})
    clock: int = 0

    def current(self, name: str) -> Known | None:
        return next((known for known in self.tools[name] if known.state == "approved"), None)

    def make_current(self, name: str, known: Known, *, back: bool = False) -> None:
        self.clock += 1
        versions = self.tools[name]
        before = self.current(name)
        if before is not None:
            before.state, before.replaced_at = "deprecated", self.clock
            before.gone_back_from = back and versions.index(known) < versions.index(before)
        known.state = "approved"

    def predecessor(self, name: str) -> Known | None:
        replaced = [
            known
            for known in self.tools[name]
            if known.state == "deprecated" and not known.gone_back_from
        ]
        return max(replaced, key=lambda known: known.replaced_at, default=None)


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

    def call(self, coroutine: Any, *, works: bool) -> None:
        head = self.store.head()
        if works:
            self.loop.run(coroutine)
            return
        with pytest.raises((TransitionError, ToolNotFoundError)):
            self.loop.run(coroutine)
        assert self.store.head() == head

    def pick(self, name: str, number: int) -> tuple[int, Known] | None:
        versions = self.model.tools[name]
        return (number % len(versions), versions[number % len(versions)]) if versions else None

    @rule(name=names, variant=variants, verdict=decisions)
    def admit(self, name: str, variant: int, verdict: str) -> None:
        submission = make_variant(name, variant, DECISIONS[verdict])
        versions = self.model.tools[name]
        known = next((v for v in versions if v.digest == submission.digest), None)
        state = known.state if known else None
        works = verdict != "refuse" and (
            state in {None, "quarantined", "approved"}
            or (state == "deprecated" and verdict == "allow" and not known.gone_back_from)  # type: ignore[union-attr]
        )
        self.call(self.store.admit(submission, actor="ada"), works=works)
        if not works:
            return
        if known is None:
            known = Known(submission.digest, "quarantined")
            versions.append(known)
        if verdict == "allow" and known.state != "approved":
            self.model.make_current(name, known)

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
        )
        if works and verdict == "allow":
            self.model.make_current(name, known)

    @rule(name=names, number=picks)
    def reject(self, name: str, number: int) -> None:
        if (picked := self.pick(name, number)) is None:
            return
        _, known = picked
        works = known.state == "quarantined"
        self.call(self.store.reject(known.digest, actor="bob", reason="no"), works=works)
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
        known.state = "revoked"

    @rule(name=names)
    def roll_back(self, name: str) -> None:
        target = self.model.predecessor(name)
        self.call(self.store.rollback(name, actor="bob", reason="slow"), works=target is not None)
        if target is not None:
            self.model.make_current(name, target, back=True)

    @rule(name=names, number=picks)
    def roll_back_to(self, name: str, number: int) -> None:
        if (picked := self.pick(name, number)) is None:
            return
        position, known = picked
        works = known.state == "deprecated"
        to = ToolRef(name=name, sequence=position + 1)
        self.call(self.store.rollback(name, actor="bob", reason="slow", to=to), works=works)
        if works:
            self.model.make_current(name, known, back=True)

    @precondition(lambda self: self.store.head() > 0)
    @rule()
    def open_again(self) -> None:
        self.loop.run(self.store.close())
        self.store = self.loop.run(ToolStore.open(self.folder))

    @invariant()
    def the_store_is_the_model(self) -> None:
        summaries = self.loop.run(self.store.summaries())
        assert [(s.name, s.sequence, s.digest, s.state.value) for s in summaries] == [
            (name, position, known.digest, known.state)
            for name in NAMES
            for position, known in enumerate(self.model.tools[name], 1)
        ]

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
