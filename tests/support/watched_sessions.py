"""A host whose sessions all run a call of one version, until it is taken back.

`python watched_sessions.py STORE DIGEST SESSIONS`. Prints `running` when all calls run, and then
for each call that was ended a line with the time (on the clock that all processes share) and the
reason. STORE is a folder or the URL of a server.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from runtime.watch import CallStoppedError, CallWatch
from toolstore.store import ToolStore

LONG_SECONDS = 60.0


async def call(watch: CallWatch, digest: str, head: int) -> None:
    """One call that goes on and on."""
    try:
        await watch.run(digest, asyncio.sleep(LONG_SECONDS), seen=head)
    except CallStoppedError as error:
        print(time.monotonic(), error, flush=True)


async def main(place: str, digest: str, sessions: int) -> None:
    """All sessions at once."""
    location = place if "://" in place else Path(place)
    async with await ToolStore.open(location) as store:
        watch, head = CallWatch(store), store.head()
        async with asyncio.TaskGroup() as group:
            for _ in range(sessions):
                group.create_task(call(watch, digest, head))
            await asyncio.sleep(0)
            print("running", flush=True)
        await watch.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
