"""llm-sandbox with its Docker backend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llm_sandbox import SandboxSession

from benchmarks.peers.work import IMAGE, Peer, RunSource


@contextmanager
def _session() -> Iterator[RunSource]:
    with SandboxSession(lang="python", image=IMAGE, skip_environment_setup=True) as session:

        def run(source: str) -> str:
            answer = session.run(source)
            if answer.exit_code != 0:
                raise RuntimeError(answer.stderr or answer.stdout)
            return str(answer.stdout)

        yield run


PEER = Peer(
    name="llm-sandbox",
    distribution="llm-sandbox",
    fresh="container",
    session=_session,
    note="without its set-up of an environment in each container, which wants a package index",
)
