"""autogen-ext's DockerCommandLineCodeExecutor."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock
from autogen_ext.code_executors.docker import DockerCommandLineCodeExecutor

from benchmarks.peers.work import IMAGE, Peer, RunSource


@contextmanager
def _session() -> Iterator[RunSource]:
    executor = DockerCommandLineCodeExecutor(image=IMAGE)
    with asyncio.Runner() as loop:
        loop.run(executor.start())
        try:

            def run(source: str) -> str:
                blocks = [CodeBlock(code=source, language="python")]
                answer = loop.run(executor.execute_code_blocks(blocks, CancellationToken()))
                if answer.exit_code != 0:
                    raise RuntimeError(answer.output)
                return str(answer.output)

            yield run
        finally:
            loop.run(executor.stop())


PEER = Peer(name="autogen-ext", distribution="autogen-ext", fresh="container", session=_session)
