"""The pool's laws, with guests that are nothing but a number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from sandbox.errors import SandboxBusyError
from sandbox.places import Places
from sandbox.pool import Pool, PoolClosedError, PoolSettings


class Numbered:
    def __init__(self, kind: str, number: int) -> None:
        self.kind = kind
        self.number = number
        self.alive = True
        self.gone = False


class Workshop:
    """Makes and destroys guests, and counts them."""

    def __init__(self) -> None:
        self.made: list[Numbered] = []
        self.at_once = 0
        self.most_at_once = 0
        self.seconds = 0.0
        self.failures = 0

    async def start(self, kind: str) -> Numbered:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.seconds)
        self.at_once -= 1
        if self.failures:
            self.failures -= 1
            raise OSError("no room")
        self.made.append(Numbered(kind, len(self.made)))
        return self.made[-1]

    async def discard(self, guest: Numbered) -> None:
        assert not guest.gone, "discarded twice"
        await asyncio.sleep(0)
        guest.gone = True

    @property
    def there(self) -> int:
        return sum(not guest.gone for guest in self.made)

    def pool(self, **settings: float) -> Pool[str, Numbered]:
        known = PoolSettings(**{"idle": 4, "capacity": 12, "starts": 3, **settings})  # type: ignore[arg-type]
        return Pool(self.start, self.discard, known)


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  a pool has no event for each of its states
            await asyncio.sleep(0.005)


async def test_an_empty_pool_starts_what_is_asked_for(workshop: Workshop) -> None:
    pool = workshop.pool()

    guest, hit = await pool.claim("a")

    assert (guest.kind, hit) == ("a", False)
    pool.release(guest)
    await pool.close()
    assert workshop.there == 0


async def test_one_call_alone_starts_no_other(workshop: Workshop) -> None:
    pool = workshop.pool()

    guest, _ = await pool.claim("a")
    pool.release(guest)
    await asyncio.sleep(0.1)

    assert len(workshop.made) == 1
    await pool.close()


async def test_what_was_prepared_is_there_at_once(workshop: Workshop) -> None:
    pool = workshop.pool()
    pool.prepare("a", 3)
    await until(lambda: pool.ready("a") == 3)

    claims = [await pool.claim("a") for _ in range(3)]

    assert [hit for _, hit in claims] == [True] * 3
    assert len({guest.number for guest, _ in claims}) == 3
    for guest, _ in claims:
        pool.release(guest)
    await pool.close()
    assert workshop.there == 0


async def test_no_guest_is_ever_used_twice(workshop: Workshop) -> None:
    pool = workshop.pool()
    used: list[int] = []

    async def call(kind: str) -> None:
        guest, _ = await pool.claim(kind)
        assert guest.kind == kind
        assert not guest.gone
        used.append(guest.number)
        await asyncio.sleep(0.002)
        pool.release(guest)

    async with asyncio.TaskGroup() as tasks:
        for number in range(120):
            tasks.create_task(call("ab"[number % 2]))

    assert len(used) == len(set(used)) == 120
    await pool.close()
    assert workshop.there == 0


async def test_a_kind_never_serves_another(workshop: Workshop) -> None:
    pool = workshop.pool()
    pool.prepare("a", 2)
    await until(lambda: pool.ready("a") == 2)

    guest, hit = await pool.claim("b")

    assert (guest.kind, hit) == ("b", False)
    pool.release(guest)
    await pool.close()


async def test_bounds_hold_and_an_idle_guest_makes_room(workshop: Workshop) -> None:
    workshop.seconds = 0.01
    pool = workshop.pool(capacity=4, starts=2)
    pool.prepare("a", 4)
    await until(lambda: pool.ready("a") == 4)

    held = [(await pool.claim("b"))[0] for _ in range(4)]

    assert workshop.there <= 4
    assert workshop.most_at_once <= 2
    for guest in held:
        pool.release(guest)
    await pool.close()


async def test_a_call_inside_another_is_not_held_up_by_the_bound(workshop: Workshop) -> None:
    pool = workshop.pool(capacity=1, starts=1)
    outer, _ = await pool.claim("a")

    inner, _ = await pool.claim("a", beyond_capacity=True)

    pool.release(inner)
    pool.release(outer)
    await pool.close()


async def test_more_stand_ready_where_calls_arrive_often(workshop: Workshop) -> None:
    pool = workshop.pool()

    for _ in range(20):
        guest, _ = await pool.claim("a")
        pool.release(guest)
        await asyncio.sleep(0.01)
    await until(lambda: pool.ready("a") >= 2)

    await pool.close()
    assert workshop.there == 0


async def test_the_dead_are_never_handed_out(workshop: Workshop) -> None:
    pool = workshop.pool()
    pool.prepare("a", 2)
    await until(lambda: pool.ready("a") == 2)
    for guest in workshop.made:
        guest.alive = False

    guest, hit = await pool.claim("a")

    assert guest.alive
    assert not hit
    pool.release(guest)
    await pool.close()
    assert workshop.there == 0


async def test_what_is_not_wanted_any_more_goes(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.pool._HINT_SECONDS", 0.05)
    monkeypatch.setattr("sandbox.pool._TEND_SECONDS", 0.02)
    pool = workshop.pool(idle_seconds=0.05)
    pool.prepare("a", 3)
    await until(lambda: len(workshop.made) == 3)

    await until(lambda: workshop.there == 0)

    await pool.close()


async def test_a_start_that_fails_is_told_to_one_who_waits(workshop: Workshop) -> None:
    workshop.failures = 1
    pool = workshop.pool()

    results = await asyncio.gather(*(pool.claim("a") for _ in range(3)), return_exceptions=True)

    errors = [result for result in results if isinstance(result, BaseException)]
    assert [str(error) for error in errors] == ["no room"]
    for result in results:
        if not isinstance(result, BaseException):
            pool.release(result[0])
    await pool.close()


async def test_a_start_that_began_before_the_call_fails_no_call(workshop: Workshop) -> None:
    pool = workshop.pool()
    workshop.seconds, workshop.failures = 0.05, 1
    pool.prepare("a", 1)
    await asyncio.sleep(0.02)

    guest, hit = await pool.claim("a")

    assert (guest.kind, hit, workshop.failures) == ("a", False, 0)
    pool.release(guest)
    await pool.close()


async def on_its_way(pool: Pool[str, Numbered], workshop: Workshop) -> asyncio.Task[object]:
    """A claim whose guest has been handed over, and who has not run since."""
    claim: asyncio.Task[object] = asyncio.create_task(pool.claim("a"))
    while not workshop.made:  # noqa: ASYNC110  one turn of the loop after the other
        await asyncio.sleep(0)
    assert not claim.done()
    return claim


async def test_a_guest_on_its_way_to_its_caller_is_counted(workshop: Workshop) -> None:
    pool = workshop.pool()
    claim = await on_its_way(pool, workshop)

    assert pool.total == 1
    await claim
    pool.release(workshop.made[0])
    await pool.close()


async def test_a_guest_on_its_way_is_named_when_the_pool_closes(workshop: Workshop) -> None:
    pool = workshop.pool()
    claim = await on_its_way(pool, workshop)

    assert pool.shut() == (workshop.made[0],)
    with pytest.raises(PoolClosedError):
        await claim
    await pool.close()
    assert workshop.there == 0


async def test_a_guest_on_its_way_to_one_who_goes_serves_the_next(workshop: Workshop) -> None:
    pool = workshop.pool()
    claim = await on_its_way(pool, workshop)

    claim.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claim

    assert await pool.claim("a") == (workshop.made[0], True)
    pool.release(workshop.made[0])
    await pool.close()
    assert workshop.there == 0


async def test_a_cancelled_claim_loses_no_guest(workshop: Workshop) -> None:
    workshop.seconds = 0.02
    pool = workshop.pool()
    waiting = asyncio.create_task(pool.claim("a"))
    await asyncio.sleep(0.005)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    guest, _ = await pool.claim("a")
    assert guest.number == 0, "what was being started serves the next"
    pool.release(guest)
    await pool.close()
    assert workshop.there == 0


async def test_closing_tells_those_who_wait_and_waits_for_those_in_use(workshop: Workshop) -> None:
    pool = workshop.pool(capacity=1, starts=1)
    held, _ = await pool.claim("a")
    waiting = asyncio.create_task(pool.claim("a"))
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(pool.close())

    with pytest.raises(PoolClosedError):
        await waiting
    assert not closing.done()
    pool.release(held)
    await closing

    assert workshop.there == 0
    with pytest.raises(PoolClosedError):
        await pool.claim("a")


async def test_places_queue_with_a_bound_and_then_refuse() -> None:
    places = Places(1, waiting=1, wait_seconds=60)
    entered = asyncio.Event()

    async def hold() -> None:
        async with places.one():
            await entered.wait()

    first, second = asyncio.create_task(hold()), asyncio.create_task(hold())
    await asyncio.sleep(0.01)

    with pytest.raises(SandboxBusyError, match="1 calls run and 1 wait") as caught:
        async with places.one():
            pass
    assert caught.value.retry_safe
    async with places.one(nested=True):
        pass
    entered.set()
    await asyncio.gather(first, second)
    async with places.one():
        pass


async def test_a_place_is_waited_for_only_so_long() -> None:
    places = Places(1, waiting=5, wait_seconds=0.02)

    async with places.one():
        with pytest.raises(SandboxBusyError, match="no place became free in"):
            async with places.one():
                pass
    async with places.one():
        pass
