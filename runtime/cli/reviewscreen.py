"""The review desk on a whole terminal: a queue, and one version at a time, by keyboard.

The screen keeps what it shows as values (`ReviewItem`); a vote carries back exactly what was
shown. What takes time (coverage, the store) runs beside the keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent
from prompt_toolkit.layout import Layout
from prompt_toolkit.layout.containers import (
    ConditionalContainer,
    HSplit,
    VSplit,
    Window,
)
from prompt_toolkit.layout.controls import BufferControl, FormattedTextControl
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style as ScreenStyle
from prompt_toolkit.utils import get_cwidth

from policies.decision import Channel
from policies.display import escape_text
from policies.errors import PoliciesError
from runtime.cli.reviewtabs import Line, Style, queue_row, tabs_of
from runtime.errors import RuntimeFailure
from runtime.review.desk import ReviewDesk
from runtime.review.item import QueueLine, ReviewItem, Vote
from sandbox.errors import SandboxError
from toolstore.errors import ToolStoreError

EXPECTED: Final = (RuntimeFailure, PoliciesError, SandboxError, ToolStoreError)
"""What is said on the screen, and does not end it."""

TAB_STOPS: Final = 4
_EXPIRIES: Final = (None, 7, 30, 90, 365)
"""Days that a yes may count; None is for good."""

_SCOPES: Final = (Channel.STABLE, Channel.CANARY, Channel.SESSION)
_AROUND: Final = 4
"""Lines of the screen that are not for reading."""

_COLOURS: Final = ScreenStyle.from_dict(
    {
        "head": "bold",
        "faint": "ansibrightblack",
        "good": "ansigreen",
        "bad": "ansired",
        "care": "ansiyellow",
        "name": "ansicyan",
        "odd": "reverse ansired",
        "bar": "reverse",
        "chosen": "reverse",
    }
)
_LIST_KEYS: Final = " ↑↓ choose  Enter open  r read again  q quit"
_ITEM_KEYS: Final = " Tab/1-6 part  ↑↓ PgUp PgDn scroll  a approve  x reject  c ask  n next  b back"
_VOTE_WORDS: Final = {
    Vote.APPROVE: "approve {ref}; a comment if you like: ",
    Vote.REJECT: "reject {ref} for good; why: ",
    Vote.ASK: "ask the author of {ref} to change: ",
}


@dataclass(slots=True)
class _Ballot:
    """A vote that is being written."""

    vote: Vote
    scope: int = 0
    expiry: int = 0

    @property
    def expires_at(self) -> datetime | None:
        """When a yes stops to count."""
        days = _EXPIRIES[self.expiry]
        return None if days is None else datetime.now(UTC) + timedelta(days=days)

    @property
    def terms(self) -> str:
        """How far and how long, with the keys that change it."""
        if self.vote is not Vote.APPROVE:
            return " Enter send  Esc leave it"
        days = _EXPIRIES[self.expiry]
        until = "for good" if days is None else f"for {days} days"
        scope = _SCOPES[self.scope].value
        return f" Enter approve  Esc leave it  Ctrl-S scope: {scope}  Ctrl-E counts {until}"


@dataclass(slots=True)
class ReviewScreen:
    """What is on the screen, and what the keys do to it."""

    desk: ReviewDesk
    principal: str
    lines: tuple[QueueLine, ...] = ()
    chosen: int = 0
    item: ReviewItem | None = None
    tab: int = 0
    top: int = 0
    ballot: _Ballot | None = None
    message: str = ""
    looked_at: set[str] = field(default_factory=set)
    buffer: Buffer = field(default_factory=lambda: Buffer(multiline=False))
    _application: Application[None] | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _wrapped: tuple[object, list[Line]] = (None, [])

    async def run(self, *, colour: bool = True) -> None:
        """Show the queue until the person leaves."""
        self._application = self._assemble(colour=colour)
        self.do(self.read_queue())
        try:
            await self._application.run_async()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _assemble(self, *, colour: bool) -> Application[None]:
        """The screen's parts and keys."""
        voting = Condition(lambda: self.ballot is not None)
        body = Window(FormattedTextControl(self._body, focusable=True), wrap_lines=False)
        prompt = VSplit(
            [
                Window(FormattedTextControl(self._question), dont_extend_width=True),
                Window(BufferControl(self.buffer)),
            ],
            height=1,
        )
        bottom = HSplit(
            [
                ConditionalContainer(prompt, voting),
                ConditionalContainer(
                    Window(FormattedTextControl(lambda: [("class:care", self.message)]), height=1),
                    ~voting,
                ),
                Window(FormattedTextControl(self._keys), height=1, style="class:bar"),
            ]
        )
        top = Window(FormattedTextControl(self._title), height=1, style="class:bar")
        return Application(
            layout=Layout(HSplit([top, body, bottom]), focused_element=body),
            key_bindings=self._bindings(voting),
            style=_COLOURS,
            full_screen=True,
            color_depth=None if colour else ColorDepth.DEPTH_1_BIT,
        )

    # -- what runs beside the keys ---------------------------------------------------------------

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin something that takes time; what goes wrong with it is said on the screen."""
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except EXPECTED as error:
            self.say(str(error))
        self.redraw()

    async def read_queue(self) -> None:
        """Read again what waits."""
        self.lines = await self.desk.queue(reader=self.principal)
        self.chosen = min(self.chosen, max(0, len(self.lines) - 1))

    async def open(self, digest: str) -> None:
        """Show one version; its coverage comes when it was measured."""
        self.item = await self.desk.item(digest, measured=False, reader=self.principal)
        self.tab, self.top, self.looked_at = 0, 0, {"summary"}
        self.redraw()
        measured = await self.desk.item(digest, reader=self.principal)
        if self._is_shown(measured):
            self.item = measured

    def _is_shown(self, item: ReviewItem) -> bool:
        """Whether the person still looks at it, unchanged."""
        return self.item is not None and self.item.shown == item.shown

    async def send(self, ballot: _Ballot, item: ReviewItem, words: str) -> None:
        """Hand in a vote on what is shown, and go on to the next version."""
        outcome = await self.desk.decide(
            item.shown,
            ballot.vote,
            principal=self.principal,
            reason=words,
            scope=_SCOPES[ballot.scope],
            expires_at=ballot.expires_at,
        )
        await self.read_queue()
        await self.next(after=item.digest)
        self.say(outcome.words.plain)

    async def next(self, after: str) -> None:
        """Open the version that waits behind this one; the queue where there is none."""
        digests = [line.digest for line in self.lines]
        if after in digests:
            left = digests[digests.index(after) + 1 :]
            self.chosen = min(digests.index(after) + 1, max(0, len(digests) - 1))
        else:
            left = digests[self.chosen :] or digests
        self.item = None
        if left:
            self.chosen = digests.index(left[0])
            self.do(self.open(left[0]))

    def say(self, words: str) -> None:
        """A line for the person."""
        self.message = escape_text(words, keep_newlines=False)
        self.redraw()

    def redraw(self) -> None:
        """Show what is the case."""
        if self._application is not None:
            self._application.invalidate()

    # -- keys ------------------------------------------------------------------------------------

    def _bindings(self, voting: Condition) -> KeyBindings:
        keys = KeyBindings()
        reading = Condition(lambda: self.item is not None and self.ballot is None)
        choosing = Condition(lambda: self.item is None)

        def bind(names: Sequence[str], when: Condition, act: Callable[[], None]) -> None:
            def pressed(_event: KeyPressEvent) -> None:
                self.message = ""
                act()

            for name in names:
                keys.add(name, filter=when, eager=True)(pressed)

        bind(["down", "j"], choosing, lambda: self._choose(+1))
        bind(["up", "k"], choosing, lambda: self._choose(-1))
        bind(["enter", "right"], choosing, self._open_chosen)
        bind(["r"], choosing, lambda: self.do(self.read_queue()))
        bind(["down", "j"], reading, lambda: self._scroll(+1))
        bind(["up", "k"], reading, lambda: self._scroll(-1))
        bind(["pagedown", "space"], reading, lambda: self._scroll(self._height()))
        bind(["pageup"], reading, lambda: self._scroll(-self._height()))
        bind(["home"], reading, lambda: self._scroll(-(10**9)))
        bind(["end"], reading, lambda: self._scroll(10**9))
        bind(["tab", "right", "l"], reading, lambda: self._turn(self.tab + 1))
        bind(["s-tab", "left", "h"], reading, lambda: self._turn(self.tab - 1))
        for number in range(6):
            bind([str(number + 1)], reading, lambda number=number: self._turn(number))  # type: ignore[misc]  # the number of this turn
        bind(["a"], reading, lambda: self._vote(Vote.APPROVE))
        bind(["x"], reading, lambda: self._vote(Vote.REJECT))
        bind(["c"], reading, lambda: self._vote(Vote.ASK))
        bind(["n"], reading, self._next)
        bind(["b", "escape"], reading, self._back)
        bind(["enter"], voting, self._send)
        bind(["escape"], voting, self._leave_vote)
        bind(["c-s"], voting, lambda: self._change_terms(scope=True))
        bind(["c-e"], voting, lambda: self._change_terms(scope=False))
        keys.add("q", filter=~voting)(_quit)
        keys.add("c-c")(_quit)
        keys.add("c-d", filter=~voting)(_quit)
        return keys

    def _choose(self, step: int) -> None:
        self.chosen = max(0, min(self.chosen + step, len(self.lines) - 1))

    def _open_chosen(self) -> None:
        if self.lines:
            self.do(self.open(self.lines[self.chosen].digest))

    def _scroll(self, step: int) -> None:
        last = max(0, len(self._reading()) - self._height())
        self.top = max(0, min(self.top + step, last))

    def _turn(self, tab: int) -> None:
        if self.item is not None:
            names = list(tabs_of(self.item))
            self.tab, self.top = tab % len(names), 0
            self.looked_at.add(names[self.tab])

    def _vote(self, vote: Vote) -> None:
        if self.item is None:
            return
        if not self.item.waits:
            self.say(f"it is {self.item.state.value}; there is nothing to vote on")
            return
        if vote is Vote.APPROVE and not self.looked_at & {"diff", "source"}:
            self.say("look at the diff (2) or the source (3) before you approve it")
            return
        self.ballot = _Ballot(vote)
        self.buffer.reset()
        if self._application is not None:
            self._application.layout.focus(self.buffer)

    def _send(self) -> None:
        if self.ballot is not None and self.item is not None:
            self.do(self.send(self.ballot, self.item, self.buffer.text))
        self._leave_vote()

    def _leave_vote(self) -> None:
        self.ballot = None
        if self._application is not None:
            self._application.layout.focus_last()

    def _change_terms(self, *, scope: bool) -> None:
        if self.ballot is None or self.ballot.vote is not Vote.APPROVE:
            return
        if scope:
            self.ballot.scope = (self.ballot.scope + 1) % len(_SCOPES)
        else:
            self.ballot.expiry = (self.ballot.expiry + 1) % len(_EXPIRIES)

    def _next(self) -> None:
        if self.item is not None:
            self.do(self.next(self.item.digest))

    def _back(self) -> None:
        self.item = None
        self.do(self.read_queue())

    # -- what is drawn ---------------------------------------------------------------------------

    def _size(self) -> tuple[int, int]:
        if self._application is None:
            return 80, 24
        size = self._application.output.get_size()
        return size.columns, size.rows

    def _height(self) -> int:
        return max(1, self._size()[1] - _AROUND + 1)

    def _title(self) -> StyleAndTextTuples:
        if self.item is None:
            count = len(self.lines)
            return [("", f" {count} wait{'s' if count == 1 else ''} for review ")]
        parts: StyleAndTextTuples = [("", f" {self.item.ref.plain} ")]
        for number, name in enumerate(tabs_of(self.item)):
            style = "class:head noreverse" if number == self.tab else ""
            parts.append((style, f" {number + 1} {name} "))
        return parts

    def _keys(self) -> str:
        if self.ballot is not None:
            return self.ballot.terms
        return _LIST_KEYS if self.item is None else _ITEM_KEYS

    def _question(self) -> str:
        if self.ballot is None or self.item is None:
            return ""
        return _VOTE_WORDS[self.ballot.vote].format(ref=self.item.ref.plain)

    def _body(self) -> StyleAndTextTuples:
        return _drawn(self._queue() if self.item is None else self._page())

    def _queue(self) -> list[Line]:
        if not self.lines:
            return [[(Style.FAINT, " nothing waits for review")]]
        now = datetime.now(UTC)
        height = self._height()
        first = max(0, min(self.chosen - height // 2, len(self.lines) - height))
        width = self._size()[0]
        rows: list[Line] = []
        for number, line in enumerate(self.lines[first : first + height], first):
            sign = (Style.HEAD, "> ") if number == self.chosen else (Style.PLAIN, "  ")
            rows.append(wrap([sign, *queue_row(line, now)], width)[0])
        return rows

    def _page(self) -> list[Line]:
        lines = self._reading()
        return lines[self.top : self.top + self._height()]

    def _reading(self) -> list[Line]:
        """The lines of the tab, wrapped to the width; made anew only where something changed."""
        item, width = self.item, self._size()[0]
        if item is None:
            return []
        key = (id(item), self.tab, width)
        if self._wrapped[0] != key:
            make = list(tabs_of(item).values())[self.tab]
            self._wrapped = (key, [row for line in make() for row in wrap(line, width)])
        return self._wrapped[1]


def wrap(line: Line, width: int) -> list[Line]:
    """`line` in rows of at most `width` columns: whole, for nothing may hide at the end of one."""
    rows: list[Line] = [[]]
    used = 0
    for style, text in line:
        piece = ""
        for character in text.replace("\t", " " * TAB_STOPS):
            cells = get_cwidth(character)
            if used + cells > width:
                rows[-1].append((style, piece))
                rows.append([])
                piece, used = "", 0
            piece += character
            used += cells
        if piece:
            rows[-1].append((style, piece))
    return rows


def _drawn(rows: Sequence[Line]) -> StyleAndTextTuples:
    drawn: StyleAndTextTuples = []
    for row in rows:
        drawn += [(f"class:{style.value}" if style else "", text) for style, text in row]
        drawn.append(("", "\n"))
    return drawn[:-1]


def _quit(event: KeyPressEvent) -> None:
    event.app.exit()
