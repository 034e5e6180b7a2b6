"""The file that a tool travels in, and what is said of it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from exporters import NOW, POLICY, Exported, Exporter
from factories import NOON, allowed, make_submission
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from policies.value import JsonObject, canonical_json
from toolstore import bundle as bundles
from toolstore.attest.trust import key_id
from toolstore.bundle import (
    SignedBundle,
    document_digest,
    export_bundle,
    parse_bundle,
    read_bundle,
)
from toolstore.bundlecheck import check_bundle
from toolstore.bundlereader import Trust
from toolstore.bundlereport import Standing, Verdict
from toolstore.errors import BundleError
from toolstore.store import ToolStore


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Made once, for nothing changes it."""
    return Exporter(tmp_path_factory.mktemp("exporter")).one()


@pytest.fixture(scope="module")
def unsigned(exported: Exported) -> bytes:
    return export_bundle(exported.version)


# -- what is in one ------------------------------------------------------------------------------


def test_a_bundle_has_everything_that_was_said(exported: Exported):
    bundle = read_bundle(exported.content)

    assert isinstance(bundle, SignedBundle)
    version = exported.version
    for field in ("digest", "source", "source_schema", "image_digest", "evidence"):
        assert getattr(bundle, field) == getattr(version, field), field
    assert bundle.ref == "double@1"
    details = bundle.details
    assert details[0].birth is not None
    assert details[0].birth.provenance == version.provenance
    assert details[-1].decision == version.decision
    assert [d.approval for d in details if d.approval] == list(version.approvals)
    assert {key.keyid for key in bundle.keys} <= exported.keys.keys()


def test_the_same_export_again_gives_the_same_bytes(exported: Exported, tmp_path: Path):
    exporter = Exporter(tmp_path)
    first = exporter.one()

    async def work() -> bytes:
        async with await exporter.open() as store:
            return await exporter.export(store, first.version)

    assert asyncio.run(work()) == first.content
    assert first.content == canonical_json(json.loads(first.content)) + b"\n"


async def test_a_store_without_keys_gives_the_format_without_signatures(tmp_path: Path):
    async with await ToolStore.open(tmp_path) as store:
        version = await store.admit(make_submission(), actor="ada")
        content = await store.exchange.export(version.ref)

    assert content == export_bundle(version)
    report = check_bundle(content, Trust({}), at=NOW)
    assert report.verdict is Verdict.UNSIGNED
    assert report.digest == version.digest


# -- what is said of one -------------------------------------------------------------------------


def test_a_bundle_by_trusted_keys_is_trusted(exported: Exported):
    report = exported.report()

    assert report.verdict is Verdict.TRUSTED
    assert report.problems == ()
    parts = {line.part for line in report.lines}
    assert {"version", "log", "analysis", "trials", "review", "admission"} <= parts
    assert {"policy", "chain", "thresholds", "seal"} <= parts


def test_the_keys_in_a_bundle_are_not_trusted_for_that(exported: Exported):
    report = exported.report(keys={})

    assert report.verdict is Verdict.UNTRUSTED
    signed = [line for line in report.lines if line.keyid is not None]
    assert {line.standing for line in signed} <= {Standing.UNTRUSTED, Standing.ASIDE}
    assert not any(line.trusted for line in signed)


@pytest.mark.parametrize("role", ["linter", "sandbox", "reviewer", "admitter"])
def test_one_key_that_is_not_trusted_is_seen(exported: Exported, role: str):
    some = {keyid: key for keyid, key in exported.keys.items() if key.role.value != role}

    report = exported.report(keys=some)

    assert report.verdict is Verdict.UNTRUSTED
    untrusted = [line for line in report.lines if line.standing is Standing.UNTRUSTED]
    assert {line.role.value for line in untrusted if line.role} == {role}
    assert "thresholds" in {line.part for line in untrusted}


def test_the_reader_says_what_a_key_may_sign(exported: Exported):
    """A bundle cannot make the linter's key an admitter's where the reader knows better."""
    keys = {
        keyid: key.model_copy(update={"role": "linter"}) if key.role == "admitter" else key
        for keyid, key in exported.keys.items()
    }

    assert exported.report(keys=keys).verdict is Verdict.BROKEN


@pytest.mark.parametrize("role", ["linter", "sandbox", "reviewer", "admitter"])
def test_a_key_that_the_reader_must_not_trust_counts_for_nothing(exported: Exported, role: str):
    """The file brings it along, and the reader's word is stronger than the file's."""
    some = {keyid: key for keyid, key in exported.keys.items() if key.role.value != role}
    refused = frozenset(exported.keys.keys() - some.keys())

    report = check_bundle(exported.content, Trust(some, refused), at=NOW)

    assert report.verdict is Verdict.BROKEN
    assert any("not to be trusted here" in line.detail for line in report.problems)


def test_what_waits_or_was_taken_back_is_not_admitted(tmp_path: Path):
    exporter = Exporter(tmp_path)

    async def work() -> tuple[bytes, bytes]:
        async with await exporter.open() as store:
            version = await exporter.submit(store)
            waiting = await exporter.export(store, version)
            await store.reject(version.digest, actor="bob", reason="it is wrong")
            return waiting, await exporter.export(store, version)

    waiting, rejected = asyncio.run(work())
    for content in (waiting, rejected):
        assert check_bundle(content, Trust(exporter.keys), at=NOW).verdict is Verdict.NOT_ADMITTED
    words = [line.detail for line in check_bundle(rejected, Trust(exporter.keys), at=NOW).lines]
    assert any("it is wrong" in each for each in words)


def test_an_approval_ends(tmp_path: Path):
    short = Exporter(tmp_path).one(ends=NOON + timedelta(hours=1))

    inside = check_bundle(short.content, Trust(short.keys), at=NOON + timedelta(minutes=30))
    assert inside.verdict is Verdict.TRUSTED
    after = check_bundle(short.content, Trust(short.keys), at=NOON + timedelta(hours=2))
    assert after.verdict is Verdict.BROKEN
    assert "thresholds" in {line.part for line in after.problems}


# -- what is changed -----------------------------------------------------------------------------


def replace(path: list[str | int], value: object) -> Callable[[JsonObject], None]:
    def change(document: JsonObject) -> None:
        *parents, last = path
        target: object = document
        for key in parents:
            target = target[key]  # type: ignore[index]
        target[last] = value  # type: ignore[index]

    return change


def without(path: list[str | int]) -> Callable[[JsonObject], None]:
    def change(document: JsonObject) -> None:
        *parents, last = path
        target: object = document
        for key in parents:
            target = target[key]  # type: ignore[index]
        del target[last]  # type: ignore[attr-defined]

    return change


CHANGES: dict[str, tuple[Callable[[JsonObject], None], str]] = {
    "code": (replace(["source", "code"], "def double(number): return 0"), "bundle"),
    "description": (replace(["source", "description"], "Obey."), "bundle"),
    "schema": (replace(["source_schema", "function"], "other"), "bundle"),
    "image": (replace(["image_digest"], "sha256:1"), "bundle"),
    "digest": (replace(["digest"], "sha256:1"), "bundle"),
    "format": (replace(["format"], "toolkiln.tool-bundle/9"), "bundle"),
    "unknown field": (replace(["more"], True), "bundle"),
    "evidence subject": (replace(["evidence", "subject"], "sha256:1"), "bundle"),
    "evidence producer": (replace(["evidence", "produced_by"], "me"), "log"),
    "a trial": (replace(["evidence", "trials", 0, "value"], 5), "log"),
    "lock": (replace(["lock"], {}), "seal"),
    "policy": (replace(["policy"], "{}"), "policy"),
    "no policy": (replace(["policy"], None), "policy"),
    "event": (replace(["events", 0, "actor"], "eve"), "log"),
    "event left out": (without(["events", -1]), "chain"),
    "envelope left out": (without(["envelopes", 0]), "chain"),
    "key left out": (without(["keys", 0]), "seal"),
    "payload": (replace(["envelopes", 0, "payload"], "e30="), "statement 1"),
    "payload type": (replace(["envelopes", 0, "payloadType"], "x"), "statement 1"),
    "signature": (replace(["envelopes", 0, "signatures", 0, "sig"], "AAAA"), "statement 1"),
    "another's signature": (
        lambda document: replace(
            ["envelopes", 0, "signatures"],
            document["envelopes"][1]["signatures"],  # type: ignore[index,call-overload]
        )(document),
        "statement 1",
    ),
    "no seal": (replace(["seal"], None), "seal"),
    "another seal": (
        lambda document: replace(["seal"], document["envelopes"][0])(document),  # type: ignore[index]
        "seal",
    ),
}


@pytest.mark.parametrize(("change", "part"), CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_bundle_says_what_is_wrong(
    exported: Exported, change: Callable[[JsonObject], None], part: str
):
    for keys in (exported.keys, {}):
        report = exported.report(exported.changed(change), keys)

        assert report.verdict is Verdict.BROKEN
        assert part in {line.part for line in report.problems}


def objects_in(
    value: JsonValue, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[str | int, ...]]:
    """Where objects of more than one field are."""
    if isinstance(value, dict) and len(value) > 1:
        yield path
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, each in inner:
        yield from objects_in(each, (*path, key))


def test_fields_have_one_order(exported: Exported):
    for path in objects_in(json.loads(exported.content)):
        document = json.loads(exported.content)
        found = document
        for key in path:
            found = found[key]
        first = next(iter(found))
        found[first] = found.pop(first)

        report = exported.report(canonical_json(document) + b"\n")

        assert report.verdict is Verdict.BROKEN, path


def test_the_seal_is_the_last_part(exported: Exported):
    document = json.loads(exported.content)
    moved = {"seal": document.pop("seal"), **document}
    assert exported.report(canonical_json(moved)).verdict is Verdict.BROKEN


@pytest.mark.heavy
def test_every_changed_byte_is_found(exported: Exported):
    content = bytearray(exported.content)
    for position in range(len(content) - 1):
        bit = 1 << position % 8
        content[position] ^= bit
        assert exported.report(bytes(content)).verdict is Verdict.BROKEN, position
        content[position] ^= bit


@pytest.mark.parametrize(
    "hostile",
    [
        "9" * 4_000,
        "-" + "9" * 4_000,
        "1e308",
        "1E400",
        "-0.0",
        "0.1000000000000000055511151231257827",
        "[" * 200 + "]" * 200,
        "[" * 5_000 + "]" * 5_000,
        '{"a":' * 900 + "1" + "}" * 900,
        '"' + "\\u0000" * 50 + '"',
        '"\\ud83d"',
    ],
    ids=lambda text: text[:12],
)
@pytest.mark.parametrize("place", ["value", "arguments"])
def test_hostile_numbers_and_depths_end_in_an_answer(exported: Exported, hostile: str, place: str):
    """Where any JSON may stand: in what a trial was given and made of it."""
    document = json.loads(exported.content)
    document["evidence"]["trials"][0][place] = {"here": "here"}
    mark = b'{"here":"here"}'
    instead = hostile if place == "value" else '{"number":' + hostile + "}"
    content = canonical_json(document).replace(mark, instead.encode(), 1)

    report = exported.report(content)

    assert report.verdict is Verdict.BROKEN
    with pytest.raises(BundleError):
        read_bundle(content.replace(b'"digest":"sha256:', b'"digest":"sha257:', 1))


def test_base64_has_one_spelling(exported: Exported):
    """The last character of padded Base64 has bits that no decoder looks at."""
    document = json.loads(exported.content)
    sealed = next(each for each in document["envelopes"] if each["payload"].endswith("="))
    bits = sealed["payload"].rstrip("=")
    other = bits[:-1] + chr(ord(bits[-1]) + 1) + "=" * (len(sealed["payload"]) - len(bits))
    assert base64.b64decode(other) == base64.b64decode(sealed["payload"])
    sealed["payload"] = other

    report = exported.report(canonical_json(document))

    assert report.verdict is Verdict.BROKEN
    assert any("Base64" in line.detail for line in report.problems)


WRONG = "def double(number: int) -> int:\n    return 0\n"


def test_a_forger_with_keys_of_their_own_is_not_trusted(exported: Exported, tmp_path: Path):
    """Everything made anew and signed rightly, in the exporter's name."""
    forged = Exporter(tmp_path).one(WRONG)

    assert exported.report(forged.content).verdict is Verdict.UNTRUSTED


def test_statements_of_one_version_do_not_vouch_for_another(exported: Exported, tmp_path: Path):
    """All of the exporter's own envelopes, beside another tool's content."""
    other, mine = (json.loads(each.content) for each in (Exporter(tmp_path).one(WRONG), exported))
    for part in ("envelopes", "keys", "seal"):
        other[part] = mine[part]

    report = exported.report(canonical_json(other))

    assert report.verdict is Verdict.BROKEN
    assert any("another version" in line.detail for line in report.problems)


def test_a_policy_that_never_admitted_it_is_noticed(tmp_path: Path):
    """Signed by the exporter, and yet not what its own policy says of its own evidence."""
    exporter = Exporter(tmp_path)

    async def work() -> bytes:
        async with await exporter.open() as store:
            lie = allowed().model_copy(update={"policy_digest": POLICY.digest})
            await store.decisions.keep_policy(POLICY.text, digest=POLICY.digest, actor="ada")
            version = await store.admit(make_submission(decision=lie), actor="ada")
            return await exporter.export(store, version)

    report = check_bundle(asyncio.run(work()), Trust(exporter.keys), at=NOW)

    assert report.verdict is Verdict.BROKEN
    assert [(line.part, line.standing) for line in report.problems] == [("again", Standing.BROKEN)]


def test_another_policy_is_not_the_one_that_decided(exported: Exported):
    """A laxer one, rightly written, in the place of the one that the decision names."""
    document = json.loads(exported.content)
    policy = json.loads(document["policy"])
    policy["admission"]["review"] = "never"
    document["policy"] = canonical_json(policy).decode()

    report = exported.report(canonical_json(document))

    found = [line.standing for line in report.lines if line.part == "policy"]
    assert found == [Standing.BROKEN]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_changed_byte_is_found(exported: Exported, data: st.DataObject):
    content = bytearray(exported.content)
    position = data.draw(st.integers(0, len(content) - 2))
    old = content[position]
    content[position] = data.draw(st.integers(0, 255).filter(lambda byte: byte != old))

    report = exported.report(bytes(content), data.draw(st.sampled_from([exported.keys, {}])))

    assert report.verdict is Verdict.BROKEN
    assert report.problems


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=12,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_part_made_of_anything_ends_in_an_answer(exported: Exported, data: st.DataObject):
    document = json.loads(exported.content)
    holder, key = document, "digest"
    for depth in range(data.draw(st.integers(1, 5))):
        inner = document if depth == 0 else holder[key]
        if not isinstance(inner, dict | list) or not inner:
            break
        holder = inner
        key = data.draw(
            st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner)))
        )
    value = data.draw(JSON_VALUES)
    same = json.dumps(holder[key]) == json.dumps(value)
    holder[key] = value

    report = exported.report(
        json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    )

    assert report.lines
    if not same:
        assert report.verdict is Verdict.BROKEN


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":1,"a":1}',
        b'{"a": 1}',
        b'{"a":"\\ud800"}',
        b'{"a":' + b"1" * 5_000 + b"}",
    ],
)
def test_what_is_no_bundle_is_refused(content: bytes):
    with pytest.raises(BundleError):
        read_bundle(content)
    assert check_bundle(content, Trust({}), at=NOW).verdict is Verdict.BROKEN


def test_a_key_twice_is_refused(exported: Exported):
    content = exported.content
    twice = b"{" + content[1 : content.index(b":")] + b":0," + content[1:]

    with pytest.raises(BundleError, match="form"):
        read_bundle(twice)


def test_size_is_bounded_before_anything_is_parsed(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(BundleError, match="parts"):
        parse_bundle(b"[" + b"[]," * 130_000 + b"[]]")
    monkeypatch.setattr(bundles, "MAX_BYTES", 100)
    with pytest.raises(BundleError, match="100 are the most"):
        parse_bundle(exported.content)


def test_keys_that_ask_for_programs_are_not_used(exported: Exported):
    """A bundle may not bring keys that securesystemslib hands to GnuPG."""
    document = json.loads(exported.content)
    public: JsonObject = {"keytype": "rsa", "scheme": "pgp+rsa-pkcsv1.5", "keyval": {"public": "x"}}
    keyid = key_id(public)
    document["keys"][0] |= {"public": public, "keyid": keyid}
    document["envelopes"][0]["signatures"][0]["keyid"] = keyid

    report = exported.report(canonical_json(document), {})

    lines = [line for line in report.problems if line.part == "statement 1"]
    assert [line.standing for line in lines] == [Standing.MISSING]


# -- format 1 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["source", "evidence", "decision", "digest", "provenance"])
def test_a_missing_part_of_the_first_format_is_named(unsigned: bytes, field: str):
    document = json.loads(unsigned)
    del document[field]

    with pytest.raises(BundleError, match=field):
        read_bundle(canonical_json(document))


@settings(deadline=None)
@given(data=st.data())
def test_the_first_format_shows_changes_of_what_runs(
    exported: Exported, unsigned: bytes, data: st.DataObject
):
    content = bytearray(unsigned)
    position = data.draw(st.integers(0, len(content) - 2))
    content[position] = data.draw(st.integers(0, 255))

    try:
        bundle = read_bundle(bytes(content))
    except BundleError:
        return
    assert (bundle.digest, bundle.source) == (exported.version.digest, exported.version.source)


def test_a_seal_is_about_all_that_stands_before_it(exported: Exported):
    document = json.loads(exported.content)
    with_seal = document_digest(document)
    del document["seal"]
    assert document_digest(document) == with_seal
    document["lock"] = {}
    assert document_digest(document) != with_seal
