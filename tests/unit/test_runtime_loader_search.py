"""Finding tools through the loader: the store's index, and nothing damaged in what comes back."""

from __future__ import annotations

from pathlib import Path

from factories import make_submission
from storekit import tampering

from policies.config import PolicyProfile
from policies.decision import Channel
from runtime.equipment import Equipment
from runtime.loader import ToolLoader
from runtime.profiles import read_profile
from toolstore.models import ToolRef
from toolstore.store import ToolStore
from toolstore.terms import Terms


def loader(store: ToolStore) -> ToolLoader:
    async def no_sandbox() -> object:
        raise AssertionError("nothing runs")

    fields = read_profile("local").model_dump(mode="json")
    fields["evidence"] |= {"property_runs": 0, "runs_per_example": 1}  # what the factories give
    profile = PolicyProfile.model_validate(fields)
    equipment = Equipment(profile=profile, secrets=lambda _: None, tenant="ada")
    return ToolLoader(store, no_sandbox, equipment, None)  # type: ignore[arg-type]  # nothing runs


async def test_a_damaged_tool_hides_no_other_and_what_is_new_is_found(tmp_path: Path):
    async with await ToolStore.open(tmp_path) as store:
        damaged = await store.admit(make_submission("parse_date"), actor="ada")
        await store.admit(make_submission("format_date"), actor="ada")
        with tampering(tmp_path) as connection:
            source = damaged.source.digest
            connection.execute("UPDATE blob SET bytes = 'x' WHERE digest = ?", [source])
        tools = loader(store)
        try:
            await tools.offers.refresh()
            assert [spec.name for spec in await tools.search("dates", 5)] == ["format_date"]

            await store.admit(make_submission("compare_dates"), actor="ada")
            await tools.offers.refresh()
            found = {spec.name for spec in await tools.search("date", 5)}
            assert found == {"format_date", "compare_dates"}
            await store.revoke(ToolRef(name="compare_dates"), actor="bob", reason="wrong")
            assert [spec.name for spec in await tools.search("date", 5)] == ["format_date"]
        finally:
            await tools.close()


async def test_what_is_refreshed_by_parts_is_what_is_read_whole(tmp_path: Path):
    """Each kind of change, looked at after every one of them; a broken log is read whole."""
    sessions = (None, "s1", "s2", "s3")
    canary = Terms(channel=Channel.CANARY, weight=0.5)

    async def check(store: ToolStore, tools: ToolLoader) -> None:
        await tools.offers.refresh()
        fresh = loader(store)
        await fresh.offers.refresh()
        assert set(tools.offers.names()) == set(fresh.offers.names())
        for name in ("one_tool", "other_tool"):
            seen = [tools.offers.chosen(name, session) for session in sessions]
            assert seen == [fresh.offers.chosen(name, session) for session in sessions]
        await fresh.close()

    async with await ToolStore.open(tmp_path) as store:
        tools = loader(store)
        try:
            await check(store, tools)
            await store.admit(make_submission("one_tool"), actor="ada")
            await store.admit(make_submission("other_tool"), actor="ada")
            await check(store, tools)
            code = "def one_tool(number: int) -> int:\n    return number - 1\n"
            await store.admit(make_submission("one_tool", code), actor="ada", terms=canary)
            await check(store, tools)
            await store.lifecycle.promote(
                ToolRef(name="one_tool", sequence=2), actor="bob", reason="good"
            )
            await check(store, tools)
            await store.rollback("one_tool", actor="bob", reason="slow")
            await check(store, tools)
            await store.revoke(ToolRef(name="other_tool"), actor="bob", reason="wrong")
            await check(store, tools)
            with tampering(tmp_path) as connection:
                connection.execute("UPDATE event SET reason = 'better' WHERE sequence > 8")
            await store.admit(make_submission("third_tool"), actor="ada")
            await tools.offers.refresh()
            assert "one_tool" in tools.offers.names()
        finally:
            await tools.close()
