"""What became of a session's tools: told to its model at the next request.

Review never holds a session up. The session remembers which versions are its own, looks at the end
of the log as the loader does, and when people or the policy have decided it gets one note in its
conversation: that one can be called, or no longer can, and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from policies.decision import Channel
from policies.display import escape_text
from policies.marking import mark_text
from runtime.events import ReviewNoted
from runtime.review.item import MAX_REASON
from toolstore.errors import ToolStoreError
from toolstore.events import EventDetail, EventType
from toolstore.models import Event, Lifecycle, ToolRef
from toolstore.store import ToolStore

_HEAD: Final = "[toolkiln: news of tools that this session made; the user did not write this]"
_ENDINGS: Final = {
    EventType.REJECTED: "rejected",
    EventType.REVOKED: "revoked",
}
_LOSSES: Final = {
    EventType.SUSPENDED: (
        "cannot be called until a person has decided again: {by} sent it back to review{why}."
    ),
    EventType.CANARY_FAILED: "was tried by a share of the sessions, and was taken out{why}.",
    EventType.ROLLED_BACK: (
        "gave way to an earlier version, to which {by} went back{why}. "
        "Its name means that version now."
    ),
    EventType.DEPRECATED: "is deprecated by {by}{why}. Do without it.",
    EventType.ARCHIVED: "is archived by {by}{why}. It cannot be called any more.",
}
"""What took a version away that could be called; giving way to a newer one is no loss."""


class Inbox(Protocol):
    """News for one session."""

    def expect(self, waiting: Iterable[str], *, admitted: Iterable[str] = ()) -> None:
        """The session made these versions (`name@sha256:…`), some of which were let in at once."""
        ...

    async def news(self) -> ReviewNoted | None:
        """What happened since the last time; None where nothing did."""
        ...


class NoInbox:
    """For sessions without a store."""

    def expect(self, waiting: Iterable[str], *, admitted: Iterable[str] = ()) -> None:
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
    settled: bool = False
    callable: bool = False


class ReviewInbox:
    """Reads the log about a session's versions, whenever it has gone on."""

    def __init__(
        self,
        store: ToolStore,
        waiting: Mapping[str, str] | None = None,
        admitted: Mapping[str, str] | None = None,
        *,
        heard: int = 0,
    ) -> None:
        """The session made these (digest to name); it knows of events up to `heard`."""
        self._store = store
        self._waiting = dict(waiting or {})
        self._admitted = dict(admitted or {})
        self._heard = heard
        self._head = -1

    def expect(self, waiting: Iterable[str], *, admitted: Iterable[str] = ()) -> None:
        """The session made these versions (`name@sha256:…`), some of which were let in at once."""
        for kept, refs in ((self._waiting, waiting), (self._admitted, admitted)):
            for ref in map(ToolRef.parse, refs):
                if ref.digest is not None:
                    kept[ref.digest] = ref.name
                    self._head = -1

    async def news(self) -> ReviewNoted | None:
        """What happened since the last time, in one note; a store in trouble has no news now."""
        if not (self._waiting or self._admitted):
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
        settled = tuple(dict.fromkeys(each.digest for each in found if each.settled))
        for digest in settled:
            self._waiting.pop(digest, None)
            self._admitted.pop(digest, None)
        return ReviewNoted(
            text="\n".join([_HEAD, *(each.line for each in found)]),
            event=self._heard,
            settled=settled,
            made_tools=tuple(dict.fromkeys(each.name for each in found if each.callable)),
        )

    def _names(self) -> Sequence[str]:
        return tuple(dict.fromkeys([*self._waiting.values(), *self._admitted.values()]))

    async def _about(self, name: str) -> list[_News]:
        events = await self._store.events(name)
        numbers = {event.digest: _sequence(event) for event in events if event.from_state is None}
        return [
            told
            for digest in numbers
            if digest in self._waiting or digest in self._admitted
            for told in _story(
                [event for event in events if event.digest == digest],
                numbers[digest],
                admitted=digest in self._admitted,
            )
            if told.event > self._heard
        ]


def _sequence(born: Event) -> int | None:
    birth = EventDetail.model_validate_json(born.detail).birth
    return None if birth is None else birth.sequence


def _story(events: Iterable[Event], number: int | None, *, admitted: bool) -> Iterator[_News]:
    """What its session is told of one version, from its beginning.

    One that was let in at once was callable when the session heard of it first.
    """
    callable_ = admitted
    for event in events:
        ref = f"{event.name}@{number}" if number else event.name
        if event.type in _ENDINGS:
            yield _made(event, _ended(event, ref), settled=True)
        elif event.type == EventType.CHANGE_ASKED:
            yield _made(event, _asked(event, ref))
        elif event.to_state is Lifecycle.APPROVED:
            if not callable_:
                yield _made(event, _approved(event, ref), callable_=True)
            callable_ = True
        elif event.from_state is not event.to_state:
            if callable_ and event.type in _LOSSES:
                yield _made(event, _lost(event, ref))
            callable_ = callable_ and event.from_state in {None, Lifecycle.DRAFT}


def _made(event: Event, line: str, *, settled: bool = False, callable_: bool = False) -> _News:
    return _News(event.sequence, line, event.digest, event.name, settled, callable_)


def _approved(event: Event, ref: str) -> str:
    detail = EventDetail.model_validate_json(event.detail)
    approval = detail.approval
    by = f" by {_who(event)}" if approval else ""
    words = _quoted(approval.comment) if approval and approval.comment else ""
    if detail.place is not None and detail.place.channel is Channel.CANARY:
        reach = "A share of the sessions tries it first; call it if it is among your tools."
    else:
        reach = "You can call it now."
    return f"- {ref} is approved{by}{words}. {reach}"


def _ended(event: Event, ref: str) -> str:
    verb = "rejected" if event.type == EventType.REJECTED else "revoked"
    return (
        f"- {ref} was {verb} by {_who(event)}{_quoted(event.reason)}. It can never be called, and "
        "the same text is refused from now on; do without it, or define a tool that meets this."
    )


def _asked(event: Event, ref: str) -> str:
    return (
        f"- {_who(event)} asks for a change of {ref} before it can be approved"
        f"{_quoted(event.reason)}. "
        "Call define_tool again with the complete, changed tool under the same name."
    )


def _lost(event: Event, ref: str) -> str:
    words = _LOSSES[EventType(event.type)]
    return f"- {ref} " + words.format(by=_who(event), why=_quoted(event.reason))


def _who(event: Event) -> str:
    return escape_text(event.actor[:100], keep_newlines=False)


def _quoted(reason: str) -> str:
    shown = mark_text(" ".join(reason.split()), characters=MAX_REASON).plain
    return f', saying: "{shown}"'


def _order(news: _News) -> int:
    return news.event
