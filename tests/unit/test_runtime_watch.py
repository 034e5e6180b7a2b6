"""Calls in flight end when their version is taken back, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from factories import allowed, make_submission, refused
from storekit import tampering

from runtime.watch import CallStoppedError, CallWatch
from toolstore.models import ToolVersion
from toolstore.store import ToolStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ToolStore]:
    """An empty store."""
    async with await ToolStore.open(tmp_path / "tools") as opened:
        yield opened


@pytest.fixture
async def watch(store: ToolStore) -> AsyncIterator[CallWatch]:
    """Who watches it."""
    watching = CallWatch(store)
    yield watching
    await watching.close()


@pytest.fixture
async def version(store: ToolStore) -> ToolVersion:
    """A stable version."""
    return await store.admit(make_submission(), actor="ada")


class Guest:
    """Something that runs, and knows how it ended."""

    def __init__(self, seconds: float = 60.0) -> None:
        self.seconds = seconds
        self.ended: str | None = None

    async def run(self) -> str:
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        self.ended = "finished"
        return "value"


async def test_a_revoked_call_is_ended_with_the_reason(
    store: ToolStore, watch: CallWatch, version: ToolVersion
) -> None:
    guest = Guest()
    call = asyncio.create_task(watch.run(version.digest, guest.run(), seen=store.head()))
    await asyncio.sleep(0)

    await store.revoke(version.ref, actor="bob", reason="it leaks")

    with pytest.raises(CallStoppedError, match="became revoked while it ran: it leaks"):
        await asyncio.wait_for(call, 2.0)
    assert guest.ended == "cancelled"


async def test_a_call_that_is_set_aside_ends_as_well(
    store: ToolStore, watch: CallWatch, version: ToolVersion
) -> None:
    call = asyncio.create_task(watch.run(version.digest, Guest().run(), seen=store.head()))
    await asyncio.sleep(0)

    await store.lifecycle.suspend(version.digest, refused(), actor="bob", reason="a new rule")

    with pytest.raises(CallStoppedError, match="quarantined"):
        await asyncio.wait_for(call, 2.0)


async def test_a_version_that_was_revoked_before_the_watch_began_is_found(
    store: ToolStore, watch: CallWatch, version: ToolVersion
) -> None:
    seen = store.head()
    await store.revoke(version.ref, actor="bob", reason="it leaks")

    with pytest.raises(CallStoppedError):
        await asyncio.wait_for(watch.run(version.digest, Guest().run(), seen=seen), 2.0)


async def test_what_is_replaced_in_mid_call_goes_on(
    store: ToolStore, watch: CallWatch, version: ToolVersion
) -> None:
    call = asyncio.create_task(watch.run(version.digest, Guest(0.7).run(), seen=store.head()))
    await asyncio.sleep(0)

    other = make_submission(code="def double(number: int) -> int:\n    return 2\n")
    await store.admit(other.model_copy(update={"decision": allowed()}), actor="ada")

    assert await call == "value"


async def test_other_calls_go_on(store: ToolStore, watch: CallWatch, version: ToolVersion) -> None:
    other = await store.admit(make_submission("other"), actor="ada")
    calls = [
        asyncio.create_task(watch.run(digest, Guest(0.8).run(), seen=store.head()))
        for digest in (version.digest, other.digest)
    ]
    await asyncio.sleep(0)

    await store.revoke(version.ref, actor="bob", reason="it leaks")

    ended, value = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(ended, CallStoppedError)
    assert value == "value"


async def test_who_cancels_the_call_gets_the_cancellation(
    store: ToolStore, watch: CallWatch, version: ToolVersion
) -> None:
    guest = Guest()
    call = asyncio.create_task(watch.run(version.digest, guest.run(), seen=store.head()))
    await asyncio.sleep(0.01)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert guest.ended == "cancelled"


async def test_what_the_call_raises_comes_through(store: ToolStore, watch: CallWatch) -> None:
    async def fail() -> None:
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        await watch.run("any", fail(), seen=store.head())


async def test_a_store_that_lost_its_end_ends_calls(
    tmp_path: Path, store: ToolStore, watch: CallWatch, version: ToolVersion
) -> None:
    call = asyncio.create_task(watch.run(version.digest, Guest().run(), seen=store.head()))
    await asyncio.sleep(0)

    with tampering(tmp_path / "tools") as connection:
        connection.execute("DELETE FROM event WHERE sequence > 1")

    with pytest.raises(CallStoppedError, match="the log ends at event 1"):
        await asyncio.wait_for(call, 5.0)
