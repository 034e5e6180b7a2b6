"""Who may not read a source sees nothing of it in review: no list, no diff, no page, no shell."""

from __future__ import annotations

import asyncio
from importlib import resources
from pathlib import Path

import pytest
from reviewing import PRICE_BEFORE, PRICE_NOW, changed_tool, price_source, review_desk, submit
from reviewpage import address, review_page

from policies.config import PolicyProfile
from runtime.cli.program import run
from runtime.errors import AccessRefusedError, ExitCode
from runtime.profiles import read_profile
from toolstore.attest.keys import KeyRing
from toolstore.models import Lifecycle
from toolstore.store import ToolStore

SECRET = "(?P<whole>"
"""In the source, and nowhere else."""

NOT_GRACES = """
@id("graces-are-not-for-gus")
forbid (principal == Person::"gus", action == Action::"read_source", resource)
when { resource.author == Person::"grace" };
"""


def policy_file(folder: Path, *, rules: str = "", guests: str = '["gus"]') -> Path:
    """The team's policy, with `gus` for a guest, or with another rule."""
    for name in ("team.toml", "team.cedar"):
        text = resources.files("policies").joinpath("profiles", name).read_text("utf-8")
        text = text.replace("guest = []", f"guest = {guests}")
        (folder / name).write_text(text + (rules if name.endswith(".cedar") else ""))
    return folder / "team.toml"


@pytest.fixture
def profile(tmp_path: Path) -> PolicyProfile:
    return read_profile(policy_file(tmp_path))


async def test_the_desk_shows_a_person_what_they_may_read(
    tmp_path: Path, profile: PolicyProfile
) -> None:
    async with review_desk(tmp_path / "store", profile) as (desk, store):
        version = await changed_tool(store)

        assert [line.digest for line in await desk.queue(reader="bob")] == [version.digest]
        assert await desk.queue(reader="gus") == ()
        assert SECRET in (await desk.item("parse_price", reader="bob")).model_dump_json()
        for ref in ("parse_price", "parse_price@1", version.digest):
            with pytest.raises(AccessRefusedError, match="guests may call tools"):
                await desk.item(ref, reader="gus")


async def test_a_diff_is_shown_to_those_who_may_read_both_sides(tmp_path: Path) -> None:
    profile = read_profile(policy_file(tmp_path, rules=NOT_GRACES, guests="[]"))
    async with review_desk(tmp_path / "store", profile) as (desk, store):
        await submit(store, price_source(PRICE_BEFORE, ("EUR 12.50", 12.5)), author="grace")
        await submit(store, price_source(PRICE_NOW, ("EUR 12.50", 12.5)), minutes=5)

        assert (await desk.item("parse_price@2", reader="bob")).before is not None
        with pytest.raises(AccessRefusedError, match="graces-are-not-for-gus"):
            await desk.item("parse_price@2", reader="gus")


async def test_the_page_shows_a_person_what_they_may_read(
    tmp_path: Path, profile: PolicyProfile
) -> None:
    async with review_page(tmp_path, profile) as page:
        version = await changed_tool(page.store)
        await page.sign_in("bob")
        assert "whole" in (await page.get(address(version.digest))).text
        form = await page.form_of(version.digest)
        page.client.cookies.clear()
        await page.sign_in("gus")

        text = (await page.get("/")).text
        assert "Nothing waits" in text
        assert "parse_price" not in text
        refused = [
            await page.get(address(version.digest)),
            await page.vote(version.digest, form, vote="approve"),
        ]
        for answer in refused:
            assert answer.status_code == 403
            assert "whole" not in answer.text
        assert (await page.store.version(version.digest)).state is Lifecycle.QUARANTINED


def test_the_shell_shows_a_person_what_they_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("TOOLKILN_HOME", str(home))
    monkeypatch.setenv("TOOLKILN_POLICY", str(policy_file(tmp_path)))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")

    async def fill() -> None:
        async with await ToolStore.open(home / "store", keys=KeyRing(home / "keys")) as store:
            await changed_tool(store)

    asyncio.run(fill())

    def printed(*words: str, code: ExitCode = ExitCode.OK) -> str:
        assert run(["review", *words]) == code
        return capsys.readouterr().out

    for words in (["list"], ["list", "--json"], []):
        assert "parse_price" in printed(*words, "--as", "bob")
        assert "parse_price" not in printed(*words, "--as", "gus")
    assert SECRET in printed("show", "parse_price", "--as", "bob")
    for words in (["show", "parse_price"], ["approve", "parse_price", "--yes"]):
        assert printed(*words, "--as", "gus", code=ExitCode.NO) == ""
