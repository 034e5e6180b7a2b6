"""Whatever is sent to the review page: no fault of ours, no answer without its walls, no change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from itertools import product
from pathlib import Path
from urllib.parse import quote_from_bytes, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rawrequests import Answer, Request, send
from reviewing import changed_tool
from reviewpage import ORIGIN, Page, review_page

from runtime.review.web.forms import CSRF_FIELD
from runtime.review.web.guard import CONTENT_SECURITY_POLICY, FORM, MAX_BODY_BYTES
from toolstore.models import Lifecycle, ToolVersion

HOST = ORIGIN.partition("://")[2].encode()

BYTES = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(lambda text: text.encode(errors="replace")),
    st.sampled_from(
        [
            *(b"..", b"../../etc/passwd", b"%00", b"%2e%2e%2f", b"{{7*7}}", b"'--", b"<script>"),
            *(b"\x00", b"\xff\xfe", b"\xe2\x80\xae", b"\r\nSet-Cookie: a=b"),
            *(b"1e999", b"-1", b"9" * 400),
        ]
    ),
)
ESCAPED = BYTES.map(lambda data: quote_from_bytes(data, safe="/.%;=&").encode())
PATHS = st.one_of(
    st.sampled_from(
        [
            *(b"/", b"/keys", b"/sign-in", b"/sign-out", b"/queue/events", b"/queue/events/"),
            *(b"/static/", b"/static/style.css", b"/static/live.js"),
            *(b"//", b"*", b"", b"http://evil.example/", b"/%2f/"),
        ]
    ),
    st.sampled_from([b"/versions/DIGEST", b"/versions/DIGEST/decision"]),
    st.builds(
        bytes.__add__,
        st.sampled_from([b"/", b"/static/", b"/versions/", b"/versions/DIGEST/"]),
        ESCAPED,
    ),
)
QUERIES = st.one_of(st.just(b""), st.builds(lambda piece: b"?next=" + piece, ESCAPED), ESCAPED)
METHODS = st.one_of(
    st.sampled_from(
        ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH"]
    ),
    st.text("ABCxyz-!", min_size=1, max_size=8),
)
VALUES = st.one_of(
    BYTES.map(lambda data: bytes(each for each in data if each not in b"\r\n\0")),
    st.sampled_from(
        [
            *(ORIGIN.encode(), HOST, b"127.0.0.1", b"null", b"same-origin", b"cross-site"),
            *(b"COOKIE", b"COOKIE; COOKIE", b"COOKIE=", b"bytes=0-", b"bytes=9-1,x"),
            *(b"gzip", b"chunked", b"100-continue", b"websocket", b'W/"x"', b"Thu, 01 Jan 1970"),
            *(FORM.encode(), FORM.encode() + b"; charset=utf-16", b"multipart/form-data"),
            *(b"0", b"-1", b"1e3", b"9" * 30, b"\xb2"),
        ]
    ),
)
NAMES = st.sampled_from(
    [
        *(b"host", b"origin", b"cookie", b"content-type", b"content-length", b"sec-fetch-site"),
        *(b"range", b"if-range", b"if-none-match", b"if-modified-since", b"accept", b"referer"),
        *(b"accept-encoding", b"transfer-encoding", b"expect", b"upgrade", b"connection"),
        *(b"x-forwarded-for", b"x-forwarded-host", b"forwarded", b"x-http-method-override"),
    ]
)
FIELDS = st.sampled_from(
    [
        "vote",
        "reason",
        "shown",
        "seal",
        "base",
        "scope",
        "days",
        "name",
        "token",
        "next",
        CSRF_FIELD,
    ]
)
TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["approve", "reject", "stable", "7", "x" * 3_000, "\u0661", "\u202e", "\x00", "None"]
    ),
)
FORMS = st.one_of(
    st.dictionaries(FIELDS, TEXTS, max_size=6).map(lambda given: [urlencode(given).encode()]),
    st.lists(BYTES, max_size=4),
    st.just([b"a=" + b"x" * 9_000] * 5),
)


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with review_page(tmp_path) as opened:
        yield opened


@pytest.fixture
async def version(page: Page) -> ToolVersion:
    made = await changed_tool(page.store)
    await page.sign_in("bob")
    return made


def cookie_of(page: Page) -> bytes:
    return "; ".join(f"{name}={value}" for name, value in page.client.cookies.items()).encode()


def in_loop() -> Callable[[Coroutine[object, object, Answer]], Answer]:
    """Let a property, which hypothesis calls from a thread, ask things in the loop of the test."""
    loop = asyncio.get_running_loop()
    return lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)


def check(request: Request, answer: Answer) -> None:
    assert 200 <= answer.status < 500, (request, answer)
    assert answer.headers[b"content-security-policy"] == CONTENT_SECURITY_POLICY.encode(), request
    assert answer.headers[b"cache-control"] == b"no-store", request
    assert answer.headers[b"x-frame-options"] == b"DENY", request
    location = answer.headers.get(b"location", b"/")
    assert location.startswith(b"/") and not location.startswith(b"//"), (request, location)


async def fuzz(page: Page, version: ToolVersion, examples: int) -> None:
    """Send `examples` requests, signed in or not, each as odd as can be."""
    log = await page.store.events()
    cookie, digits = cookie_of(page), version.digest.removeprefix("sha256:").encode()
    ask = in_loop()

    usual = {
        b"host": HOST,
        b"cookie": cookie,
        b"origin": ORIGIN.encode(),
        b"content-type": FORM.encode(),
    }
    requests = st.builds(
        lambda method, path, query, lacks, odd, body: Request(
            method,
            path.replace(b"DIGEST", digits) + query,
            [
                *((name, value) for name, value in usual.items() if name != lacks),
                *((name, value.replace(b"COOKIE", cookie)) for name, value in odd),
            ],
            body,
        ),
        METHODS,
        PATHS,
        QUERIES,
        st.sampled_from([None, None, None, *usual]),
        st.lists(st.tuples(NAMES, VALUES), max_size=3),
        FORMS,
    )

    @settings(max_examples=examples)
    @given(requests)
    def send_one(request: Request) -> None:
        check(request, ask(send(page.app, request)))

    await asyncio.to_thread(send_one)
    assert await page.store.events() == log


async def test_no_request_is_a_fault_of_ours_and_none_decides(
    page: Page, version: ToolVersion
) -> None:
    await fuzz(page, version, 60)


@pytest.mark.heavy
async def test_no_request_of_very_many_is_a_fault_of_ours(page: Page, version: ToolVersion) -> None:
    await fuzz(page, version, 4_000)


SPOILS: dict[str, Callable[[bytes], tuple[bytes, ...]]] = {
    "missing": lambda _: (),
    "twice": lambda value: (value, value),
    "another": lambda value: (bytes([*value[:-1], value[-1] ^ 1]) if value else b"x",),
    "shorter": lambda value: (value[:-1],),
    "empty": lambda _: (b"",),
}


NEEDED = ("cookie", "origin", "host", "vote", "shown", "seal", CSRF_FIELD)
Spoilt = Mapping[str, str]


async def spoil(
    page: Page, version: ToolVersion, all_of: Callable[[Callable[[Spoilt], None]], None]
) -> None:
    """Send a vote that would count, but for what it lacks; then the vote itself."""
    form = {**await page.form_of(version.digest), "vote": "approve", "scope": "", "days": ""}
    log = await page.store.events()
    cookie, digits = cookie_of(page), version.digest.removeprefix("sha256:")
    target = f"/versions/{digits}/decision".encode()
    ask = in_loop()

    def request_of(spoilt: Spoilt) -> Request:
        given = {
            "cookie": cookie, "origin": ORIGIN.encode(), "host": HOST,
            **{name: value.encode() for name, value in form.items()},
        }  # fmt: skip
        values = {
            name: SPOILS[spoilt[name]](value) if name in spoilt else (value,)
            for name, value in given.items()
        }
        headers = [
            (name.encode(), value)
            for name in ("cookie", "origin", "host")
            for value in values[name]
        ]
        fields = [(name, value) for name in form for value in values[name]]
        body = urlencode(fields).encode()
        headers.append((b"content-type", FORM.encode()))
        return Request("POST", target, headers, [body])

    def send_one(spoilt: Spoilt) -> None:
        request = request_of(spoilt)
        answer = ask(send(page.app, request))
        check(request, answer)
        assert answer.status >= 400, (spoilt, answer)

    await asyncio.to_thread(all_of, send_one)
    assert await page.store.events() == log
    assert (await send(page.app, request_of({}))).status == 303
    assert (await page.store.version(version.digest)).state is Lifecycle.APPROVED


async def test_a_vote_that_lacks_one_thing_it_needs_changes_nothing(
    page: Page, version: ToolVersion
) -> None:
    def each_alone(send_one: Callable[[Spoilt], None]) -> None:
        for name, how in product(NEEDED, SPOILS):
            if (name, how) != ("cookie", "twice"):  # the same one, said twice, is that one
                send_one({name: how})

    await spoil(page, version, each_alone)


@pytest.mark.heavy
async def test_a_vote_that_lacks_several_things_changes_nothing(
    page: Page, version: ToolVersion
) -> None:
    spoilt = st.dictionaries(
        st.sampled_from(NEEDED), st.sampled_from(list(SPOILS)), min_size=2, max_size=7
    )
    await spoil(
        page, version, lambda send_one: settings(max_examples=2_000)(given(spoilt)(send_one))()
    )


async def test_a_body_in_pieces_is_bounded_however_long_it_says_it_is(
    page: Page, version: ToolVersion
) -> None:
    headers = [(b"host", HOST), (b"cookie", cookie_of(page)), (b"origin", ORIGIN.encode()),
               (b"content-type", FORM.encode())]  # fmt: skip
    for length in (b"1", b"999999", b"0x10", b"\xb2", None):
        said = [] if length is None else [(b"content-length", length)]
        body = [b"a=" + b"x" * 1_000 + b"&"] * (MAX_BODY_BYTES // 1_000 + 1)
        answer = await send(page.app, Request("POST", b"/sign-out", [*headers, *said], body))
        assert answer.status == 413, length
