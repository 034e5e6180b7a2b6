"""Finding tools through the loader: the store's index, and nothing damaged in what comes back."""

from __future__ import annotations

from pathlib import Path

from factories import make_submission
from storekit import tampering

from policies.config import PolicyProfile
from runtime.equipment import Equipment
from runtime.loader import ToolLoader
from runtime.profiles import read_profile
from toolstore.models import ToolRef
from toolstore.store import ToolStore


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
            await tools.refresh()
            assert [spec.name for spec in await tools.search("dates", 5)] == ["format_date"]

            await store.admit(make_submission("compare_dates"), actor="ada")
            await tools.refresh()
            found = {spec.name for spec in await tools.search("date", 5)}
            assert found == {"format_date", "compare_dates"}
            await store.revoke(ToolRef(name="compare_dates"), actor="bob", reason="wrong")
            assert [spec.name for spec in await tools.search("date", 5)] == ["format_date"]
        finally:
            await tools.close()
