"""Approvals that must not count: of oneself, twice, too late, of somebody who may not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from factories import NOON, allowed, make_evidence, make_schema, make_source, make_submission

from policies.config import PolicyProfile
from policies.decision import AdmissionRequest, Approval
from policies.people import distinct, is_same_person
from runtime.artefacts import ArtefactStore
from runtime.catalog import SessionTools
from runtime.composition import Composition
from runtime.equipment import Equipment
from runtime.errors import AccessRefusedError, UsageError
from runtime.loader import ToolLoader
from runtime.profiles import read_profile
from runtime.redecision import Redecision
from runtime.review.desk import ReviewDesk
from runtime.review.item import Vote
from sandbox.base import Sandbox
from toolstore.attest.keys import KeyRing
from toolstore.errors import ToolNotCallableError, ToolNotFoundError, TransitionError
from toolstore.models import Lifecycle, ToolRef, ToolVersion
from toolstore.store import ToolStore

NAMES_OF_ADA = {
    "another case": "Ada",
    "capitals": "ADA",
    "a Cyrillic letter": "\u0430da",
    "full width": "\uff41\uff44\uff41",
    "a space": "ada ",
    "nothing that is seen": "ada\u200b",
    "a variation of a letter": "ada\ufe00",
}


def policy_of(**admission: object) -> PolicyProfile:
    """The production profile without generated runs, which these versions have none of."""
    fields = read_profile("production").model_dump(mode="json")
    fields["evidence"] |= {"property_runs": 0, "runs_per_example": 1}
    fields["admission"] |= admission
    return PolicyProfile.model_validate(fields)


@dataclass
class House:
    """A signed store and what people do in it."""

    store: ToolStore
    folder: Path
    moment: list[datetime] = field(default_factory=lambda: [NOON])

    def equipment(self, policy: PolicyProfile) -> Equipment:
        return Equipment(profile=policy, secrets=lambda _: None, tenant="tests")

    def desk(self, policy: PolicyProfile) -> ReviewDesk:
        async def never(*_: object) -> ToolVersion:
            raise ToolNotFoundError("none")

        return ReviewDesk(
            store=self.store,
            equipment=self.equipment(policy),
            composition=Composition(never, never),  # type: ignore[arg-type]  # nothing is called
            sandbox=None,
            package_folder=Path("/nonexistent"),
            clock=lambda: self.moment[0],
        )

    def loader(self, policy: PolicyProfile) -> ToolLoader:
        async def no_sandbox() -> Sandbox:
            raise AssertionError("it would have run")

        artefacts = ArtefactStore(self.folder / "artefacts")
        return ToolLoader(self.store, no_sandbox, self.equipment(policy), artefacts)

    async def submit(self, policy: PolicyProfile) -> ToolVersion:
        """A version of ada's that waits."""
        source, schema = make_source(), make_schema()
        evidence = make_evidence(source, schema)
        asked = AdmissionRequest(
            digest=evidence.subject, source=source, evidence=evidence, author="ada"
        )
        decision = policy.policy.decide(asked)
        assert decision.needs_review
        submission = make_submission(
            source=source, schema=schema, evidence=evidence, decision=decision
        )
        await self.store.decisions.keep_policy(policy.text, digest=policy.digest, actor="ada")
        return await self.store.admit(submission, actor="ada")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    moment = [NOON]
    opened = ToolStore.open(
        tmp_path / "store", keys=KeyRing(tmp_path / "keys"), clock=lambda: moment[0]
    )
    async with await opened as store:
        yield House(store, tmp_path, moment)


@pytest.mark.parametrize("name", NAMES_OF_ADA.values(), ids=NAMES_OF_ADA.keys())
def test_names_that_read_alike_are_one_person(name: str) -> None:
    assert is_same_person("ada", name)
    assert distinct(["bob", name, "ada"], but="ada") == ("bob",)


@pytest.mark.parametrize("name", ["Ada", "\u0430da"])
async def test_no_author_approves_under_a_name_that_reads_like_theirs(
    house: House, name: str
) -> None:
    policy = policy_of()
    version = await house.submit(policy)

    with pytest.raises((UsageError, AccessRefusedError), match="author"):
        await house.desk(policy).decide(version.digest, Vote.APPROVE, principal=name)

    assert (await house.store.version(version.digest)).state is Lifecycle.QUARANTINED


async def test_one_person_is_not_two(house: House) -> None:
    policy = policy_of(approvers=2)
    version = await house.submit(policy)
    desk = house.desk(policy)

    for name in ("bob", "Bob", "bob\u200d"):
        house.moment[0] += timedelta(seconds=1)
        assert not (await desk.decide(version.digest, Vote.APPROVE, principal=name)).settled

    (line,) = await desk.queue(reader="bob")
    assert (line.votes, line.needed) == (1, 2)
    assert (await desk.decide(version.digest, Vote.APPROVE, principal="cat")).settled
    assert (await house.store.get(version.ref)).state is Lifecycle.APPROVED


async def test_who_asks_for_a_change_no_longer_says_yes(house: House) -> None:
    policy = policy_of(approvers=2)
    version = await house.submit(policy)
    desk = house.desk(policy)

    await desk.decide(version.digest, Vote.APPROVE, principal="bob")
    await desk.decide(version.digest, Vote.ASK, principal="Bob", reason="name it better")
    assert not (await desk.decide(version.digest, Vote.APPROVE, principal="cat")).settled

    (line,) = await desk.queue(reader="bob")
    assert (line.votes, line.needed) == (1, 2)


async def test_a_yes_counts_only_while_its_person_may_give_it(house: House) -> None:
    policy = policy_of()
    version = await house.submit(policy)
    await house.desk(policy).decide(version.digest, Vote.APPROVE, principal="bob")
    roles = policy.access.model_copy(update={"roles": {"security": (), "guest": ("bob",)}})
    later = policy.model_copy(update={"access": roles})

    with pytest.raises(ToolNotCallableError, match="waiting for review: 0 of 1"):
        await Redecision(house.store, house.equipment(later), lambda: NOON).check(
            await house.store.get(version.ref)
        )

    assert (await house.store.version(version.digest)).state is Lifecycle.QUARANTINED


async def test_a_yes_that_has_ended_is_no_yes_when_it_is_brought_again(house: House) -> None:
    version = await house.submit(policy_of())
    until = NOON + timedelta(hours=1)
    yes = Approval(principal="bob", digest=version.digest, at=NOON, expires_at=until)
    house.moment[0] = until

    with pytest.raises(TransitionError, match="ended"):
        await house.store.approve(version.digest, yes, allowed(), actor="bob")

    assert (await house.store.version(version.digest)).state is Lifecycle.QUARANTINED


@pytest.mark.parametrize("state", ["revoked", "quarantined"])
async def test_what_was_taken_back_is_reached_in_no_way(house: House, state: str) -> None:
    policy = policy_of()
    version = await house.submit(policy)
    await house.desk(policy).decide(version.digest, Vote.APPROVE, principal="bob")
    await house.store.lifecycle.pin(version.ref, session="s", actor="ada", reason="kept")
    loader = house.loader(policy)
    tools = SessionTools(loader, "s")
    await tools.refresh()
    loaded = await tools.get("double")
    assert loaded is not None
    if state == "revoked":
        await house.store.revoke(version.digest, actor="bob", reason="it is wrong")
    else:
        no = version.decision.model_copy(update={"reasons": ("it is wrong",)})
        await house.store.lifecycle.suspend(version.digest, no, actor="bob", reason="it is wrong")

    for ref in ("double", "double@1", f"double@{version.digest}", f"double@{version.digest[:20]}"):
        with pytest.raises(ToolNotCallableError):
            await loader.offers.find(ToolRef.parse(ref))
    outcome = await loader.runner.call(loaded.version, {"number": 2})
    assert outcome.is_error
    assert "it is wrong" in str(outcome.content)
    await tools.refresh()
    with pytest.raises(ToolNotCallableError, match="it is wrong"):
        await tools.get("double")
    await loader.close()
