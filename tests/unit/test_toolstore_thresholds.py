"""Thresholds of more than one host: the same version proven by each, counted once for each."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from factories import NOON, make_submission, needs_review
from storekit import tampering

from policies.decision import Approval, Decision
from policies.evidence import Evidence
from policies.signatures import SignatureSettings
from policies.statements import Role
from policies.value import canonical_json, sha256_digest
from toolstore.attest.errors import Flaw, KeysError, NotInForceError
from toolstore.attest.keys import KeyRing
from toolstore.errors import TransitionError
from toolstore.models import ToolRef, ToolVersion
from toolstore.store import ToolStore

TWO_SANDBOXES = SignatureSettings(examples=2)
DOUBLE = ToolRef(name="double")


class Host:
    """One of several on one store."""

    def __init__(self, folder: Path, name: str) -> None:
        self.ring = KeyRing(folder / name)
        self._store = folder / "store"

    async def open(self, wanted: SignatureSettings | None = None, **more: object) -> ToolStore:
        return await ToolStore.open(
            self._store,
            keys=self.ring,
            signatures=wanted or SignatureSettings(),
            **more,  # type: ignore[arg-type]  # its own
        )


@pytest.fixture
def hosts(tmp_path: Path) -> tuple[Host, Host]:
    """Two that trust each other."""
    one, other = Host(tmp_path, "one"), Host(tmp_path, "other")
    one.ring.trust(other.ring.public_keys())
    other.ring.trust(one.ring.public_keys())
    return one, other


def found_by(version: ToolVersion, seconds: float = 0.5, **changes: object) -> Evidence:
    """What another host finds about a version: the same, at its own speed and time."""
    trials = tuple(
        each.model_copy(update={"wall_seconds": seconds}) for each in version.evidence.trials
    )
    return version.evidence.model_copy(update={"trials": trials, **changes})


async def admitted(host: Host, at: datetime = NOON) -> ToolVersion:
    async with await host.open(clock=lambda: at) as store:
        return await store.admit(make_submission(), actor="ada")


async def test_two_hosts_are_wanted_and_the_second_proves_what_is_there(
    hosts: tuple[Host, Host],
) -> None:
    one, other = hosts
    version = await admitted(one)
    async with await one.open(TWO_SANDBOXES) as store:
        with pytest.raises(NotInForceError, match=r"by 1 key.*`toolkiln tools prove`") as refused:
            await store.get(DOUBLE)
        assert refused.value.flaw is Flaw.MISSING

    async with await other.open() as store:
        after = await store.proofs.add(version.digest, found_by(version), actor="bob")
        assert (after.evidence, after.state) == (version.evidence, version.state)

    for host in hosts:
        async with await host.open(TWO_SANDBOXES) as store:
            assert (await store.get(DOUBLE)).digest == version.digest
            assert (await store.verify()).intact


async def test_one_host_counts_once_however_often_it_proves_and_whatever_its_key(
    hosts: tuple[Host, Host],
) -> None:
    one, _ = hosts
    version = await admitted(one)
    async with await one.open(TWO_SANDBOXES) as store:
        for number in range(2):
            await store.proofs.add(version.digest, found_by(version, number), actor="ada")
            one.ring.rotate(Role.SANDBOX)
            with pytest.raises(NotInForceError, match="by 1 key"):
                await store.get(DOUBLE)


@pytest.mark.parametrize("since", [None, NOON])
async def test_a_host_that_is_distrusted_counts_no_more_and_breaks_nothing(
    hosts: tuple[Host, Host], since: datetime | None
) -> None:
    one, other = hosts
    version = await admitted(one)
    async with await other.open() as store:
        await store.proofs.add(version.digest, found_by(version), actor="bob")
    async with await one.open() as store:
        await store.signatures.checkpoint()  # the last one was the other host's
        for role in (Role.SANDBOX, Role.LINTER):
            one.ring.distrust(other.ring.ring().signers[role].keyid, since=since)
        assert (await store.get(DOUBLE)).digest == version.digest
    async with await one.open(TWO_SANDBOXES) as store:
        with pytest.raises(NotInForceError, match="by 1 key"):
            await store.get(DOUBLE)


async def test_a_proof_of_something_else_is_refused(hosts: tuple[Host, Host]) -> None:
    one, other = hosts
    version = await admitted(one)
    async with await other.open() as store:
        for field in ("subject", "source_digest", "image_digest"):
            strange = found_by(version).model_copy(update={field: sha256_digest(b"another")})
            with pytest.raises(TransitionError, match="prove this very version"):
                await store.proofs.add(version.digest, strange, actor="bob")
        await store.revoke(DOUBLE, actor="bob", reason="wrong")
        with pytest.raises(TransitionError, match="cannot be proven again"):
            await store.proofs.add(version.digest, found_by(version), actor="bob")


async def test_a_failed_proof_does_not_count(hosts: tuple[Host, Host]) -> None:
    one, other = hosts
    version = await admitted(one)
    failed = tuple(each.model_copy(update={"passed": False}) for each in version.evidence.trials)
    async with await other.open() as store:
        await store.proofs.add(version.digest, found_by(version, trials=failed), actor="bob")
    async with await one.open(TWO_SANDBOXES) as store:
        with pytest.raises(NotInForceError, match="by 1 key"):
            await store.get(DOUBLE)
    async with await one.open() as store:
        assert (await store.get(DOUBLE)).digest == version.digest


async def test_a_proof_of_what_waits_is_no_reason_for_its_waiting(hosts: tuple[Host, Host]) -> None:
    _, other = hosts
    async with await other.open() as store:
        version = await store.admit(make_submission(decision=needs_review()), actor="ada")
        after = await store.proofs.add(version.digest, found_by(version), actor="bob")

    assert (after.state, after.state_reason) == (version.state, version.state_reason)


async def test_a_store_without_keys_takes_no_further_proof(tmp_path: Path) -> None:
    async with await ToolStore.open(tmp_path) as store:
        version = await store.admit(make_submission(), actor="ada")
        with pytest.raises(KeysError, match="worth its signature"):
            await store.proofs.add(version.digest, found_by(version), actor="ada")


@pytest.mark.parametrize(
    "tamper",
    [
        "DELETE FROM blob WHERE digest = '{0}'",
        "UPDATE blob SET bytes = replace(bytes, '0.25', '0.35') WHERE digest = '{0}'",
        "DELETE FROM attestation WHERE about = '{0}' AND kind = 'trials'",
        "UPDATE attestation SET about = '{1}' WHERE about = '{0}'",
    ],
)
async def test_a_proof_that_was_altered_or_taken_out_is_found(
    hosts: tuple[Host, Host], tmp_path: Path, tamper: str
) -> None:
    one, other = hosts
    version = await admitted(one)
    more = found_by(version, 0.25)
    async with await other.open() as store:
        await store.proofs.add(version.digest, more, actor="bob")
    with tampering(tmp_path / "store") as connection:
        done = connection.execute(tamper.format(more.digest, version.evidence.digest))
        assert done.rowcount > 0

    async with await one.open() as store:
        assert not (await store.verify()).intact


async def test_a_vote_that_was_renewed_counts_and_the_one_that_ended_is_forgotten(
    hosts: tuple[Host, Host],
) -> None:
    one, _ = hosts
    ends, later = NOON + timedelta(days=1), NOON + timedelta(days=2)
    yes = Decision(allowed=True, needs_review=False, reasons=("bob",), policy_digest="sha256:1")
    no = needs_review()
    async with await one.open(clock=lambda: NOON) as store:
        version = await store.admit(make_submission(decision=no), actor="ada")
        vote = Approval(principal="bob", digest=version.digest, at=NOON, expires_at=ends)
        await store.approve(version.digest, vote, yes, actor="bob")
    async with await one.open(clock=lambda: later) as store:
        with pytest.raises(NotInForceError, match="the approval of bob ended"):
            await store.get(DOUBLE)
        await store.decisions.decided_again(version.digest, no, policy=b"{}", actor="ada")
        again = Approval(principal="bob", digest=version.digest, at=later)
        await store.approve(version.digest, again, yes, actor="bob")

        assert (await store.get(DOUBLE)).digest == version.digest


async def test_two_spellings_of_a_person_are_one(hosts: tuple[Host, Host]) -> None:
    one, _ = hosts
    for name in ("bob", "Bob"):
        one.ring.add_person(name)
    yes = Decision(allowed=True, needs_review=False, reasons=("two",), policy_digest="sha256:1")
    more = Decision(allowed=False, needs_review=True, reasons=("more",), policy_digest="sha256:1")
    async with await one.open(SignatureSettings(person_keys=2)) as store:
        version = await store.admit(make_submission(decision=needs_review()), actor="ada")
        for name, decision in (("bob", more), ("Bob", yes)):
            vote = Approval(principal=name, digest=version.digest, at=NOON)
            await store.approve(version.digest, vote, decision, actor=name)
        with pytest.raises(NotInForceError, match=r"1 person\(s\) said yes"):
            await store.get(DOUBLE)


# -- age -------------------------------------------------------------------------------------------


async def test_old_evidence_is_renewed_by_proving_again(hosts: tuple[Host, Host]) -> None:
    one, _ = hosts
    version = await admitted(one)
    later = NOON + timedelta(days=40)
    wanted = SignatureSettings(evidence_days=30)
    async with await one.open(wanted, clock=lambda: later) as store:
        with pytest.raises(NotInForceError, match=r"40 days old.*`toolkiln tools prove") as refused:
            await store.get(DOUBLE)
        assert refused.value.flaw is Flaw.EXPIRED
        fresh = found_by(version, produced_at=later - timedelta(days=1))
        await store.proofs.add(version.digest, fresh, actor="ada")

        assert (await store.get(DOUBLE)).digest == version.digest


@pytest.mark.parametrize(("ahead", "counts"), [(5, True), (60, False)])
async def test_evidence_of_tomorrow_does_not_stay_fresh_for_ever(
    hosts: tuple[Host, Host], ahead: int, counts: bool
) -> None:
    one, _ = hosts
    before = NOON - timedelta(minutes=ahead)
    await admitted(one, before)
    async with await one.open(SignatureSettings(evidence_days=9), clock=lambda: before) as store:
        if counts:
            await store.get(DOUBLE)
        else:
            with pytest.raises(NotInForceError, match="see to the clocks"):
                await store.get(DOUBLE)


# -- what others found -----------------------------------------------------------------------------


async def test_what_a_trusted_host_said_of_this_very_version_counts(tmp_path: Path) -> None:
    here, there = Host(tmp_path / "here", "keys"), Host(tmp_path / "there", "keys")
    theirs = await admitted(there)
    content = canonical_json(theirs.evidence.model_dump(mode="json"))
    async with await there.open() as store:
        envelopes = await store._reads.run(
            lambda connection: [
                row[0]
                for row in connection.exec_driver_sql(
                    "SELECT envelope FROM attestation WHERE kind IN ('analysis', 'trials')"
                )
            ]
        )
    async with await here.open(TWO_SANDBOXES) as store:
        mine = await store.admit(make_submission(), actor="ada")
        assert mine.digest == theirs.digest
        other = canonical_json(found_by(mine).model_dump(mode="json"))
        await store.proofs.take_over(mine.digest, content, envelopes, actor="ada")
        here.ring.trust(there.ring.public_keys())
        await store.proofs.take_over(mine.digest, other, envelopes, actor="ada")
        with pytest.raises(NotInForceError, match="by 1 key"):
            await store.get(DOUBLE)
        for _ in range(2):
            await store.proofs.take_over(mine.digest, content, envelopes, actor="ada")

        assert (await store.get(DOUBLE)).digest == mine.digest
        assert (await store.verify()).intact
        assert [each.type for each in await store.events("double")].count("proven") == 1
