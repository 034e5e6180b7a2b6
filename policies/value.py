"""The base of every value that crosses a process, the disk or the model."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Never, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue

JsonObject: TypeAlias = dict[str, JsonValue]


class Value(BaseModel):
    """An immutable value with exactly the fields it names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def canonical_json(value: JsonValue) -> bytes:
    """The one byte form of `value`: no spaces, UTF-8; what every digest is over.

    Keys keep their order. To a tool the order of a dict is part of its value, so an example must
    reach the sandbox, the store and the next proof in the order it was written in; the fields of
    our own values have a fixed order anyway.
    """
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_json(text: str) -> JsonValue:
    """What `text` says, if `canonical_json` can say it too.

    Raises:
        ValueError: It is not JSON, too deep, or has what JSON in UTF-8 cannot hold: a number that
            is not finite (as `1e999` becomes), half of a surrogate pair.
    """
    try:
        value: JsonValue = json.loads(text, parse_constant=_no_json, parse_float=_finite)
        if "\\u" in text or not text.isascii():
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return value


def _no_json(name: str) -> Never:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large for a number")
    return number


def sha256_digest(data: bytes) -> str:
    """`sha256:<hex>` of `data`, the spelling of digests everywhere (OCI image specification)."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
