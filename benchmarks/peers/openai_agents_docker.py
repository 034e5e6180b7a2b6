"""The Docker sandbox of openai-agents."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import docker
from agents.sandbox.sandboxes import DockerSandboxClient, DockerSandboxClientOptions

from benchmarks.peers.work import IMAGE, Peer, RunSource


@contextmanager
def _session() -> Iterator[RunSource]:
    engine = docker.from_env()
    client = DockerSandboxClient(engine)
    with asyncio.Runner() as loop:
        session = loop.run(client.create(options=DockerSandboxClientOptions(image=IMAGE)))
        try:
            loop.run(session.start())

            def run(source: str) -> str:
                answer = loop.run(session.exec("python3", "-c", source, shell=False))
                if answer.exit_code != 0:
                    raise RuntimeError(answer.stderr.decode(errors="replace"))
                return str(answer.stdout.decode())

            yield run
        finally:
            loop.run(client.delete(session))
            engine.close()


PEER = Peer(
    name="openai-agents Docker",
    distribution="openai-agents",
    fresh="container",
    session=_session,
)
