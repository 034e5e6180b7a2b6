"""Upgrades are run beside what they replace, and what the store has is not stored again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
from toolmaking import adder, asks, says

from policies.outcomes import Outcome
from policies.permissions import Permissions
from policies.replay import Difference, InputOrigin
from policies.source import Example, ToolSource
from policies.value import canonical_json, sha256_digest
from runtime.events import CallFinished, RequestStarted
from runtime.models.scripted import ScriptedModel
from runtime.settings import Settings
from runtime.wiring import Runtime, open_runtime
from sandbox.docker_sandbox import DockerSandbox
from toolstore.calls import CallBody, CallRecord
from toolstore.models import ToolRef

POLICY = (
    files("policies").joinpath("profiles/local.toml").read_text("utf-8")
    + "\n[replay]\nbodies = true\nredact = ['\\d{6,}']\n"
)


@pytest.fixture
async def keeping(tmp_path: Path, sandbox: DockerSandbox) -> AsyncIterator[Runtime]:
    """A runtime whose policy keeps what goes into calls."""
    policy = tmp_path / "keeping.toml"
    policy.write_text(POLICY + 'on_difference = "review"\n', "utf-8")
    settings = Settings(home=tmp_path / "keeping", policy=str(policy))
    async with open_runtime(settings=settings, sandbox=sandbox) as opened:
        yield opened


async def calls_of(runtime: Runtime, name: str) -> list[object]:
    await runtime.recorder.flush()
    version = await runtime.store.get(ToolRef(name=name))
    return [
        (call.session is not None, call.outcome, call.body)
        for call in await runtime.store.calls_of(version.digest, limit=100)
    ]


async def test_calls_are_recorded_without_bodies_unless_the_policy_wants_them(
    runtime: Runtime, keeping: Runtime
):
    for each in (runtime, keeping):
        assert (await each.define_tool(adder("plus_two", 2))).admitted
        assert (await each.call_tool("plus_two", {"a": 1})).content == 3
    model = ScriptedModel.of([asks("plus_two", {"a": 7654321}), says("done")])
    async with keeping.session(model=model) as session:
        await session.send("go")

    assert await calls_of(runtime, "plus_two") == [(False, Outcome.RETURNED, None)]
    (of_session, redacted), (of_person, whole) = (
        (call[0], call[2])  # type: ignore[index]
        for call in await calls_of(keeping, "plus_two")
    )
    assert (of_session, of_person) == (True, False)
    assert redacted.redacted
    assert "7654321" not in redacted.model_dump_json()
    assert (whole.arguments, whole.value, whole.redacted) == ({"a": 1}, 3, False)


async def test_an_upgrade_that_behaves_otherwise_waits_for_a_person(keeping: Runtime):
    await keeping.define_tool(adder("plus_two", 2))
    for number in (5, 1000, -3):
        await keeping.call_tool("plus_two", {"a": number})
    await keeping.recorder.flush()

    same = await keeping.define_tool(adder("plus_two", 2, spelling="sum((a, {}))"))
    assert same.admitted
    assert same.evidence is not None
    assert same.evidence.replay is not None
    assert same.evidence.replay.count(InputOrigin.RECORDED) == 3
    assert not same.evidence.replay.differences

    # Its example holds: only who looks at what was called before can see the mistake.
    other = await keeping.define_tool(adder("plus_two", 2, spelling="a + {} + (a == 1000)"))
    assert other.needs_review
    assert other.evidence is not None
    assert other.evidence.replay is not None
    (difference,) = other.evidence.replay.differences
    assert difference.origin is InputOrigin.EARLIER
    assert difference.difference is Difference.DIFFERS
    assert difference.arguments == {"a": 1000}
    assert "before, it returned 1002; now, it returned 1003" in difference.detail
    assert "behaves differently from plus_two@2 on 1 of" in other.to_text()
    assert (
        "100" not in other.to_text().partition("behaves differently")[2]
    )  # a caller's, no author's
    assert (await keeping.call_tool("plus_two", {"a": 1000})).content == 1002


@pytest.mark.heavy
async def test_what_was_recorded_on_an_idle_host_makes_no_upgrade_slower(keeping: Runtime):
    counting = "sum(0 for _ in range(12_000_000 if a == 777 else 5)) + a + {}"
    first = await keeping.define_tool(adder("plus_two", 2, spelling=counting))
    await keeping.store.record_calls(
        [
            CallRecord(
                version=str(first.digest),
                tenant="ada",
                arguments_digest=sha256_digest(canonical_json({"a": number})),
                outcome=Outcome.RETURNED,
                execute_seconds=seconds,
                total_seconds=seconds,
                at=datetime.now(UTC),
                body=CallBody(arguments={"a": number}, value=number + 2),
            )
            for number, seconds in ((1, 6.0), (777, 0.0001))
        ],
        keep=10,
        before=datetime.now(UTC) - timedelta(days=1),
    )
    same = await keeping.define_tool(adder("plus_two", 2, spelling=f"0 + {counting}"))
    assert same.evidence is not None
    assert same.evidence.replay is not None
    assert same.evidence.replay.count(InputOrigin.RECORDED) == 2
    assert same.evidence.replay.differences == ()


async def test_upgrades_at_once_are_each_compared_with_what_they_replace(
    runtime: Runtime, neighbour: Runtime
):
    await runtime.define_tool(adder("plus_two", 2))
    texts = ("sum((a, {}))", "a - -{}", "{} + a")
    drafts = [adder("plus_two", 2, spelling=each) for each in texts]
    done = await asyncio.gather(
        runtime.define_tool(drafts[0]),
        neighbour.define_tool(drafts[1]),
        runtime.define_tool(drafts[2]),
    )

    assert [each.admitted for each in done] == [True, True, True]
    first, *later = await runtime.store.history("plus_two")
    assert [each.evidence.replay for each in (first,)] == [None]
    for before, version in pairwise((first, *later)):
        assert version.parent == before.digest
        assert version.evidence.replay is not None
        assert version.evidence.replay.predecessor == version.parent


async def test_generated_inputs_make_up_for_calls_that_nobody_recorded(runtime: Runtime):
    await runtime.define_tool(adder("plus_two", 2))
    changed = await runtime.define_tool(adder("plus_two", 2, spelling="a + {} if a > 0 else a"))

    assert changed.admitted  # the profile `local` lets differences through, and says them
    assert changed.evidence is not None
    assert changed.evidence.replay is not None
    assert changed.evidence.replay.differences
    assert [f.rule for f in changed.findings] == ["TR401"]


@pytest.mark.heavy
async def test_what_a_look_at_coverage_calls_is_not_recorded(runtime: Runtime):
    await runtime.define_tool(adder("plus_two", 2))
    caller = adder("plus_four", 4, spelling='call_tool("plus_two", a=a) + {} - 2').model_copy(
        update={"permissions": Permissions(tools=("plus_two",))}
    )
    waiting = await runtime.define_tool(caller)
    item = await runtime.desk.item(str(waiting.ref), reader="ada")
    assert item.coverage is not None
    assert item.coverage.runs > 0
    assert await calls_of(runtime, "plus_two") == []


async def test_a_tool_that_is_there_is_the_answer(runtime: Runtime):
    results: list[str] = []
    offered: list[tuple[str, ...]] = []

    def on_event(event: object) -> None:
        if isinstance(event, CallFinished):
            results.append(event.result.content)
        if isinstance(event, RequestStarted):
            offered.append(event.tools)

    await runtime.define_tool(adder("plus_two", 2))
    by_text = adder("add_a_pair", 2)
    by_behaviour = adder("two_more", 2, spelling="sum((a, {}))")
    model = ScriptedModel.of(
        [
            asks("define_tool", by_text.to_json()),
            asks("plus_two", {"a": 40}),
            asks("define_tool", by_behaviour.to_json()),
            asks("define_tool", {**by_behaviour.to_json(), "insist": True}),
            asks("two_more", {"a": 40}),
            says("42"),
        ]
    )
    async with runtime.session(model=model, on_event=on_event) as session:
        assert (await session.send("add two to 40")).text == "42"

    assert "the store has a tool that does this, plus_two@1" in results[0]
    assert "its code is the same but for names" in results[0]
    assert "plus_two" in offered[1]
    assert '"result":42' in results[1]
    assert "gave the same answers on" in results[2]
    assert "Admitted as two_more@1" in results[3]
    assert '"result":42' in results[4]
    assert set(runtime.loader.offers.names()) == {"plus_two", "two_more"}


async def test_what_only_looks_alike_and_new_versions_are_no_duplicates(runtime: Runtime):
    await runtime.define_tool(adder("plus_two", 2))
    assert (await runtime.define_tool(adder("plus_three", 3))).admitted
    described = adder("plus_two", 2).model_copy(update={"description": "Adds a pair to a number."})
    renewed = await runtime.define_tool(described)
    assert renewed.ref == "plus_two@2"
    assert renewed.admitted
    rare = ToolSource(
        name="rarely_three",
        description="Adds two, and three to a million.",
        code=adder("rarely_three", 2, spelling="a + {} + (a == 10**6)").code,
        examples=(
            Example(arguments={"a": 1}, returns=3),
            Example(arguments={"a": 10**6}, returns=10**6 + 3),
        ),
    )
    assert (await runtime.define_tool(rare)).admitted
