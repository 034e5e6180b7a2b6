"""smolagents' DockerExecutor."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from smolagents.monitoring import AgentLogger, LogLevel
from smolagents.remote_executors import DockerExecutor

from benchmarks.peers.work import IMAGE_WITH_KERNEL, Peer, RunSource


def _free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
        return port


@contextmanager
def _session() -> Iterator[RunSource]:
    executor = DockerExecutor(
        additional_imports=[],
        logger=AgentLogger(level=LogLevel.OFF),
        port=_free_port(),  # its own 8888 is taken where two run at once
        image_name=IMAGE_WITH_KERNEL,
        build_new_image=False,
    )
    try:
        yield lambda source: str(executor.run_code_raise_errors(source).logs)
    finally:
        executor.cleanup()


PEER = Peer(
    name="smolagents DockerExecutor",
    distribution="smolagents",
    fresh="container",
    session=_session,
    note="with an image made before, and a free port instead of 8888",
)
