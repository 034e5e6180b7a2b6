"""The laws of the bytes between host and guest."""

from __future__ import annotations

import itertools
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from policies.limits import ResourceLimits
from sandbox.frames import (
    MAX_DEPTH,
    FrameError,
    FrameReader,
    FrameTooLargeError,
    Kind,
    Stream,
    StreamSplitter,
    decode_json,
    encode_frame,
    max_nodes,
)

LIMITS = ResourceLimits(result_bytes=1_000)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
kinds = st.sampled_from([Kind.VALUE, Kind.ERROR])
calls = st.integers(0, 2**32 - 1)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(
    st.lists(st.tuples(kinds, calls, st.binary(max_size=100)), max_size=5),
    st.lists(st.integers(0, 10_000), max_size=8),
)
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[tuple[Kind, int, bytes]], cuts: list[int]
) -> None:
    reader = FrameReader(LIMITS)
    data = b"".join(encode_frame(*frame) for frame in frames)

    seen = [frame for piece in pieces(data, cuts) for frame in reader.feed(piece)]

    assert [(frame.kind, frame.call, frame.payload) for frame in seen] == frames
    assert not reader.pending


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_any_bytes_are_frames_or_refused(data: bytes, cuts: list[int]) -> None:
    reader = FrameReader(LIMITS)
    try:
        for piece in pieces(data, cuts):
            reader.feed(piece)
    except FrameError:
        return


@pytest.mark.parametrize("kind", [0, Kind.PROGRAM, Kind.ARGUMENTS, 6, 255])
def test_a_guest_may_not_send_every_kind(kind: int) -> None:
    with pytest.raises(FrameError, match=f"kind {int(kind)}"):
        FrameReader(LIMITS).feed(struct.pack(">BII", kind, 1, 0))


def test_too_large_a_frame_is_refused_by_its_header() -> None:
    FrameReader(LIMITS).feed(struct.pack(">BII", Kind.VALUE, 1, 1_000))
    with pytest.raises(FrameTooLargeError, match="1001 bytes, where 1000 are allowed"):
        FrameReader(LIMITS).feed(struct.pack(">BII", Kind.VALUE, 1, 1_001))


@given(
    st.lists(st.tuples(st.sampled_from(list(Stream)), st.binary(max_size=50)), max_size=6),
    st.lists(st.integers(0, 10_000), max_size=8),
)
def test_streams_come_apart_as_they_were_joined(
    parts: list[tuple[Stream, bytes]], cuts: list[int]
) -> None:
    data = b"".join(
        struct.pack(">BxxxI", stream, len(content)) + content for stream, content in parts
    )
    splitter = StreamSplitter()

    seen = [part for piece in pieces(data, cuts) for part in splitter.feed(piece)]

    for stream in Stream:
        assert b"".join(piece for of, piece in seen if of is stream) == b"".join(
            content for of, content in parts if of is stream
        )


def test_a_stream_that_nobody_asked_for_is_refused() -> None:
    with pytest.raises(FrameError, match="stream 3"):
        list(StreamSplitter().feed(struct.pack(">BxxxI", 3, 1) + b"x"))


@given(json_values)
def test_json_comes_back_as_it_was(value: JsonValue) -> None:
    data = json.dumps(value, ensure_ascii=False).encode()

    assert decode_json(data, max_bytes=len(data)) == value


@given(json_values)
def test_escaped_json_comes_back_as_it_was(value: JsonValue) -> None:
    data = json.dumps(value, ensure_ascii=True, indent=1).encode()

    assert decode_json(data, max_bytes=len(data)) == value


@given(
    st.binary(max_size=200) | st.text('[]{}",:\\ 01eE-.nultrfasNaIiy', max_size=60).map(str.encode)
)
def test_what_is_decoded_is_what_plain_json_says_or_refused(data: bytes) -> None:
    try:
        value = decode_json(data, max_bytes=1_000)
    except FrameError:
        return
    assert value == json.loads(data)
    assert json.dumps(value, allow_nan=False, ensure_ascii=False).encode().decode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"NaN",
        b"-Infinity",
        b"[1e999]",
        b"[-1e999]",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'"\\ud800"',
        b'{"\\udfff":1}',
        b'["\\ud83d","\\ude00"]',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf1",
        b"1 2",
        b"1\x00",
        b"'a'",
        b'"a',
        b'"' + b'\\"' * 50_000,
        b"9" * 5_000,
        b"-" + b"9" * 5_000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"]",
        b"[1,]",
        b"01",
        b'"\n"',
    ],
    ids=lambda data: repr(data[:16]),
)
def test_what_no_result_may_be_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode_json(data, max_bytes=1_000_000)


def test_depth_is_counted_to_the_ceiling() -> None:
    def nested(depth: int) -> bytes:
        return b"[" * depth + b"]" * depth

    decode_json(nested(MAX_DEPTH), max_bytes=1_000)
    with pytest.raises(FrameError, match="deeper than 32"):
        decode_json(nested(MAX_DEPTH + 1), max_bytes=1_000)


def test_brackets_and_commas_inside_strings_do_not_count() -> None:
    value = ["[{,}]" * 1_000, '\\"[[[']

    assert decode_json(json.dumps(value).encode(), max_bytes=10_000) == value


def test_values_are_counted_to_the_ceiling() -> None:
    size = 8_000
    nodes = max_nodes(size)
    fits = b"[" + b"1," * (nodes - 2) + b"1]"

    assert len(fits) <= size
    decode_json(fits, max_bytes=size)
    with pytest.raises(FrameTooLargeError, match="values"):
        decode_json(fits[:-1] + b",1]", max_bytes=size)


def test_size_is_counted_before_anything_is_decoded() -> None:
    with pytest.raises(FrameTooLargeError, match="101 bytes, where 100 are allowed"):
        decode_json(b"\xff" * 101, max_bytes=100)
