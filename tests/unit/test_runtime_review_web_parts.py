"""Parts of the review page by themselves: tokens, addresses, limits, marks, sides."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.marking import mark_line, mark_text
from runtime.cli.program import run as run_program
from runtime.errors import ExitCode, UsageError
from runtime.review.diff import diff_lines
from runtime.review.web.highlight import plain_lines, python_lines
from runtime.review.web.marking import html_of
from runtime.review.web.pages import HERE
from runtime.review.web.roles import Role
from runtime.review.web.serve import Door, check_door
from runtime.review.web.sides import colours_of, rows_of
from runtime.review.web.site import make_site, parse_listen
from runtime.review.web.throttle import BURST, BURST_OF_ALL, REFILL_SECONDS, Throttle
from runtime.review.web.tokens import COST, TokenBook, TokenFileError

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Words(HTMLParser):
    """The text of a piece of HTML, and the elements in it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.elements: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.elements.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Words:
    words = Words()
    words.feed("".join(html))
    words.close()
    return words


# -- tokens --------------------------------------------------------------------------------------


def book(folder: Path) -> TokenBook:
    return TokenBook(folder / "tokens.json", cost=2)


def test_a_token_is_kept_as_a_slow_hash_for_its_owner_alone(tmp_path: Path):
    entry, secret = TokenBook(tmp_path / "tokens.json").add("ada", role=Role.REVIEWER, at=NOON)

    assert entry.cost == COST >= 2**15
    assert len(secret) == 43  # 256 bits
    text = (tmp_path / "tokens.json").read_text("utf-8")
    assert secret not in text
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


def test_a_token_lets_in_its_own_name_until_it_expires_or_is_taken_back(tmp_path: Path):
    tokens = book(tmp_path)
    entry, secret = tokens.add(
        "ada", role=Role.READER, at=NOON, expires_at=NOON + timedelta(days=1)
    )
    tokens.add("bob", role=Role.REVIEWER, at=NOON)

    reviewer = tokens.check("ada", secret, at=NOON)
    assert reviewer
    assert (reviewer.name, reviewer.role) == ("ada", Role.READER)
    assert tokens.check("bob", secret, at=NOON) is None
    assert tokens.check("ada", secret.swapcase(), at=NOON) is None
    assert tokens.stands(reviewer, at=NOON)
    late = NOON + timedelta(days=1)
    assert tokens.check("ada", secret, at=late) is None
    assert not tokens.stands(reviewer, at=late)
    tokens.remove(entry.id)
    assert tokens.check("ada", secret, at=NOON) is None
    assert not tokens.stands(reviewer, at=NOON)


def test_a_file_that_others_could_have_touched_lets_nobody_in(tmp_path: Path):
    tokens = book(tmp_path)
    _, secret = tokens.add("ada", role=Role.REVIEWER, at=NOON)
    path = tmp_path / "tokens.json"

    path.chmod(0o640)
    with pytest.raises(TokenFileError, match="chmod 600"):
        tokens.check("ada", secret, at=NOON)
    path.chmod(0o600)
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(TokenFileError):
        tokens.check("ada", secret, at=NOON)
    path.unlink()
    path.touch(0o600)
    path.write_text('[{"id": "x"}]')
    with pytest.raises(TokenFileError, match="damaged"):
        tokens.check("ada", secret, at=NOON)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(TokenFileError):
        tokens.check("ada", secret, at=NOON)


@pytest.mark.parametrize("name", ["", " ada", "ada b", "ad\u0430", "a" * 101, "-ada", "a\n"])
def test_a_name_that_could_be_taken_for_another_is_refused(tmp_path: Path, name: str):
    with pytest.raises(UsageError, match="no name for a reviewer"):
        book(tmp_path).add(name, role=Role.REVIEWER, at=NOON)


# -- where it is ---------------------------------------------------------------------------------


def test_hosts_and_origins_are_what_browsers_send():
    here = make_site("127.0.0.1", 8421, origins=(), tls=False)
    assert here.hosts == {"127.0.0.1:8421", "localhost:8421", "[::1]:8421"}
    assert not here.secure

    there = make_site("0.0.0.0", 8421, origins=("https://Review.Example.org:443/",), tls=False)  # noqa: S104 - as an example
    assert there.origins == {"https://review.example.org"}
    assert there.hosts == {"review.example.org"}
    assert there.cookie_name == "__Host-toolkiln_review_8421"


@pytest.mark.parametrize(
    "origin", ["review.example.org", "https://", "ftp://a.b", "https://a/b", "https://a@b", "*"]
)
def test_what_is_no_origin_is_refused(origin: str):
    with pytest.raises(UsageError, match="no origin"):
        make_site("127.0.0.1", 8421, origins=(origin,), tls=True)


def test_all_addresses_need_a_name():
    for host in ("0.0.0.0", "::"):  # noqa: S104 - as an example
        with pytest.raises(UsageError, match="--origin"):
            make_site(host, 8421, origins=(), tls=True)


def test_addresses_are_read_strictly():
    assert parse_listen("127.0.0.1:8421") == ("127.0.0.1", 8421)
    assert parse_listen("[::1]:0") == ("::1", 0)
    for text in ("8421", "localhost", "::1:80", "a:b", "a:99999", ":80", "a:-1", "[::1]"):
        with pytest.raises(UsageError):
            parse_listen(text)


def test_others_reach_it_by_tls_or_because_somebody_said_so():
    check_door(Door("127.0.0.1", 0))
    check_door(Door("192.0.2.1", 0, insecure=True))
    pem = Path("x.pem")
    check_door(Door("192.0.2.1", 0, tls_certificate=pem, tls_key=pem))
    for door in (
        Door("192.0.2.1", 0),
        Door("review.example.org", 0),
        Door("127.0.0.1", 0, tls_certificate=pem),
        Door("127.0.0.1", 0, tls_certificate=pem, tls_key=pem, insecure=True),
    ):
        with pytest.raises(UsageError):
            check_door(door)


def test_tries_are_limited_by_address_and_over_all():
    now = 0.0
    throttle = Throttle(lambda: now)
    assert [throttle.wait_seconds("a") > 0 for _ in range(BURST + 1)] == [False] * BURST + [True]
    assert throttle.wait_seconds("b") == 0
    throttle.give_back("a")
    assert throttle.wait_seconds("a") == 0
    now += REFILL_SECONDS
    assert throttle.wait_seconds("a") == 0
    others = [throttle.wait_seconds(f"address {number}") for number in range(BURST_OF_ALL + 10)]
    assert others[-1] > 0


# -- what is shown -------------------------------------------------------------------------------

TEXTS = st.text(
    st.one_of(
        st.sampled_from("<>&\"'{}%`=/\\ \t\u202e\u0430\x1b\u200b#:x"),
        st.characters(exclude_characters="\n"),
    ),
    max_size=80,
)


@settings(max_examples=40)
@given(TEXTS)
def test_no_text_becomes_markup_and_all_of_it_is_shown(text: str):
    safe = mark_text(text)
    words = read(html_of(safe))
    assert words.elements <= {"mark"}
    assert words.text == safe.plain


@settings(max_examples=40)
@given(st.lists(TEXTS, max_size=8))
def test_colour_adds_nothing_and_leaves_nothing_out(texts: list[str]):
    lines = [mark_line(text) for text in texts]
    for shown, line in zip(python_lines(lines), lines, strict=True):
        words = read(shown.html(range(2, 5)))
        assert words.elements <= {"mark", "span"}
        assert words.text == line.plain


LINES = st.lists(
    st.sampled_from(["", "def f():", '    """', "    x = 1", "    x = 2"]), max_size=30
)


@settings(max_examples=40)
@given(LINES, LINES)
def test_the_sides_of_a_diff_are_the_texts(before: list[str], now: list[str]):
    diff = list(diff_lines(before, now))
    rows = rows_of(diff, colours_of(diff, [mark_line(line) for line in now]))

    for texts, sides in (
        (before, [row.before for row in rows if row.before]),
        (now, [row.now for row in rows if row.now]),
    ):
        assert [side.number for side in sides] == sorted({side.number for side in sides})
        for side in sides:
            assert read(side.html).text == texts[side.number - 1]
    shown = {row.before.number for row in rows if row.before and not row.same}
    kept = [line for number, line in enumerate(before, 1) if number not in shown]
    come = {row.now.number for row in rows if row.now and not row.same}
    assert kept == [line for number, line in enumerate(now, 1) if number not in come]


def test_the_earlier_text_has_the_colours_of_the_whole_of_it():
    before = ["def f():", '    """Add.', "", "    as it was", '    """', "    return 1"]
    now = [*before[:3], "    as it is", *before[4:]]
    diff = list(diff_lines(before, now))

    rows = rows_of(diff, colours_of(diff, [mark_line(line) for line in now]))

    (changed,) = [row for row in rows if not row.same]
    assert changed.before
    assert '<span class="c">    as it </span><span class="c moved">wa</span>' in changed.before.html
    assert "".join(read(line.html()).text for line in plain_lines([mark_line("x < 1")])) == "x < 1"


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2 has it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_text_has_contrast_in_both_colour_schemes():
    style = (HERE / "static" / "style.css").read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    )
    code = ("ink", "kw", "str", "com", "num", "fun", "bui")
    pairs = [(text, ground) for text in code for ground in ("paper", "add", "del", "warn-bg")]
    pairs += [("ink", ground) for ground in ("ground", "add-no", "del-no")]
    pairs += [(text, ground) for text in ("soft", "link") for ground in ("ground", "paper")]
    pairs += [(text, f"{text}-bg") for text in ("good", "bad", "warn", "info")]
    pairs.append(("accent-ink", "accent"))
    for colours in (light, light | dark):
        for text, ground in pairs:
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        assert contrast(colours["focus"], colours["paper"]) >= 3


# -- the command ---------------------------------------------------------------------------------


def test_tokens_are_made_listed_and_taken_back_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def run(*words: str) -> str:
        assert run_program(["--home", str(tmp_path), "review", "token", *words]) == ExitCode.OK
        return capsys.readouterr().out

    made = json.loads(run("add", "ada", "--role", "reader", "--days", "7", "--json"))
    (listed,) = json.loads(run("list", "--json"))
    assert made == {**listed, "token": made["token"]}
    assert (listed["name"], listed["role"]) == ("ada", "reader")
    assert made["token"] not in run("list")
    run("remove", made["id"])
    assert run("list") == ""
    assert (tmp_path / "review" / "tokens.json").stat().st_mode & 0o777 == 0o600


def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path):
    words = ["--home", str(tmp_path), "review", "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        [sys.executable, "-m", "runtime", *words], stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stderr
        assert "token add" in program.stderr.readline()
        place = re.search(r"http://(127\.0\.0\.1:\d+)/", program.stderr.readline())
        assert place
        connection = HTTPConnection(place[1], timeout=30)
        connection.request("GET", "/sign-in")
        answer = connection.getresponse()
        assert answer.status == 200
        assert "server" not in answer.headers
        assert b"Sign in" in answer.read()
        connection.close()
        program.terminate()
        assert program.stderr.read() == ""
        assert program.wait(30) == 128 + signal.SIGTERM
