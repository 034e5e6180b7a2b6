"""Somebody with a hand in a signed store: what nobody vouched for is not loaded, the rest is."""

# ruff: noqa: S608 - the statements are put together from this file's own constants

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from factories import NOON, make_submission, needs_review
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storekit import tampering

from policies.decision import Approval, Decision
from policies.signatures import SignatureSettings
from policies.statements import Kind, Role, Statement
from policies.value import canonical_json, sha256_digest
from policies.vouching import admission_statement, checkpoint_statement, review_statement
from toolstore import reading
from toolstore.attest import seals
from toolstore.attest.chain import Kept, read_chain
from toolstore.attest.envelopes import open_envelope, seal_statement
from toolstore.attest.errors import (
    AttestationError,
    Flaw,
    NotInForceError,
    RolledBackError,
    UnsignedError,
)
from toolstore.attest.keys import KeyRing
from toolstore.errors import StoreDamagedError, ToolStoreError
from toolstore.events import EventDetail, entry_hash
from toolstore.models import Event, ToolRef
from toolstore.store import ToolStore

Tamper = Callable[[sqlite3.Connection], object]

ADMITTED = Decision(
    allowed=True, needs_review=False, reasons=("a person said yes",), policy_digest="sha256:1"
)


class Place:
    """A store, its keys, and what its host saw of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.ring = KeyRing(folder / "keys")

    async def open(self, **choices: object) -> ToolStore:
        chosen = {"keys": self.ring, "seen": self.folder / "seen"} | choices
        return await ToolStore.open(self.store, **chosen)  # type: ignore[arg-type]  # its own


@pytest.fixture(scope="session")
def signed_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed store to copy: made once."""
    folder = tmp_path_factory.mktemp("signed")
    asyncio.run(_fill(Place(folder)))
    return folder


async def _fill(place: Place) -> None:
    """double@1 deprecated, double@2 and other approved, seen approved by bob, gone revoked."""
    async with await place.open() as store:
        for number in (1, 2):
            code = f"def double(number: int) -> int:\n    return number * 2  # {number}\n"
            await store.admit(make_submission(code=code), actor="ada")
        await store.admit(make_submission("other"), actor="ada")
        seen = await store.admit(make_submission("seen", decision=needs_review()), actor="ada")
        yes = Approval(
            principal="bob", digest=seen.digest, at=NOON, expires_at=NOON + timedelta(days=36_500)
        )
        await store.approve(seen.digest, yes, ADMITTED, actor="bob")
        await store.admit(make_submission("waiting", decision=needs_review()), actor="ada")
        gone = await store.admit(make_submission("gone"), actor="ada")
        await store.revoke(gone.digest, actor="bob", reason="wrong")
        await store.admit(make_submission("last"), actor="ada")


@pytest.fixture
def place(tmp_path: Path, signed_template: Path) -> Place:
    """A signed store of one's own to damage."""
    shutil.copytree(signed_template, tmp_path / "home")
    # What the host saw is kept by the place of the store, and this is another one.
    shutil.rmtree(tmp_path / "home" / "seen")
    return Place(tmp_path / "home")


def of(name: str, more: str = "") -> str:
    """The digest of a version, as SQL."""
    return f"(SELECT v.digest FROM tool_version v JOIN tool t ON t.id = v.tool WHERE t.name = '{name}' {more})"  # noqa: E501 - one expression


DOUBLE = of("double", "AND v.sequence = 2")
GONE, OTHER, SEEN = of("gone"), of("other"), of("seen")


def sql(*statements: str) -> Tamper:
    def tamper(connection: sqlite3.Connection) -> None:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement

    return tamper


def rechain(connection: sqlite3.Connection) -> None:
    """Number and hash the log anew, and let all that is derived from it follow: no key needed."""
    connection.row_factory = sqlite3.Row
    rows = [dict(row) for row in connection.execute("SELECT * FROM event ORDER BY sequence")]
    connection.execute("DELETE FROM event")
    before = "sha256:" + "0" * 64
    last: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        row["sequence"], row["previous_hash"] = number, before
        event = Event.model_validate(
            {"digest" if key == "version" else key: value for key, value in row.items()}
        )
        before = row["hash"] = entry_hash(event)
        names = ", ".join(row)
        holes = ", ".join("?" for _ in row)
        connection.execute(f"INSERT INTO event ({names}) VALUES ({holes})", tuple(row.values()))
        last[row["version"]] = number
    connection.execute("UPDATE log_head SET sequence = ?, hash = ?", (len(rows), before))
    for version, number in last.items():
        connection.execute(
            "UPDATE version_state SET event = ?, state = (SELECT to_state FROM event "
            "WHERE sequence = ?) WHERE version = ?",
            (number, number, version),
        )


def without_revocation(connection: sqlite3.Connection) -> None:
    """The revocation never was: the log is whole in itself again."""
    sql(f"DELETE FROM event WHERE version = {GONE} AND type = 'revoked'")(connection)
    rechain(connection)
    _callable_again(connection)


def revocation_of_another(connection: sqlite3.Connection) -> None:
    """The revocation is said to be about another version; the links of the log stay as they are."""
    sql(
        f"UPDATE event SET version = {of('waiting')} WHERE version = {GONE} AND type = 'revoked'",
        f"UPDATE version_state SET state = 'approved', event = (SELECT max(sequence) FROM event "
        f"WHERE version = {GONE}) WHERE version = {GONE}",
    )(connection)
    _callable_again(connection)


def seal_made_to_fit(connection: sqlite3.Connection) -> None:
    """As above, and the seal of the version says so as well."""
    revocation_of_another(connection)
    hashes = [
        row[0]
        for row in connection.execute(
            f"SELECT hash FROM event WHERE version = {GONE} ORDER BY sequence"
        )
    ]
    connection.execute(
        f"UPDATE version_seal SET seal = ? WHERE version = {GONE}", (seals.fold(hashes),)
    )


def _callable_again(connection: sqlite3.Connection) -> None:
    connection.execute(
        f"INSERT INTO channel (version, tool, channel) SELECT digest, tool, 'stable' "
        f"FROM tool_version WHERE digest = {GONE}"
    )


FLIPPED = "substr({0}, 1, 80) || x'{1}' || substr({0}, 82)"
"""One byte of it is another one."""

ATTACKS: dict[str, tuple[str, Flaw, Tamper, bool]] = {
    "statement altered": (
        "double",
        Flaw.ALTERED,
        sql(
            f"UPDATE attestation SET envelope = {FLIPPED.format('envelope', '41')} "
            f"WHERE version = {DOUBLE} AND kind = 'trials'"
        ),
        True,
    ),
    "statement deleted": (
        "double",
        Flaw.MISSING,
        sql(f"DELETE FROM attestation WHERE version = {DOUBLE} AND kind = 'analysis'"),
        True,
    ),
    "all statements deleted": (
        "double",
        Flaw.MISSING,
        sql(f"DELETE FROM attestation WHERE version = {DOUBLE}"),
        True,
    ),
    "statement of another version beside it": (
        "double",
        Flaw.CHAIN,
        sql(f"UPDATE attestation SET version = {DOUBLE} WHERE version = {OTHER}"),
        False,
    ),
    "review of another version beside it": (
        "waiting@1",
        Flaw.CHAIN,
        sql(f"UPDATE attestation SET version = {of('waiting')} WHERE kind = 'review'"),
        True,
    ),
    "revocation undone in a log made to fit": ("gone", Flaw.LOG, without_revocation, False),
    "revocation put to another version": ("gone", Flaw.LOG, revocation_of_another, True),
    "the same, with its seal": ("gone", Flaw.LOG, seal_made_to_fit, True),
    "seal altered": (
        "double",
        Flaw.LOG,
        sql(f"UPDATE version_seal SET seal = '{'0' * 64}' WHERE version = {DOUBLE}"),
        True,
    ),
    "seal deleted": (
        "double",
        Flaw.LOG,
        sql(f"DELETE FROM version_seal WHERE version = {DOUBLE}"),
        True,
    ),
    "map altered": (
        "double",
        Flaw.LOG,
        sql("UPDATE seal_node SET children = replace(children, 'a', 'b') WHERE prefix = ''"),
        False,
    ),
    "newest checkpoint deleted": (
        "double",
        Flaw.LOG,
        sql("DELETE FROM checkpoint WHERE number = (SELECT max(number) FROM checkpoint)"),
        False,
    ),
    "newest checkpoint altered": (
        "double",
        Flaw.ALTERED,
        sql(
            f"UPDATE checkpoint SET envelope = {FLIPPED.format('envelope', '41')} "
            "WHERE number = (SELECT max(number) FROM checkpoint)"
        ),
        False,
    ),
    "all checkpoints deleted": ("double", Flaw.UNSIGNED, sql("DELETE FROM checkpoint"), False),
}


@pytest.mark.parametrize(
    ("ref", "flaw", "tamper", "rest_works"), ATTACKS.values(), ids=ATTACKS.keys()
)
async def test_an_attack_is_refused_with_its_reason(
    place: Place, ref: str, flaw: Flaw, tamper: Tamper, rest_works: bool
) -> None:
    with tampering(place.store) as connection:
        tamper(connection)

    async with await place.open() as store:
        with pytest.raises(AttestationError) as refused:
            await store.get(ToolRef.parse(ref))
        report = await store.verify()
        if rest_works:
            assert (await store.get(ToolRef(name="last"))).name == "last"

    assert refused.value.flaw is flaw
    assert not report.intact
    # The map alone is derived: a version may be whole while the way to it is not.
    assert {"double": "double@2"}.get(ref, f"{ref.partition('@')[0]}@1") not in report.trusted or (
        any("seal" in damage.where for damage in report.damage)
    )


async def test_a_signed_store_is_intact_and_says_how_far(place: Place) -> None:
    async with await place.open() as store:
        report = await store.verify()

        assert report.intact
        assert report.signed_to == report.events
        assert len(report.trusted) == report.versions == 7
        assert report.statements > 3 * 6


@pytest.mark.parametrize("table", ["attestation", "checkpoint"])
async def test_nothing_is_written_on_top_of_what_does_not_hold(place: Place, table: str) -> None:
    with tampering(place.store) as connection:
        connection.execute("UPDATE seal_node SET children = replace(children, '1', '2')")
        connection.execute(f"DELETE FROM {table}")

    async with await place.open() as store:
        with pytest.raises(AttestationError):
            await store.admit(
                make_submission("double", "def double(n: int) -> int:\n    return n\n"), actor="eve"
            )


async def test_what_was_written_without_keys_is_noticed(place: Place) -> None:
    async with await ToolStore.open(place.store) as keyless:
        await keyless.admit(make_submission("smuggled"), actor="eve")

    async with await place.open() as store:
        with pytest.raises(AttestationError, match="wrote without keys") as refused:
            await store.get(ToolRef(name="smuggled"))

    assert refused.value.flaw is Flaw.LOG


async def test_statements_by_keys_of_ones_own_do_not_count(place: Place) -> None:
    stranger = KeyRing(place.folder / "others")

    async with await place.open(keys=stranger, seen=None) as store:
        with pytest.raises(AttestationError, match="nobody here trusts") as refused:
            await store.get(ToolRef(name="double"))

    assert refused.value.flaw is Flaw.UNKNOWN_KEY


# -- one version's chain, by somebody who can rewrite the log and has not all the keys -------------


async def kept(place: Place, name: str) -> Kept:
    """What the store has about a version."""
    async with await place.open() as store:
        return await store._reads.run(
            lambda connection: reading.kept_of(
                connection, reading.find_row(connection, ToolRef(name=name))
            )
        )


def signed_by(ring: KeyRing, role: Role, statement: Statement) -> bytes:
    """A statement, signed with the key of a role that may not be its own."""
    current = ring.ring()
    private = ring._opened(current, current.signers[role])
    return seal_statement(statement, private.key.keyid, private.sign)


def with_statement(
    of_version: Kept, content: bytes, instead_of: Kind | None, ring: KeyRing
) -> Kept:
    """The version with one more statement, or with one instead of that of a kind."""
    digest = sha256_digest(content)
    envelopes = dict(of_version.envelopes)
    old = {
        found
        for found, raw in envelopes.items()
        if open_envelope(raw, ring.find).kind is instead_of
    }
    for each in old:
        del envelopes[each]
    envelopes[digest] = content
    listed = tuple(each for each in of_version.listed if each not in old)
    details = (
        *(detail.model_copy(update={"attestations": None}) for detail in of_version.details[:-1]),
        of_version.details[-1].model_copy(update={"attestations": (*listed, digest)}),
    )
    return replace(of_version, details=details, envelopes=envelopes)


async def test_the_chain_of_a_reviewed_version_holds(place: Place) -> None:
    found = await kept(place, "seen")

    assert {each.kind for each in read_chain(found, place.ring.find).envelopes} == {
        Kind.ANALYSIS,
        Kind.TRIALS,
        Kind.REVIEW,
        Kind.ADMISSION,
    }


async def test_an_approval_by_the_wrong_role_is_refused(place: Place) -> None:
    found = await kept(place, "seen")
    approval = next(d.approval for d in found.details if d.approval is not None)
    forged = signed_by(place.ring, Role.LINTER, review_statement(approval, "seen"))

    with pytest.raises(AttestationError, match="only the reviewer may say that") as refused:
        read_chain(with_statement(found, forged, Kind.REVIEW, place.ring), place.ring.find)

    assert refused.value.flaw is Flaw.WRONG_ROLE


async def test_a_statement_rewritten_under_its_signature_is_refused(place: Place) -> None:
    found = await kept(place, "waiting")
    old = next(
        json.loads(raw)
        for raw in found.envelopes.values()
        if open_envelope(raw, place.ring.find).kind is Kind.ADMISSION
    )
    payload = base64.b64decode(old["payload"]).replace(b"FAILED", b"PASSED")
    forged = canonical_json({**old, "payload": base64.b64encode(payload).decode()})

    with pytest.raises(AttestationError, match="is not what the key") as refused:
        read_chain(with_statement(found, forged, Kind.ADMISSION, place.ring), place.ring.find)

    assert refused.value.flaw is Flaw.ALTERED


async def test_an_approval_of_another_version_is_refused(place: Place) -> None:
    found, other = await kept(place, "waiting"), await kept(place, "seen")
    approval = next(d.approval for d in other.details if d.approval is not None)
    replayed = place.ring.sign(review_statement(approval, "seen"), Kind.REVIEW)

    with pytest.raises(AttestationError, match="is about sha256") as refused:
        read_chain(with_statement(found, replayed, None, place.ring), place.ring.find)

    assert refused.value.flaw is Flaw.WRONG_SUBJECT


async def test_evidence_that_nobody_vouches_for_is_refused(place: Place) -> None:
    found = await kept(place, "waiting")
    linted = [
        digest
        for digest, raw in found.envelopes.items()
        if open_envelope(raw, place.ring.find).kind is Kind.ANALYSIS
    ]
    unlisted = tuple(
        detail.model_copy(
            update={"attestations": tuple(d for d in detail.attestations or () if d not in linted)}
        )
        for detail in found.details
    )
    rest = {digest: raw for digest, raw in found.envelopes.items() if digest not in linted}

    with pytest.raises(AttestationError, match="nobody vouches for lint, schema"):
        read_chain(replace(found, details=unlisted, envelopes=rest), place.ring.find)


async def test_an_approval_that_nobody_signed_is_refused(place: Place) -> None:
    found = await kept(place, "seen")
    altered = tuple(
        detail
        if detail.approval is None
        else detail.model_copy(
            update={"approval": detail.approval.model_copy(update={"principal": "eve"})}
        )
        for detail in found.details
    )

    with pytest.raises(AttestationError, match="nobody signed the approval of eve"):
        read_chain(replace(found, details=altered), place.ring.find)


async def test_a_yes_under_another_policy_is_refused(place: Place) -> None:
    found = await kept(place, "double")
    under_another = tuple(
        event
        if event.policy_digest is None
        else event.model_copy(update={"policy_digest": sha256_digest(b"laxer")})
        for event in found.events
    )

    with pytest.raises(AttestationError, match="another policy"):
        read_chain(replace(found, events=under_another), place.ring.find)


async def test_a_decision_that_rests_on_nothing_is_refused(place: Place) -> None:
    found = await kept(place, "double")
    decision = [d.decision for d in found.details if d.decision is not None][-1]
    bare = place.ring.sign(
        admission_statement(decision, name="double", digest=found.digest, inputs=[], at=NOON),
        Kind.ADMISSION,
    )

    with pytest.raises(AttestationError, match="does not rest on its evidence"):
        read_chain(with_statement(found, bare, Kind.ADMISSION, place.ring), place.ring.find)


async def test_a_person_cannot_sign_for_another(place: Place) -> None:
    place.ring.add_person("eve")
    found = await kept(place, "seen")
    approval = next(d.approval for d in found.details if d.approval is not None)
    forged = place.ring.sign(review_statement(approval, "seen"), Kind.REVIEW, person="eve")

    with pytest.raises(AttestationError, match="the key of eve"):
        read_chain(with_statement(found, forged, Kind.REVIEW, place.ring), place.ring.find)


async def test_what_a_retired_key_signs_later_does_not_count(place: Place) -> None:
    old = place.ring.ring()
    private = place.ring._opened(old, old.signers[Role.ADMITTER])
    place.ring.rotate(Role.ADMITTER)
    late = place.ring._clock() + timedelta(seconds=5)
    statement = checkpoint_statement(sequence=1, head=sha256_digest(b""), states="", at=late)

    with pytest.raises(AttestationError, match="was not in use") as refused:
        open_envelope(seal_statement(statement, private.key.keyid, private.sign), place.ring.find)

    assert refused.value.flaw is Flaw.EXPIRED
    async with await place.open() as store:  # what it signed before goes on counting
        assert (await store.get(ToolRef(name="double"))).sequence == 2
        await store.admit(make_submission("newer"), actor="ada")
        assert (await store.verify()).intact


# -- what counts now -------------------------------------------------------------------------------


async def test_an_approval_that_ended_is_refused_and_shown(place: Place) -> None:
    later = NOON + timedelta(days=36_501)
    async with await place.open(clock=lambda: later) as store:
        with pytest.raises(NotInForceError, match="the approval of bob ended"):
            await store.get(ToolRef(name="seen"))

        assert (await store.find(ToolRef(name="seen"))).name == "seen"
        assert (await store.get(ToolRef(name="other"))).name == "other"


async def test_a_policy_may_want_a_persons_own_key(place: Place) -> None:
    wanted = SignatureSettings(person_keys=1)
    async with await place.open(signatures=wanted) as store:
        for name in ("double", "seen"):
            with pytest.raises(NotInForceError, match="with a key of their own"):
                await store.get(ToolRef(name=name))
        place.ring.add_person("bob")
        version = await store.find(ToolRef(name="waiting"))
        yes = Approval(principal="bob", digest=version.digest, at=NOON)
        await store.approve(version.digest, yes, ADMITTED, actor="bob")

        assert (await store.get(ToolRef(name="waiting"))).approvals == (yes,)


async def test_a_policy_may_want_more_checks_or_fresh_ones(place: Place) -> None:
    async with await place.open(signatures=SignatureSettings(replay=1)) as store:
        with pytest.raises(NotInForceError, match="replay is vouched for by 0"):
            await store.get(ToolRef(name="double"))
    async with await place.open(signatures=SignatureSettings(evidence_days=3)) as store:
        with pytest.raises(NotInForceError, match="days old"):
            await store.get(ToolRef(name="double"))


# -- older stores ----------------------------------------------------------------------------------


async def test_a_store_that_was_put_back_is_noticed(place: Place) -> None:
    older = place.folder / "older"
    async with await place.open() as store:
        await store.admit(make_submission("early"), actor="ada")
    shutil.copytree(place.store, older)
    async with await place.open() as store:
        await store.revoke(ToolRef(name="early"), actor="ada", reason="wrong")
    shutil.rmtree(place.store)
    older.rename(place.store)

    with pytest.raises(RolledBackError, match="an older state was put back"):
        await place.open()

    async with await place.open(accept_older=True) as store:
        report = await store.verify()
        assert any("put back" in damage.problem for damage in report.damage)
        assert report.trusted == ()
        await store.signatures.accept()
    await (await place.open()).close()


async def test_a_store_that_went_another_way_is_noticed(place: Place) -> None:
    fork = place.folder / "fork"
    shutil.copytree(place.store, fork)
    async with await place.open() as store:
        await store.revoke(ToolRef(name="other"), actor="ada", reason="wrong")
    shutil.rmtree(place.store)
    fork.rename(place.store)
    async with await place.open(seen=None) as store:
        await store.admit(make_submission("longer"), actor="ada")

    with pytest.raises(RolledBackError, match="has another event"):
        await place.open()


async def test_a_store_from_before_is_refused_until_somebody_signs_it(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with await ToolStore.open(place.store) as keyless:
        version = await keyless.admit(make_submission(), actor="ada")
        await keyless.admit(make_submission("gone", decision=needs_review()), actor="ada")

    async with await place.open() as store:
        for attempt in (store.get(version.ref), store.find(version.ref)):
            with pytest.raises(UnsignedError, match="toolkiln store sign"):
                await attempt
        with pytest.raises(UnsignedError):
            await store.admit(make_submission("another"), actor="ada")
        report = await store.signatures.sign(actor="ada")

        assert report.signed == ("double@1", "gone@1")
        assert (await store.get(version.ref)).digest == version.digest
        assert (await store.verify()).intact
        assert (await store.signatures.sign(actor="ada")).signed == ()


async def test_nothing_damaged_is_signed(place: Place) -> None:
    with tampering(place.store) as connection:
        connection.execute("DELETE FROM attestation")
        connection.execute("DELETE FROM checkpoint")
        connection.execute("UPDATE event SET actor = 'eve' WHERE sequence = 3")

    async with await place.open() as store:
        with pytest.raises(StoreDamagedError, match="nothing was signed"):
            await store.signatures.sign(actor="ada")


async def test_no_log_is_signed_that_goes_against_what_was_signed(place: Place) -> None:
    with tampering(place.store) as connection:
        connection.execute("UPDATE event SET reason = 'no reason' WHERE sequence = 2")
        rechain(connection)

    async with await place.open() as store:
        with pytest.raises(AttestationError, match="nothing was signed"):
            await store.signatures.sign(actor="ada")


# -- any byte --------------------------------------------------------------------------------------

TEXTS = {
    "blob": ("bytes",),
    "attestation": ("digest", "version", "envelope"),
    "checkpoint": ("envelope",),
    "event": (
        "hash",
        "previous_hash",
        "at",
        "actor",
        "type",
        "version",
        "name",
        "reason",
        "detail",
    ),
    "version_seal": ("seal", "bucket"),
    "seal_node": ("children",),
    "log_head": ("hash",),
    "tool_version": ("digest", "source", "image_digest", "level", "author", "created_at"),
    "version_state": ("state",),
    "evidence": ("digest", "version"),
}


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_changed_byte_is_found(place: Place, data: st.DataObject) -> None:
    table = data.draw(st.sampled_from(sorted(TEXTS)))
    column = data.draw(st.sampled_from(TEXTS[table]))
    with tampering(place.store) as connection:
        rows = connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
        row, value = data.draw(st.sampled_from(rows))
        raw = value if isinstance(value, bytes) else value.encode()
        position = data.draw(st.integers(0, len(raw) - 1))
        changed = bytearray(raw)
        changed[position] ^= data.draw(st.sampled_from([0x01, 0x02, 0x10]))
        new = bytes(changed) if isinstance(value, bytes) else changed.decode(errors="replace")
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (new, row))

    try:
        harmed, intact = asyncio.run(_survey(place))
        assert not intact, f"{table}.{column}, byte {position}"
        assert harmed <= EVERYTHING
    finally:
        with tampering(place.store) as connection:
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))


EVERYTHING = frozenset({"double", "other", "seen", "last"})


async def _survey(place: Place) -> tuple[set[str], bool]:
    """Which tools are refused, and whether all is said to be well; what loads is what was kept."""
    refused = set()
    try:
        async with await place.open(seen=None) as store:
            for name in EVERYTHING:
                try:
                    assert (await store.get(ToolRef(name=name))).name == name
                except ToolStoreError:
                    refused.add(name)
            return refused, (await store.verify()).intact
    except ToolStoreError:
        return set(EVERYTHING), False


async def test_another_host_is_trusted_only_when_told(place: Place, tmp_path: Path) -> None:
    there = KeyRing(tmp_path / "there")
    async with await place.open(keys=there, seen=None) as store:
        with pytest.raises(AttestationError, match="nobody here trusts"):
            await store.get(ToolRef(name="double"))
        assert len(there.trust(place.ring.public_keys()).added) == len(Role)
        assert (await store.get(ToolRef(name="double"))).sequence == 2
        admitter = place.ring.ring().signers[Role.ADMITTER].keyid
        there.distrust(admitter)
        with pytest.raises(AttestationError, match="nobody here trusts"):
            await store.get(ToolRef(name="double"))


def test_a_detail_without_statements_reads_as_before() -> None:
    assert EventDetail().to_text() == "{}"
