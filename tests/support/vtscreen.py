"""What stands on the screen of a terminal, after everything that was written to it.

As much of ECMA-48 as full-screen programs here use: moving, erasing, printing.
"""

from __future__ import annotations

import re
import time

import pytest
from terminal import PATIENCE_SECONDS, Terminal

_TOKEN = re.compile(r"\x1b\[(?P<args>[0-9;?]*)(?P<final>[A-Za-z])|\x1b.|(?P<char>.)", re.DOTALL)


class FullScreen:
    """The near end of a terminal that a program draws all over."""

    def __init__(self, terminal: Terminal, *, rows: int, columns: int) -> None:
        self.terminal = terminal
        self._rows, self._columns = rows, columns
        self._read = 0
        self._cells = [[" "] * columns for _ in range(rows)]
        self._row = self._column = 0

    @property
    def text(self) -> str:
        """What is seen now, row by row."""
        return "\n".join("".join(row).rstrip() for row in self._cells)

    def type(self, keys: str) -> None:
        """Press keys."""
        self.terminal.type(keys)

    def resize(self, *, rows: int, columns: int) -> None:
        """Make it another size; the program is told by a signal, and draws all of it anew."""
        self._take()
        self._rows, self._columns = rows, columns
        self._cells = [[" "] * columns for _ in range(rows)]
        self.terminal.resize(rows, columns)

    def wait_for(self, words: str) -> None:
        """Go on when `words` stand on the screen."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            self._take()
            if words in self.text:
                return
            if time.monotonic() > deadline or not self.terminal._read():
                pytest.fail(f"{words!r} is not on the screen:\n{self.text}", pytrace=False)

    def _take(self) -> None:
        """Draw what came since; half a sequence waits for its other half."""
        whole = self.terminal.raw.decode(errors="ignore")
        new = whole[self._read :]
        tail = re.search(r"\x1b(\[[0-9;?]*)?$", new)
        new = new[: tail.start()] if tail else new
        self._read += len(new)
        for token in _TOKEN.finditer(new):
            if token["char"] is not None:
                self._print(token["char"])
            elif token["final"] is not None:
                self._control(token["args"], token["final"])

    def _print(self, character: str) -> None:
        match character:
            case "\r":
                self._column = 0
            case "\n":
                self._row = min(self._row + 1, self._rows - 1)
            case "\b":
                self._column = max(0, self._column - 1)
            case _ if character >= " ":
                if self._column < self._columns:
                    self._cells[self._row][self._column] = character
                self._column = min(self._column + 1, self._columns)
            case _:
                pass

    def _control(self, arguments: str, final: str) -> None:
        numbers = [int(n) for n in arguments.split(";") if n.isdigit()]
        first = numbers[0] if numbers else 1
        match final:
            case "A":
                self._row = max(0, self._row - first)
            case "B":
                self._row = min(self._rows - 1, self._row + first)
            case "C":
                self._column = min(self._columns - 1, self._column + first)
            case "D":
                self._column = max(0, self._column - first)
            case "H":
                self._row = first - 1
                self._column = numbers[1] - 1 if len(numbers) > 1 else 0
            case "K":
                self._blank(self._row, self._column)
            case "J":
                whole = numbers == [2]
                self._blank(0 if whole else self._row, 0 if whole else self._column)
                for row in range(0 if whole else self._row + 1, self._rows):
                    self._blank(row, 0)
            case _:
                pass

    def _blank(self, row: int, start: int) -> None:
        for column in range(start, self._columns):
            self._cells[row][column] = " "
