"""Channels, pins, waivers, canaries and retirement, against a real store."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from factories import NOON, allowed, make_source, make_submission, needs_review, refused
from storekit import tampering

from policies.decision import Approval, Channel
from policies.permissions import Permissions
from policies.sequential import CanarySettings
from policies.waivers import Waiver, in_force
from toolstore.attest.keys import KeyRing
from toolstore.channels import Offer, share
from toolstore.errors import (
    QuotaError,
    StoreDamagedError,
    ToolNotCallableError,
    TransitionError,
)
from toolstore.events import EventType
from toolstore.models import Lifecycle, Origin, Place, Quota, Submission, ToolRef, ToolVersion
from toolstore.store import ToolStore
from toolstore.terms import Terms

EAGER = CanarySettings()
CANARY_FIRST = Terms(channel=Channel.CANARY, weight=0.25)
SESSION_FIRST = Terms(channel=Channel.SESSION)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an empty store, made once: making the tables takes the longest."""
    folder = tmp_path_factory.mktemp("empty") / "tools"

    async def make() -> None:
        await (await ToolStore.open(folder)).close()

    asyncio.run(make())
    return folder


@pytest.fixture
def folder(empty: Path, tmp_path: Path) -> Path:
    """An empty store of one's own."""
    return shutil.copytree(empty, tmp_path / "tools")


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[ToolStore]:
    """An empty store whose writes are signed, which is whole at the end as well."""
    async with await ToolStore.open(folder, keys=KeyRing(folder.parent / "keys")) as opened:
        yield opened
        report = await opened.verify()
        assert report.damage == ()


def numbered(number: int, name: str = "double", **fields: object) -> Submission:
    """One of several versions of a tool."""
    code = f"def {name}(number: int) -> int:\n    return number * {number}\n"
    return make_submission(name, code, **fields)  # type: ignore[arg-type]


async def two(store: ToolStore, terms: Terms = CANARY_FIRST) -> tuple[ToolVersion, ToolVersion]:
    """A stable version and the next one, on these terms."""
    first = await store.admit(numbered(1), actor="ada", terms=terms)
    return first, await store.admit(numbered(2), actor="ada", terms=terms)


async def means(store: ToolStore, session: str | None = None) -> int:
    """Which version the name means there."""
    return (await store.get(ToolRef(name="double"), session=session)).sequence


def sessions(weight: float) -> tuple[str, str]:
    """A session that falls inside of the share, and one outside of it."""
    names = [f"session-{number}" for number in range(200)]
    inside = next(name for name in names if share(name, "double") < weight)
    return inside, next(name for name in names if share(name, "double") >= weight)


async def test_the_first_version_is_stable_whatever_the_terms(store: ToolStore) -> None:
    first = await store.admit(numbered(1), actor="ada", terms=CANARY_FIRST)

    assert first.place == Place()


async def test_a_canary_is_for_its_share_of_the_sessions(store: ToolStore) -> None:
    _, second = await two(store)
    inside, outside = sessions(0.25)

    assert second.place == Place(channel=Channel.CANARY, weight=0.25)
    assert (await means(store, inside), await means(store, outside), await means(store)) == (
        2,
        1,
        1,
    )


def test_shares_are_even_and_stay() -> None:
    falls = [share(f"s{number}", "double") for number in range(2_000)]

    assert falls == [share(f"s{number}", "double") for number in range(2_000)]
    assert 160 < sum(fall < 0.1 for fall in falls) < 240


async def test_a_promoted_canary_is_stable_and_the_other_one_deprecated(store: ToolStore) -> None:
    first, second = await two(store)

    await store.lifecycle.promote(second.ref, actor="bob", reason="good")

    assert [v.state for v in await store.history("double")] == ["deprecated", "approved"]
    assert await means(store, sessions(0.25)[1]) == 2
    assert (await store.rollback("double", actor="bob", reason="no")).digest == first.digest


async def test_rolling_back_ends_a_canary_first(store: ToolStore) -> None:
    _, second = await two(store)

    current = await store.rollback("double", actor="bob", reason="odd")

    assert (current.sequence, current.place) == (1, Place())
    assert (await store.find(second.ref)).state is Lifecycle.DEPRECATED
    with pytest.raises(TransitionError, match="rolled back from"):
        await store.admit(numbered(2), actor="ada", terms=CANARY_FIRST)


async def test_a_canary_needs_a_stable_version_beside_it(store: ToolStore) -> None:
    first = await store.admit(numbered(1), actor="ada")

    with pytest.raises(TransitionError, match="everybody has it"):
        await store.lifecycle.canary(first.ref, weight=0.5, actor="bob", reason="try")
    await store.lifecycle.deprecate(first.ref, actor="bob", reason="old")
    with pytest.raises(TransitionError, match="no stable version"):
        await store.lifecycle.canary(first.ref, weight=0.5, actor="bob", reason="try")


async def test_a_new_stable_version_ends_the_canary(store: ToolStore) -> None:
    _, second = await two(store)

    await store.admit(numbered(3), actor="ada")

    assert (await store.find(second.ref)).state is Lifecycle.DEPRECATED
    # What was never stable is not gone back to.
    assert (await store.rollback("double", actor="bob", reason="no")).sequence == 1


async def test_a_sessions_version_is_for_that_session_alone(store: ToolStore) -> None:
    _, second = await two(store, SESSION_FIRST)

    assert second.place == Place(channel=Channel.SESSION, session="session-1")
    assert await means(store, "session-1") == 2
    with pytest.raises(ToolNotCallableError, match="session session-1 alone"):
        await store.get(second.ref, session="session-2")
    with pytest.raises(ToolNotCallableError):
        await store.get(ToolRef(name="double"))
    promoted = await store.lifecycle.promote(second.ref, actor="bob", reason="good")
    assert await means(store) == promoted.sequence


async def test_what_calls_a_sessions_tool_is_shared_after_that_one(store: ToolStore) -> None:
    inner = await store.admit(numbered(1, "inner"), actor="ada", terms=SESSION_FIRST)
    permissions = Permissions(tools=(f"inner@{inner.digest}",))
    source = make_source("outer").model_copy(update={"permissions": permissions})
    outer = await store.admit(
        make_submission("outer", source=source), actor="ada", terms=SESSION_FIRST
    )

    with pytest.raises(TransitionError, match="inner@1, which is for the session"):
        await store.lifecycle.promote(outer.ref, actor="bob", reason="good")

    await store.lifecycle.promote(inner.ref, actor="bob", reason="good")
    await store.lifecycle.promote(outer.ref, actor="bob", reason="good")


async def test_a_pinned_session_stays(store: ToolStore) -> None:
    first = await store.admit(numbered(1), actor="ada")
    await store.admit(numbered(2), actor="ada")

    await store.lifecycle.pin(first.ref, session="s", actor="bob", reason="works")

    assert (await means(store, "s"), await means(store, "t")) == (1, 2)
    await store.lifecycle.unpin("double", session="s", actor="bob", reason="done")
    assert await means(store, "s") == 2
    with pytest.raises(TransitionError, match="not pinned"):
        await store.lifecycle.unpin("double", session="s", actor="bob", reason="done")


async def test_a_pin_does_not_outlive_a_revocation(store: ToolStore) -> None:
    first = await store.admit(numbered(1), actor="ada")
    await store.lifecycle.pin(first.ref, session="s", actor="bob", reason="works")
    await store.admit(numbered(2), actor="ada")

    await store.revoke(first.ref, actor="bob", reason="leaks")

    with pytest.raises(ToolNotCallableError, match="leaks"):
        await store.get(ToolRef(name="double"), session="s")


async def count(store: ToolStore, version: ToolVersion, outcomes: str) -> EventType | None:
    """Count calls: `+` for one that worked, `-` for one that did not."""
    last = None
    for outcome in outcomes:
        last = await store.lifecycle.count_call(
            "double", version.digest, EAGER, actor="toolkiln", succeeded=outcome == "+"
        )
        if last is not None:
            break
    return last


async def test_a_canary_that_fails_is_taken_out_with_its_figures(store: ToolStore) -> None:
    first, second = await two(store)
    await count(store, first, "+" * 20)

    assert await count(store, second, "-" * 20) is EventType.CANARY_FAILED

    event = (await store.events("double"))[-1]
    assert (event.type, event.actor, event.to_state) == ("canary_failed", "toolkiln", "deprecated")
    assert '"stable_succeeded":20' in event.detail
    assert "more than the policy tolerates" in event.reason
    assert await means(store, sessions(0.25)[0]) == 1
    assert await store.lifecycle.tallies("double") == {}


async def test_a_canary_like_the_stable_one_stays(store: ToolStore) -> None:
    first, second = await two(store)

    await count(store, first, "++++-" * 4)

    assert await count(store, second, "++++-" * 4) is None
    tallies = await store.lifecycle.tallies("double")
    assert {name: tally.failed for name, tally in tallies.items()} == {"stable": 4, "canary": 4}


async def test_nothing_is_counted_without_a_canary(store: ToolStore) -> None:
    first = await store.admit(numbered(1), actor="ada")
    head = store.head()

    assert await count(store, first, "-" * 30) is None
    assert store.head() == head


@pytest.mark.parametrize(
    ("origin", "wanted"), [(Origin.AGENT, EventType.PROMOTED), (Origin.HUMAN, None)]
)
async def test_only_what_agents_made_is_promoted_by_itself(
    store: ToolStore, origin: Origin, wanted: EventType | None
) -> None:
    first = await store.admit(numbered(1), actor="ada")
    second = await store.admit(numbered(2, origin=origin), actor="ada", terms=CANARY_FIRST)
    quick = CanarySettings(
        promote="automatic", least_calls=1, tolerated_increase=0.5, false_promotion=0.5
    )

    async def call(version: ToolVersion) -> EventType | None:
        return await store.lifecycle.count_call(
            "double", version.digest, quick, actor="toolkiln", succeeded=True
        )

    for _ in range(20):
        await call(first)
    assert [await call(second) for _ in range(8)][-1 if wanted is None else 4 :].count(wanted) >= 1


async def test_what_no_longer_passes_waits_again_and_finds_its_way_out(store: ToolStore) -> None:
    first = await store.admit(numbered(1), actor="ada")

    aside = await store.lifecycle.suspend(
        first.digest, refused("a new rule"), actor="toolkiln", reason="a new rule"
    )

    assert (aside.state, aside.place) == (Lifecycle.QUARANTINED, None)
    with pytest.raises(ToolNotCallableError):
        await store.get(first.ref)
    with pytest.raises(TransitionError, match="does not allow it"):
        await store.lifecycle.readmit(first.digest, needs_review(), actor="bob")
    again = await store.lifecycle.readmit(first.digest, allowed(), actor="bob")
    assert (again.state, again.place) == (Lifecycle.APPROVED, Place())


async def test_deprecated_and_archived_and_back(store: ToolStore) -> None:
    first = await store.admit(numbered(1), actor="ada")
    other = await store.admit(numbered(1, "triple"), actor="ada")

    await store.lifecycle.deprecate(first.ref, actor="bob", reason="old", successor=other.ref)
    assert (await store.get(first.ref)).state_reason == "old; use triple@1 instead"
    await store.lifecycle.archive(first.ref, actor="bob", reason="unused")
    with pytest.raises(ToolNotCallableError, match="archived"):
        await store.get(first.ref)
    with pytest.raises(TransitionError, match="archived"):
        await store.admit(numbered(1), actor="ada")
    await store.rollback("double", actor="bob", reason="needed", to=first.ref)
    assert await means(store) == 1


def waiver_of(version: ToolVersion, *, days: int = 1, by: str = "bob") -> Waiver:
    """A waiver given at noon."""
    return Waiver(
        rule="TR202",
        digest=version.digest,
        principal=by,
        reason="known",
        at=NOON,
        expires_at=NOON + timedelta(days=days),
    )


async def test_a_waiver_lets_out_of_quarantine_and_ends(store: ToolStore) -> None:
    waiting = await store.admit(numbered(1, decision=needs_review()), actor="ada")

    out = await store.lifecycle.waive(waiver_of(waiting), allowed(), actor="bob")

    assert (out.state, len(out.waivers)) == (Lifecycle.APPROVED, 1)
    assert "bob takes TR202 until 2026-01-03" in (await store.events("double"))[-2].reason
    assert in_force(out.waivers, digest=out.digest, at=NOON) == out.waivers
    assert in_force(out.waivers, digest=out.digest, at=NOON + timedelta(days=1)) == ()
    assert in_force(out.waivers, digest="another", at=NOON) == ()


async def test_a_later_waiver_of_the_same_person_replaces_the_earlier(store: ToolStore) -> None:
    version = await store.admit(numbered(1), actor="ada")
    await store.lifecycle.waive(waiver_of(version, days=30), None, actor="bob")
    await store.lifecycle.waive(waiver_of(version, days=10, by="eve"), None, actor="eve")

    ended = await store.lifecycle.waive(waiver_of(version, days=0), None, actor="bob")

    assert [w.principal for w in in_force(ended.waivers, digest=version.digest, at=NOON)] == ["eve"]


async def test_a_quota_of_versions_holds_and_stores_nothing_more(store: ToolStore) -> None:
    terms = Terms(quota=Quota(versions_per_session=2, versions_per_author=3))
    for number in (1, 2):
        await store.admit(numbered(number), actor="ada", terms=terms)

    with pytest.raises(QuotaError, match="versions_per_session is 2"):
        await store.admit(numbered(3), actor="ada", terms=terms)
    await store.admit(numbered(3, session="session-2"), actor="ada", terms=terms)
    with pytest.raises(QuotaError, match="versions_per_tenant is 3"):
        await store.admit(numbered(4, session="session-3"), actor="ada", terms=terms)
    # What is stored already costs nothing.
    await store.admit(numbered(1), actor="ada", terms=terms)
    assert len(await store.history("double")) == 3


async def test_retirement_takes_what_nobody_calls_and_nobody_needs(folder: Path) -> None:
    now = NOON

    def clock() -> datetime:
        return now

    async with await ToolStore.open(folder, clock=clock) as store:
        inner = await store.admit(numbered(1, "inner"), actor="ada")
        permissions = Permissions(tools=(f"inner@{inner.digest}",))
        source = make_source("outer").model_copy(update={"permissions": permissions})
        await store.admit(make_submission("outer", source=source), actor="ada")
        await store.admit(numbered(1, "mine", origin=Origin.HUMAN), actor="ada")
        used = await store.admit(numbered(1, "used"), actor="ada")
        unused = await store.admit(numbered(1, "unused"), actor="ada")
        await store.lifecycle.deprecate(unused.ref, actor="bob", reason="old")
        now = NOON + timedelta(days=100)
        await store.lifecycle.note_use(used.digest, actor="toolkiln")

        found = await store.lifecycle.idle(
            retire_before=now - timedelta(days=90), archive_before=now - timedelta(days=90)
        )

    assert {(c.ref, c.step.value, c.dependants) for c in found} == {
        ("inner@1", "deprecated", ("outer@1",)),
        ("outer@1", "deprecated", ()),
        ("unused@1", "archived", ()),
    }


async def test_two_people_and_a_program_decide_at_once(folder: Path) -> None:
    stores = [await ToolStore.open(folder) for _ in range(3)]
    try:
        waiting = await stores[0].admit(numbered(1, decision=needs_review()), actor="ada")
        yes = Approval(principal="bob", digest=waiting.digest, at=NOON)
        answers = await asyncio.gather(
            stores[0].approve(waiting.digest, yes, allowed(), actor="bob"),
            stores[1].reject(waiting.digest, actor="eve", reason="no"),
            stores[2].admit(numbered(1), actor="program"),
            return_exceptions=True,
        )
        events = await stores[0].events("double")
        report = await stores[0].verify()
        final = await stores[0].find(waiting.ref)
    finally:
        for store in stores:
            await store.close()

    assert report.damage == ()
    outcomes = [e for e in events if e.from_state == "quarantined" and e.to_state != "quarantined"]
    assert len(outcomes) == 1
    assert final.state in {Lifecycle.APPROVED, Lifecycle.REVOKED}
    # Everybody who decided is in the log, but a program that finds its wish fulfilled.
    heard = {event.actor for event in events[2:]}
    assert {"bob", "eve"} <= heard
    assert all(isinstance(a, ToolVersion | TransitionError) for a in answers), answers
    assert any(isinstance(answer, ToolVersion) for answer in answers)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE channel SET weight = 1.0 WHERE channel = 'canary'",
        (
            "UPDATE channel SET channel = 'session', session = 'eve', weight = NULL "
            "WHERE channel = 'canary'"
        ),
        "DELETE FROM channel WHERE channel = 'canary'",
        "UPDATE channel SET channel = 'canary', weight = 0.5 WHERE channel = 'stable'",
    ],
)
async def test_a_changed_channel_is_found_at_load_and_by_the_audit(
    folder: Path, change: str
) -> None:
    async with await ToolStore.open(folder) as store:
        _, second = await two(store)
        await store.admit(numbered(1, "other"), actor="ada")
        with tampering(folder) as connection:
            if "'stable'" in change:
                connection.execute("DELETE FROM channel WHERE channel = 'canary'")
                second = await store.find(ToolRef(name="other"))
                connection.execute("DROP INDEX uq_channel_canary")
            connection.execute(change)
        report = await store.verify()

        assert any("channel" in damage.problem for damage in report.damage)
        with pytest.raises(StoreDamagedError, match="channel"):
            await store.find(second.ref)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE pin SET version = (SELECT digest FROM tool_version WHERE sequence = 2)",
        "UPDATE pin SET session = 'other'",
        "UPDATE pin SET event = 1",
        "INSERT INTO pin SELECT 'other', tool, version, event FROM pin",
    ],
)
async def test_a_changed_pin_is_not_followed(folder: Path, change: str) -> None:
    async with await ToolStore.open(folder) as store:
        first = await store.admit(numbered(1), actor="ada")
        await store.admit(numbered(2), actor="ada")
        await store.lifecycle.pin(first.ref, session="s", actor="bob", reason="works")
        with tampering(folder) as connection:
            connection.execute(change)
        report = await store.verify()

        assert any("pin" in damage.problem for damage in report.damage)
        with pytest.raises(StoreDamagedError, match="does not say"):
            await store.lifecycle.pins()
        assert (await store.get(ToolRef(name="double"), session="third")).sequence == 2


async def test_an_ended_pin_cannot_be_put_back(folder: Path) -> None:
    async with await ToolStore.open(folder) as store:
        first = await store.admit(numbered(1), actor="ada")
        await store.lifecycle.pin(first.ref, session="s", actor="bob", reason="works")
        with tampering(folder) as connection:
            connection.execute("CREATE TABLE old AS SELECT * FROM pin")
        await store.lifecycle.unpin("double", session="s", actor="bob", reason="done")
        with tampering(folder) as connection:
            connection.execute("INSERT INTO pin SELECT * FROM old")
            connection.execute("DROP TABLE old")

        with pytest.raises(StoreDamagedError, match="does not say"):
            await store.get(ToolRef(name="double"), session="s")


def test_the_choice_is_pin_then_session_then_canary_then_stable() -> None:
    inside, outside = sessions(0.25)
    offer = Offer(stable="stable", canary="canary", weight=0.25, sessions={inside: "mine"})

    assert offer.choose("double", inside, "pinned") == "pinned"
    assert offer.choose("double", inside) == "mine"
    assert Offer(stable="s", canary="c", weight=0.25).choose("double", inside) == "c"
    assert offer.choose("double", outside) == "stable"
    assert offer.choose("double", None) == "stable"
    assert Offer(canary="canary", weight=0.25).choose("double", outside) is None


def test_times_of_waivers_have_zones() -> None:
    with pytest.raises(ValueError, match="timezone"):
        Waiver(
            rule="TR202",
            digest="d",
            principal="bob",
            reason="r",
            at=datetime(2026, 1, 1),  # noqa: DTZ001 - that it is refused is the point
            expires_at=datetime(2026, 1, 2, tzinfo=UTC),
        )
