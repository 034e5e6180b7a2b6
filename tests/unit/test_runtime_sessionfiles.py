"""Files of a session: attached ones stay, made ones make room, and a resumed session has them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from toolmaking import asks, says

from policies.config import FileSettings
from policies.value import JsonObject
from runtime.artefacts import ArtefactStore
from runtime.calls import MAX_RESULT_CHARACTERS
from runtime.errors import UsageError
from runtime.messages import ToolSpec, UserMessage
from runtime.models.scripted import ScriptedModel
from runtime.sessionfiles import SessionFiles
from runtime.sessions import Session
from runtime.tools import CallContext, ToolAnswer
from runtime.toolset import Toolset
from runtime.transcript import Transcript
from sandbox.artefacts import Artefact
from sandbox.files import FilesRefusedError

SETTINGS = FileSettings(input=True, input_bytes=10)


def made(name: str, text: str) -> list[Artefact]:
    return [Artefact.of(name, text.encode())]


def test_the_latest_of_a_name_is_given() -> None:
    files = SessionFiles(SETTINGS)
    files.attach({"a": b"1", "b": b"2"})
    files.add(made("a", "3"))
    assert files.current() == {"a": b"3", "b": b"2"}
    files.attach({"a": b"4"})
    assert files.current() == {"a": b"4", "b": b"2"}


def test_what_calls_left_makes_room_the_oldest_first() -> None:
    files = SessionFiles(SETTINGS)
    files.attach({"own": b"1234"})
    files.add(made("first", "12"))
    files.add(made("second", "34"))
    files.add(made("first", "56"))
    files.add(made("third", "789"))

    assert files.current() == {"own": b"1234", "first": b"56", "third": b"789"}
    files.add(made("huge", "1" * 11))
    assert files.current() == {"own": b"1234"}


@pytest.mark.parametrize(
    ("settings", "files", "says_so"),
    [
        (SETTINGS, {"a": b"1" * 11}, "11 bytes, where the policy allows 10"),
        (SETTINGS, {"../a": b""}, "no plain file name"),
        (FileSettings(), {"a": b""}, "grants no tool to read files"),
    ],
)
def test_what_no_call_could_be_given_is_not_attached(
    settings: FileSettings, files: dict[str, bytes], says_so: str
) -> None:
    held = SessionFiles(settings)

    with pytest.raises(FilesRefusedError) as caught:
        held.attach(files)
    assert says_so in str(caught.value)
    assert not held.current()
    assert not held.announcement()


class Maker:
    """A tool that leaves a file and says what it was given."""

    spec = ToolSpec(name="make", description="Makes.", parameters={"type": "object"})

    def __init__(self, store: ArtefactStore, words: int = 1) -> None:
        self._store = store
        self._words = words

    async def call(self, arguments: JsonObject, context: CallContext) -> ToolAnswer:
        del arguments
        files = made("made.txt", "made")
        self._store.keep(files, tool="make@1")
        given = ",".join(f"{name}={data.decode()}" for name, data in context.files.items())
        return ToolAnswer(f"given: {given}" * self._words, made_files=tuple(files))


async def test_a_session_tells_of_files_and_gives_them_again_when_resumed(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path / "artefacts")
    model = ScriptedModel.of([asks("make", {}), says("one"), asks("make", {}, "call_2"), says("2")])

    def toolset() -> Toolset:
        return Toolset(host_tools=[Maker(store, MAX_RESULT_CHARACTERS)])

    session = Session(
        model=model,
        toolset=toolset(),
        transcript=Transcript.create(tmp_path, model=model.name),
        files=SETTINGS,
    )
    session.attach({"own.txt": b"own"})
    with pytest.raises(UsageError, match="nothing was attached"):
        session.attach({"big.txt": b"1" * 11})
    await session.send("go")
    await session.send("and on")
    prompts = [m.text for m in session.messages if isinstance(m, UserMessage)]
    await session.close()
    assert prompts[0].startswith("go\n\nAttached files;")
    assert "own.txt (text/plain, 3 bytes" in prompts[0]
    assert prompts[1] == "and on"

    again = Session.resume(
        tmp_path, session.id, model=model, toolset=toolset(), files=SETTINGS, artefacts=store
    )
    assert [m.text for m in again.messages if isinstance(m, UserMessage)] == prompts
    assert again._agent.files.current() == {"made.txt": b"made"}
    await again.close()
    store.prune(datetime.now(UTC))
    without = Session.resume(
        tmp_path, session.id, model=model, toolset=toolset(), files=SETTINGS, artefacts=store
    )
    assert not without._agent.files.current()
    await without.close()
