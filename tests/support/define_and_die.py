"""Defines a tool and kills this very process with SIGKILL at one of its events.

Arguments: home, folder of the guest image, number of the event (0: never).
Prints the owner label of its sandbox first.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from toolmaking import adder

from runtime.settings import Settings
from runtime.wiring import open_runtime
from sandbox.docker_sandbox import open_docker_sandbox


async def main(home: Path, image_folder: Path, fatal: int) -> None:
    sandbox = await open_docker_sandbox(
        state_dir=image_folder,
        docker_host=os.environ.get("DOCKER_HOST"),
        progress=lambda _line: None,
    )
    print(sandbox.owner, flush=True)
    seen = 0

    def on_event(_event: object) -> None:
        nonlocal seen
        seen += 1
        if seen == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    async with sandbox, open_runtime(settings=Settings(home=home), sandbox=sandbox) as runtime:
        outcome = await runtime.define_tool(adder("plus_two", 2), on_event=on_event)
        print(outcome.ref, seen, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
