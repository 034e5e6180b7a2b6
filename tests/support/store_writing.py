"""Many processes that write to one store at once.

`python store_writing.py LOCATION PROCESSES EACH`. Every process admits versions of one shared tool
and tools of its own, from two tasks at a time. Prints one JSON document: the references that each
process got back, and the errors that it saw.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback

from factories import make_submission

import toolstore.migrations  # noqa: F401 - once here, not again in each process
from toolstore.models import Submission
from toolstore.store import ToolStore


def shared_version(writer: int, number: int) -> Submission:
    """A version of the tool that everybody writes."""
    return make_submission("shared", f"def shared(number):\n    return {writer}, {number}\n")


async def write(location: str, writer: int, each: int) -> list[str]:
    """Admit `each` versions of the shared tool and `each` own tools."""
    async with await ToolStore.open(location) as store, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(store.admit(submission, actor=f"writer {writer}"))
            for number in range(each)
            for submission in (
                shared_version(writer, number),
                make_submission(f"own_{writer}_{number}"),
            )
        ]
    return [str(task.result().ref) for task in tasks]


def writer_process(location: str, writer: int, each: int) -> int:
    """Fork one writer; the descriptor to read its answer from."""
    reading, writing = os.pipe()
    if os.fork() != 0:
        os.close(writing)
        return reading
    answer: dict[str, object] = {"refs": [], "errors": []}
    try:
        answer["refs"] = asyncio.run(write(location, writer, each))
    except BaseException:  # noqa: BLE001 - whatever it is, the parent must hear of it
        answer["errors"] = [traceback.format_exc()]
    finally:
        with os.fdopen(writing, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)


def main(location: str, processes: int, each: int) -> None:
    """All writers at once, from an empty place on."""
    pipes = [writer_process(location, writer, each) for writer in range(processes)]
    answers = []
    for pipe in pipes:
        with os.fdopen(pipe) as stream:
            answers.append(json.load(stream))
    for _ in pipes:
        os.wait()
    print(json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
