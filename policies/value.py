"""The base of every value that crosses a process, the disk or the model."""

from __future__ import annotations

import hashlib
import json
from typing import TypeAlias

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


def sha256_digest(data: bytes) -> str:
    """`sha256:<hex>` of `data`, the spelling of digests everywhere (OCI image specification)."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
