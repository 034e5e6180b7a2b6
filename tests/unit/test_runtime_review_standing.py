"""Where versions stand, who vouches for one, what others said: at the desk, page and terminal."""

from __future__ import annotations

from pathlib import Path

from reviewing import canary_tool, review_desk, travelled_tool
from reviewpage import address, review_page

from runtime.cli.reviewtabs import lines_of
from runtime.review.item import ReviewItem
from toolstore.bundlereport import Standing, Verdict


def text_of(item: ReviewItem, tab: str) -> str:
    return "\n".join("".join(part for _, part in line) for line in lines_of(item, tab))


async def test_channels_and_the_canarys_calls_are_shown(tmp_path: Path) -> None:
    async with review_page(tmp_path) as page:
        version = await canary_tool(page.store)
        item = await page.desk.item(version.digest, reader="bob")
        await page.sign_in("bob")
        shown = (await page.get(address(version.digest))).text

    assert [
        (each.ref.plain, each.state.value, each.place and each.place.plain)
        for each in item.versions
    ] == [
        ("parse_price@3", "quarantined", None),
        ("parse_price@2", "approved", "canary at 0.1"),
        ("parse_price@1", "approved", "stable"),
    ]
    calls = item.versions[1].calls
    assert calls is not None
    assert (calls.calls, calls.failed) == (5, 1)
    assert item.before is not None
    assert item.before.plain == "parse_price@1"  # what the name means, not the canary
    assert ("canaried", "approved, canary at 0.1") in {
        (line.what, line.state and line.state.plain) for line in item.history
    }
    text = text_of(item, "standing")
    assert "  parse_price@2  approved for canary at 0.1, 5 calls since the canary began" in text
    assert "> parse_price@3  quarantined  by ada" in text
    assert "canaried -> approved, canary at 0.1 by grace: try it first" in text_of(item, "history")
    assert shown.index("Versions and channels") < shown.index("canary at 0.1")
    assert "5, 1 failed" in shown


async def test_who_vouches_for_it_and_what_others_said_are_told_apart(tmp_path: Path) -> None:
    async with review_desk(tmp_path / "store", keys=tmp_path / "keys") as (desk, store):
        version = await travelled_tool(store, tmp_path / "elsewhere")
        item = await desk.item(version.digest, reader="bob")

    assert item.vouchers is not None
    mine = {each.part.plain: each for each in item.vouchers}
    assert (mine["trials"].standing, mine["trials"].trusted) == (Standing.HOLDS, True)
    (others,) = item.others
    theirs = {each.part.plain: each for each in others.lines}
    assert (theirs["trials"].standing, theirs["trials"].trusted) == (Standing.UNTRUSTED, False)
    assert others.verdict is Verdict.NOT_ADMITTED
    assert others.actor.plain == "grace"
    text = text_of(item, "standing")
    assert "what others said: not admitted, brought by grace" in text
    assert "signed by who says to be sandbox" in text


async def test_the_page_shows_the_word_of_others_as_what_it_is(tmp_path: Path) -> None:
    async with review_page(tmp_path, keys=tmp_path / "keys") as page:
        version = await travelled_tool(page.store, tmp_path / "elsewhere")
        await page.sign_in("bob")
        text = (await page.get(address(version.digest))).text
        item = await page.desk.item(version.digest, reader="bob")
        damaged = item.others[0].bundle
        form = await page.form_of(version.digest)

        assert "Who vouches for it" in text
        assert "It counts for nothing here" in text
        assert text.count("says to be") == sum(bool(each.signer) for each in item.others[0].lines)
        assert damaged in text
        assert (await page.vote(version.digest, form, vote="approve")).status_code == 303
