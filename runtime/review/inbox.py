"""What became of a session's tools in review: told to its model at the next request.

Review never holds a session up. The session remembers which of its versions wait, looks at the end
of the log as the loader does, and when people have decided it gets one note in its conversation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from policies.display import escape_text
from policies.marking import mark_text
from runtime.events import ReviewNoted
from toolstore.errors import ToolStoreError
from toolstore.events import EventDetail, EventType
from toolstore.models import Event, Lifecycle, ToolRef
from toolstore.store import ToolStore

_REASON_CHARACTERS: Final = 2_000
_HEAD: Final = "[toolkiln: news of tools that waited for review; the user did not write this]"
_APPROVALS: Final = frozenset({EventType.APPROVED, EventType.ADMITTED})
_REFUSALS: Final = frozenset({EventType.REJECTED, EventType.REVOKED})


class Inbox(Protocol):
    """News for one session."""

    def expect(self, refs: Iterable[str]) -> None:
        """These versions (`name@sha256:…`) wait for review, and the session is their author."""
        ...

    async def news(self) -> ReviewNoted | None:
        """What happened since the last time; None where nothing did."""
        ...


class NoInbox:
    """For sessions without a store."""

    def expect(self, refs: Iterable[str]) -> None:
        """Expect nothing."""

    async def news(self) -> ReviewNoted | None:
        """Nothing ever happens."""
        return None


@dataclass(frozen=True, slots=True)
class _News:
    event: int
    line: str
    digest: str
    name: str
    settled: bool
    callable: bool


class ReviewInbox:
    """Reads the log about versions that wait, whenever it has gone on."""

    def __init__(
        self, store: ToolStore, waiting: Mapping[str, str] | None = None, *, heard: int = 0
    ) -> None:
        """Wait for `waiting` (digest to name); the session knows of events up to `heard`."""
        self._store = store
        self._waiting = dict(waiting or {})
        self._heard = heard
        self._head = -1

    def expect(self, refs: Iterable[str]) -> None:
        """These versions (`name@sha256:…`) wait for review."""
        for ref in map(ToolRef.parse, refs):
            if ref.digest is not None:
                self._waiting[ref.digest] = ref.name
                self._head = -1

    async def news(self) -> ReviewNoted | None:
        """What happened since the last time, in one note; a store in trouble has no news now."""
        if not self._waiting:
            return None
        try:
            head = self._store.head()
            if head == self._head:
                return None
            found = [each for name in self._names() for each in await self._about(name)]
        except ToolStoreError:
            return None  # asked again at the next request
        self._head = head
        found.sort(key=_order)
        if not found:
            return None
        self._heard = found[-1].event
        for each in found:
            if each.settled:
                self._waiting.pop(each.digest, None)
        return ReviewNoted(
            text="\n".join([_HEAD, *(each.line for each in found)]),
            event=self._heard,
            settled=tuple(dict.fromkeys(each.digest for each in found if each.settled)),
            made_tools=tuple(dict.fromkeys(each.name for each in found if each.callable)),
        )

    def _names(self) -> Sequence[str]:
        return tuple(dict.fromkeys(self._waiting.values()))

    async def _about(self, name: str) -> list[_News]:
        events = await self._store.events(name)
        numbers = {event.digest: _sequence(event) for event in events if event.from_state is None}
        return [
            told
            for event in events
            if event.sequence > self._heard
            and event.digest in self._waiting
            and (told := _news(event, numbers.get(event.digest))) is not None
        ]


def _sequence(born: Event) -> int | None:
    birth = EventDetail.model_validate_json(born.detail).birth
    return None if birth is None else birth.sequence


def _news(event: Event, number: int | None) -> _News | None:
    """What a session is told of `event`; None for what does not change what it can do."""
    ref = f"{event.name}@{number}" if number else event.name
    who = escape_text(event.actor[:100], keep_newlines=False)
    if event.type in _APPROVALS and event.to_state is Lifecycle.APPROVED:
        approval = EventDetail.model_validate_json(event.detail).approval
        words = _quoted(approval.comment) if approval and approval.comment else ""
        line = f"- {ref} is approved{f' by {who}' if approval else ''}{words}. You can call it now."
        return _made(event, line, settled=True, callable_=True)
    if event.type in _REFUSALS:
        verb = "rejected" if event.type == EventType.REJECTED else "revoked"
        line = (
            f"- {ref} was {verb} by {who}{_quoted(event.reason)}. It can never be called, and the "
            "same text is refused from now on; do without it, or define a tool that meets this."
        )
        return _made(event, line, settled=True)
    if event.type == EventType.CHANGE_ASKED:
        line = (
            f"- {who} asks for a change of {ref} before it can be approved{_quoted(event.reason)}. "
            "Call define_tool again with the complete, changed tool under the same name."
        )
        return _made(event, line, settled=False)
    return None


def _made(event: Event, line: str, *, settled: bool, callable_: bool = False) -> _News:
    return _News(event.sequence, line, event.digest, event.name, settled, callable_)


def _quoted(reason: str) -> str:
    shown = mark_text(" ".join(reason.split()), characters=_REASON_CHARACTERS).plain
    return f', saying: "{shown}"'


def _order(news: _News) -> int:
    return news.event
