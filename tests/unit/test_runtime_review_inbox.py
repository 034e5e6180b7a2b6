"""News from review in a session: told once, at the next request, and resumed as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from factories import make_source, make_submission, needs_review
from looping import SimpleTool, call, calls, script

from policies.decision import Approval, Channel
from policies.value import JsonObject
from runtime.define_tool import DefineTool
from runtime.events import ReviewNoted, SessionEvent
from runtime.history import History
from runtime.messages import UserMessage
from runtime.models.base import ChatModel
from runtime.outcome import DefinitionOutcome
from runtime.profiles import read_profile
from runtime.review.inbox import Inbox, ReviewInbox
from runtime.sessions import Session
from runtime.tools import CallContext, ToolAnswer
from runtime.toolset import Toolset
from runtime.transcript import Transcript, read
from toolstore.events import EventType
from toolstore.models import Lifecycle, ToolVersion
from toolstore.store import ToolStore


class Defines(SimpleTool):
    """Answers as `define_tool` does for what a person must look at."""

    version: ToolVersion

    async def call(self, arguments: JsonObject, context: CallContext) -> ToolAnswer:
        ref = f"{self.version.name}@{self.version.digest}"
        if self.version.state is Lifecycle.APPROVED:
            return ToolAnswer("admitted", admitted_tools=(ref,))
        return ToolAnswer("waits", waiting_tools=(ref,))


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


def inbox_of(store: ToolStore, history: History) -> Inbox:
    return ReviewInbox(store, history.waiting, history.admitted, heard=history.heard)


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

    def inbox(history: History) -> Inbox:
        assert history.waiting == {version.digest: "double"}
        return inbox_of(store, history)

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
    assert (note.made_tools, note.settled) == (("double",), ())
    assert "double@1 is approved. You can call it now." in note.text
    assert await inbox.news() is None


async def test_a_session_is_told_when_its_tool_is_taken_away_and_given_back(
    store: ToolStore, tmp_path: Path
) -> None:
    version = await store.admit(make_submission(), actor="ada")
    model = script(calls(call("1", "make")), *["Well."] * 6)
    session = session_of(store, version, model, tmp_path)
    await session.send("make it")
    await session.send("and now?")
    assert notes(session) == []  # that it was let in is what the call said

    await store.lifecycle.suspend(
        version.digest, needs_review(), actor="policy", reason="the approval of bob \x1b[m ended"
    )
    await session.send("and now?")
    await session.close()
    again = Session.resume(
        tmp_path, session.id, model=model, toolset=Toolset(), inbox=lambda h: inbox_of(store, h)
    )
    await store.admit(make_submission(), actor="ada")
    await again.send("and now?")
    await store.revoke(version.digest, actor="bob", reason="it leaks")
    await again.send("and now?")
    await again.send("and now?")

    suspended, restored, revoked = notes(again)
    assert "double@1 cannot be called until a person has decided again: policy sent" in suspended
    assert 'saying: "the approval of bob \\x1b[m ended"' in suspended
    assert "double@1 is approved. You can call it now." in restored
    assert 'double@1 was revoked by bob, saying: "it leaks"' in revoked
    await again.close()
    history = History(read(tmp_path, session.id)[1])
    assert (history.admitted, history.messages) == ({}, list(again.messages))


async def test_a_newer_version_is_no_loss_but_going_back_to_an_older_one_is(
    store: ToolStore,
) -> None:
    first = await store.admit(make_submission(), actor="ada")
    code = "def double(number: int) -> int:\n    return number + number\n"
    inbox = ReviewInbox(store, admitted={first.digest: "double"})
    second = await store.admit(make_submission(code=code), actor="ada")
    inbox.expect((), admitted=[f"double@{second.digest}"])
    assert await inbox.news() is None

    await store.rollback("double", actor="bob", reason="it was right before")
    note = await inbox.news()

    assert note is not None
    gone, back = note.text.splitlines()[1:]
    assert gone.startswith("- double@2 gave way to an earlier version, to which bob went back")
    assert back == "- double@1 is approved. You can call it now."


async def test_a_tool_for_a_share_of_the_sessions_is_not_promised_to_this_one(
    store: ToolStore,
) -> None:
    await store.admit(make_submission(), actor="ada")
    code = "def double(number: int) -> int:\n    return number + number\n"
    second = await store.admit(make_submission(code=code, decision=needs_review()), actor="ada")
    inbox = ReviewInbox(store, {second.digest: "double"})
    yes = Approval(
        principal="bob", digest=second.digest, at=datetime.now(UTC), scope=Channel.CANARY
    )

    await store.approve(second.digest, yes, make_submission().decision, actor="bob")
    note = await inbox.news()

    assert note is not None
    assert "double@2 is approved by bob. A share of the sessions tries it first" in note.text


@pytest.mark.parametrize("admitted", [True, False])
async def test_what_a_call_defines_is_the_sessions_own(store: ToolStore, admitted: bool) -> None:
    decision = None if admitted else needs_review()
    version = await store.admit(make_submission(decision=decision), actor="ada")
    outcome = DefinitionOutcome(
        name="double",
        admitted=admitted,
        needs_review=not admitted,
        ref=str(version.ref),
        digest=version.digest,
    )

    async def define(*_: object, **__: object) -> DefinitionOutcome:
        return outcome

    source = make_source("double").model_dump(mode="json", include={"name", "description", "code"})
    answer = await DefineTool(define, read_profile("local")).call(
        {**source, "examples": [{"arguments": {"number": 1}, "returns": 2}]}, CallContext("1")
    )

    ref = (f"double@{version.digest}",)
    assert (answer.admitted_tools, answer.waiting_tools) == (
        (ref, ()) if admitted else ((), ref)
    ), answer.content
    inbox = ReviewInbox(store)
    inbox.expect(answer.waiting_tools, admitted=answer.admitted_tools)
    assert await inbox.news() is None
    await store.revoke(version.digest, actor="bob", reason="no")
    note = await inbox.news()
    assert note is not None
    assert "double@1 was revoked by bob" in note.text
