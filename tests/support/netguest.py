"""The guest's side of the network in a plain process: its real module, without a container.

Started as a program: reads a function `run()` from its arguments, runs it with the network
granted, and answers with what it returned. Imported: talks to that program with a service.
"""

# ruff: noqa: PLC0415  one file for both sides, and the guest's imports nothing of ours

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

GUEST = Path(__file__).parents[2] / "sandbox" / "guest"
_HEADER_BYTES = 9


async def run_in_guest(source: str, service: Any, *, seconds: float = 120.0) -> Any:
    """What `run()` of `source` returned, with `service` at the other end of its frames."""
    from policies.limits import ResourceLimits
    from sandbox.frames import FrameReader, Kind, encode_frame

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        source,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    reader = FrameReader(ResourceLimits())
    for kind, ceiling in service.kinds.items():
        reader.allow(kind, ceiling)
    to_guest, pipe = process.stdin, process.stdout

    def send(kind: Kind, payload: bytes) -> None:
        if not to_guest.is_closing():
            to_guest.write(encode_frame(kind, 0, payload))

    try:
        async with asyncio.timeout(seconds):
            grant = service.begin(send)
            send(Kind.GRANTS, json.dumps(grant).encode())
            while data := await pipe.read(1 << 16):
                for frame in reader.feed(data):
                    if frame.kind in (Kind.VALUE, Kind.ERROR):
                        return json.loads(frame.payload)
                    service.receive(frame)
        raise AssertionError("the guest ended without an answer")
    finally:
        await service.end()
        to_guest.close()  # it ends by itself when nobody is there
        await process.wait()


def _load(name: str) -> ModuleType:
    """A module of the guest under the name that it has there."""
    spec = importlib.util.spec_from_file_location(f"toolkiln_guest.{name}", GUEST / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"toolkiln_guest.{name}"] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Be the guest."""
    incoming, outgoing = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    sys.modules["toolkiln_guest"] = ModuleType("toolkiln_guest")
    channel = _load("channel")
    network = _load("network")
    reader = channel.Reader(incoming)
    _, _, grant = reader.read()
    service = network.Service(
        json.loads(grant), lambda kind, payload: channel.write_frame(outgoing, kind, 0, payload)
    )

    def listen() -> None:
        while True:
            kind, _, payload = reader.read()  # ends the process with the input
            service.receive(kind, payload)

    threading.Thread(target=listen, daemon=True).start()
    space: dict[str, Any] = {}
    exec(sys.argv[1], space)  # noqa: S102  the source of a test
    value = space["run"]()
    service.finish()
    channel.write_frame(outgoing, channel.VALUE, 1, json.dumps(value).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
