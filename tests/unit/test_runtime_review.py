"""The review desk: what waits, what a reviewer sees, and votes on what was shown alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from factories import IMAGE, NOON, make_evidence, make_schema, make_source, make_submission

from policies.config import PolicyProfile
from policies.decision import AdmissionRequest, Channel
from policies.marking import Mark
from policies.permissions import Permissions
from policies.source import Example
from runtime.artefacts import ArtefactStore
from runtime.composition import Composition
from runtime.equipment import Equipment
from runtime.errors import ReviewChangedError, UsageError
from runtime.loader import ToolLoader
from runtime.profiles import read_profile
from runtime.review.desk import ReviewDesk
from runtime.review.item import Vote
from runtime.review.parts import LineKind
from runtime.review.shown import Shown
from sandbox.base import Sandbox
from toolstore.attest.keys import KeyRing
from toolstore.errors import ToolNotFoundError, TransitionError
from toolstore.models import Lifecycle, Submission, ToolVersion
from toolstore.store import ToolStore

LATER = NOON + timedelta(hours=1)


def profile(**admission: object) -> PolicyProfile:
    """The production profile without generated runs, which these versions have none of."""
    shipped = read_profile("production")
    fields = shipped.model_dump(mode="json")
    fields["evidence"] |= {"property_runs": 0, "runs_per_example": 1}
    fields["admission"] |= admission
    return PolicyProfile.model_validate(fields)


def waiting(
    policy: PolicyProfile,
    code: str | None = None,
    *,
    name: str = "double",
    description: str = "Double a number.",
    permissions: Permissions | None = None,
    session: str | None = "session-1",
    author: str = "ada",
) -> Submission:
    """A version that the policy sends to a person."""
    source = make_source(name, code=code, description=description)
    if permissions is not None:
        source = source.model_copy(update={"permissions": permissions})
    level = source.permissions.lint_level
    evidence = make_evidence(source, make_schema(name), level=level)
    decision = policy.policy.decide(
        AdmissionRequest(digest=evidence.subject, source=source, evidence=evidence, author=author)
    )
    assert decision.needs_review, decision.reasons
    return make_submission(
        source=source,
        schema=make_schema(name),
        level=level,
        evidence=evidence,
        decision=decision,
        author=author,
        session=session,
        image_digest=IMAGE,
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ToolStore]:
    async with await ToolStore.open(tmp_path / "store", clock=lambda: LATER) as opened:
        yield opened


def desk_of(
    store: ToolStore, policy: PolicyProfile, at: Callable[[], datetime] = lambda: LATER
) -> ReviewDesk:
    async def never(*_: object) -> ToolVersion:
        raise ToolNotFoundError("none")

    return ReviewDesk(
        store=store,
        equipment=Equipment(profile=policy, secrets=lambda _: None, tenant="tests"),
        composition=Composition(never, never),  # type: ignore[arg-type]  # nothing is called
        sandbox=None,
        package_folder=Path("/nonexistent"),
        clock=at,
    )


async def test_what_waits_is_listed_with_its_reasons_the_longest_first(store: ToolStore) -> None:
    policy = profile(approvers=2)
    first = await store.admit(waiting(policy), actor="ada")
    await store.admit(waiting(policy, name="triple"), actor="ada")
    desk = desk_of(store, policy)

    await desk.decide(first.digest, Vote.APPROVE, principal="bob")
    lines = await desk.queue(reader="bob")

    assert [line.ref.plain for line in lines] == ["double@1", "triple@1"]
    assert (lines[0].votes, lines[0].needed) == (1, 2)
    assert (lines[1].votes, lines[1].needed) == (0, 2)
    assert "approval" in lines[1].why[0].plain
    assert lines[0].author.plain == "ada"


async def test_an_item_shows_every_respect_in_which_it_differs(store: ToolStore) -> None:
    policy = profile()
    await store.admit(make_submission(), actor="ada")
    code = (
        "def double(number: int) -> int:\n"
        '    """Double a number."""\n'
        "    result = number + number\n"
        "    return result\n"
    )
    permissions = Permissions(imports=("string",), files=("input",))
    new = await store.admit(
        waiting(policy, code, description="Double it over there.", permissions=permissions),
        actor="ada",
    )

    item = await desk_of(store, policy).item("double", reader="bob")

    assert item.digest == new.digest
    assert item.before is not None
    assert item.before.plain == "double@1"
    changed = {part.title for part in item.diff if part.changed}
    assert changed == {"source", "description", "permissions"}
    source = next(part for part in item.diff if part.title == "source")
    assert [(line.kind, line.before, line.after, line.text.plain) for line in source.lines] == [
        (LineKind.SAME, 1, 1, "def double(number: int) -> int:"),
        (LineKind.SAME, 2, 2, '    """Double a number."""'),
        (LineKind.REMOVED, 3, None, "    return number * 2"),
        (LineKind.ADDED, None, 3, "    result = number + number"),
        (LineKind.ADDED, None, 4, "    return result"),
    ]
    rights = next(part for part in item.diff if part.title == "permissions")
    added = [line.text.plain for line in rights.lines if line.kind is LineKind.ADDED]
    assert added == ["level L2", "import string", "files input"]
    assert item.capability_summary.startswith("reads the files of a call, no network, no packages")


async def test_a_pure_tool_reaches_nothing_and_the_summary_says_so(store: ToolStore) -> None:
    policy = profile()
    await store.admit(waiting(policy), actor="ada")

    item = await desk_of(store, policy).item("double@1", reader="bob")

    assert item.capability_summary == "reads nothing, no network, no packages"
    assert all(line.kind is LineKind.ADDED for part in item.diff for line in part.lines)
    assert [trial.passed for trial in item.trials] == [True]
    assert item.history[0].what == "quarantined"
    assert item.coverage_missing.startswith("not measured")


async def test_hostile_text_is_shown_escaped_and_marked(store: ToolStore) -> None:
    policy = profile()
    code = (
        "def double(number: int) -> int:\n"
        '    """Double \u202e it \x1b[31m."""' + " " * 80 + "; evil()\n"
        "    p\u0430ssword = number  # " + "x" * 300 + "\n"
        "    return number * 2\n"
    )
    await store.admit(
        waiting(policy, code, description="good \x1b]0;own\x07 tool", author="eve\u200b"),
        actor="ada",
    )

    item = await desk_of(store, policy).item("double", reader="bob")

    everything = item.model_dump_json()
    assert not any(c in everything for c in ("\\u001b", "\\u0007", "\u202e", "\u200b"))
    marks = {mark for line in item.source for mark in line.text.marks}
    assert marks >= {Mark.BIDIRECTIONAL, Mark.CONTROL, Mark.GAP, Mark.LOOK_ALIKE, Mark.LONG}
    assert item.author.plain == "eve\\u200b"
    assert len(item.warnings) == 6


async def test_a_yes_approves_and_keeps_how_far_and_how_long(store: ToolStore) -> None:
    policy = profile()
    await store.admit(waiting(policy), actor="ada")
    desk = desk_of(store, policy)
    item = await desk.item("double", reader="bob")
    until = LATER + timedelta(days=30)

    outcome = await desk.decide(
        item.shown, Vote.APPROVE, principal="bob", reason="looks right", expires_at=until
    )

    assert outcome.settled
    (approval,) = (await store.version(item.digest)).approvals
    assert (approval.principal, approval.comment, approval.shown) == (
        "bob",
        "looks right",
        item.shown,
    )
    assert (approval.scope, approval.expires_at) == (Channel.STABLE, until)
    assert not approval.counts(until)
    with pytest.raises(TransitionError, match="approved"):
        await desk.decide(item.digest, Vote.APPROVE, principal="cat")


@pytest.mark.parametrize("vote", [Vote.REJECT, Vote.ASK])
async def test_a_no_and_a_wish_need_a_reason(store: ToolStore, vote: Vote) -> None:
    policy = profile()
    version = await store.admit(waiting(policy), actor="ada")
    with pytest.raises(UsageError, match="say why"):
        await desk_of(store, policy).decide(version.digest, vote, principal="bob", reason=" \n")
    assert (await store.version(version.digest)).state is Lifecycle.QUARANTINED


async def test_a_wish_for_a_change_leaves_it_waiting_and_is_shown_to_the_next(
    store: ToolStore,
) -> None:
    policy = profile()
    await store.admit(waiting(policy), actor="ada")
    desk = desk_of(store, policy)
    item = await desk.item("double", reader="bob")

    outcome = await desk.decide(item.shown, Vote.ASK, principal="bob", reason="name the unit")

    assert outcome.state is Lifecycle.QUARANTINED
    (line,) = await desk.queue(reader="bob")
    assert line.asked is not None
    assert line.asked.plain == "name the unit"
    again = await desk.item("double", reader="bob")
    assert [(each.vote, each.words.plain) for each in again.earlier_votes] == [
        ("ask", "name the unit")
    ]
    with pytest.raises(ReviewChangedError, match="bob: change asked"):
        await desk.decide(item.shown, Vote.APPROVE, principal="cat")
    assert (await desk.decide(again.shown, Vote.APPROVE, principal="cat")).settled


async def test_a_changed_policy_refuses_what_was_shown_before(store: ToolStore) -> None:
    policy = profile()
    await store.admit(waiting(policy), actor="ada")
    item = await desk_of(store, policy).item("double", reader="bob")
    stricter = desk_of(store, profile(approvers=2))

    with pytest.raises(ReviewChangedError, match="policy in force"):
        await stricter.decide(item.shown, Vote.APPROVE, principal="bob")
    assert (await store.version(item.digest)).state is Lifecycle.QUARANTINED


async def test_other_evidence_refuses_what_was_shown_before(store: ToolStore) -> None:
    policy = profile()
    await store.admit(waiting(policy), actor="ada")
    desk = desk_of(store, policy)
    seen = Shown.parse((await desk.item("double", reader="bob")).shown)
    forged = seen.model_copy(update={"evidence": "sha256:" + "0" * 64})

    with pytest.raises(ReviewChangedError, match="other evidence"):
        await desk.decide(str(forged), Vote.REJECT, principal="bob", reason="no")


async def test_another_version_than_the_one_shown_is_not_found(store: ToolStore) -> None:
    policy = profile()
    await store.admit(waiting(policy), actor="ada")
    with pytest.raises(ToolNotFoundError):
        await desk_of(store, policy).decide("sha256:" + "1" * 64, Vote.APPROVE, principal="bob")


@pytest.mark.parametrize("text", ["", "double", "sha256:12", "sha256:" + "a" * 64 + "/x/y/1"])
def test_what_was_shown_is_read_exactly_or_refused(text: str) -> None:
    with pytest.raises(UsageError, match="what was shown"):
        Shown.parse(text)


async def test_the_author_does_not_approve_their_own(store: ToolStore) -> None:
    policy = profile()
    version = await store.admit(waiting(policy), actor="ada")
    with pytest.raises(UsageError, match="author"):
        await desk_of(store, policy).decide(version.digest, Vote.APPROVE, principal="ada")


async def test_a_yes_that_would_have_expired_is_refused(store: ToolStore) -> None:
    policy = profile()
    version = await store.admit(waiting(policy), actor="ada")
    with pytest.raises(UsageError, match="expired"):
        await desk_of(store, policy).decide(
            version.digest, Vote.APPROVE, principal="bob", expires_at=LATER
        )


async def test_an_expired_yes_no_longer_counts_towards_two(store: ToolStore) -> None:
    policy = profile(approvers=2)
    version = await store.admit(waiting(policy), actor="ada")
    soon = LATER + timedelta(minutes=5)
    await desk_of(store, policy).decide(
        version.digest, Vote.APPROVE, principal="bob", expires_at=soon
    )

    late = desk_of(store, policy, lambda: soon)
    outcome = await late.decide(version.digest, Vote.APPROVE, principal="cat")

    assert not outcome.settled
    (line,) = await late.queue(reader="bob")
    assert (line.votes, line.needed) == (1, 2)


async def test_a_tool_of_no_session_is_not_approved_for_one(store: ToolStore) -> None:
    policy = profile()
    version = await store.admit(waiting(policy, session=None), actor="ada")
    with pytest.raises(UsageError, match="no session"):
        await desk_of(store, policy).decide(
            version.digest, Vote.APPROVE, principal="bob", scope=Channel.SESSION
        )


async def test_many_votes_at_once_have_one_outcome(store: ToolStore) -> None:
    policy = profile(approvers=3)
    version = await store.admit(waiting(policy), actor="ada")
    shown = (await desk_of(store, policy).item("double", reader="bob")).shown
    desks = [desk_of(store, policy) for _ in range(4)]

    outcomes = await asyncio.gather(
        *(
            desk.decide(shown, Vote.APPROVE, principal=f"person {number}")
            for number, desk in enumerate(desks)
        ),
        return_exceptions=True,
    )

    after = await store.version(version.digest)
    assert after.state is Lifecycle.APPROVED
    kept = {approval.principal for approval in after.approvals}
    said = [each for each in outcomes if not isinstance(each, BaseException)]
    assert len(kept) == 3
    assert len(said) >= 3
    assert (await store.verify()).intact


async def test_the_nearest_tool_and_who_is_pinned_are_named(store: ToolStore) -> None:
    policy = profile()
    await store.admit(make_submission(name="twice", description="Double a number."), actor="ada")
    old = await store.admit(make_submission(), actor="ada")
    caller = make_source("caller", examples=(Example(arguments={"number": 1}, returns=2),))
    caller = caller.model_copy(update={"permissions": Permissions(tools=(f"double@{old.digest}",))})
    await store.admit(make_submission(source=caller), actor="ada")
    code = 'def double(number: int) -> int:\n    """Double a number."""\n    return 2 * number\n'
    await store.admit(waiting(policy, code), actor="ada")

    item = await desk_of(store, policy).item("double", reader="bob")

    assert item.neighbour is not None
    assert item.neighbour.ref.plain in {"twice@1", "caller@1"}
    assert item.users.pinned is not None
    assert [ref.plain for ref in item.users.pinned] == ["caller@1"]


async def test_a_yes_that_has_expired_stops_the_next_call(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    moment = [now - timedelta(hours=2)]
    policy = profile()
    keys = KeyRing(tmp_path / "keys", clock=lambda: moment[0])

    async def no_sandbox() -> Sandbox:
        raise AssertionError("nothing runs")

    async with await ToolStore.open(
        tmp_path / "store", keys=keys, clock=lambda: moment[0]
    ) as store:
        desk = desk_of(store, policy, lambda: moment[0])
        equipment = Equipment(profile=policy, secrets=lambda _: None, tenant="tests")
        loader = ToolLoader(store, no_sandbox, equipment, ArtefactStore(tmp_path / "artefacts"))
        version = await store.admit(waiting(policy), actor="ada")
        until = now - timedelta(hours=1)
        await desk.decide(version.digest, Vote.APPROVE, principal="bob", expires_at=until)
        loaded = await store.version(version.digest)
        moment[0] = now

        outcome = await loader.runner.call(loaded, {"number": 2})

        assert outcome.is_error
        assert "the approval of bob ended" in str(outcome.content)
        assert (await store.version(version.digest)).state is Lifecycle.QUARANTINED
        assert [line.votes for line in await desk.queue(reader="bob")] == [0]
        assert (await desk.decide(version.digest, Vote.APPROVE, principal="cat")).settled
        assert (await loader.offers.find(loaded.ref)).state is Lifecycle.APPROVED
        await loader.close()
