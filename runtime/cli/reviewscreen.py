"""The review desk on a whole terminal: what is on the screen, and what can be done there.

The screen keeps what it shows as values (`ReviewItem`); a vote carries back exactly what was
shown. What takes time (coverage, the store) runs beside the keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer

from policies.display import escape_text
from policies.errors import PoliciesError
from runtime.cli.reviewdraft import Draft
from runtime.cli.reviewdrawing import (
    ITEM_HINTS,
    LIST_HINTS,
    packed,
    queue_rows,
    title_of_queue,
    words,
    wrap,
)
from runtime.cli.reviewlines import Line, Style
from runtime.cli.reviewtabs import TABS, lines_of
from runtime.errors import RuntimeFailure
from runtime.review.desk import ReviewDesk
from runtime.review.item import QueueLine, ReviewItem, Vote
from sandbox.errors import SandboxError
from toolstore.errors import ToolStoreError

EXPECTED: Final = (RuntimeFailure, PoliciesError, SandboxError, ToolStoreError)
"""What is said on the screen, and does not end it."""

_NAMES: Final = tuple(TABS)


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
    draft: Draft | None = None
    message: str = ""
    looked_at: set[str] = field(default_factory=set)
    buffer: Buffer = field(default_factory=lambda: Buffer(multiline=False))
    application: Application[None] | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _wrapped: tuple[object, list[Line]] = (None, [])

    # -- what runs beside the keys ---------------------------------------------------------------

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin something that takes time; what goes wrong with it is said on the screen."""
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

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
        self.tab, self.top, self.looked_at = 0, 0, {_NAMES[0]}
        self.redraw()
        measured = await self.desk.item(digest, reader=self.principal)
        if self._is_shown(measured):
            self.item = measured

    def _is_shown(self, item: ReviewItem) -> bool:
        """Whether the person still looks at it, unchanged."""
        return self.item is not None and self.item.shown == item.shown

    async def send(self, draft: Draft, item: ReviewItem, reason: str) -> None:
        """Hand in a vote on what is shown, and go on to the next version."""
        outcome = await self.desk.decide(
            item.shown,
            draft.vote,
            principal=self.principal,
            reason=reason,
            scope=draft.scope,
            expires_at=draft.expires_at,
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

    def say(self, text: str) -> None:
        """Something for the person."""
        self.message = escape_text(text, keep_newlines=False)
        self.redraw()

    def redraw(self) -> None:
        """Show what is the case."""
        if self.application is not None:
            self.application.invalidate()

    # -- what the keys do ------------------------------------------------------------------------

    def heed(self) -> None:
        """A key was pressed: what was said before is read."""
        self.message = ""

    def choose(self, step: int) -> None:
        """Go up or down in the queue."""
        self.chosen = max(0, min(self.chosen + step, len(self.lines) - 1))

    def open_chosen(self) -> None:
        """Open the version that is chosen."""
        if self.lines:
            self.do(self.open(self.lines[self.chosen].digest))

    def read_again(self) -> None:
        """Read the queue anew."""
        self.do(self.read_queue())

    def scroll(self, step: int) -> None:
        """Go up or down in a part."""
        last = max(0, len(self._reading()) - self.page())
        self.top = max(0, min(self.top + step, last))

    def turn(self, tab: int) -> None:
        """Show a part by its number, from 0."""
        self.tab, self.top = tab % len(_NAMES), 0
        self.looked_at.add(_NAMES[self.tab])

    def turn_by(self, step: int) -> None:
        """Show the part beside this one."""
        self.turn(self.tab + step)

    def begin(self, vote: Vote) -> None:
        """Begin to write a vote; nobody approves what they have not looked at."""
        if self.item is None:
            return
        if not self.item.waits:
            self.say(f"it is {self.item.state.value}; there is nothing to vote on")
            return
        if vote is Vote.APPROVE and not self.looked_at & {"diff", "source"}:
            self.say("look at the diff (2) or the source (3) before you approve it")
            return
        self.draft = Draft(vote)
        self.buffer.reset()
        if self.application is not None:
            self.application.layout.focus(self.buffer)

    def hand_in(self) -> None:
        """Send the vote."""
        if self.draft is not None and self.item is not None:
            self.do(self.send(self.draft, self.item, self.buffer.text))
        self.leave_vote()

    def leave_vote(self) -> None:
        """Write no vote any more."""
        self.draft = None
        if self.application is not None:
            self.application.layout.focus_last()

    def change_scope(self) -> None:
        """Another scope of a yes."""
        if self.draft is not None:
            self.draft.change_scope()

    def change_expiry(self) -> None:
        """Another expiry of a yes."""
        if self.draft is not None:
            self.draft.change_expiry()

    def go_on(self) -> None:
        """Open the version that waits behind this one."""
        if self.item is not None:
            self.do(self.next(self.item.digest))

    def go_back(self) -> None:
        """Back to the queue."""
        self.item = None
        self.do(self.read_queue())

    # -- what is drawn ---------------------------------------------------------------------------

    def size(self) -> tuple[int, int]:
        """Columns and rows of the terminal."""
        if self.application is None:
            return 80, 24
        size = self.application.output.get_size()
        return size.columns, size.rows

    def page(self) -> int:
        """How many rows there are for reading."""
        typing = len(self.question_rows()) + 1 if self.draft is not None else 0
        around = len(self.title_rows()) + len(self.message_rows()) + len(self.hint_rows())
        return max(1, self.size()[1] - around - typing)

    def title_rows(self) -> list[Line]:
        """What is shown, and the parts that there are of it."""
        width = self.size()[0]
        if self.item is None:
            return packed([title_of_queue(len(self.lines))], width)
        tabs = [
            (Style.CHOSEN if number == self.tab else Style.PLAIN, f"{number + 1} {name}")
            for number, name in enumerate(_NAMES)
        ]
        return packed([(Style.HEAD, self.item.ref.plain), *tabs], width)

    def body_rows(self) -> list[Line]:
        """The queue, or the part of a version that is shown."""
        if self.item is not None:
            return self._reading()[self.top : self.top + self.page()]
        return queue_rows(
            self.lines,
            self.chosen,
            now=datetime.now(UTC),
            width=self.size()[0],
            height=self.page(),
        )

    def question_rows(self) -> list[Line]:
        """What the person is asked for, while they write a vote."""
        if self.draft is None or self.item is None:
            return []
        return words(self.draft.question(self.item.ref.plain), self.size()[0])

    def message_rows(self) -> list[Line]:
        """What there is to say; nothing while a vote is written."""
        if self.draft is not None:
            return []
        rows = words(self.message, self.size()[0], Style.CARE)
        return rows[: max(1, self.size()[1] // 2)]

    def hint_rows(self) -> list[Line]:
        """Which keys there are."""
        hints = LIST_HINTS if self.item is None else ITEM_HINTS
        if self.draft is not None:
            hints = self.draft.hints
        return packed([(Style.PLAIN, hint) for hint in hints], self.size()[0])

    def _reading(self) -> list[Line]:
        """The lines of the part, wrapped to the width; made anew only where something changed."""
        item, width = self.item, self.size()[0]
        if item is None:
            return []
        key = (id(item), self.tab, width)
        if self._wrapped[0] != key:
            lines = lines_of(item, _NAMES[self.tab])
            self._wrapped = (key, [row for line in lines for row in wrap(line, width)])
        return self._wrapped[1]
