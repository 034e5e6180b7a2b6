"""Bytes between host and guest: cut into frames, bounded, and decoded without trust.

Three layers, each a pure machine without I/O: the engine multiplexes the guest's two streams
into one connection (`StreamSplitter`); the first of them carries frames of kind, call number
and length (`FrameReader`); a frame's payload is JSON, decoded only within bounds
(`decode_json`). Nothing here proves that the harness spoke: only which container did.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Never

from pydantic import JsonValue

from policies.limits import ResourceLimits
from policies.value import JsonObject

__all__ = [
    "MAX_DEPTH",
    "Frame",
    "FrameError",
    "FrameReader",
    "FrameTooLargeError",
    "Kind",
    "Stream",
    "StreamSplitter",
    "decode_json",
    "encode_frame",
    "max_nodes",
]

MAX_DEPTH: Final = 32
"""Containers inside containers in a value from a guest."""

_MAX_INT_CHARACTERS: Final = 4_300
_HEADER: Final = struct.Struct(">BII")
_SPLIT_HEADER: Final = struct.Struct(">BxxxI")
_ERROR_BYTES: Final = 256 * 1024
_POSTURE_BYTES: Final = 64 * 1024

# Possessive, and with the lone quote as the last resort: linear on every input.
_TOKEN: Final = re.compile(rb'(?s)"(?:[^"\\]++|\\.)*+"|["\[\]{},]')
_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class FrameError(ValueError):
    """Bytes from a guest are not what they must be."""


class FrameTooLargeError(FrameError):
    """A guest sent, or announced, more than its ceiling."""

    def __init__(self, size: int, ceiling: int, unit: str = "bytes") -> None:
        super().__init__(f"{size} {unit}, where {ceiling} are allowed")


class Kind(IntEnum):
    """What a frame holds."""

    POSTURE = 1
    """Guest to host, once and first: the walls as seen from inside."""

    PROGRAM = 2
    """Host to guest, once: source, function, bounds."""

    ARGUMENTS = 3
    """Host to guest, one for each call."""

    VALUE = 4
    """Guest to host: the returned value alone."""

    ERROR = 5
    """Guest to host: class name, text and traceback of an exception."""

    GRANTS = 6
    """Host to guest, at most once: what it may use beyond computing, by name of the service."""

    INPUT = 7
    """Host to guest: a file that it is given."""

    ARTEFACT = 8
    """Guest to host: a file that it made."""

    TOOL_CALL = 9
    """Guest to host: a call of another tool."""

    TOOL_ANSWER = 10
    """Host to guest: what came of that call."""

    STREAM_OPEN = 11
    """Guest to host: a program in the guest has connected to the proxy."""

    STREAM_DATA = 12
    """Both ways: bytes of one such connection."""

    STREAM_CLOSE = 13
    """Both ways: one such connection has ended."""

    END = 14
    """Fork server to host: the process of a call is gone and nothing of it is left."""


@dataclass(frozen=True)
class Frame:
    """One frame, its payload not decoded yet."""

    kind: Kind
    call: int
    """Number of the call it belongs to, from 1; 0 before any call."""

    payload: bytes


def encode_frame(kind: Kind, call: int, payload: bytes) -> bytes:
    """The bytes of one frame."""
    return _HEADER.pack(kind, call, len(payload)) + payload


class FrameReader:
    """Cuts a guest's frame channel into frames; refuses what no frame may be."""

    def __init__(self, limits: ResourceLimits) -> None:
        self._buffer = bytearray()
        self._ceilings = {
            Kind.POSTURE: _POSTURE_BYTES,
            Kind.VALUE: limits.result_bytes,
            Kind.ERROR: _ERROR_BYTES,
        }

    def allow(self, kind: Kind, ceiling: int) -> None:
        """Take frames of `kind` too, with payloads of at most `ceiling` bytes."""
        self._ceilings[kind] = ceiling

    @property
    def pending(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> tuple[Frame, ...]:
        """Take in bytes; give the frames that are now whole.

        Raises:
            FrameTooLargeError: A header announces more than that kind may have.
            FrameError: A header of no kind that a guest may send.
        """
        self._buffer += data
        return tuple(self._whole_frames())

    def _whole_frames(self) -> Iterator[Frame]:
        while len(self._buffer) >= _HEADER.size:
            number, call, size = _HEADER.unpack_from(self._buffer)
            kind = self._admit(number, size)
            end = _HEADER.size + size
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            yield Frame(kind, call, payload)

    def _admit(self, number: int, size: int) -> Kind:
        kind = next((kind for kind in self._ceilings if kind == number), None)
        if kind is None:
            raise FrameError(f"a frame of kind {number}, which no guest may send")
        if size > self._ceilings[kind]:
            raise FrameTooLargeError(size, self._ceilings[kind])
        return kind


class Stream(IntEnum):
    """The two streams of a container that the engine multiplexes."""

    FRAMES = 1
    """Its standard output, which the harness keeps for frames."""

    OUTPUT = 2
    """Its standard error, where everything that the program prints goes."""


class StreamSplitter:
    """Takes the engine's attach connection apart: 8 bytes of header, then a piece of one stream.

    Pieces are passed on as they come, never gathered: nothing is held but half a header.
    """

    def __init__(self) -> None:
        self._header = b""
        self._stream = Stream.OUTPUT
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[Stream, bytes]]:
        """Take in bytes; give the pieces in them, in order.

        Raises:
            FrameError: The engine sent a stream that was not asked for.
        """
        position = 0
        while position < len(data):
            if self._left == 0:
                position += self._take_header(data, position)
                continue
            piece = data[position : position + self._left]
            position += len(piece)
            self._left -= len(piece)
            yield self._stream, piece

    def _take_header(self, data: bytes, position: int) -> int:
        taken = data[position : position + _SPLIT_HEADER.size - len(self._header)]
        self._header += taken
        if len(self._header) == _SPLIT_HEADER.size:
            number, self._left = _SPLIT_HEADER.unpack(self._header)
            self._header = b""
            if number not in (Stream.FRAMES, Stream.OUTPUT):
                raise FrameError(f"the engine sent stream {number}, expected 1 or 2")
            self._stream = Stream(number)
        return len(taken)


def max_nodes(size: int) -> int:
    """How many values a JSON text of `size` bytes may hold; each costs far more in memory."""
    return max(1_000, size // 4)


def decode_json(data: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH) -> JsonValue:
    """Decode bytes that a guest wrote; stricter than JSON, and bounded before it is parsed.

    Raises:
        FrameTooLargeError: Too many bytes or values.
        FrameError: Too deep, not UTF-8, not JSON, a number that is not finite or too long, a
            name that occurs twice, a lone surrogate.
    """
    if len(data) > max_bytes:
        raise FrameTooLargeError(len(data), max_bytes)
    _check_shape(data, max_depth=max_depth, nodes=max_nodes(max_bytes))
    try:
        text = data.decode()
        value: JsonValue = _DECODER.decode(text)
        if _SURROGATE_ESCAPE.search(text):
            _check_surrogates(value)
    except FrameError:
        raise
    except (ValueError, RecursionError) as error:
        raise FrameError(f"not JSON in UTF-8: {error}") from None
    return value


def _check_shape(data: bytes, *, max_depth: int, nodes: int) -> None:
    """Depth and number of values, counted without building any."""
    depth = 0
    count = 1
    for token in _TOKEN.finditer(data):
        match token[0]:
            case b"[" | b"{":
                depth += 1
                count += 1
                if depth > max_depth:
                    raise FrameError(f"JSON nested deeper than {max_depth}")
            case b"]" | b"}":
                depth -= 1
            case b",":
                count += 1
            case b'"':
                raise FrameError("JSON with a string that does not end")
            case _:
                continue
        if count > nodes:
            raise FrameTooLargeError(count, nodes, "values or more")


def _check_surrogates(value: JsonValue) -> None:
    # Escapes can spell half a pair, which no UTF-8 can hold: whatever stores it later fails.
    json.dumps(value, ensure_ascii=False).encode()


def _whole_number(text: str) -> int:
    if len(text) > _MAX_INT_CHARACTERS:
        raise FrameError(f"a number of {len(text)} digits, where 4300 are allowed")
    return int(text)


def _finite_number(text: str) -> float:
    # `1e999` is good JSON and becomes infinity without `parse_constant` being asked.
    number = float(text)
    if not math.isfinite(number):
        raise FrameError("a number too large for a float")
    return number


def _refuse_constant(text: str) -> Never:
    raise FrameError(f"{text} is not JSON")


def _unique_names(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise FrameError("an object with a name that occurs twice")
    return result


_hook: Callable[[list[tuple[str, JsonValue]]], JsonObject] = _unique_names
_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_hook,
    parse_int=_whole_number,
    parse_float=_finite_number,
    parse_constant=_refuse_constant,
)
