"""A changed policy decides again, once, from what is stored; and everybody is asked who may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from factories import NOON, make_evidence, make_schema, make_source, make_submission, make_trials
from hypothesis import given, settings
from hypothesis import strategies as st
from storekit import tampering

from policies.access import Principal
from policies.config import PolicyProfile
from policies.decision import AdmissionRequest, Approval
from policies.evidence import TrialKind
from policies.permissions import LintLevel, Permissions
from policies.value import sha256_digest
from runtime.applying import Effect, apply_policy
from runtime.authorize import author_of
from runtime.equipment import Equipment
from runtime.errors import AccessRefusedError, UsageError
from runtime.loader import ToolLoader
from runtime.profiles import read_profile
from runtime.redecision import Redecision, decide_again, request_of, stored_policy
from runtime.review.desk import ReviewDesk
from runtime.review.item import Vote
from runtime.settings import Settings
from runtime.tools import CallContext
from runtime.wiring import open_runtime
from toolstore.errors import StoreDamagedError, ToolNotCallableError, TransitionError
from toolstore.events import EventType
from toolstore.models import Lifecycle, Submission, ToolRef
from toolstore.store import ToolStore

LATER = NOON + timedelta(hours=1)
LOCAL = Path(__file__).parents[2] / "policies" / "profiles" / "local.toml"
ALL = '@id("all") permit(principal, action, resource);'


def profile(**changes: object) -> PolicyProfile:
    """`local`, made to fit the evidence that the factories give, with some sections changed."""
    fields = read_profile("local").model_dump(mode="json")
    fields["evidence"] |= {"property_runs": 0, "runs_per_example": 1}
    for section, values in changes.items():
        fields[section] |= values
    return PolicyProfile.model_validate(fields)


def with_rules(*rules: str) -> PolicyProfile:
    access = {"policies": ["mine.cedar"], "files": {"mine.cedar": "\n".join((ALL, *rules))}}
    return profile(access=access)


def stricter() -> PolicyProfile:
    return profile(evidence={"examples": 2})


def submission(
    policy: PolicyProfile,
    name: str = "double",
    *,
    session: str | None = None,
    code: str | None = None,
) -> Submission:
    source = make_source(name, code=code)
    evidence = make_evidence(source, make_schema(name))
    decision = policy.policy.decide(
        AdmissionRequest(digest=evidence.subject, source=source, evidence=evidence, author="ada")
    )
    return make_submission(
        source=source,
        schema=make_schema(name),
        evidence=evidence,
        decision=decision,
        author="ada",
        session=session,
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ToolStore]:
    async with await ToolStore.open(tmp_path / "store", clock=lambda: LATER) as opened:
        yield opened


def equipment(policy: PolicyProfile, *, keeps_refusals: bool = True) -> Equipment:
    return Equipment(
        profile=policy, secrets=lambda _: None, tenant="ada", keeps_refusals=keeps_refusals
    )


def loader(store: ToolStore, policy: PolicyProfile) -> ToolLoader:
    async def no_sandbox() -> object:
        raise AssertionError("nothing runs")

    return ToolLoader(store, no_sandbox, equipment(policy), None)  # type: ignore[arg-type]  # nothing runs


def desk_of(store: ToolStore, policy: PolicyProfile) -> ReviewDesk:
    return ReviewDesk(
        store=store,
        equipment=equipment(policy),
        composition=None,  # type: ignore[arg-type]  # nothing is called
        sandbox=None,
        package_folder=Path("/nonexistent"),
        clock=lambda: LATER,
    )


async def types(store: ToolStore) -> list[str]:
    return [event.type for event in await store.events()]


async def test_what_no_longer_passes_is_quarantined_with_the_reason(store: ToolStore):
    await store.admit(submission(profile()), actor="ada")

    with pytest.raises(ToolNotCallableError, match="the policy changed") as caught:
        await loader(store, stricter()).offers.find(ToolRef(name="double"))

    assert "at least 2 wanted" in str(caught.value)
    version = await store.find(ToolRef(name="double"))
    assert version.state is Lifecycle.QUARANTINED
    assert version.decision.policy_digest == stricter().digest
    assert version.decision.rules == ("examples-proven",)
    assert (await types(store))[-1] == EventType.SUSPENDED
    report = await store.verify()
    assert report.intact, report.damage


async def test_a_version_that_passes_is_told_once_for_each_policy(store: ToolStore):
    await store.admit(submission(profile()), actor="ada")
    laxer, other = profile(evidence={"property_failures": "refuse"}), profile(run={"pids": 32})

    for policy in (laxer, other, laxer, profile(), other):
        for _ in range(2):
            version = await loader(store, policy).offers.find(ToolRef(name="double"))
            assert version.state is Lifecycle.APPROVED

    assert (await types(store)).count(EventType.REDECIDED) == 2


async def test_many_sessions_at_once_make_one_entry(store: ToolStore):
    await store.admit(submission(profile()), actor="ada")
    policy = profile(run={"pids": 32})

    loaders = [loader(store, policy) for _ in range(10)]
    await asyncio.gather(*(each.offers.find(ToolRef(name="double")) for each in loaders))

    assert (await types(store)).count(EventType.REDECIDED) == 1


async def test_many_sessions_at_once_set_it_aside_once(store: ToolStore):
    await store.admit(submission(profile()), actor="ada")

    loaders = [loader(store, stricter()) for _ in range(5)]
    found = await asyncio.gather(
        *(each.offers.find(ToolRef(name="double")) for each in loaders), return_exceptions=True
    )

    assert all(isinstance(each, ToolNotCallableError) for each in found)
    assert (await types(store)).count(EventType.SUSPENDED) == 1


async def test_the_policy_of_a_working_folder_refuses_and_changes_nothing(store: ToolStore):
    version = await store.admit(submission(profile()), actor="ada")
    before = store.head()
    check = Redecision(store, equipment(stricter(), keeps_refusals=False), lambda: LATER)

    with pytest.raises(ToolNotCallableError, match="which this folder asks for"):
        await check.check(version)

    assert store.head() == before
    assert (await store.get(ToolRef(name="double"))).state is Lifecycle.APPROVED


async def test_the_same_policy_looks_at_nothing_again(store: ToolStore):
    await store.admit(submission(profile()), actor="ada")
    before = store.head()

    await loader(store, profile()).offers.find(ToolRef(name="double"))

    assert store.head() == before


async def test_a_tool_that_does_not_pass_is_not_offered_and_the_others_are(store: ToolStore):
    await store.admit(submission(profile()), actor="ada")
    source = make_source("triple").model_copy(
        update={"examples": (*make_source("triple").examples, *make_source("triple").examples)}
    )
    two = make_submission(
        source=source,
        schema=make_schema("triple"),
        evidence=make_evidence(source, make_schema("triple")),
    )
    await store.admit(two, actor="ada")
    tools = loader(store, stricter())
    await tools.offers.refresh()

    assert await tools.get("double") is None
    assert await tools.get("triple") is not None


async def test_a_policy_is_applied_to_all_at_once_and_taken_back(store: ToolStore):
    await store.admit(submission(profile()), actor="ada")
    await store.admit(submission(profile(), "triple"), actor="ada")
    before = store.head()

    for dry_run in (True, False):
        found = await apply_policy(store, equipment(stricter()), LATER, dry_run=dry_run)
        assert [(each.ref, each.effect) for each in found] == [
            ("double@1", Effect.SET_ASIDE),
            ("triple@1", Effect.SET_ASIDE),
        ]
        assert (store.head() == before) is dry_run
    again = await apply_policy(store, equipment(stricter()), LATER, dry_run=False)
    assert {each.effect for each in again} == {Effect.STAYS_ASIDE}

    back = await apply_policy(store, equipment(profile()), LATER, dry_run=False)

    assert {each.effect for each in back} == {Effect.COMES_BACK}
    assert (await store.get(ToolRef(name="double"))).state is Lifecycle.APPROVED
    head = store.head()
    stays = await apply_policy(store, equipment(profile()), LATER, dry_run=False)
    assert {each.effect for each in stays} == {Effect.STAYS}
    assert store.head() == head
    assert (await store.verify()).intact


async def test_no_policy_turns_a_tool_back(store: ToolStore):
    """A version that was set aside, and another one came: what callers get stays what it is."""
    await store.admit(submission(profile()), actor="ada")
    await apply_policy(store, equipment(stricter()), LATER, dry_run=False)
    code = "def double(number: int) -> int:\n    return number + number\n"
    newer = await store.admit(make_submission(code=code), actor="ada")

    for dry_run in (True, False):
        found = await apply_policy(store, equipment(profile()), LATER, dry_run=dry_run)
        effects = {each.ref: each.effect for each in found}
        assert effects["double@1"] is Effect.STAYS_ASIDE
        (reasons,) = (each.reasons for each in found if each.ref == "double@1")
        assert "double@2 is current by now" in reasons[0]
    assert (await store.version(newer.digest)).state is newer.state
    older = (await store.history("double"))[0]
    with pytest.raises(TransitionError, match="no policy turns a tool back"):
        await store.lifecycle.readmit(older.digest, newer.decision, actor="ada")


async def test_of_versions_that_were_set_aside_the_latest_comes_back(store: ToolStore):
    await store.admit(submission(profile()), actor="ada")
    code = "def double(number: int) -> int:\n    return number + number\n"
    made = submission(profile(), code=code)
    await store.admit(made, actor="ada")
    for version in await store.history("double"):
        decision = decide_again(version, equipment(stricter()), LATER)
        await store.decisions.decided_again(
            version.digest, decision, policy=stricter().text, actor="ada"
        )

    for dry_run in (True, False):
        found = await apply_policy(store, equipment(profile()), LATER, dry_run=dry_run)
        assert [(each.ref, each.effect) for each in found] == [
            ("double@2", Effect.COMES_BACK),
            ("double@1", Effect.STAYS_ASIDE),
        ]


async def test_what_waits_for_a_person_is_not_let_in_by_applying_a_policy(store: ToolStore):
    asking = profile(admission={"review": "always"})
    await store.admit(submission(asking), actor="ada")

    assert await apply_policy(store, equipment(profile()), LATER, dry_run=False) == ()
    assert (await store.find(ToolRef(name="double"))).state is Lifecycle.QUARANTINED


async def test_what_was_set_aside_for_a_person_comes_back_by_a_person(store: ToolStore):
    policy = profile(admission={"review": "always", "author_may_approve": False})
    version = await store.admit(submission(profile()), actor="ada")
    with pytest.raises(ToolNotCallableError, match="waiting for review"):
        await loader(store, policy).offers.find(ToolRef(name="double"))
    desk = desk_of(store, policy)
    with pytest.raises(UsageError, match="author"):
        await desk.decide(version.digest, Vote.APPROVE, principal="ada")

    await desk.decide(version.digest, Vote.APPROVE, principal="bob")

    found = await loader(store, policy).offers.find(ToolRef(name="double"))
    assert found.state is Lifecycle.APPROVED
    assert found.decision.policy_digest == policy.digest


async def test_an_approval_counts_under_the_new_policy_until_it_expires(store: ToolStore):
    asking = profile(admission={"review": "always"})
    waiting = await store.admit(submission(asking), actor="ada")
    approval = Approval(
        principal="bob", digest=waiting.digest, at=LATER, expires_at=LATER + timedelta(days=1)
    )
    decision = asking.policy.decide(request_of(waiting, LATER, more=(approval,)))
    version = await store.approve(waiting.digest, approval, decision, actor="bob")
    kit = equipment(profile(admission={"review": "always", "author_may_approve": False}))

    assert decide_again(version, kit, LATER).allowed
    later = decide_again(version, kit, LATER + timedelta(days=2))
    assert later.needs_review and not later.allowed


async def test_what_a_model_made_alone_waits_where_models_may_no_longer(store: ToolStore):
    version = await store.admit(submission(profile(), session="s1"), actor="ada")
    policy = with_rules(
        '@id("no-models") forbid(principal is Session, action == Action::"admit", resource);'
    )

    decision = decide_again(version, equipment(policy), LATER)

    assert author_of(version.provenance) == Principal.of_session(
        "s1", person="ada", model="scripted"
    )
    assert not decision.allowed and decision.needs_review
    assert decision.rules == ("no-models",)


async def test_a_policy_is_kept_whole_and_read_again(store: ToolStore):
    policy = with_rules('@id("x") forbid(principal, action == Action::"export", resource);')
    await store.admit(submission(profile()), actor="ada")
    check = Redecision(store, equipment(policy), lambda: LATER)

    await check.check(await store.get(ToolRef(name="double")))

    assert await stored_policy(store, policy.digest) == policy
    assert sha256_digest(policy.text) == policy.digest
    assert await stored_policy(store, "sha256:" + "0" * 64) is None


async def test_a_kept_policy_that_was_changed_is_damage(store: ToolStore, tmp_path: Path):
    policy = profile()
    await store.admit(submission(policy), actor="ada")
    await store.decisions.keep_policy(policy.text, digest=policy.digest, actor="ada")
    await store.close()
    with tampering(tmp_path / "store") as database:
        database.execute(
            "UPDATE blob SET bytes = ? WHERE digest = ?",
            (policy.text.replace(b'"never"', b'"all"').replace(b"local", b"lokal"), policy.digest),
        )

    async with await ToolStore.open(tmp_path / "store") as again:
        with pytest.raises(StoreDamagedError, match="not what it says"):
            await stored_policy(again, policy.digest)
        with pytest.raises(StoreDamagedError, match="not what it says"):
            await loader(again, policy).offers.find(ToolRef(name="double"))
        assert not (await again.verify()).intact


# -- who may -------------------------------------------------------------------------------------


async def test_who_may_not_call_is_told_by_which_rule(store: ToolStore):
    policy = with_rules(
        '@id("no-sessions") @reason("people only") '
        'forbid(principal is Session, action == Action::"call", resource);'
    )
    await store.admit(submission(policy), actor="ada")
    tools = loader(store, policy)
    await tools.offers.refresh()
    tool = await tools.get("double")
    assert tool is not None

    answer = await tool.call({"number": 2}, CallContext(call_id="1", session_id="s1", model="m"))

    assert answer.is_error
    assert "no-sessions" in answer.content
    assert "people only" in answer.content
    with pytest.raises(AssertionError, match="nothing runs"):
        await tool.call({"number": 2}, CallContext(call_id="1"))


async def test_who_may_not_approve_changes_nothing(store: ToolStore):
    policy = with_rules(
        '@id("bob-never") forbid(principal == Person::"bob", action == Action::"approve", '
        "resource) "
        'when { context.vote == "approve" };'
    )
    policy = policy.model_copy(
        update={"admission": policy.admission.model_copy(update={"review": "always"})}
    )
    waiting = await store.admit(submission(policy), actor="ada")
    desk = desk_of(store, policy)
    before = store.head()

    with pytest.raises(AccessRefusedError, match="bob-never"):
        await desk.decide(waiting.digest, Vote.APPROVE, principal="bob")
    assert store.head() == before
    await desk.decide(waiting.digest, Vote.REJECT, principal="bob", reason="no")
    assert (await store.find(ToolRef(name="double"))).state is Lifecycle.REVOKED


async def test_who_may_not_define_is_told_before_anything_is_looked_at(tmp_path: Path):
    (tmp_path / "mine.cedar").write_text(
        f'{ALL}\n@id("no-tools") forbid(principal, action == Action::"define", resource) '
        'unless { principal == Person::"sue" };'
    )
    (tmp_path / "mine.toml").write_text(
        f'{LOCAL.read_text("utf-8")}\n[access]\npolicies = ["mine.cedar"]\n'
    )
    chosen = Settings(home=tmp_path / "home", policy=str(tmp_path / "mine.toml"))

    async with open_runtime(settings=chosen) as runtime:
        outcome = await runtime.define_tool(make_source(), author="ada")

    assert not outcome.admitted
    assert "no-tools" in outcome.reasons[0]


RUNS = (TrialKind.EXAMPLE, TrialKind.REPEAT, TrialKind.PROPERTY)
TRIALS = tuple(make_trials(make_source())[0].model_copy(update={"kind": kind}) for kind in RUNS)
PEOPLE = ("ada", "bob", "carol", "dan")


@settings(max_examples=25)
@given(
    st.sampled_from(["local", "team", "production"]),
    st.sampled_from([LintLevel.L0, LintLevel.L2]),
    st.sets(st.sampled_from(PEOPLE)),
    st.sampled_from(PEOPLE),
)
def test_an_approval_more_never_allows_less(
    name: str, level: LintLevel, people: set[str], further: str
):
    policy = read_profile(name).policy
    source = make_source().model_copy(update={"permissions": Permissions(level=level)})
    evidence = make_evidence(source, make_schema(), level=level)

    def allowed(approvers: set[str]) -> bool:
        return policy.decide(
            AdmissionRequest(
                digest=evidence.subject,
                source=source,
                evidence=evidence.model_copy(update={"trials": TRIALS}),
                author="ada",
                approvals=tuple(
                    Approval(principal=each, digest=evidence.subject, at=NOON)
                    for each in sorted(approvers)
                ),
            )
        ).allowed

    assert allowed(people | {further}) or not allowed(people)
    assert allowed({"bob"})
