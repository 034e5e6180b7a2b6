"""Ten sessions in one process, each of which defines two tools and calls them, all at once.

Arguments: home, folder of the guest image, number of this process. Prints one line a session.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from toolmaking import adder, asks, says

from runtime.models.scripted import ScriptedModel
from runtime.settings import Settings
from runtime.wiring import Runtime, open_runtime
from sandbox.docker_sandbox import open_docker_sandbox

SESSIONS = 10


async def one_session(runtime: Runtime, number: int) -> None:
    own = adder(f"plus_{number}", number)
    shared = adder("plus_shared", 1000, spelling=f"a + {{}} + {number} - {number}")
    model = ScriptedModel.of(
        [
            asks("define_tool", own.to_json()),
            asks("define_tool", shared.to_json()),
            asks(own.name, {"a": 1}),
            asks("plus_shared", {"a": 1}),
            says("done"),
        ]
    )
    failures: list[str] = []

    def on_event(event: object) -> None:
        result = getattr(event, "result", None)
        if result is not None and result.is_error:
            failures.append(result.content.replace("\n", " ")[:300])

    async with runtime.session(model=model, on_event=on_event) as session:
        reply = await session.send("go")
    print(f"{number}\t{reply.text}\t{'; '.join(failures)}", flush=True)


async def main(home: Path, image_folder: Path, process: int) -> None:
    sandbox = await open_docker_sandbox(
        state_dir=image_folder,
        docker_host=os.environ.get("DOCKER_HOST"),
        progress=lambda _line: None,
    )
    async with (
        sandbox,
        open_runtime(settings=Settings(home=home), sandbox=sandbox) as runtime,
        asyncio.TaskGroup() as group,
    ):
        for index in range(SESSIONS):
            group.create_task(one_session(runtime, process * SESSIONS + index))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
