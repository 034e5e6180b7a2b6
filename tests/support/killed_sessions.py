"""Runs one session again and again, each time killed by SIGKILL at another write.

`python killed_sessions.py FOLDER` leaves FOLDER/<write>-<before|half|after>/ for each, with the
transcript and a file `effects` that has a line for each call that really ran.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from looping import Script, SimpleTool, call, calls, script

from policies.value import JsonObject
from runtime import transcript
from runtime.sessions import Session
from runtime.tools import ToolAnswer
from runtime.toolset import Toolset

MOMENTS = ("before", "half", "after")


def make_script() -> Script:
    return script(
        calls(call("1", "note", '{"n": 1}'), call("2", "note", '{"n": 2}')),
        calls(call("3", "note", '{"n": 3}'), call("2", "note", '{"n": 4}')),
        "done",
        "resumed",
    )


def make_toolset(folder: Path) -> Toolset:
    def note(arguments: JsonObject) -> ToolAnswer:
        with (folder / "effects").open("a", encoding="utf-8") as file:
            file.write(f"{arguments['n']}\n")
        return ToolAnswer(f"noted {arguments['n']}")

    return Toolset(host_tools=[SimpleTool("note", note)])


async def run(folder: Path) -> None:
    session = Session(
        model=make_script(),
        toolset=make_toolset(folder),
        transcript=transcript.Transcript.create(folder, model="scripted"),
    )
    await session.send("note some")
    await session.close()


def killing(original: Callable[[int, bytes], None], fatal: int, moment: str) -> Callable[..., None]:
    writes = 0

    def write(fd: int, line: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes != fatal:
            original(fd, line)
            return
        if moment != "before":
            original(fd, line if moment == "after" else line[: len(line) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    return write


def main() -> None:
    root, fatal = Path(sys.argv[1]), 0
    while True:
        fatal += 1
        for moment in MOMENTS:
            folder = root / f"{fatal:02}-{moment}"
            folder.mkdir()
            # Forked, so that the imports are paid for once.
            child = os.fork()
            if child == 0:
                transcript._write = killing(transcript._write, fatal, moment)
                asyncio.run(run(folder))
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if os.WIFEXITED(status):
                sys.exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    main()
