"""Bundles on their way in: into the store that they came from, and over what is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories import make_schema, make_submission
from toolmaking import adder

from runtime.wiring import Runtime
from toolstore.models import Lifecycle, Origin, ToolRef
from toolstore.store import ToolStore


async def exported(runtime: Runtime, ref: str) -> bytes:
    return await runtime.store.exchange.export(ToolRef.parse(ref))


async def test_no_import_turns_a_tool_back(runtime: Runtime):
    await runtime.define_tool(adder("plus_two", 2))
    old = await exported(runtime, "plus_two@1")

    same = await runtime.import_bundle(old)
    assert (same.admitted, same.ref) == (True, "plus_two@1")
    version = await runtime.store.version(str(same.digest))
    assert version.provenance.origin is Origin.HUMAN  # it is what was here already
    assert len(await runtime.store.exchange.words(version)) == 1

    await runtime.define_tool(adder("plus_two", 2, spelling="sum((a, {}))"))
    back = await runtime.import_bundle(old)
    assert not back.admitted
    assert "`toolkiln tools rollback plus_two --to plus_two@1` makes it current" in back.to_text()
    assert (await runtime.store.get(ToolRef(name="plus_two"))).sequence == 2

    await runtime.store.revoke(ToolRef.parse("plus_two@1"), actor="bob", reason="it lies")
    assert "was revoked: it lies" in (await runtime.import_bundle(old)).to_text()
    assert (await runtime.store.verify()).intact


@pytest.mark.heavy
async def test_an_import_over_another_tool_of_that_name_is_an_upgrade_like_any(
    runtime: Runtime, tmp_path: Path
):
    source = adder("plus_two", 2, spelling="sum((a, {}))")
    schema = make_schema("plus_two", properties={"a": {"type": "integer"}})
    async with await ToolStore.open(tmp_path / "elsewhere") as elsewhere:
        theirs = await elsewhere.admit(make_submission(source=source, schema=schema), actor="eve")
        bundle = await elsewhere.exchange.export(theirs.ref)
    await runtime.define_tool(adder("plus_two", 2))

    outcome = await runtime.import_bundle(bundle)

    assert (outcome.admitted, outcome.ref) == (True, "plus_two@2")
    version = await runtime.store.version(str(outcome.digest))
    assert version.provenance.origin is Origin.IMPORT
    assert version.evidence.replay is not None
    assert version.evidence.replay.predecessor == version.parent
    assert (await runtime.store.history("plus_two"))[0].state is Lifecycle.DEPRECATED
