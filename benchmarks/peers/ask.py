"""The benchmark's side of a peer: its process, asked one order at a time."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from policies.value import JsonObject
from runtime.bench.ledger import Ledger
from runtime.bench.posture import HOST_MARK, SeenPosture, probe_script, seen_of
from runtime.bench.report import Kind

__all__ = ["MODULES", "Peers", "open_peers"]

MODULES: Final = (
    "monty",
    "ag2_docker",
    "smolagents_docker",
    "autogen_docker",
    "llm_sandbox_docker",
    "openai_agents_docker",
)
AT_ONCE: Final = 8
REUSED_CALLS: Final = 25
TURN_SECONDS: Final = 2.0
MOST_CALLS: Final = 25
_SERVE: Final = Path(__file__).parent / "serve.py"
_ORDER_SECONDS: Final = 180.0
_END_SECONDS: Final = 20.0
_LINE_BYTES: Final = 1 << 22


class _Process:
    """One peer in the peers' environment."""

    def __init__(self, process: asyncio.subprocess.Process, module: str) -> None:
        self._process = process
        self.name = module
        self.version = ""
        self.missing = ""

    @classmethod
    async def start(cls, python: Path, module: str) -> _Process:
        """Start it and hear who it is."""
        process = await asyncio.create_subprocess_exec(
            str(python),
            str(_SERVE),
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_LINE_BYTES,
            env={**os.environ, HOST_MARK: "1"},
        )
        peer = cls(process, module)
        words = await peer._answer()
        peer.missing = str(words.get("missing") or words.get("error") or "")
        peer.name = str(words.get("name") or module)
        peer.version = str(words.get("version") or "")
        return peer

    async def ask(self, order: JsonObject) -> dict[str, Any]:
        """What it answers to one order; a failure is an answer too."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            await self._process.stdin.drain()
        except OSError as error:
            return {"error": f"its process is gone: {error}"}
        return await self._answer()

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(_ORDER_SECONDS):
                line = await self._process.stdout.readline()
        except TimeoutError:
            self._process.kill()
            return {"error": f"no answer in {_ORDER_SECONDS:g} s"}
        if not line:
            return {"error": "its process has ended"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def close(self) -> None:
        """End it, by its standard input and then by force."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class Peers:
    """All peers that are installed, asked in turn."""

    def __init__(self, processes: Sequence[_Process]) -> None:
        self._there = [peer for peer in processes if not peer.missing]
        self.versions = {peer.name: peer.version for peer in self._there}
        self.missing = tuple(
            f"{peer.name}: not installed ({peer.missing})" for peer in processes if peer.missing
        )
        self.failed: list[str] = []
        self._slowest: dict[str, float] = {}

    async def take_turn(self, number: int, ledger: Ledger) -> None:
        """Fresh calls of each; in the first round also in one environment, and eight at once."""
        for peer in self._there:
            for kind, at_once, order in _orders(number, self._calls(peer.name)):
                answer = await peer.ask(order)
                if "error" in answer:
                    self.failed.append(f"{peer.name}: {answer['error']}")
                    continue
                ledger.add_times(
                    kind,
                    answer["seconds"],
                    name=peer.name,
                    wall_seconds=answer["wall_seconds"],
                    at_once=at_once,
                )
                if (kind, at_once) == (Kind.PEER_FRESH, 1):
                    self._slowest[peer.name] = max(answer["seconds"])

    def _calls(self, name: str) -> int:
        """How many fresh calls fit into its turn; one at least."""
        slowest = self._slowest.get(name)
        return 1 if slowest is None else max(1, min(MOST_CALLS, int(TURN_SECONDS / slowest)))

    async def look_around(self) -> list[SeenPosture]:
        """What the probe sees in each."""
        found = []
        for peer in self._there:
            answer = await peer.ask({"do": "probe", "source": probe_script()})
            if "error" in answer:
                found.append(SeenPosture(who=peer.name, seen=None, error=str(answer["error"])))
            else:
                found.append(seen_of(peer.name, answer["value"]))
        return found


def _orders(number: int, calls: int) -> list[tuple[Kind, int, JsonObject]]:
    fresh: JsonObject = {"do": "fresh", "calls": calls, "at_once": 1}
    if number > 0:
        return [(Kind.PEER_FRESH, 1, fresh)]
    burst: JsonObject = {"do": "fresh", "calls": AT_ONCE, "at_once": AT_ONCE}
    return [
        (Kind.PEER_FRESH, 1, fresh),
        (Kind.PEER_REUSED, 1, {"do": "reused", "calls": REUSED_CALLS}),
        (Kind.PEER_FRESH, AT_ONCE, burst),
    ]


@asynccontextmanager
async def open_peers(python: Path | None) -> AsyncIterator[Peers]:
    """The peers of the environment with that Python; none of them without one."""
    async with AsyncExitStack() as stack:
        processes = []
        for module in MODULES if python is not None else ():
            assert python is not None
            process = await _Process.start(python, module)
            stack.push_async_callback(process.close)
            processes.append(process)
        yield Peers(processes)
