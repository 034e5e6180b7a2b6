"""What is admitted appears in running sessions, and what is revoked stops, without a restart."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from toolmaking import adder, asks, says

from policies.permissions import LintLevel, Permissions
from runtime.errors import UsageError
from runtime.events import CallFinished, RequestStarted
from runtime.models.scripted import ScriptedModel
from runtime.settings import Settings
from runtime.wiring import Runtime, open_runtime
from sandbox.docker_sandbox import DockerSandbox
from toolstore.errors import ToolNotCallableError
from toolstore.models import Lifecycle, ToolRef


class Seen:
    """The tools of each request, and the results of the calls."""

    def __init__(self) -> None:
        self.tools: list[tuple[str, ...]] = []
        self.results: list[str] = []

    def __call__(self, event: object) -> None:
        if isinstance(event, RequestStarted):
            self.tools.append(event.tools)
        if isinstance(event, CallFinished):
            self.results.append(event.result.content)


async def test_the_next_request_has_the_tool_and_later_sessions_find_it(runtime: Runtime):
    seen = Seen()
    model = ScriptedModel.of(
        [
            asks("define_tool", adder("plus_two", 2).to_json()),
            asks("plus_two", {"a": 40}),
            says("42"),
        ]
    )
    async with runtime.session(model=model, on_event=seen) as session:
        reply = await session.send("what is 40 plus two?")

    assert reply.text == "42"
    assert "plus_two" not in seen.tools[0], seen.results
    assert "plus_two" in seen.tools[1], seen.results
    assert "Admitted as plus_two@1" in seen.results[0]
    assert '"result":42' in seen.results[1]

    later = Seen()
    model = ScriptedModel.of([asks("find_tools", {"query": "add a number"}), says("ok")])
    async with runtime.session(model=model, on_event=later) as session:
        await session.send("add something")
    assert "plus_two" in later.results[0]
    assert "plus_two" in later.tools[1]


async def test_a_tool_of_another_terminal_appears_and_a_revoked_one_stops(
    runtime: Runtime, neighbour: Runtime
):
    seen = Seen()
    model = ScriptedModel.of(
        [
            says("no such tool"),
            asks("plus_two", {"a": 1}),
            says("3"),
            asks("plus_two", {"a": 1}),
            says("gone"),
        ]
    )
    async with runtime.session(model=model, on_event=seen) as session:
        await session.send("first")
        assert (await neighbour.define_tool(adder("plus_two", 2))).admitted
        await session.send("second")
        await neighbour.store.revoke(ToolRef(name="plus_two"), actor="eve", reason="wrong")
        await session.send("third")

    assert "plus_two" not in seen.tools[0], seen.results
    assert "plus_two" in seen.tools[1], seen.results
    assert '"result":3' in seen.results[0]
    assert "plus_two" not in seen.tools[-1]
    assert "result" not in seen.results[1]
    with pytest.raises(ToolNotCallableError):
        await runtime.call_tool("plus_two", {"a": 1})


async def test_the_same_submission_is_one_version_and_a_change_is_the_next(runtime: Runtime):
    first = await runtime.define_tool(adder("plus_two", 2))
    again = await runtime.define_tool(adder("plus_two", 2))
    changed = await runtime.define_tool(adder("plus_two", 2, spelling="{} + a"))

    assert (first.ref, again.ref, changed.ref) == ("plus_two@1", "plus_two@1", "plus_two@2")
    assert first.digest == again.digest != changed.digest
    assert (await runtime.call_tool("plus_two@1", {"a": 1})).ref == "plus_two@1"
    assert (await runtime.call_tool("plus_two", {"a": 1})).ref == "plus_two@2"
    back = await runtime.store.rollback("plus_two", actor="eve", reason="slower")
    assert back.sequence == 1
    assert (await runtime.call_tool("plus_two", {"a": 1})).ref == "plus_two@1"


async def test_production_waits_for_somebody_else(tmp_path: Path, sandbox: DockerSandbox):
    settings = Settings(home=tmp_path / "home", policy="production", principal="ada")
    async with open_runtime(settings=settings, sandbox=sandbox) as runtime:
        outcome = await runtime.define_tool(adder("plus_two", 2))
        assert (outcome.admitted, outcome.needs_review) == (False, True)
        assert outcome.digest is not None
        with pytest.raises(ToolNotCallableError):
            await runtime.call_tool("plus_two@1", {"a": 1})
        with pytest.raises(UsageError, match="author"):
            await runtime.approve("plus_two", principal="ada", shown_digest=outcome.digest)
        with pytest.raises(UsageError, match="was shown"):
            await runtime.approve("plus_two", principal="eve", shown_digest="sha256:" + "0" * 64)
        await runtime.approve("plus_two", principal="eve", shown_digest=outcome.digest)
        assert (await runtime.call_tool("plus_two", {"a": 1})).content == 3


async def test_a_laxer_policy_does_not_get_around_the_one_that_asked(
    home: Path, sandbox: DockerSandbox
):
    strict = Settings(home=home, policy="production", principal="ada")
    async with open_runtime(settings=strict, sandbox=sandbox) as runtime:
        digest = (await runtime.define_tool(adder("plus_two", 2))).digest
    assert digest is not None

    lax = Settings(home=home, policy="local", principal="ada")
    async with open_runtime(settings=lax, sandbox=sandbox) as runtime:
        with pytest.raises(UsageError, match=r"production.*author"):
            await runtime.approve("plus_two", principal="ada", shown_digest=digest)
        await runtime.approve("plus_two", principal="eve", shown_digest=digest)
        assert (await runtime.call_tool("plus_two", {"a": 1})).content == 3


def like_production(folder: Path, said: str, says: str) -> Path:
    """A policy that differs from `production` in that; what it names lies beside it."""
    shipped = files("policies") / "profiles"
    (folder / "production.cedar").write_text((shipped / "production.cedar").read_text())
    own = folder / "own.toml"
    own.write_text((shipped / "production.toml").read_text().replace(said, says))
    return own


async def test_a_policy_whose_file_is_gone_still_has_its_say(
    home: Path, tmp_path: Path, sandbox: DockerSandbox
):
    own = like_production(tmp_path, "approvers = 1", "approvers = 2")
    settings = Settings(home=home, policy=str(own), principal="ada")
    async with open_runtime(settings=settings, sandbox=sandbox) as mine:
        digest = (await mine.define_tool(adder("plus_two", 2))).digest
    assert digest is not None
    own.unlink()

    lax = Settings(home=home, policy="local", principal="ada")
    async with open_runtime(settings=lax, sandbox=sandbox) as runtime:
        version = await runtime.approve("plus_two", principal="eve", shown_digest=digest)
        assert version.state is Lifecycle.QUARANTINED
        version = await runtime.approve("plus_two", principal="bob", shown_digest=digest)
        assert version.state is Lifecycle.APPROVED


async def test_two_people_where_the_policy_wants_two(
    home: Path, tmp_path: Path, sandbox: DockerSandbox
):
    own = like_production(tmp_path, "approvers = 1", "approvers = 2")
    settings = Settings(home=home, policy=str(own), principal="ada")
    async with open_runtime(settings=settings, sandbox=sandbox) as runtime:
        digest = (await runtime.define_tool(adder("plus_two", 2))).digest
        assert digest is not None

        for _ in range(2):  # the same person twice is one person
            version = await runtime.approve("plus_two", principal="eve", shown_digest=digest)
            assert version.state is Lifecycle.QUARANTINED
        version = await runtime.approve("plus_two", principal="bob", shown_digest=digest)

        assert version.state is Lifecycle.APPROVED
        assert (await runtime.call_tool("plus_two", {"a": 1})).content == 3


async def test_a_rejected_submission_stays_out(tmp_path: Path, sandbox: DockerSandbox):
    settings = Settings(home=tmp_path / "home", policy="production", principal="ada")
    async with open_runtime(settings=settings, sandbox=sandbox) as runtime:
        await runtime.define_tool(adder("plus_two", 2))
        await runtime.reject("plus_two", principal="eve", reason="not wanted here")
        again = await runtime.define_tool(adder("plus_two", 2))

        assert not (again.admitted or again.needs_review)
        assert "not wanted here" in " ".join(again.reasons)


async def test_code_level_waits_for_a_person_under_local(runtime: Runtime):
    wide = adder("plus_two", 2).model_copy(
        update={"permissions": Permissions(level=LintLevel.L2, imports=("tempfile",))}
    )
    outcome = await runtime.define_tool(wide)

    assert (outcome.admitted, outcome.needs_review) == (False, True), outcome.to_text()


async def test_wrong_arguments_and_results_are_told_in_words(runtime: Runtime):
    await runtime.define_tool(adder("plus_two", 2))

    missing = await runtime.call_tool("plus_two", {})
    wrong = await runtime.call_tool("plus_two", {"a": "one"})
    stray = await runtime.call_tool("plus_two", {"a": 1, "b": 2})

    for outcome in (missing, wrong, stray):
        assert outcome.is_error
        assert outcome.execution is None
        assert "Its parameters: a" in str(outcome.content)
