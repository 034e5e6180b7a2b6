"""A signed store, in a folder and on a PostgreSQL server: the same is noticed on both."""

# ruff: noqa: S608 - the statements are put together from constants of this file

from __future__ import annotations

from pathlib import Path

import pytest
from factories import make_submission
from store_places import Place

from policies.signatures import SignatureSettings
from toolstore.attest.errors import AttestationError, Flaw, RolledBackError
from toolstore.attest.keys import KeyRing
from toolstore.models import ToolRef
from toolstore.store import ToolStore

GONE = "(SELECT digest FROM tool_version WHERE description = 'It is gone.')"


async def test_what_was_signed_is_loaded_and_what_was_taken_out_is_noticed(
    place: Place, tmp_path: Path
) -> None:
    ring, seen = KeyRing(tmp_path / "keys"), tmp_path / "seen"
    async with await ToolStore.open(place.location, keys=ring, seen=seen) as store:
        kept = await store.admit(make_submission("kept"), actor="ada")
        gone = await store.admit(make_submission("gone", description="It is gone."), actor="ada")
        await store.revoke(gone.digest, actor="bob", reason="wrong")
        assert (await store.get(kept.ref)).digest == kept.digest
        assert (await store.verify()).intact

        # The revocation is said to be about another version, so that no number is missing.
        place.tamper(f"UPDATE event SET version = '{kept.digest}' WHERE type = 'revoked'")
        place.tamper(
            "UPDATE version_state SET state = 'approved', event = (SELECT max(sequence) FROM "
            f"event WHERE version = {GONE}) WHERE version = {GONE}"
        )
        place.tamper(
            "INSERT INTO channel (version, tool, channel) SELECT digest, tool, 'stable' "
            f"FROM tool_version WHERE digest = {GONE}"
        )
        with pytest.raises(AttestationError) as refused:
            await store.get(ToolRef(name="gone"))
        report = await store.verify()

    assert refused.value.flaw is Flaw.LOG
    assert not report.intact
    assert "gone@1" not in report.trusted


async def test_a_log_that_lost_its_end_is_noticed_when_it_is_opened(
    place: Place, tmp_path: Path
) -> None:
    ring, seen = KeyRing(tmp_path / "keys"), tmp_path / "seen"
    async with await ToolStore.open(place.location, keys=ring, seen=seen) as store:
        version = await store.admit(make_submission(), actor="ada")
        await store.revoke(version.digest, actor="bob", reason="wrong")
    place.tamper("DELETE FROM event WHERE type = 'revoked'")
    place.tamper(
        "UPDATE log_head SET sequence = sequence - 1, "
        "hash = (SELECT hash FROM event WHERE sequence = (SELECT max(sequence) FROM event))"
    )

    with pytest.raises(RolledBackError, match="an older state was put back"):
        await ToolStore.open(place.location, keys=ring, seen=seen)


async def test_a_second_host_proves_what_the_first_admitted(place: Place, tmp_path: Path) -> None:
    one, other = KeyRing(tmp_path / "one"), KeyRing(tmp_path / "other")
    one.trust(other.public_keys())
    other.trust(one.public_keys())
    async with await ToolStore.open(place.location, keys=one) as store:
        version = await store.admit(make_submission(), actor="ada")
    again = version.evidence.model_copy(update={"produced_by": "toolkiln on another host"})
    async with await ToolStore.open(place.location, keys=other) as store:
        await store.proofs.add(version.digest, again, actor="bob")
    wanted = SignatureSettings(lint=2, examples=2)
    async with await ToolStore.open(place.location, keys=one, signatures=wanted) as store:
        assert (await store.get(version.ref)).evidence == version.evidence
        assert (await store.verify()).intact

        place.tamper(f"DELETE FROM blob WHERE digest = '{again.digest}'")
        assert not (await store.verify()).intact
