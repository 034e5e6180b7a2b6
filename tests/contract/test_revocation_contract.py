"""A revocation ends running calls within two seconds, on every host and on both databases."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest
from factories import make_submission

from toolstore.store import ToolStore

ROOT = Path(__file__).parents[2]
PROCESSES, SESSIONS_EACH = 4, 5


@pytest.fixture(params=["folder", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the store is."""
    if request.param == "folder":
        return str(tmp_path / "tools")
    return str(request.getfixturevalue("postgres_url"))


async def test_twenty_sessions_on_several_hosts_end_within_two_seconds(place: str) -> None:
    program = ROOT / "tests" / "support" / "watched_sessions.py"
    async with await ToolStore.open(place if "://" in place else Path(place)) as store:
        version = await store.admit(make_submission(), actor="ada")
        hosts = [
            await asyncio.create_subprocess_exec(
                sys.executable,
                str(program),
                place,
                version.digest,
                str(SESSIONS_EACH),
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            for _ in range(PROCESSES)
        ]
        try:
            for host in hosts:
                assert host.stdout is not None
                assert await host.stdout.readline() == b"running\n"

            revoked_at = time.monotonic()  # the clock that all processes share
            await store.revoke(version.ref, actor="bob", reason="it leaks")
            answers = await asyncio.wait_for(
                asyncio.gather(*(host.communicate() for host in hosts)), 20.0
            )
        finally:
            for host in hosts:
                if host.returncode is None:
                    host.kill()
                    await host.wait()

    lines = [line.split(maxsplit=1) for out, _ in answers for line in out.decode().splitlines()]
    assert len(lines) == PROCESSES * SESSIONS_EACH
    assert {reason for _, reason in lines} == {"it became revoked while it ran: it leaks"}
    slowest_seconds = max(float(at) for at, _ in lines) - revoked_at
    assert slowest_seconds < 2.0
