"""A call never waits for its record and never fails by it; what cannot be kept is counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from factories import NOON, make_schema, make_source, make_submission
from pydantic import JsonValue

from policies.config import PolicyProfile, load_profile
from policies.outcomes import Outcome
from policies.permissions import Permissions
from policies.value import JsonObject
from runtime import recorder as recording
from runtime.recorder import CallRecorder, SeenCall
from runtime.replayinputs import ReplayInput, replay_inputs
from sandbox.base import ExecutionResult, Posture
from toolstore.models import ToolVersion
from toolstore.store import ToolStore

LOCAL = files("policies").joinpath("profiles/local.toml").read_text("utf-8")
POSTURE = Posture.model_validate(
    {
        "uid": 65534,
        "gid": 65534,
        "groups": (),
        "capabilities_effective": "0",
        "capabilities_bounding": "0",
        "no_new_privileges": True,
        "seccomp_mode": 2,
        "interfaces": ("lo",),
        "root_read_only": True,
        "writable_mounts": (),
        "memory_limit_bytes": None,
        "pids_limit": None,
        "rlimits": {},
        "environment": (),
        "kernel": "",
        "python": "",
    }
)


def profile(text: str = "bodies = true") -> PolicyProfile:
    return load_profile(f"{LOCAL}\n[replay]\n{text}\n", origin="test")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ToolStore]:
    async with await ToolStore.open(tmp_path / "tools") as opened:
        yield opened


def recorder(store: ToolStore, text: str = "bodies = true") -> CallRecorder:
    return CallRecorder(
        store, profile(text), secrets={"KEY": "s3cret-value"}.get, tenant="ada", clock=lambda: NOON
    )


def seen(version: ToolVersion, arguments: JsonObject, value: JsonValue = 1) -> SeenCall:
    result = ExecutionResult.model_construct(
        outcome=Outcome.RETURNED, value=value, image_digest="sha256:0", posture=POSTURE
    )
    return SeenCall(version, arguments, result, None)


async def test_what_waits_is_kept_when_the_runtime_closes(store: ToolStore):
    version = await store.admit(make_submission(), actor="ada")
    records = recorder(store)
    for number in range(450):
        records.note(seen(version, {"number": number}))
    await records.close()
    records.note(seen(version, {"number": 1000}))

    kept = await store.calls_of(version.digest, limit=1000)
    assert len(kept) == 450
    assert kept[0].body is not None
    assert kept[0].body.arguments == {"number": 449}
    assert records.lost == 0


async def test_a_store_that_takes_nothing_costs_records_and_no_call(store: ToolStore):
    version = await store.admit(make_submission(), actor="ada")
    records = recorder(store)
    await store.close()
    records.note(seen(version, {"number": 1}))
    records.note(seen(version, {"number": "\ud800"}))
    await records.close()
    assert records.lost == 2


async def test_more_than_can_wait_is_let_go_and_counted(
    store: ToolStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recording, "MOST_WAITING", 5)
    version = await store.admit(make_submission(), actor="ada")
    records = recorder(store)
    for number in range(8):
        records.note(seen(version, {"number": number}))
    await records.close()
    assert len(await store.calls_of(version.digest, limit=10)) == 5
    assert records.lost == 3


@pytest.mark.parametrize(
    ("settings", "arguments", "kept"),
    [
        ("bodies = true", {"number": 1}, True),
        ("bodies = false", {"number": 1}, False),
        ("bodies = true\nbody_bytes = 64", {"text": "x" * 64}, False),
    ],
)
async def test_bodies_are_kept_where_the_policy_says_so_and_they_are_small(
    store: ToolStore, settings: str, arguments: JsonObject, kept: bool
):
    version = await store.admit(make_submission(), actor="ada")
    records = recorder(store, settings)
    records.note(seen(version, arguments))
    await records.close()
    (call,) = await store.calls_of(version.digest, limit=10)
    assert (call.body is not None) is kept


async def test_nothing_is_recorded_where_the_policy_says_so(store: ToolStore):
    version = await store.admit(make_submission(), actor="ada")
    records = recorder(store, "calls = false")
    records.note(seen(version, {"number": 1}))
    await records.close()
    assert await store.calls_of(version.digest, limit=10) == ()


async def test_secrets_of_the_tool_are_struck_out_and_requests_are_not_kept(store: ToolStore):
    granted = make_source().model_copy(update={"permissions": Permissions(secrets=("KEY",))})
    version = await store.admit(make_submission(), actor="ada")
    secretive = version.model_copy(update={"source": granted})
    reaching = granted.model_copy(
        update={"permissions": Permissions(secrets=("KEY",), hosts=("https://a.example/",))}
    )
    records = recorder(store)
    records.note(seen(secretive, {"text": "it is s3cret-value."}, ["s3cret-value"]))
    records.note(seen(version.model_copy(update={"source": reaching}), {"text": "x"}))
    await records.close()

    of_request, of_secret = await store.calls_of(version.digest, limit=10)
    assert of_request.body is None
    assert of_secret.body is not None
    assert of_secret.body.redacted
    assert "s3cret" not in of_secret.model_dump_json()


async def test_a_secret_of_another_tool_is_struck_out_too(store: ToolStore):
    version = await store.admit(make_submission(), actor="ada")
    granted = 'bodies = true\n[secrets.KEY]\nhosts = ["https://a.example/"]\nheader = "X-Key"'
    records = recorder(store, granted)
    records.note(seen(version, {"text": "pasted: s3cret-value"}))
    await records.close()
    (call,) = await store.calls_of(version.digest, limit=1)
    assert "s3cret" not in call.model_dump_json()


async def test_what_the_patterns_of_the_policy_match_is_struck_out(store: ToolStore):
    version = await store.admit(make_submission(), actor="ada")
    records = recorder(store, "bodies = true\nredact = ['[^ @]+@[^ @]+', '\\d{6,}']")
    arguments: JsonObject = {"ada@example.org": ["to bob@example.org", 12345678], "n": 5}
    records.note(seen(version, arguments, {"card": "no. 4111111111111111"}))
    await records.close()
    (call,) = await store.calls_of(version.digest, limit=1)
    assert call.body is not None
    assert call.body.arguments == {"[redacted]": ["to [redacted]", "[redacted]"], "n": 5}
    assert call.body.value == {"card": "no. [redacted]"}


@pytest.mark.parametrize(
    ("name", "kept"),
    [("ValueError", "ValueError"), ("TooOld", "TooOld"), ("Alice_1980_12_31", None)],
)
async def test_a_made_up_name_of_an_exception_carries_nothing_out(
    store: ToolStore, name: str, kept: str | None
):
    """What a tool was called with could stand in it, where the policy keeps no bodies."""
    schema = make_schema().model_copy(update={"raises": ("TooOld",)})
    made = make_submission(schema=schema)
    version = await store.admit(made, actor="ada")
    records = recorder(store, "bodies = false")
    call = seen(version, {"number": 1})
    raised = {"outcome": Outcome.RAISED, "value": None, "error_type": name}
    records.note(replace(call, result=call.result.model_copy(update=raised)))
    await records.close()
    (record,) = await store.calls_of(version.digest, limit=1)
    assert record.error_type == kept


# -- what a replay makes of it -------------------------------------------------------------------


async def used(store: ToolStore, version: ToolVersion, text: str) -> list[ReplayInput]:
    return await replay_inputs(store, profile(text + "\nat_least = 0").replay, version, ())


async def test_a_replay_uses_bodies_as_the_policy_in_force_says(store: ToolStore):
    schema = make_schema("double", properties={"text": {"type": "string"}})
    version = await store.admit(make_submission(schema=schema), actor="ada")
    records = recorder(store)
    records.note(seen(version, {"text": "ask ada@example.org"}))
    records.note(seen(version, {"text": "plain"}, "ada@example.org"))
    await records.close()

    assert await used(store, version, "bodies = false") == []
    whole = await used(store, version, "bodies = true")
    assert [each.before is not None for each in whole] == [True, True]
    struck = await used(store, version, "bodies = true\nredact = ['[^ @]+@[^ @]+']")
    assert {str(each.arguments) for each in struck} == {
        "{'text': 'ask [redacted]'}",
        "{'text': 'plain'}",
    }
    assert [each.before for each in struck] == [None, None]  # both versions are run on it
