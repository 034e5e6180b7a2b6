"""Envelopes as an enemy makes them: refused with the reason, though a trusted key signed them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from factories import NOON
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as Dsse

from policies.statements import PAYLOAD_TYPE, Kind, Role, Statement, make_statement
from policies.value import JsonObject, canonical_json, sha256_digest
from policies.vouching import checkpoint_statement
from toolstore.attest.envelopes import MAX_ENVELOPE_BYTES, open_envelope, seal_statement
from toolstore.attest.errors import AttestationError, Flaw
from toolstore.attest.keys import KeyRing
from toolstore.attest.publickeys import usable
from toolstore.attest.signers import PrivateKey

SUBJECT = sha256_digest(b"a version")
TRIALS: JsonObject = {
    "evidence": {"digest": {"sha256": "0" * 64}},
    "producer": "toolkiln",
    "producedOn": NOON.isoformat(),
    "signedOn": NOON.isoformat(),
    "parts": {"examples": {"result": "PASSED"}},
}
STATEMENT = make_statement(Kind.TRIALS, "double", SUBJECT, TRIALS)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    ring = KeyRing(tmp_path_factory.mktemp("keys") / "keys")
    ring.ring()
    return ring


def private_of(keys: KeyRing, role: Role = Role.SANDBOX) -> PrivateKey:
    ring = keys.ring()
    return keys._opened(ring, ring.signers[role])


def sealed(keys: KeyRing, payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Whatever bytes, in an envelope that is right in all else."""
    private, kind = private_of(keys), payload_type.encode()
    said = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    return canonical_json(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type,
            "signatures": [
                {
                    "keyid": private.key.keyid,
                    "sig": base64.b64encode(private.sign(said)).decode(),
                }
            ],
        }
    )


def saying(**changes: object) -> bytes:
    """The payload of a statement, changed."""
    document = json.loads(STATEMENT.to_bytes())
    return json.dumps({**document, **changes}).encode()


def test_other_programs_read_what_we_write(keys: KeyRing) -> None:
    content = keys.sign(STATEMENT, Kind.TRIALS)
    theirs = Dsse.from_dict(json.loads(content))

    assert theirs.verify([usable(private_of(keys).key)], threshold=1)
    assert canonical_json(theirs.to_dict()) == content
    assert sealed(keys, STATEMENT.to_bytes()) == content
    assert open_envelope(content, keys.find).statement == STATEMENT


PAYLOADS: dict[str, tuple[str, bytes]] = {
    "no JSON": ("is no statement", b"hello"),
    "nested without end": ("is no statement", b"[" * 9_000),
    "a field twice": (
        "is no statement",
        STATEMENT.to_bytes()[:-1] + b',"predicateType":"urn:toolkiln:checkpoint:v1"}',
    ),
    "a field twice, deep inside": (
        "is no statement",
        STATEMENT.to_bytes().replace(b'"result":', b'"result":"FAILED","result":'),
    ),
    "no subject": ("is no statement", saying(subject=[])),
    "several subjects": (
        "is no statement",
        saying(subject=[{"name": "x", "digest": {"sha256": "0" * 64}}] * 2),
    ),
    "another kind of statement": ("is no statement", saying(_type="https://in-toto.io/Link/v1")),
    "unknown predicate": ("unknown type", saying(predicateType="https://example.com/x/v1")),
    "a predicate of ours that says nothing": ("does not say what it must", saying(predicate={})),
    "what only the linter may say": (
        "only the linter may say that",
        saying(predicateType="urn:toolkiln:analysis:v1"),
    ),
    "a part that is not its own": (
        "speaks of lint",
        saying(predicate={**TRIALS, "parts": {"lint": {"result": "PASSED"}}}),
    ),
    "time without a zone": (
        "does not say what it must",
        saying(predicate={**TRIALS, "signedOn": "2026-01-01T00:00:00"}),
    ),
}


@pytest.mark.parametrize(("reason", "payload"), PAYLOADS.values(), ids=PAYLOADS.keys())
def test_what_a_trusted_key_signed_and_is_no_statement_of_its_role_is_refused(
    keys: KeyRing, reason: str, payload: bytes
) -> None:
    with pytest.raises(AttestationError, match=reason):
        open_envelope(sealed(keys, payload), keys.find)


def test_a_statement_under_another_type_is_refused(keys: KeyRing) -> None:
    """The signature holds, and it was given for something else."""
    content = sealed(keys, STATEMENT.to_bytes(), "application/json")
    with pytest.raises(AttestationError, match="holds 'application/json'"):
        open_envelope(content, keys.find)

    renamed = content.replace(b"application/json", PAYLOAD_TYPE.encode())
    with pytest.raises(AttestationError, match="is not what the key"):
        open_envelope(renamed, keys.find)


def spaced(content: bytes) -> bytes:
    return content.replace(b":", b": ")


def twice(content: bytes) -> bytes:
    return content[:-1] + b',"payloadType":"application/vnd.in-toto+json"}'


def reordered(content: bytes) -> bytes:
    return canonical_json(dict(reversed(json.loads(content).items())))


def signed_twice(content: bytes) -> bytes:
    document = json.loads(content)
    return canonical_json({**document, "signatures": document["signatures"] * 2})


def unsigned(content: bytes) -> bytes:
    return canonical_json({**json.loads(content), "signatures": []})


def of_a_number(content: bytes) -> bytes:
    document = json.loads(content)
    return canonical_json({**document, "signatures": [{"keyid": 7, "sig": "AA=="}]})


def of_a_list(content: bytes) -> bytes:
    document = json.loads(content)
    return canonical_json({**document, "signatures": [{"keyid": [], "sig": "AA=="}]})


def idle_bits(content: bytes) -> bytes:
    """The last letter of the signature has four bits that say nothing."""
    end = content.rindex(b'=="')
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = letters[letters.index(content[end - 1]) ^ 1]
    return content[: end - 1] + bytes([other]) + content[end:]


def for_urls(content: bytes) -> bytes:
    document = json.loads(content)
    raw = base64.b64decode(document["payload"])
    return canonical_json({**document, "payload": base64.urlsafe_b64encode(b">>>" + raw).decode()})


def huge(content: bytes) -> bytes:
    return content.replace(b'{"payload":"', b'{"payload":"' + b"AAAA" * MAX_ENVELOPE_BYTES)


@pytest.mark.parametrize(
    "spell",
    [
        spaced,
        twice,
        reordered,
        signed_twice,
        unsigned,
        of_a_number,
        of_a_list,
        idle_bits,
        for_urls,
        huge,
    ],
)
def test_an_envelope_in_another_form_is_refused(
    keys: KeyRing, spell: Callable[[bytes], bytes]
) -> None:
    content = keys.sign(STATEMENT, Kind.TRIALS)
    other = spell(content)
    assert other != content

    with pytest.raises(AttestationError, match="an envelope") as refused:
        open_envelope(other, keys.find)
    assert refused.value.flaw is Flaw.ALTERED


@settings(
    max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.integers(0, 10_000), change=st.integers(1, 255))
def test_no_byte_of_an_envelope_can_be_changed(keys: KeyRing, place: int, change: int) -> None:
    content = bytearray(keys.sign(STATEMENT, Kind.TRIALS))
    content[place % len(content)] ^= change

    with pytest.raises(AttestationError):
        open_envelope(bytes(content), keys.find)


def test_what_could_not_be_opened_is_not_sealed(keys: KeyRing) -> None:
    said = make_statement(Kind.TRIALS, "double", SUBJECT, {**TRIALS, "producer": "x" * 40_000})
    private = private_of(keys)

    with pytest.raises(ValueError, match="a statement may have"):
        seal_statement(said, private.key.keyid, private.sign)


def test_a_checkpoint_is_about_the_event_that_it_names(keys: KeyRing) -> None:
    from toolstore.attest.checkpoints import read_checkpoint  # noqa: PLC0415 - this test alone

    said = checkpoint_statement(sequence=1, head=sha256_digest(b"this"), states="", at=NOON)
    other = Statement.model_validate(
        {**said.model_dump(by_alias=True), "subject": STATEMENT.model_dump()["subject"]}
    )
    assert read_checkpoint(keys.sign(said, Kind.CHECKPOINT), keys).sequence == 1

    with pytest.raises(AttestationError, match="another event"):
        read_checkpoint(keys.sign(other, Kind.CHECKPOINT), keys)
