"""Files that say which public keys a reader trusts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from policies.display import escape_text
from runtime.errors import UsageError
from toolstore.attest.publickeys import check_keys
from toolstore.attest.trust import TrustedKey

MAX_BYTES: Final = 1 << 20
_KEYS: Final = TypeAdapter(tuple[TrustedKey, ...])


def read_trust(paths: Iterable[Path]) -> dict[str, TrustedKey]:
    """The keys in these files, by their identity.

    A file is a list of public keys in JSON, or an object that has one as `keys`: what
    `toolkiln store keys export` prints, and a key ring's own file.

    Raises:
        UsageError: a file cannot be read or is none, two say different things of a key, or a key
            is not in the one form of its type.
    """
    found: dict[str, TrustedKey] = {}
    for path in paths:
        for key in _read(path):
            known = found.setdefault(key.keyid, key)
            if (known.role, known.person) != (key.role, key.person):
                raise UsageError(
                    f"{escape_text(str(path))}: the key {key.keyid[:16]}… is another role's or "
                    "person's in another file; ask whoever gave you the files"
                )
    try:
        check_keys(found.values())
    except ValueError as error:
        raise UsageError(f"{error}. Ask whoever gave you the file") from None
    return found


def _read(path: Path) -> tuple[TrustedKey, ...]:
    shown = escape_text(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {shown}: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise UsageError(f"{shown} is larger than any file of public keys ({MAX_BYTES} bytes)")
    try:
        document = json.loads(content)
        listed = document.get("keys") if isinstance(document, dict) else document
        return _KEYS.validate_python(listed)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise UsageError(f"{shown} is no file of public keys: {where}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{shown} is no file of public keys in JSON ({error})") from None
