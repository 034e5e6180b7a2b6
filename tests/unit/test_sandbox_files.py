"""The host's side of files: what is handed in, and the word of a guest on what it leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import FileSettings
from policies.filenames import file_name_problem
from policies.value import sha256_digest
from sandbox.artefacts import Artefact, media_type_of
from sandbox.files import FileService, FilesRefusedError
from sandbox.frames import Frame, FrameError, Kind

SETTINGS = FileSettings(input=True, output=True, input_bytes=100, artefacts=3, artefact_bytes=100)


def ignore(_kind: Kind, _payload: bytes) -> None:
    """No guest."""


def artefact(name: bytes, data: bytes) -> Frame:
    return Frame(Kind.ARTEFACT, 0, bytes((len(name),)) + name + data)


def test_inputs_follow_the_grant_that_names_them() -> None:
    sent: list[tuple[Kind, bytes]] = []
    files = FileService({"a.txt": b"1", "b.txt": b"23"}, SETTINGS)
    grant = files.begin(lambda kind, payload: sent.append((kind, payload)))

    assert grant["inputs"] == ["a.txt", "b.txt"]
    assert sent == [(Kind.INPUT, b"\x05a.txt1"), (Kind.INPUT, b"\x05b.txt23")]


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"../x": b""}, "no plain file name"),
        ({"a/b": b""}, "no plain file name"),
        ({".": b""}, "no plain file name"),
        ({"-rf": b""}, "no plain file name"),
        ({"a\x1b[2J": b""}, r"a\\x1b[2J"),
        ({"a" * 101: b""}, "no plain file name"),
        ({"a": b"1" * 60, "b": b"1" * 41}, "101 bytes, where the policy allows 100"),
    ],
)
def test_what_may_not_be_handed_in_is_said(inputs: dict[str, bytes], says: str) -> None:
    with pytest.raises(FilesRefusedError, match=None) as caught:
        FileService(inputs, SETTINGS)

    assert says in str(caught.value)


def test_a_policy_that_grants_no_input_hands_in_nothing() -> None:
    files = FileService({"a.txt": b"1" * 1000}, FileSettings(output=True))

    assert files.begin(ignore)["inputs"] == []


def test_an_artefact_is_kept_with_its_digest() -> None:
    files = FileService({}, SETTINGS)
    files.receive(artefact(b"a.csv", b"1,2"))

    (kept,) = files.artefacts
    assert (kept.name, kept.data, kept.media_type) == ("a.csv", b"1,2", "text/csv")
    assert kept.digest == sha256_digest(b"1,2")
    assert "data" not in kept.model_dump()
    assert kept.info.model_dump() == kept.model_dump()


@pytest.mark.parametrize(
    "frames",
    [
        [Frame(Kind.ARTEFACT, 0, b"")],
        [Frame(Kind.ARTEFACT, 0, b"\x05a")],
        [artefact(b"", b"1")],
        [artefact(b"../x", b"1")],
        [artefact(b"\xc3\xa9", b"1")],
        [artefact(b"a", b"1"), artefact(b"a", b"1")],
        [artefact(bytes((letter,)), b"") for letter in b"abcd"],
        [artefact(b"a", b"1" * 50), artefact(b"b", b"1" * 51)],
    ],
)
def test_what_no_honest_guest_sends_is_refused(frames: list[Frame]) -> None:
    files = FileService({}, SETTINGS)
    *before, last = frames
    for frame in before:
        files.receive(frame)

    with pytest.raises(FrameError):
        files.receive(last)


def test_a_batch_may_leave_as_much_in_each_of_its_calls() -> None:
    files = FileService({}, SETTINGS, calls=2, keep=False)
    for _ in range(2):
        for letter in b"abc":
            files.receive(artefact(bytes((letter,)), b"1" * 33))

    assert not files.artefacts
    with pytest.raises(FrameError):
        files.receive(artefact(b"a", b""))


def test_without_output_no_artefact_is_taken() -> None:
    assert not FileService({}, SETTINGS, declared=["input"]).kinds
    assert not FileService({}, FileSettings(input=True)).kinds


@given(st.text(max_size=120))
def test_a_name_that_is_let_through_stays_in_its_folder(name: str) -> None:
    if not file_name_problem(name):
        assert name.isascii()
        assert "/" not in name
        assert name[0] not in ".-"
        assert len(name) <= 100


@given(st.text(max_size=20), st.binary(max_size=8_192))
def test_sniffing_never_fails(name: str, data: bytes) -> None:
    assert "/" in media_type_of(name, data)


@pytest.mark.parametrize(
    ("name", "data", "media_type"),
    [
        ("x", b"\x89PNG\r\n\x1a\n...", "image/png"),
        ("x.txt", b"\xff\xd8\xff\xe0", "image/jpeg"),
        ("x", b"GIF89a", "image/gif"),
        ("x.png", b"%PDF-1.7", "application/pdf"),
        ("x", b"RIFF0000WEBPVP8", "image/webp"),
        ("x", b'<svg xmlns="http://www.w3.org/2000/svg">', "image/svg+xml"),
        ("x", b'<?xml version="1.0"?>\n<svg>', "image/svg+xml"),
        ("x.CSV", b"a,b", "text/csv"),
        ("x.json", b"{}", "application/json"),
        ("x.png", b"plain", "text/plain"),
        ("x", b"", "text/plain"),
        ("x.csv", b"\0", "application/octet-stream"),
        ("x", "ü".encode() * 2_047 + b"a" + "ü".encode(), "text/plain"),
        ("x", b"a\xff", "application/octet-stream"),
    ],
)
def test_the_type_is_what_the_bytes_show(name: str, data: bytes, media_type: str) -> None:
    assert Artefact.of(name, data).media_type == media_type
