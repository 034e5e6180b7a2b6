"""News from review in a session: told once, at the next request, and resumed as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from factories import make_submission, needs_review
from looping import SimpleTool, call, calls, script

from policies.value import JsonObject
from runtime.events import ReviewNoted, SessionEvent
from runtime.history import History
from runtime.messages import UserMessage
from runtime.models.base import ChatModel
from runtime.review.inbox import Inbox, ReviewInbox
from runtime.sessions import Session
from runtime.tools import CallContext, ToolAnswer
from runtime.toolset import Toolset
from runtime.transcript import Transcript, read
from toolstore.events import EventType
from toolstore.models import ToolVersion
from toolstore.store import ToolStore


class Defines(SimpleTool):
    """Answers as `define_tool` does for what a person must look at."""

    version: ToolVersion

    async def call(self, arguments: JsonObject, context: CallContext) -> ToolAnswer:
        return ToolAnswer("waits", waiting_tools=(f"{self.version.name}@{self.version.digest}",))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ToolStore]:
    async with await ToolStore.open(tmp_path / "store") as opened:
        yield opened


async def quarantined(store: ToolStore, name: str = "double") -> ToolVersion:
    return await store.admit(make_submission(name=name, decision=needs_review()), actor="ada")


def session_of(
    store: ToolStore,
    version: ToolVersion,
    model: ChatModel,
    folder: Path,
    shown: list[SessionEvent] | None = None,
) -> Session:
    tool = Defines("make")
    tool.version = version
    return Session(
        model=model,
        toolset=Toolset(host_tools=[tool]),
        transcript=Transcript.create(folder, model="scripted"),
        inbox=ReviewInbox(store),
        on_event=(shown if shown is not None else []).append,
    )


def notes(session: Session) -> list[str]:
    return [
        message.text
        for message in session.messages
        if isinstance(message, UserMessage) and message.text.startswith("[toolkiln")
    ]


async def test_a_session_goes_on_and_is_told_at_its_next_request(
    store: ToolStore, tmp_path: Path
) -> None:
    version, shown = await quarantined(store), list[SessionEvent]()
    model = script(calls(call("1", "make")), "It waits.", "I see.", "Fine.")
    session = session_of(store, version, model, tmp_path, shown)

    assert (await session.send("make it")).text == "It waits."
    assert notes(session) == []
    await store.reject(version.digest, actor="bob", reason="doubles too \x1b[31m much")
    assert (await session.send("and now?")).text == "I see."

    (note,) = notes(session)
    assert 'double@1 was rejected by bob, saying: "doubles too \\x1b[31m much"' in note
    assert isinstance(session.messages[-2], UserMessage)
    assert sum(isinstance(event, ReviewNoted) for event in shown) == 1
    await session.send("again")
    assert len(notes(session)) == 1


async def test_a_wish_is_told_and_the_version_goes_on_being_watched(
    store: ToolStore, tmp_path: Path
) -> None:
    version = await quarantined(store)
    model = script(calls(call("1", "make")), "It waits.", "I see.", "Oh.")
    session = session_of(store, version, model, tmp_path)
    await session.send("make it")

    await store.ask_change(version.digest, actor="bob", reason="name the unit")
    await session.send("and now?")
    await store.reject(version.digest, actor="bob", reason="too late")
    await session.send("and now?")

    asked, rejected = notes(session)
    assert "bob asks for a change of double@1" in asked
    assert "name the unit" in asked
    assert "define_tool again" in asked
    assert "too late" in rejected


async def test_news_of_another_session_are_not_told(store: ToolStore, tmp_path: Path) -> None:
    mine, other = await quarantined(store), await quarantined(store, "triple")
    session = session_of(store, mine, script(calls(call("1", "make")), "a", "b"), tmp_path)
    await session.send("make it")

    await store.reject(other.digest, actor="bob", reason="no")
    await session.send("and now?")

    assert notes(session) == []


async def test_a_resumed_session_is_told_what_it_was_not_told_and_nothing_twice(
    store: ToolStore, tmp_path: Path
) -> None:
    version = await quarantined(store)
    model = script(calls(call("1", "make")), "It waits.", "I see.", "Yes.", "Done.")
    session = session_of(store, version, model, tmp_path)
    await session.send("make it")
    await store.ask_change(version.digest, actor="bob", reason="name the unit")
    await session.send("and now?")
    before = session.messages
    await session.close()

    def inbox(waiting: Mapping[str, str], heard: int) -> Inbox:
        assert waiting == {version.digest: "double"}
        return ReviewInbox(store, waiting, heard=heard)

    def resumed() -> Session:
        return Session.resume(tmp_path, session.id, model=model, toolset=Toolset(), inbox=inbox)

    again = resumed()
    assert again.messages == before
    await again.send("hello")
    assert len(notes(again)) == 1
    await again.close()
    await store.reject(version.digest, actor="bob", reason="no")
    last = resumed()
    await last.send("hello again")
    assert [("asks" in note, "rejected" in note) for note in notes(last)] == [
        (True, False),
        (False, True),
    ]
    await last.close()
    history = History(read(tmp_path, session.id)[1])
    assert (history.waiting, history.messages) == ({}, list(last.messages))
    assert history.heard == (await store.events())[-1].sequence
    assert (await store.events())[-1].type == EventType.REJECTED


async def test_an_approved_tool_is_named_as_made(store: ToolStore) -> None:
    version = await quarantined(store)
    inbox = ReviewInbox(store)
    inbox.expect([f"double@{version.digest}"])
    assert await inbox.news() is None
    await store.admit(make_submission(), actor="ada")

    note = await inbox.news()

    assert note is not None
    assert (note.made_tools, note.settled) == (("double",), (version.digest,))
    assert "double@1 is approved. You can call it now." in note.text
    assert await inbox.news() is None
