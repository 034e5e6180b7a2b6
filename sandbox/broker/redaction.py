"""Secrets in what a server answers: blanked, as far as they can be recognised.

A server that answers with what it was sent would hand the secret to the tool. It is looked for
as it is and in the spellings that servers commonly turn it into. Blanks are as long as what
they replace, so that lengths stay true.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus

__all__ = ["Redactor", "spellings"]

_BITS: Final = 6
_BLANK: Final = b"*"


def spellings(secret: str) -> frozenset[bytes]:
    """The forms in which a secret is looked for."""
    raw = secret.encode()
    texts = {secret, html.escape(secret), json.dumps(secret)[1:-1], quote(secret), raw.hex()}
    texts |= {json.dumps(secret)[1:-1].replace("/", "\\/"), quote(secret, safe="")}
    texts |= {quote_plus(secret), raw.hex().upper()}
    texts |= {_small_escapes(text) for text in tuple(texts) if "%" in text}
    return frozenset({text.encode() for text in texts} | set(_in_base64(raw)))


def _small_escapes(text: str) -> str:
    return re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), text)


def _in_base64(raw: bytes) -> Iterator[bytes]:
    """What is the same wherever the secret begins in a text that is encoded whole."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw)
        begin = -(-before * 8 // _BITS)
        end = (before + len(raw)) * 8 // _BITS
        yield encoded[begin:end]
        yield encoded[begin:end].replace(b"+", b"-").replace(b"/", b"_")


class Redactor:
    """Blanks secrets in bytes that come in pieces."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in spellings(secret)}
        # The longest first, since one may begin with another.
        self._forms = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile(b"|".join(map(re.escape, self._forms))) if forms else None
        self._kept = b""

    @property
    def looks(self) -> bool:
        """Whether there is anything to look for."""
        return self._pattern is not None

    def whole(self, data: bytes) -> bytes:
        """`data` without secrets, by itself."""
        if self._pattern is None:
            return data
        return self._pattern.sub(lambda match: _BLANK * len(match[0]), data)

    def feed(self, data: bytes) -> bytes:
        """The next piece without secrets; what may be the beginning of one is kept back."""
        if self._pattern is None:
            return data
        data = self.whole(self._kept + data)
        kept = self._beginning(data)
        self._kept = data[len(data) - kept :]
        return data[: len(data) - kept]

    def end(self) -> bytes:
        """What was kept back."""
        kept, self._kept = self._kept, b""
        return kept

    def _beginning(self, data: bytes) -> int:
        """How many bytes at the end may be the beginning of a secret."""
        longest = min(len(data), len(self._forms[0]) - 1)
        for size in range(longest, 0, -1):
            tail = data[-size:]
            if any(form.startswith(tail) for form in self._forms):
                return size
        return 0
