"""Waivers that end, quotas, and the tools of one session, without an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from factories import IMAGE, allowed, make_evidence, make_schema, make_source, make_submission

from policies.decision import Channel
from policies.evidence import Outcome, Trial, TrialKind
from policies.findings import Finding, Severity, Stage
from runtime.catalog import SessionTools
from runtime.errors import UsageError
from runtime.profiles import read_profile
from runtime.redecision import Redecision, decide_again
from runtime.settings import Settings
from runtime.wiring import Runtime, open_runtime
from toolstore.errors import ToolNotCallableError
from toolstore.models import STABLE, Lifecycle, Submission, ToolRef, ToolVersion
from toolstore.terms import Terms


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[Runtime]:
    """A runtime under the `team` policy that opens no sandbox."""
    async with open_runtime(settings=Settings(home=tmp_path, policy="team")) as opened:
        yield opened


def shaky(policy_digest: str) -> Submission:
    """A version that a generated argument broke, and that the team policy sends to review."""
    source, schema = make_source(), make_schema()
    evidence = make_evidence(source, schema)
    first = evidence.trials[0]
    probe = Trial(
        kind=TrialKind.PROPERTY,
        arguments={"number": 0},
        outcome=Outcome.RAISED,
        passed=False,
        detail="raised KeyError",
        wall_seconds=0.01,
    )
    finding = Finding(
        rule="TR202",
        severity=Severity.WARNING,
        stage=Stage.TRIALS,
        message="with 0: raised KeyError",
        suggestion="handle it",
    )
    repeat = first.model_copy(update={"kind": TrialKind.REPEAT})
    evidence = evidence.model_copy(
        update={"trials": (first, repeat, probe), "findings": (finding,)}
    )
    decision = allowed().model_copy(
        update={"allowed": False, "needs_review": True, "policy_digest": policy_digest}
    )
    return make_submission(
        source=source, schema=schema, evidence=evidence, decision=decision, image_digest=IMAGE
    )


def sound(runtime: Runtime, name: str) -> Submission:
    """A version that the policy in force has let in."""
    decision = allowed().model_copy(update={"policy_digest": runtime.policy.digest})
    return make_submission(name, decision=decision)


async def waive(
    runtime: Runtime, *, rule: str = "TR202", days: int = 2, by: str = "bob"
) -> ToolVersion:
    return await runtime.waive("double@1", rule=rule, principal=by, reason="known", days=days)


async def test_a_waiver_is_a_way_out_of_quarantine_until_it_ends(runtime: Runtime) -> None:
    waiting = await runtime.store.admit(shaky(runtime.policy.digest), actor="ada")
    assert waiting.state is Lifecycle.QUARANTINED

    out = await waive(runtime)

    assert (out.state, out.place) == (Lifecycle.APPROVED, STABLE)
    assert (await runtime.loader.offers.find(ToolRef(name="double"))).digest == out.digest
    later = out.waivers[0].expires_at
    assert not decide_again(out, runtime.equipment, later).allowed
    afterwards = Redecision(runtime.store, runtime.equipment, lambda: later)
    with pytest.raises(ToolNotCallableError, match="what it was approved on has ended"):
        await afterwards.check(out)
    assert (await runtime.store.find(out.ref)).state is Lifecycle.QUARANTINED


async def test_a_waiver_under_another_policy_lets_nothing_out(runtime: Runtime) -> None:
    await runtime.store.admit(shaky(read_profile("production").digest), actor="ada")

    assert (await waive(runtime)).state is Lifecycle.QUARANTINED


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"rule": "RP101"}, "lets nobody waive RP101"),
        ({"rule": "TR203"}, "has no finding of TR203; it has TR202"),
        ({"days": 91}, "at most 90"),
    ],
)
async def test_what_may_not_be_waived_is_said(
    runtime: Runtime, changes: dict[str, object], problem: str
) -> None:
    await runtime.store.admit(shaky(runtime.policy.digest), actor="ada")

    with pytest.raises(UsageError, match=problem):
        await waive(runtime, **changes)  # type: ignore[arg-type]


async def test_each_session_finds_what_it_may_call_and_nothing_else(runtime: Runtime) -> None:
    mine = Terms(channel=Channel.SESSION)
    await runtime.store.admit(sound(runtime, "shared_adder"), actor="ada")
    await runtime.store.admit(sound(runtime, "own_adder"), actor="ada", terms=mine)
    author, other = (SessionTools(runtime.loader, name) for name in ("session-1", "b"))
    for session in (author, other):
        await session.refresh()

    assert set(author.names()) == {"shared_adder", "own_adder"}
    assert set(other.names()) == {"shared_adder"}
    assert {spec.name for spec in await author.search("adder", 5)} == {"shared_adder", "own_adder"}
    assert {spec.name for spec in await other.search("adder", 5)} == {"shared_adder"}
    assert await author.get("own_adder") is not None
    assert await other.get("own_adder") is None


async def test_a_session_that_is_pinned_to_what_was_revoked_is_told(runtime: Runtime) -> None:
    version = await runtime.store.admit(sound(runtime, "double"), actor="ada")
    life = runtime.store.lifecycle
    await life.pin(version.ref, session="s", actor="bob", reason="works")
    session = SessionTools(runtime.loader, "s")
    await session.refresh()
    assert await session.get("double") is not None

    await runtime.store.revoke(version.ref, actor="bob", reason="it leaks")
    await session.refresh()

    with pytest.raises(ToolNotCallableError, match=r"it leaks. This session is pinned to it"):
        await session.get("double")
