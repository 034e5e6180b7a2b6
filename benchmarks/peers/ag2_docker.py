"""AG2's DockerSandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from ag2.extensions.docker.sandbox import DockerSandbox

from benchmarks.peers.work import IMAGE, Peer, RunSource


@contextmanager
def _session() -> Iterator[RunSource]:
    sandbox = DockerSandbox(image=IMAGE)
    with asyncio.Runner() as loop:
        try:

            def run(source: str) -> str:
                answer = loop.run(sandbox.exec(["python3", "-c", source]))
                if answer.exit_code != 0:
                    raise RuntimeError(answer.output)
                return str(answer.output)

            yield run
        finally:
            loop.run(sandbox.aclose())


PEER = Peer(name="AG2", distribution="ag2", fresh="container", session=_session)
