"""Cedar files as text: where each rule stands, and what is wrong with one, by line.

The language's library says what is wrong and not where, so the text is cut into its rules here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"|;|[^;"/]+|.', re.DOTALL)
_QUOTED = re.compile(r"`([^`]+)`|: (\w+)$")


@dataclass(frozen=True, slots=True)
class Statement:
    """One rule as it stands in its file."""

    file: str
    line: int
    """Where it begins, from 1, comments before it left aside."""

    text: str
    """With the semicolon, without comments before it."""

    @property
    def where(self) -> str:
        """`team.cedar, line 12`."""
        return f"{self.file}, line {self.line}"

    def line_of(self, problem: str) -> int:
        """The line that `problem`, in the library's words, is most likely about."""
        for quoted in words_in(problem):
            at = self.text.find(quoted)
            if at >= 0:
                return self.line + self.text.count("\n", 0, at)
        if "end of input" in problem:
            return self.line + self.text.rstrip().count("\n")
        return self.line


def words_in(problem: str) -> list[str]:
    """The words of a rule that the library quotes in a problem, or names at its end."""
    return [quoted or last for quoted, last in _QUOTED.findall(problem)]


def statements(file: str, text: str) -> Iterator[Statement]:
    """The rules of one file in their order; a rest without a semicolon is one as well."""
    start, code = 0, False
    for token in _TOKEN.finditer(text):
        piece = token[0]
        if not code:
            blank = piece.startswith("//") or not piece.strip()
            start = token.end() if blank else token.start() + _leading(piece)
            code = not blank
        if code and piece == ";":
            yield _statement(file, text, start, token.end())
            start, code = token.end(), False
    if code:
        yield _statement(file, text, start, len(text))


def _statement(file: str, text: str, start: int, end: int) -> Statement:
    return Statement(file=file, line=text.count("\n", 0, start) + 1, text=text[start:end])


def _leading(piece: str) -> int:
    return len(piece) - len(piece.lstrip())
