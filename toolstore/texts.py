"""What text the store keeps: one rule, whatever its database could keep.

PostgreSQL has no NUL, half a character has no bytes, and what an index holds has a greatest
length. Left alone, each database says so in its own way and at its own time, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Dialect, Text
from sqlalchemy.exc import StatementError
from sqlalchemy.types import TypeDecorator

from policies.display import escape_text
from toolstore.errors import TextError

KEY_BYTES: Final = 800
"""Of a text in an index: three of them are as much as one entry on PostgreSQL takes."""

_SHOWN: Final = 40
_WIDEST: Final = 4
"""Bytes of one character."""


class KeptText(TypeDecorator[str]):
    """Text; what cannot be kept everywhere is refused before it is sent."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Refuse it, or leave it as it is."""
        del dialect
        if value is not None:
            check(value)
        return value


class KeyText(KeptText):
    """Text that an index holds."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Refuse it, or leave it as it is."""
        value = super().process_bind_param(value, dialect)
        if value is not None and len(value) * _WIDEST > KEY_BYTES:
            size_bytes = len(value.encode())
            if size_bytes > KEY_BYTES:
                raise TextError(
                    f"{_shown(value)} has {size_bytes} bytes, and names of anything have at most "
                    f"{KEY_BYTES}; give a shorter one"
                )
        return value


def check(text: str) -> None:
    """Refuse what no store keeps.

    Raises:
        TextError: it holds a NUL, or half a character.
    """
    nul = text.find("\0")
    if nul >= 0:
        raise TextError(_problem(text, nul))
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TextError(_problem(text, error.start)) from None


@contextmanager
def translated_errors() -> Iterator[None]:
    """Let what is refused be heard as that, wherever the bytes of a text were wanted.

    Raises:
        TextError: a text cannot be kept.
    """
    try:
        yield
    except UnicodeEncodeError as error:
        raise TextError(_problem(error.object, error.start)) from error
    except StatementError as error:
        if isinstance(error.orig, TextError):
            raise error.orig from None
        raise


def _problem(text: str, index: int) -> str:
    what = "a NUL character" if text[index] == "\0" else "half of a surrogate pair"
    around = text[max(0, index - _SHOWN // 2) :]
    return (
        f"{_shown(around)} holds {what} ({escape_text(text[index])}), which no store keeps; "
        "leave it out"
    )


def _shown(text: str) -> str:
    cut = text[:_SHOWN] + ("…" if len(text) > _SHOWN else "")
    return f'the text "{escape_text(cut, keep_newlines=False)}"'
