"""What the store promises, call by call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from factories import (
    IMAGE,
    NOON,
    allowed,
    make_evidence,
    make_schema,
    make_source,
    make_submission,
    needs_review,
    refused,
)

from policies.decision import Approval
from policies.permissions import LintLevel
from toolstore.errors import (
    StoreUnusableError,
    ToolNotCallableError,
    ToolNotFoundError,
    TransitionError,
)
from toolstore.events import EventType
from toolstore.models import Lifecycle, Submission, ToolRef, ToolVersion
from toolstore.store import ToolStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ToolStore]:
    async with await ToolStore.open(tmp_path / "tools") as opened:
        yield opened


def variant(number: int, **changes: object) -> Submission:
    code = f"def double(number: int) -> int:\n    return number * 2  # {number}\n"
    return make_submission(code=code, **changes)  # type: ignore[arg-type]


async def admit(store: ToolStore, number: int, **changes: object) -> ToolVersion:
    return await store.admit(variant(number, **changes), actor="ada")


def approval_of(digest: str, principal: str = "bob") -> Approval:
    return Approval(principal=principal, digest=digest, at=NOON, comment="looks right")


async def states(store: ToolStore, name: str = "double") -> list[str]:
    return [version.state.value for version in await store.history(name)]


async def test_what_was_admitted_comes_back_whole(store: ToolStore) -> None:
    submission = make_submission()

    admitted = await store.admit(submission, actor="ada")
    read = await store.get(ToolRef.parse("double"))

    assert read == admitted
    assert (read.digest, read.sequence, read.state) == (submission.digest, 1, Lifecycle.APPROVED)
    assert (read.source, read.source_schema) == (submission.source, submission.source_schema)
    assert (read.evidence, read.decision) == (submission.evidence, submission.decision)
    assert read.provenance == submission.provenance
    assert read.parent is None
    assert read.approvals == ()
    assert ToolVersion.model_validate(read.model_dump(mode="python")) == read


async def test_it_is_there_in_the_next_process(tmp_path: Path) -> None:
    async with await ToolStore.open(tmp_path) as first:
        admitted = await first.admit(make_submission(), actor="ada")
    async with await ToolStore.open(tmp_path) as second:
        assert await second.get(ToolRef.parse("double")) == admitted


async def test_an_admission_is_three_events(store: ToolStore) -> None:
    version = await store.admit(make_submission(), actor="ada")

    log = await store.events()

    assert [event.type for event in log] == ["submitted", "quarantined", "admitted"]
    assert [event.sequence for event in log] == [1, 2, 3]
    assert {event.digest for event in log} == {version.digest}
    assert {event.actor for event in log} == {"ada"}
    assert store.head() == 3


async def test_the_same_submission_again_writes_nothing(store: ToolStore) -> None:
    first = await store.admit(make_submission(), actor="ada")
    head = store.head()

    assert await store.admit(make_submission(author="eve"), actor="eve") == first
    assert store.head() == head


async def test_a_new_submission_is_the_next_version_and_takes_over(store: ToolStore) -> None:
    first, second = await admit(store, 1), await admit(store, 2)

    assert (second.sequence, second.parent) == (2, first.digest)
    assert (await store.get(ToolRef.parse("double"))).digest == second.digest
    assert (await store.get(ToolRef.parse("double@1"))).state is Lifecycle.DEPRECATED
    assert (await store.get(ToolRef.parse(f"double@{first.digest[:20]}"))).sequence == 1
    assert await states(store) == ["deprecated", "approved"]


async def test_a_refused_submission_leaves_nothing(store: ToolStore) -> None:
    with pytest.raises(TransitionError, match="an example failed"):
        await store.admit(make_submission(decision=refused()), actor="ada")

    report = await store.verify()
    assert (report.versions, report.events, report.blobs) == (0, 0, 0)


@pytest.mark.parametrize(
    ("submission", "problem"),
    [
        (
            make_submission(
                evidence=make_evidence(make_source("other"), make_schema("other")),
            ),
            "evidence is about",
        ),
        (
            make_submission(
                evidence=make_evidence(
                    make_source(), make_schema(), image_digest="sha256:" + "1" * 64
                ),
            ),
            "evidence is about",
        ),
        (
            make_submission(
                level=LintLevel.L0,
                evidence=make_evidence(make_source(), make_schema(), level=LintLevel.L2),
            ),
            "passed the lint level L2",
        ),
    ],
    ids=["another tool", "another image", "another level"],
)
async def test_evidence_about_something_else_is_refused(
    store: ToolStore, submission: Submission, problem: str
) -> None:
    with pytest.raises(TransitionError, match=problem):
        await store.admit(submission, actor="ada")

    assert store.head() == 0


@pytest.mark.parametrize(
    "name", ["Dou_ble", "double_", "DOUBLE", "\N{FULLWIDTH LATIN SMALL LETTER D}ouble"]
)
async def test_a_name_that_reads_like_another_is_refused(store: ToolStore, name: str) -> None:
    await store.admit(make_submission(), actor="ada")

    with pytest.raises(TransitionError, match="'double'"):
        await store.admit(make_submission(name), actor="eve")

    assert [summary.name for summary in await store.summaries()] == ["double"]


async def test_what_waits_for_a_person_is_called_by_nobody(store: ToolStore) -> None:
    version = await admit(store, 1, decision=needs_review("it wants L2"))

    assert version.state is Lifecycle.QUARANTINED
    assert version.state_reason == "it wants L2"
    assert await store.pending() == (version,)
    assert await store.current_versions() == ()
    for ref in ("double", "double@1", f"double@{version.digest}"):
        with pytest.raises(ToolNotCallableError, match="quarantined"):
            await store.get(ToolRef.parse(ref))
        assert await store.find(ToolRef.parse(ref)) == version


async def test_a_waiting_version_does_not_take_over(store: ToolStore) -> None:
    first = await admit(store, 1)
    await admit(store, 2, decision=needs_review())

    assert (await store.get(ToolRef.parse("double"))).digest == first.digest
    assert await states(store) == ["approved", "quarantined"]


async def test_an_approval_makes_it_current(store: ToolStore) -> None:
    await admit(store, 1)
    waiting = await admit(store, 2, decision=needs_review())
    approval = approval_of(waiting.digest)

    approved = await store.approve(waiting.digest, approval, allowed("bob said yes"), actor="bob")

    assert approved.state is Lifecycle.APPROVED
    assert approved.approvals == (approval,)
    assert approved.decision == allowed("bob said yes")
    assert await states(store) == ["deprecated", "approved"]
    assert await store.pending() == ()


async def test_an_approval_counts_only_for_what_was_shown(store: ToolStore) -> None:
    shown = await admit(store, 1, decision=needs_review())
    other = await admit(store, 2, decision=needs_review())
    head = store.head()

    with pytest.raises(TransitionError, match="approve what is shown"):
        await store.approve(other.digest, approval_of(shown.digest), allowed(), actor="bob")

    assert store.head() == head


async def test_approvals_add_up_until_the_policy_has_enough(store: ToolStore) -> None:
    waiting = await admit(store, 1, decision=needs_review())
    first, second = (approval_of(waiting.digest, who) for who in ("bob", "eve"))

    after_one = await store.approve(waiting.digest, first, needs_review(), actor="bob")
    after_two = await store.approve(waiting.digest, second, allowed(), actor="eve")

    assert (after_one.state, after_one.approvals) == (Lifecycle.QUARANTINED, (first,))
    assert (after_two.state, after_two.approvals) == (Lifecycle.APPROVED, (first, second))
    assert (await store.verify()).intact


async def test_a_person_alone_does_not_overrule_the_policy(store: ToolStore) -> None:
    waiting = await admit(store, 1, decision=needs_review())

    with pytest.raises(TransitionError, match="does not allow it"):
        await store.approve(
            waiting.digest,
            approval_of(waiting.digest),
            refused(),
            actor="bob",
        )


async def test_only_a_waiting_version_is_approved_or_rejected(store: ToolStore) -> None:
    version = await admit(store, 1)

    with pytest.raises(TransitionError, match="it is approved"):
        await store.approve(version.digest, approval_of(version.digest), allowed(), actor="bob")
    with pytest.raises(TransitionError, match="it is approved"):
        await store.reject(version.digest, actor="bob", reason="no")


async def test_a_rejected_version_is_an_end(store: ToolStore) -> None:
    waiting = await admit(store, 1, decision=needs_review())

    rejected = await store.reject(waiting.digest, actor="bob", reason="it leaks")

    assert (rejected.state, rejected.state_reason) == (Lifecycle.REVOKED, "it leaks")
    with pytest.raises(TransitionError, match="it leaks"):
        await admit(store, 1)


async def test_new_evidence_lets_a_waiting_version_in(store: ToolStore) -> None:
    waiting = await admit(store, 1, decision=needs_review())
    again = variant(1)
    later = make_evidence(again.source, again.source_schema, produced_at=NOON.replace(hour=13))

    version = await store.admit(
        Submission.model_validate({**dict(again), "evidence": later}), actor="ada"
    )

    assert (version.sequence, version.state) == (waiting.sequence, Lifecycle.APPROVED)
    assert version.evidence == later
    assert (await store.verify()).intact


async def test_a_revoked_version_is_refused_and_nothing_takes_its_place(store: ToolStore) -> None:
    await admit(store, 1)
    second = await admit(store, 2)

    revoked = await store.revoke(ToolRef.parse("double"), actor="bob", reason="wrong for 0")

    assert (revoked.digest, revoked.state) == (second.digest, Lifecycle.REVOKED)
    with pytest.raises(ToolNotCallableError, match="wrong for 0"):
        await store.get(ToolRef.parse("double@2"))
    with pytest.raises(ToolNotCallableError, match=r"@1 deprecated, @2 revoked"):
        await store.get(ToolRef.parse("double"))
    with pytest.raises(TransitionError, match="revoked"):
        await store.revoke(second.digest, actor="bob", reason="again")
    with pytest.raises(TransitionError, match="wrong for 0"):
        await admit(store, 2)


@pytest.mark.parametrize("decision", [allowed(), needs_review()], ids=["approved", "quarantined"])
async def test_whatever_is_not_revoked_can_be(store: ToolStore, decision: object) -> None:
    version = await admit(store, 1, decision=decision)

    revoked = await store.revoke(version.digest, actor="bob", reason="no")

    assert revoked.state is Lifecycle.REVOKED


async def test_rollback_goes_back_step_by_step(store: ToolStore) -> None:
    for number in (1, 2, 3):
        await admit(store, number)

    assert (await store.rollback("double", actor="bob", reason="slow")).sequence == 2
    assert (await store.rollback("double", actor="bob", reason="slow")).sequence == 1
    with pytest.raises(TransitionError, match="no earlier version"):
        await store.rollback("double", actor="bob", reason="slow")
    assert await states(store) == ["approved", "deprecated", "deprecated"]


async def test_rollback_after_a_revocation_gives_the_one_before(store: ToolStore) -> None:
    for number in (1, 2):
        await admit(store, number)
    await store.revoke(ToolRef.parse("double"), actor="bob", reason="wrong")

    assert (await store.rollback("double", actor="bob", reason="wrong")).sequence == 1
    assert await states(store) == ["approved", "revoked"]


async def test_rollback_goes_to_the_named_version_and_forward_again(store: ToolStore) -> None:
    for number in (1, 2, 3):
        await admit(store, number)
    to = ToolRef.parse

    first = await store.rollback("double", actor="bob", reason="slow", to=to("double@1"))
    third = await store.rollback("double", actor="bob", reason="ok after all", to=to("double@3"))

    assert (first.sequence, third.sequence) == (1, 3)
    assert (await store.rollback("double", actor="bob", reason="no")).sequence == 1


@pytest.mark.parametrize(
    ("to", "problem"),
    [("double@2", "it is approved"), ("double@3", "it is quarantined"), ("double@4", "it is rev")],
)
async def test_rollback_leads_only_to_what_was_replaced(
    store: ToolStore, to: str, problem: str
) -> None:
    await admit(store, 1)
    await admit(store, 2)
    await admit(store, 3, decision=needs_review())
    taken = await admit(store, 4, decision=needs_review())
    await store.revoke(taken.digest, actor="bob", reason="no")

    with pytest.raises(TransitionError, match=problem):
        await store.rollback("double", actor="bob", reason="?", to=ToolRef.parse(to))


async def test_a_rollback_of_one_tool_cannot_name_another(store: ToolStore) -> None:
    await admit(store, 1)
    await admit(store, 2)
    other = await store.admit(make_submission("other"), actor="ada")

    with pytest.raises(ToolNotFoundError):
        await store.rollback(
            "double", actor="bob", reason="?", to=ToolRef(name="other", sequence=1)
        )
    assert (await store.get(ToolRef.parse("other"))).digest == other.digest


async def test_a_replaced_version_that_comes_again_is_current_again(store: ToolStore) -> None:
    await admit(store, 1)
    await admit(store, 2)

    again = await admit(store, 1)

    assert (again.sequence, again.state) == (1, Lifecycle.APPROVED)
    assert await states(store) == ["approved", "deprecated"]
    assert (await store.events())[-1].type == EventType.RESTORED


async def test_what_a_person_went_back_from_does_not_come_back_by_itself(store: ToolStore) -> None:
    await admit(store, 1)
    await admit(store, 2)
    await store.rollback("double", actor="bob", reason="wrong for 0")

    with pytest.raises(TransitionError, match="rolled back from"):
        await admit(store, 2)
    assert (await store.get(ToolRef.parse("double"))).sequence == 1


async def test_a_replaced_version_that_now_needs_a_person_stays_replaced(store: ToolStore) -> None:
    await admit(store, 1)
    await admit(store, 2)

    with pytest.raises(TransitionError, match="asks for a person"):
        await admit(store, 1, decision=needs_review())


async def test_unknown_references_say_what_is_near(store: ToolStore) -> None:
    version = await admit(store, 1)

    with pytest.raises(ToolNotFoundError, match="Did you mean 'double'"):
        await store.get(ToolRef.parse("duoble"))
    with pytest.raises(ToolNotFoundError, match="double@7"):
        await store.get(ToolRef.parse("double@7"))
    with pytest.raises(ToolNotFoundError):
        await store.get(ToolRef(name="double", sequence=2, digest=version.digest))
    with pytest.raises(ToolNotFoundError):
        await store.approve("sha256:0", approval_of("sha256:0"), allowed(), actor="bob")


async def test_a_digest_that_means_two_versions_means_none(store: ToolStore) -> None:
    await admit(store, 1)
    await admit(store, 2)

    with pytest.raises(ToolNotFoundError, match="double@1, double@2"):
        await store.get(ToolRef(name="double", digest="sha256:"))


async def test_summaries_are_sorted_and_filtered(store: ToolStore) -> None:
    await store.admit(make_submission("zeta"), actor="ada")
    await store.admit(make_submission("alpha", decision=needs_review()), actor="ada")
    await admit(store, 1)
    await admit(store, 2)

    everything = await store.summaries()
    approved = await store.summaries([Lifecycle.APPROVED])

    assert [f"{s.name}@{s.sequence}" for s in everything] == [
        "alpha@1",
        "double@1",
        "double@2",
        "zeta@1",
    ]
    assert [s.name for s in approved] == ["double", "zeta"]
    version = await store.get(ToolRef.parse("zeta"))
    assert approved[1].digest == version.digest
    assert approved[1].created_at == version.provenance.created_at
    assert await store.summaries([]) == ()
    assert [type(s).model_validate(s.model_dump()) for s in everything] == list(everything)


async def test_current_versions_are_the_approved_ones(store: ToolStore) -> None:
    await admit(store, 1)
    second = await admit(store, 2)
    other = await store.admit(make_submission("other"), actor="ada")

    assert await store.current_versions() == (second, other)


async def test_a_session_hears_of_changes_in_another_process(tmp_path: Path) -> None:
    async with await ToolStore.open(tmp_path) as here, await ToolStore.open(tmp_path) as there:
        assert here.head() == 0
        version = await there.admit(make_submission(), actor="ada")
        assert here.head() == 3
        await there.revoke(version.digest, actor="bob", reason="no")
        assert here.head() == 4

        (change,) = await here.changes_since(3)

        assert (change.digest, change.to_state) == (version.digest, Lifecycle.REVOKED)
        assert await here.changes_since(4) == ()
        assert len(await here.changes_since(0)) == 4
        with pytest.raises(ToolNotCallableError):
            await here.get(ToolRef.parse("double"))


async def test_history_and_events_are_of_one_name(store: ToolStore) -> None:
    await admit(store, 1)
    await store.admit(make_submission("other"), actor="ada")

    assert [version.name for version in await store.history("other")] == ["other"]
    assert {event.name for event in await store.events("other")} == {"other"}
    assert await store.events("nothing") == ()
    with pytest.raises(ToolNotFoundError):
        await store.history("nothing")


async def test_search_documents_hold_names_parameters_and_docstrings(store: ToolStore) -> None:
    await store.admit(make_submission(), actor="ada")
    await store.admit(make_submission("waiting", decision=needs_review()), actor="ada")

    ((name, text),) = await store.search_documents()

    assert name == "double"
    assert {"double", "number", "The number."} <= set(text.splitlines())


async def test_a_new_store_is_intact_and_empty(store: ToolStore) -> None:
    report = await store.verify()

    assert report.intact
    assert (report.versions, report.events, report.blobs) == (0, 0, 0)
    assert await store.summaries() == ()


async def test_verify_counts_what_it_checked(store: ToolStore) -> None:
    await admit(store, 1)
    await admit(store, 2)

    report = await store.verify()

    assert report.intact
    assert (report.versions, report.events, report.blobs) == (2, 7, 5)
    assert report.trusted == ("double@1", "double@2")


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = await ToolStore.open(tmp_path)
    await store.close()
    await store.close()

    with pytest.raises(StoreUnusableError, match="closed"):
        await store.get(ToolRef.parse("double"))
    with pytest.raises(StoreUnusableError, match="closed"):
        store.head()


async def test_the_image_is_part_of_what_a_version_is(store: ToolStore) -> None:
    first = await store.admit(make_submission(image_digest=IMAGE), actor="ada")
    second = await store.admit(make_submission(image_digest="sha256:" + "2" * 64), actor="ada")

    assert first.source == second.source
    assert (first.sequence, second.sequence) == (1, 2)
