"""Tools from elsewhere under a policy that grants less than the one that they come from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from factories import make_source, make_submission

from policies.permissions import Permissions
from runtime.settings import Settings
from runtime.wiring import open_runtime
from toolstore.store import ToolStore

LOCAL = files("policies").joinpath("profiles/local.toml").read_text("utf-8")


async def test_what_is_not_granted_here_is_named_and_nothing_runs(tmp_path: Path):
    permissions = Permissions(
        hosts=("https://api.example.com/",), packages=("numpy",), secrets=("API_KEY",)
    )
    source = make_source().model_copy(update={"permissions": permissions})
    async with await ToolStore.open(tmp_path / "elsewhere") as elsewhere:
        version = await elsewhere.admit(make_submission(source=source), actor="eve")
        bundle = await elsewhere.exchange.export(version.ref)
    policy = tmp_path / "less.toml"
    policy.write_text(LOCAL)
    settings = Settings(home=tmp_path / "home", policy=str(policy), docker_host="unix:///nowhere")
    async with open_runtime(settings=settings) as runtime:
        outcome = await runtime.import_bundle(bundle)
        assert await runtime.store.summaries() == ()

    assert not outcome.admitted
    assert all(name in outcome.to_text() for name in ("api.example.com", "numpy", "API_KEY"))
    assert outcome.ref is None
