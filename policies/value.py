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
    """The one byte form of `value`: sorted keys, no spaces, UTF-8; what every digest is over."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256_digest(data: bytes) -> str:
    """`sha256:<hex>` of `data`, the spelling of digests everywhere (OCI image specification)."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
