"""pydantic-monty: a subset of Python in Rust, in a worker process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic_monty import CollectString, Monty

from benchmarks.peers.work import Peer, RunSource


@contextmanager
def _session() -> Iterator[RunSource]:
    with Monty(max_processes=1) as pool:

        def run(source: str) -> str:
            printed = CollectString()
            with pool.checkout() as session:
                session.feed_run(source, print_callback=printed)
            return str(printed.output)

        yield run


PEER = Peer(
    name="pydantic-monty",
    distribution="pydantic-monty",
    fresh="process",
    session=_session,
    note="no container: an interpreter of its own without an operating system, a part of Python",
)
