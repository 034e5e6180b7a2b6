"""Calls between tools: pinned versions, rights of both, bounds of the whole, revocation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from factories import make_source, make_submission
from pydantic import JsonValue

from policies.config import PolicyProfile
from policies.limits import ResourceLimits
from policies.permissions import Permissions
from policies.value import JsonObject
from runtime.composition import CallScope, Composition
from runtime.outcome import CallOutcome
from runtime.pinning import pin_tools
from runtime.profiles import read_profile
from sandbox.artefacts import Artefact
from sandbox.frames import Frame, Kind
from toolstore.models import ToolRef, ToolVersion
from toolstore.store import ToolStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ToolStore]:
    store = await ToolStore.open(tmp_path / "store")
    yield store
    await store.close()


def profile(**sections: Any) -> PolicyProfile:
    local = read_profile("local").model_dump(mode="json")
    return PolicyProfile.model_validate({**local, **sections})


async def admit(store: ToolStore, name: str, **permissions: Any) -> ToolVersion:
    source = make_source(name, description=json.dumps(permissions)[:200] or "A tool.")
    source = source.model_copy(update={"permissions": Permissions(**permissions)})
    return await store.admit(make_submission(name, source=source), actor="ada")


def pin(version: ToolVersion) -> str:
    return f"{version.name}@{version.digest}"


class Runs:
    """Runs versions by name; a tool of a test is a coroutine function."""

    def __init__(self, store: ToolStore) -> None:
        self.scopes: list[CallScope] = []
        self.ran: list[str] = []
        self.composition = Composition(store.get, self.execute)
        self.artefacts: tuple[Artefact, ...] = ()

    async def execute(
        self, version: ToolVersion, arguments: JsonObject, scope: CallScope
    ) -> CallOutcome:
        self.scopes.append(scope)
        self.ran.append(str(version.ref))
        if inner := version.source.permissions.tools:
            answer = await self.ask(
                version.source.permissions, scope, inner[0].partition("@")[0], arguments
            )
            if "error" in answer:
                return CallOutcome(ref=str(version.ref), content=answer["error"], is_error=True)
            return CallOutcome(
                ref=str(version.ref),
                content=[answer["value"]],
                is_error=False,
                artefacts=scope.gather(()),
            )
        return CallOutcome(
            ref=str(version.ref), content=arguments, is_error=False, artefacts=self.artefacts
        )

    async def ask(
        self, permissions: Permissions, scope: CallScope, name: str, arguments: JsonValue = None
    ) -> dict[str, Any]:
        """One question of a guest with `permissions`, and its answer."""
        service = self.composition.service(permissions, scope, wall_seconds=5.0)
        assert service is not None
        answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        service.begin(lambda _kind, payload: answered.set_result(json.loads(payload)))
        question = {"id": 1, "name": name, "arguments": arguments or {}}
        service.receive(Frame(Kind.TOOL_CALL, 0, json.dumps(question).encode()))
        try:
            return await answered
        finally:
            await service.end()


async def test_a_call_runs_the_pinned_version_whatever_has_the_name_now(store: ToolStore) -> None:
    first = await admit(store, "double")
    caller = Permissions(tools=(pin(first),))
    await admit(store, "double", imports=["os"])
    runs = Runs(store)

    answer = await runs.ask(caller, CallScope.outermost(profile()), "double", {"number": 2})

    assert answer["value"] == {"number": 2}
    assert runs.ran == [str(first.ref)]
    (scope,) = runs.scopes
    assert (scope.depth, scope.nested) == (1, True)
    assert scope.wall_seconds is not None
    assert scope.wall_seconds <= 5.0


async def test_a_revoked_version_is_refused_in_words(store: ToolStore) -> None:
    version = await admit(store, "double")
    await store.revoke(version.digest, actor="ada", reason="it lied")
    runs = Runs(store)

    answer = await runs.ask(
        Permissions(tools=(pin(version),)), CallScope.outermost(profile()), "double"
    )

    assert "double@1 is revoked and cannot be called: it lied" in answer["error"]
    assert "defined again" in answer["error"]
    assert not runs.ran


@pytest.mark.parametrize("declared", ["double", "double@1"])
async def test_what_is_not_pinned_is_not_called(store: ToolStore, declared: str) -> None:
    await admit(store, "double")
    runs = Runs(store)

    answer = await runs.ask(
        Permissions(tools=(declared,)), CallScope.outermost(profile()), "double"
    )

    assert "not pinned" in answer["error"]
    assert not runs.ran


@pytest.mark.parametrize(
    ("needs", "declared"),
    [
        ({"hosts": ["https://a.example/v1/"]}, {"hosts": ["https://b.example/"]}),
        ({"secrets": ["KEY"]}, {}),
        ({"files": ["input"]}, {"files": ["output"]}),
        ({"files": ["output"]}, {}),
    ],
)
async def test_a_callee_has_no_right_that_its_caller_does_not_declare(
    store: ToolStore, needs: dict[str, Any], declared: dict[str, Any]
) -> None:
    version = await admit(store, "double", **needs)
    runs = Runs(store)
    scope = CallScope.outermost(profile())

    answer = await runs.ask(Permissions(tools=(pin(version),), **declared), scope, "double")
    assert f"permissions.{next(iter(needs))}" in answer["error"]
    assert not runs.ran

    answer = await runs.ask(Permissions(tools=(pin(version),), **needs), scope, "double")
    assert "value" in answer


async def chain(store: ToolStore, length: int) -> list[ToolVersion]:
    """Tools of which each calls the one before it."""
    versions = [await admit(store, "tool_0")]
    for number in range(1, length):
        versions.append(await admit(store, f"tool_{number}", tools=[pin(versions[-1])]))
    return versions


async def test_calls_stand_inside_one_another_only_so_deep(store: ToolStore) -> None:
    versions = await chain(store, 4)
    scope = CallScope.outermost(profile(tools={"depth": 3}))

    fits = await Runs(store).ask(Permissions(tools=(pin(versions[2]),)), scope, "tool_2")
    assert fits["value"] == [[{}]]
    deep = await Runs(store).ask(Permissions(tools=(pin(versions[3]),)), scope, "tool_3")
    assert "3 call(s) stand inside one another already" in deep["error"]


async def test_all_calls_of_an_outermost_call_share_one_count(store: ToolStore) -> None:
    versions = await chain(store, 2)
    runs = Runs(store)
    scope = CallScope.outermost(profile(tools={"calls": 5}))
    caller = Permissions(tools=(pin(versions[1]),))

    assert "value" in await runs.ask(caller, scope, "tool_1")
    assert "value" in await runs.ask(caller, scope, "tool_1")
    answer = await runs.ask(caller, scope, "tool_1")
    assert "5 calls of other tools are all" in answer["error"]
    assert "value" in await runs.ask(caller, CallScope.outermost(profile()), "tool_1")


async def test_a_callee_has_no_more_time_than_its_caller(store: ToolStore) -> None:
    del store
    scope = CallScope.outermost(profile())
    limits = ResourceLimits(wall_seconds=10)

    assert scope.limits(limits) is limits
    assert scope.inside("x", 2.5).limits(limits).wall_seconds == 2.5
    assert scope.inside("x", 60.0).limits(limits) is limits


async def test_a_policy_may_take_it_back(store: ToolStore) -> None:
    version = await admit(store, "double")
    scope = CallScope.outermost(profile(tools={"allow": False}))

    answer = await Runs(store).ask(Permissions(tools=(pin(version),)), scope, "double")
    assert "lets no tool call another" in answer["error"]


async def test_files_of_callees_join_those_of_the_call_within_its_ceilings(
    store: ToolStore,
) -> None:
    version = await admit(store, "plot", files=["output"])
    caller = Permissions(tools=(pin(version),), files=("output",))
    runs = Runs(store)
    runs.artefacts = (Artefact.of("plot.png", b"1" * 10), Artefact.of("notes", b"2"))
    scope = CallScope.outermost(profile(files={"output": True, "artefacts": 5}))

    assert "value" in await runs.ask(caller, scope, "plot")
    assert "value" in await runs.ask(caller, scope, "plot")
    own = Artefact.of("plot.png", b"own")
    assert [a.name for a in scope.gather([own])] == [
        *("plot.png", "plot-2.png", "notes", "plot-2-2.png", "notes-2"),
    ]
    answer = await runs.ask(caller, scope, "plot")
    assert "6 files of 33 bytes, where the policy allows 5" in answer["error"]


async def test_names_are_pinned_to_what_they_mean_now(store: ToolStore) -> None:
    version = await admit(store, "double")
    source = make_source("twice").model_copy(update={"permissions": Permissions(tools=("double",))})

    pinned, findings = await pin_tools(source, store)
    assert not findings
    assert pinned.permissions.tools == (pin(version),)
    assert await pin_tools(pinned, store) == (pinned, ())
    by_number = source.model_copy(update={"permissions": Permissions(tools=("double@1",))})
    assert (await pin_tools(by_number, store))[0] == pinned


async def test_what_cannot_be_pinned_is_a_finding_with_the_nearest_name(store: ToolStore) -> None:
    await admit(store, "double")
    gone = await admit(store, "gone")
    await store.revoke(gone.digest, actor="ada", reason="it lied")
    tools = ("duoble", "gone", "no reference")
    source = make_source("twice").model_copy(update={"permissions": Permissions(tools=tools)})

    same, (misspelt, revoked) = await pin_tools(source, store)
    assert same == source
    assert misspelt.rule == revoked.rule == "RP406"
    assert "Did you mean 'double'?" in misspelt.message
    assert "approved" in revoked.message


async def test_rights_that_are_missing_are_told_before_any_trial(store: ToolStore) -> None:
    await admit(store, "fetch", hosts=["https://a.example/"])
    source = make_source("twice").model_copy(update={"permissions": Permissions(tools=("fetch",))})

    _, (finding,) = await pin_tools(source, store)
    assert "fetch@1 needs rights" in finding.message
    assert "https://a.example/" in finding.message


def test_a_reference_of_a_pin_is_read_back() -> None:
    ref = ToolRef.parse("double@sha256:" + "a" * 64)
    assert (ref.name, ref.digest) == ("double", "sha256:" + "a" * 64)
