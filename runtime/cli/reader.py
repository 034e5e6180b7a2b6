"""Lines that a person types: edited and remembered on a terminal, plain elsewhere."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession


class LineReader(Protocol):
    """Where the next line comes from."""

    async def read(self, prompt: str) -> str | None:
        """The next line; None at the end of input. KeyboardInterrupt if the person gave it up."""
        ...


def open_reader(history: Path, words: Sequence[str]) -> LineReader:
    """The reader that fits standard input; `words` are completed at the start of a line."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        return EditingReader(history, words)
    return PlainReader()


class PlainReader:
    """Reads standard input line by line, and shows no prompt."""

    async def read(self, prompt: str) -> str | None:
        """The next line, without its end."""
        del prompt
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()

        def work() -> None:
            line = sys.stdin.readline()
            loop.call_soon_threadsafe(_settle, answer, line)

        # A daemon, because nothing can wake a blocked read when the program is to end.
        threading.Thread(target=work, daemon=True, name="standard input").start()
        line = await answer
        return line.rstrip("\r\n") if line else None


def _settle(answer: asyncio.Future[str], line: str) -> None:
    if not answer.done():
        answer.set_result(line)


class EditingReader:
    """Reads with line editing, completion and a history that is kept, for its owner alone."""

    def __init__(self, history: Path, words: Sequence[str]) -> None:
        """Keep what is typed in the file `history`."""
        from prompt_toolkit import PromptSession  # noqa: PLC0415 - only for a terminal
        from prompt_toolkit.completion import WordCompleter  # noqa: PLC0415 - same
        from prompt_toolkit.history import FileHistory  # noqa: PLC0415 - same

        _make_private(history)
        self._session: PromptSession[str] = PromptSession(
            history=FileHistory(str(history)),
            completer=WordCompleter(list(words), sentence=True),
            complete_while_typing=False,
        )

    async def read(self, prompt: str) -> str | None:
        """The next line, edited."""
        try:
            # asyncio's own handler would cancel the whole program instead of the line.
            return await self._session.prompt_async(prompt, handle_sigint=True)
        except EOFError:
            return None


def _make_private(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(handle, 0o600)
    finally:
        os.close(handle)
