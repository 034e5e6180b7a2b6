"""The review page: who gets in, what they see, and which votes count."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from urllib.parse import urlencode

import pytest
from reviewing import changed_tool, files_tool, hostile_tool, price_source, submit
from reviewpage import ORIGIN, Page, address, fields, review_page

from runtime.profiles import read_profile
from runtime.review.web.forms import CSRF_FIELD
from runtime.review.web.guard import MAX_BODY_BYTES
from runtime.review.web.roles import Role
from runtime.review.web.sessions import ABSOLUTE_SECONDS, IDLE_SECONDS
from runtime.review.web.throttle import BURST, REFILL_SECONDS
from toolstore.models import Lifecycle, ToolRef, ToolVersion


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with review_page(tmp_path) as opened:
        yield opened


async def state_of(page: Page, version: ToolVersion) -> Lifecycle:
    return (await page.store.find(ToolRef(name=version.name, digest=version.digest))).state


async def unchanged(page: Page, version: ToolVersion) -> bool:
    return await state_of(page, version) is Lifecycle.QUARANTINED


# -- signing in ----------------------------------------------------------------------------------


async def test_nothing_is_shown_to_those_who_did_not_sign_in(page: Page):
    version = await changed_tool(page.store)

    for path in ("/", address(version.digest), "/keys", "/queue/events"):
        answer = await page.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/sign-in")
        assert "parse_price" not in answer.text


async def test_a_reviewer_signs_in_and_is_led_to_what_was_asked_for(page: Page):
    version = await changed_tool(page.store)
    sent = await page.get(address(version.digest))
    secret = page.token("bob")
    form = fields(await page.get(sent.headers["location"]))

    answer = await page.post("/sign-in", {**form, "name": "bob", "token": secret})

    assert (answer.status_code, answer.headers["location"]) == (303, address(version.digest))
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "parse_price@2" in (await page.get("/")).text


async def test_signing_in_leads_to_no_other_place(page: Page):
    secret = page.token("bob")
    for wanted in ("https://evil.example/", "//evil.example/", "/sign-out", "/versions/../x"):
        form = fields(await page.get(f"/sign-in?next={wanted}"))
        form["next"] = wanted
        answer = await page.post("/sign-in", {**form, "name": "bob", "token": secret})
        assert answer.headers["location"] == "/"
        await page.post("/sign-out", fields(await page.get("/keys"), action="/sign-out"))


async def test_a_wrong_name_or_token_gets_nobody_in(page: Page):
    secret = page.token("bob")
    for name, token in (("bob", secret[:-1]), ("eve", secret), ("bob", ""), ("", secret)):
        form = fields(await page.get("/sign-in"))
        answer = await page.post("/sign-in", {**form, "name": name, "token": token})
        assert answer.status_code == 401
        assert (await page.get("/")).status_code == 303


async def test_a_form_from_elsewhere_signs_nobody_in(page: Page):
    form = {"name": "bob", "token": page.token("bob")}
    assert (await page.post("/sign-in", form)).status_code == 403

    other = fields(await page.get("/sign-in"))
    page.client.cookies.clear()
    assert (await page.post("/sign-in", {**form, **other})).status_code == 403


async def test_a_cookie_that_somebody_planted_is_never_a_session(page: Page):
    name = next(iter((await page.sign_in("eve")).cookies))
    planted = page.client.cookies[name]
    await page.post("/sign-out", fields(await page.get("/keys"), action="/sign-out"))
    for value in (planted, "x" * 43, ""):
        page.client.cookies.clear()
        page.client.cookies.set(name, value, domain="127.0.0.1", path="/")
        answer = await page.sign_in("bob")
        assert answer.status_code == 303
        mine = answer.cookies[name]
        assert mine not in {planted, value}
        page.client.cookies.clear()
        page.client.cookies.set(name, value, domain="127.0.0.1", path="/")
        assert (await page.get("/keys")).status_code == 303
        page.client.cookies.set(name, mine, domain="127.0.0.1", path="/")
        assert (await page.get("/keys")).status_code == 200


async def test_who_signs_in_anew_leaves_no_session_behind(page: Page):
    await page.sign_in("bob")
    kept = dict(page.client.cookies)
    secret = page.token("bob")
    page.client.cookies.clear()
    form = fields(await page.get("/sign-in"))
    page.client.cookies.update(kept)  # the form of another tab, sent while signed in
    answer = await page.post("/sign-in", {**form, "name": "bob", "token": secret})
    assert answer.status_code == 303
    page.client.cookies.clear()
    page.client.cookies.update(kept)
    assert (await page.get("/keys")).status_code == 303


async def test_tries_are_limited_and_come_back_with_time(page: Page):
    for _ in range(BURST):
        form = fields(await page.get("/sign-in"))
        await page.post("/sign-in", {**form, "name": "bob", "token": "x" * 300})
    assert (await page.sign_in()).status_code == 429

    page.clock.seconds += REFILL_SECONDS
    assert (await page.sign_in()).status_code == 303


async def test_a_session_ends_when_idle_when_old_and_when_its_token_is_taken_back(page: Page):
    await page.sign_in()
    page.clock.seconds += IDLE_SECONDS + 1
    assert (await page.get("/")).status_code == 303

    await page.sign_in()
    statuses = []
    for _ in range(int(ABSOLUTE_SECONDS / IDLE_SECONDS) + 1):
        page.clock.seconds += IDLE_SECONDS - 1
        statuses.append((await page.get("/")).status_code)
    assert set(statuses[:-1]) == {200}
    assert statuses[-1] == 303

    await page.sign_in()
    page.clock.seconds += IDLE_SECONDS - 1
    assert (await page.get("/?live=1")).status_code == 200  # the page asks, nobody is there
    page.clock.seconds += 2
    assert (await page.get("/")).status_code == 303

    await page.sign_in()
    for entry in page.book.entries():
        page.book.remove(entry.id)
    assert (await page.get("/")).status_code == 303


async def test_signing_out_ends_the_session_for_whoever_kept_its_cookie(page: Page):
    await page.sign_in()
    kept = dict(page.client.cookies)
    answer = await page.post("/sign-out", fields(await page.get("/"), action="/sign-out"))
    assert answer.status_code == 303

    page.client.cookies.update(kept)
    assert (await page.get("/")).status_code == 303


# -- reading -------------------------------------------------------------------------------------


async def test_the_page_of_a_changed_tool_shows_what_a_reviewer_needs(page: Page):
    version = await changed_tool(page.store)
    await page.sign_in()

    text = (await page.get(address(version.digest))).text

    order = [
        ">What it can do", "reads nothing", "no network", ">What changed since",
        "Behaviour:</strong> it", "Source", "Findings", "Trials",
        "What they did not reach", "Nearest tool", "Who uses it", "History", "Your vote",
    ]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert version.digest in text


async def test_what_is_hostile_is_shown_escaped_and_marked(page: Page):
    version = await hostile_tool(page.store)
    await page.sign_in()

    text = ""
    for path in ("/", address(version.digest)):
        text = (await page.get(path)).text
        assert "&lt;script&gt;document.title=" in text
        assert not re.search(r"<script(?! src=\"/static/live.js\" defer>)", text)
        assert "<img" not in text
        assert not set("\u202e\u2066\u200b\x1b") & set(text)
        assert '<mark class="odd bidirectional"' in text
        assert '<mark class="odd look_alike" title="look-alike: CYRILLIC SMALL LETTER A' in text
    assert "[300 spaces]" in text
    assert "{{ 7 * 7 }}" in text


async def test_every_answer_forbids_scripts_frames_and_caches(page: Page):
    for path in ("/sign-in", "/", "/nowhere", "/static/style.css", "/versions/x"):
        headers = (await page.get(path)).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
    await page.sign_in()
    version = await changed_tool(page.store)
    text = (await page.get(address(version.digest))).text
    assert not re.search(r"\s(style|on[a-z]+)=", text)


# -- deciding ------------------------------------------------------------------------------------


async def test_a_yes_approves_what_was_shown_in_the_name_of_who_signed_in(page: Page):
    version = await changed_tool(page.store)
    await page.sign_in("bob")
    form = await page.form_of(version.digest)

    answer = await page.vote(version.digest, form, vote="approve", reason="looks right")

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    text = (await page.get("/")).text
    assert "parse_price@2 is approved" in text
    assert "Nothing waits" in text
    approved = await page.store.get(ToolRef(name="parse_price"))
    assert approved.digest == version.digest
    assert [(a.principal, a.comment) for a in approved.approvals] == [("bob", "looks right")]
    assert "is approved" not in (await page.get("/")).text  # said once


async def test_scope_and_expiry_go_with_the_yes(page: Page):
    version = await changed_tool(page.store)
    await page.sign_in("bob")
    form = await page.form_of(version.digest)

    await page.vote(version.digest, form, vote="approve", scope="canary", days="7")

    (approval,) = (await page.store.find(ToolRef.parse("parse_price@2"))).approvals
    assert approval.scope == "canary"
    assert approval.expires_at is not None


async def test_a_no_needs_a_reason_and_what_was_written_is_kept(page: Page):
    version = await changed_tool(page.store)
    await page.sign_in()
    form = await page.form_of(version.digest)

    answer = await page.vote(version.digest, form, vote="reject", reason=" ")
    assert answer.status_code == 422
    assert "say why" in answer.text
    assert 'value="reject" accesskey="r" checked' in answer.text
    assert await unchanged(page, version)

    answer = await page.vote(version.digest, form, vote="ask", reason="name the <currency>")
    assert answer.status_code == 303
    assert await unchanged(page, version)
    form = await page.form_of(version.digest)
    answer = await page.vote(version.digest, form, vote="reject", reason="wrong for 1.234")
    assert answer.status_code == 303
    assert await state_of(page, version) is Lifecycle.REVOKED


async def test_a_choice_that_is_not_on_the_form_changes_nothing(page: Page):
    version = await changed_tool(page.store)
    await page.sign_in()
    form = await page.form_of(version.digest)
    for values in (
        {},
        {"vote": "admit"},
        {"vote": "approve", "scope": "everything"},
        {"vote": "approve", "days": "-1"},
    ):
        assert (await page.vote(version.digest, form, **values)).status_code == 422
    assert await unchanged(page, version)


async def test_without_session_token_origin_or_seal_nothing_changes(page: Page):
    version, other = await changed_tool(page.store), await files_tool(page.store)
    await page.sign_in("bob")
    form = {**await page.form_of(version.digest), "vote": "approve"}
    path = f"{address(version.digest)}/decision"

    refused = {
        "no token": await page.post(path, {k: v for k, v in form.items() if k != CSRF_FIELD}),
        "a wrong token": await page.post(path, {**form, CSRF_FIELD: "x" * 43}),
        "another origin": await page.post(path, form, Origin="http://evil.example"),
        "no origin": await page.client.post(path, data=form),
        "a null origin": await page.post(path, form, Origin="null"),
        "another site": await page.post(path, form, Sec_Fetch_Site="cross-site"),
        "the same site": await page.post(path, form, Sec_Fetch_Site="same-site"),
        "no seal": await page.post(path, {**form, "seal": ""}),
        "another base": await page.post(path, {**form, "base": "other@1"}),
        "an edited digest": await page.post(
            path, {**form, "shown": form["shown"].replace("sha256:", "sha256:0", 1)}
        ),
        "the digest alone": await page.post(path, {**form, "shown": version.digest}),
        "another version": await page.post(f"{address(other.digest)}/decision", form),
        "a field twice": await page.client.post(
            path,
            content=f"{urlencode(form)}&vote=approve",
            headers={"Origin": ORIGIN, "Content-Type": "application/x-www-form-urlencoded"},
        ),
        "json": await page.client.post(path, json=form, headers={"Origin": ORIGIN}),
        "get": await page.client.get(path, params=form),
        "put": await page.client.put(path, data=form, headers={"Origin": ORIGIN}),
    }
    for what, answer in refused.items():
        assert 400 <= answer.status_code < 500, what
    assert refused["another version"].status_code == 403
    assert (refused["json"].status_code, refused["a field twice"].status_code) == (415, 400)

    page.client.cookies.clear()
    assert (await page.post(path, form)).status_code == 401
    await page.sign_in("carol")  # the form was bob's
    mine = await page.form_of(other.digest)
    assert (await page.post(path, form)).status_code == 403
    assert (await page.post(path, {**form, CSRF_FIELD: mine[CSRF_FIELD]})).status_code == 403
    assert await unchanged(page, version)
    assert await unchanged(page, other)


async def test_a_reader_reads_and_decides_nothing(page: Page):
    version = await changed_tool(page.store)
    await page.sign_in("rita", Role.READER)

    text = (await page.get(address(version.digest))).text
    assert "good for reading alone" in text
    assert "Your vote" not in text
    form = fields(await page.get("/"), action="/sign-out")
    answer = await page.vote(version.digest, form, vote="approve")
    assert answer.status_code == 403
    assert "good for reading alone" in answer.text
    assert await unchanged(page, version)


async def test_whom_the_policy_keeps_out_neither_reads_nor_votes(tmp_path: Path):
    for name in ("team.toml", "team.cedar"):
        text = resources.files("policies").joinpath("profiles", name).read_text("utf-8")
        (tmp_path / name).write_text(text.replace("guest = []", 'guest = ["gus"]'))
    async with review_page(tmp_path, read_profile(tmp_path / "team.toml")) as page:
        version = await changed_tool(page.store)
        await page.sign_in("bob")
        assert (await page.get(address(version.digest))).status_code == 200
        page.client.cookies.clear()
        await page.sign_in("gus")
        answer = await page.get(address(version.digest))
        assert answer.status_code == 403
        assert "guests may call tools and nothing else" in answer.text
        assert "re.compile" not in answer.text


async def test_what_changed_in_between_is_shown_and_nothing_is_decided(page: Page):
    version = await changed_tool(page.store)
    await page.sign_in("bob")
    form = await page.form_of(version.digest)
    await page.store.ask_change(version.digest, actor="carol", reason="mind the <dots>")

    answer = await page.vote(version.digest, form, vote="approve")

    assert answer.status_code == 409
    assert "by carol: mind the &lt;dots&gt;" in answer.text
    assert await unchanged(page, version)
    form = await page.form_of(version.digest)  # after another look it counts
    assert (await page.vote(version.digest, form, vote="approve")).status_code == 303


async def test_another_version_became_current_in_between(page: Page):
    version = await changed_tool(page.store)
    await page.sign_in("bob")
    form = await page.form_of(version.digest)
    source = price_source("# another\n" + version.source.code, ("EUR 12.50", 12.5))
    other = await submit(page.store, source, minutes=50)
    assert other.state is Lifecycle.APPROVED

    answer = await page.vote(version.digest, form, vote="approve")

    assert answer.status_code == 409
    assert "would take the place of parse_price@3 now" in answer.text
    assert await unchanged(page, version)


async def test_a_form_sent_twice_counts_once(page: Page):
    version = await changed_tool(page.store)
    await page.sign_in("bob")
    form = await page.form_of(version.digest)

    answers = await asyncio.gather(
        *(page.vote(version.digest, form, vote="approve") for _ in range(4))
    )

    assert sorted(a.status_code for a in answers) == [303, 409, 409, 409]
    approved = await page.store.get(ToolRef(name="parse_price"))
    assert len(approved.approvals) == 1


# -- the door ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example:8421", "127.0.0.1", "127.0.0.1:80", "127.0.0.1:8421.evil.example", ""]
)
async def test_another_host_gets_nothing(page: Page, host: str):
    await page.sign_in()
    answer = await page.client.get("/", headers={"Host": host})
    assert answer.status_code == 421
    assert "toolkiln review" not in answer.text


async def test_a_large_body_is_refused_whatever_it_says_of_its_length(page: Page):
    await page.sign_in()
    headers = {"Origin": ORIGIN, "Content-Type": "application/x-www-form-urlencoded"}

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"a=" + b"x" * 1_000 + b"&"

    announced = await page.client.post(
        "/sign-out", content=b"x" * (MAX_BODY_BYTES + 1), headers=headers
    )
    unannounced = await page.client.post("/sign-out", content=endless(), headers=headers)

    assert (announced.status_code, unannounced.status_code) == (413, 413)


async def test_a_version_that_is_not_there_is_a_plain_answer(page: Page):
    await page.sign_in()
    for digits, status in (("0" * 64, 404), ("x", 404), ("0" * 63 + "G", 404)):
        answer = await page.get(f"/versions/{digits}")
        assert answer.status_code == status
        assert "To the queue" in answer.text
