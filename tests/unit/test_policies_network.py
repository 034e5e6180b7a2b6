"""Grants of hosts and secrets: how they are read, what they cover, what a tool may narrow."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import PolicyProfile, load_profile
from policies.errors import PolicyConfigError
from policies.grants import grant_problems
from policies.network import (
    METHODS,
    AddressError,
    HostGrant,
    Target,
    covering,
    is_covered,
    parse_grant,
    parse_target,
    split_url,
)
from policies.permissions import Permissions
from runtime.profiles import _shipped_text, read_profile

API = "https://api.example.com/v1/"


def profile(**sections: Any) -> PolicyProfile:
    local = read_profile("local").model_dump(mode="json")
    return PolicyProfile.model_validate({**local, **sections})


def target(url: str) -> Target:
    return parse_target(*split_url(url))


# --- spelling


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (API, API),
        ("https://API.Example.COM.:443/v1/", API),
        ("GET,HEAD https://api.example.com/v1/", API),
        ("POST https://a.example.com", "POST https://a.example.com/"),
        ("POST,GET http://a.example.com:8080/x", "GET,HEAD,POST http://a.example.com:8080/x"),
        ("https://*.example.com", "https://*.example.com/"),
        ("https://a.example.com/%7euser/%2a", "https://a.example.com/~user/%2A"),
        ("http://127.0.0.1:80/", "http://127.0.0.1/"),
        ("http://[0:0::1]:8080/", "http://[::1]:8080/"),
        ("https://xn--mnchen-3ya.de/", "https://xn--mnchen-3ya.de/"),
    ],
)
def test_a_grant_has_one_spelling(text: str, canonical: str) -> None:
    assert str(parse_grant(text)) == canonical
    assert parse_grant(canonical) == parse_grant(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "http"),
        ("api.example.com", "http"),
        ("ftp://a.example.com/", "neither http nor https"),
        ("GET  https://a.example.com/", "one space"),
        ("GET https://a.example.com/ ", "one space"),
        ("get https://a.example.com/", "'get' is no method"),
        ("TRACE https://a.example.com/", "'TRACE' is no method"),
        ("CONNECT https://a.example.com/", "'CONNECT' is no method"),
        ("GET, https://a.example.com/", "no method"),
        ("https://user@a.example.com/", "user name"),
        ("https://a.example.com/?key=1", "query"),
        ("https://a.example.com/#top", "fragment"),
        ("https://*/", "host"),
        ("https://*.com/", "too wide"),
        ("https://*.127.0.0.1/", "too wide"),
        ("https://api.*.example.com/", "host"),
        ("https://a*.example.com/", "host"),
        ("https://münchen.de/", "punycode"),
        ("https://a..example.com/", "host"),
        ("https://a.example.com../", "host"),
        ("https://-a.example.com/", "host"),
        ("https://a.example.com:0/", "port"),
        ("https://a.example.com:65536/", "port"),
        ("https://a.example.com:/", "port"),
        ("https://a.example.com:080/", "port"),
        ("http://127.1/", "plain IPv4"),
        ("http://0x7f000001/", "plain IPv4"),
        ("http://2130706433/", "plain IPv4"),
        ("http://0177.0.0.1/", "plain IPv4"),
        ("http://[::1/", "brackets"),
        ("http://[fe80::1%25eth0]/", "interface"),
        ("http://[::1]x/", "brackets"),
        ("https://a.example.com/../b", "segment"),
        ("https://a.example.com/%2e%2e/b", "segment"),
        ("https://a.example.com/a%2fb", "escaped slash"),
        ("https://a.example.com/a\\b", "percent-encoded"),
    ],
)
def test_what_is_no_grant_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(AddressError, match=words) as refused:
        parse_grant(text)
    assert "scheme://host[:port][/prefix]" in str(refused.value)


# --- requests


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../admin", "/v1/./x", "/v1/..", "/v1/%2e%2e/admin", "/v1/.%2E/admin", "/v1/..;/admin",
        "/v1/%2e%2e;x=1/admin", "/v1/..%3b/admin", "/v1/%2fadmin", "/v1/%2Fadmin", "/v1/%5cadmin",
        "/v1\\admin", "/v1/..%253b/x",
        "/v1/%252e%252e/admin", "/v1/%252fadmin", "/v1/%25252e/", "/v1/%00", "/v1/%0d%0aHost:x",
        "/v1/%7f", "/v1/%", "/v1/%zz", "/v1/ x", "/v1/\tx", "/v1/ü", "/v1/x#y",
    ],
)  # fmt: skip
def test_a_path_that_servers_could_read_in_two_ways_is_refused(path: str) -> None:
    with pytest.raises(AddressError):
        parse_target("https", "api.example.com", path)


@pytest.mark.parametrize(
    ("grant", "url", "covered"),
    [
        (API, "https://api.example.com/v1/", True),
        (API, "https://api.example.com/v1/users?id=1", True),
        (API, "https://API.EXAMPLE.COM.:443/%76%31/users", True),
        (API, "https://api.example.com/v1", False),
        (API, "https://api.example.com/V1/", False),
        (API, "https://api.example.com/v2/", False),
        (API, "https://api.example.com/", False),
        (API, "http://api.example.com/v1/", False),
        (API, "https://api.example.com:8443/v1/", False),
        (API, "https://api.example.com.evil.example/v1/", False),
        (API, "https://xapi.example.com/v1/", False),
        ("https://api.example.com/v1", "https://api.example.com/v1", True),
        ("https://api.example.com/v1", "https://api.example.com/v1/x", True),
        ("https://api.example.com/v1", "https://api.example.com/v1beta", False),
        ("https://*.example.com/", "https://a.example.com/", True),
        ("https://*.example.com/", "https://a.b.example.com/", True),
        ("https://*.example.com/", "https://example.com/", False),
        ("https://*.example.com/", "https://badexample.com/", False),
        ("https://*.example.com/", "https://a.example.com.evil.example/", False),
        ("http://127.0.0.1/", "http://127.0.0.1:80/x", True),
        ("http://[::1]/", "http://[0::1]/x", True),
    ],
)
def test_what_a_grant_covers(grant: str, url: str, covered: bool) -> None:
    assert parse_grant(grant).covers("GET", target(url)) is covered


def test_a_grant_covers_its_methods_alone() -> None:
    assert {m for m in METHODS if parse_grant(API).covers(m, target(API))} == {"GET", "HEAD"}
    post = parse_grant(f"POST {API}")
    assert {m for m in METHODS if post.covers(m, target(API))} == {"POST"}


def test_the_query_is_kept_for_the_server_and_from_everybody_else() -> None:
    found = target("https://a.example.com/x?key=hush%20hush")

    assert found.request_line == "/x?key=hush%20hush"
    assert "hush" not in found.shown


# --- laws

labels = st.sampled_from(["a", "b", "api", "xn--mnchen-3ya", "example", "com"])
hosts = st.lists(labels, min_size=2, max_size=4).map(".".join)
segments = st.lists(st.sampled_from(["v1", "v2", "users", "%7e", "%41", "a;b"]), max_size=3)
paths = st.builds(
    lambda parts, slash: "/" + "/".join(parts) + ("/" if parts and slash else ""),
    segments,
    st.booleans(),
)
methods = st.sets(st.sampled_from(METHODS), min_size=1)
grants = st.builds(
    lambda m, s, w, h, p, path: f"{','.join(sorted(m))} {s}://{w}{h}{p}{path}",
    methods,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["", "*."]),
    hosts,
    st.sampled_from(["", ":80", ":8080"]),
    paths,
).map(parse_grant)


@given(grants)
def test_reading_what_was_written_gives_the_same(grant: HostGrant) -> None:
    assert parse_grant(str(grant)) == grant


@given(grants, grants, hosts, paths, st.sampled_from(METHODS))
def test_what_lies_inside_covers_nothing_more(
    outer: HostGrant, inner: HostGrant, host: str, path: str, method: str
) -> None:
    there = Target(inner.scheme, host, inner.port, target(f"http://x.y{path}").path)
    if method in covering([outer], inner) and inner.covers(method, there):
        assert outer.covers(method, there)
        assert outer.overlaps(inner)


@given(grants)
def test_a_grant_lies_inside_of_itself(grant: HostGrant) -> None:
    assert covering([grant], grant) == grant.methods
    assert is_covered(str(grant), [str(grant)])


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_breaks_the_reading(text: str, path: str) -> None:
    for read in (lambda: parse_grant(text), lambda: parse_target("https", text, path)):
        try:
            read()
        except AddressError:
            continue


@given(st.text(alphabet="/.%25eEfF;\\av1", max_size=24))
def test_no_accepted_path_leaves_its_prefix_however_it_is_decoded(path: str) -> None:
    """Whatever a server decodes, and how often, the path stays below what was compared."""
    from posixpath import normpath  # noqa: PLC0415
    from urllib.parse import unquote  # noqa: PLC0415

    try:
        there = parse_target("https", "a.b", "/v1/" + path)
    except AddressError:
        return
    decoded = there.path
    for _ in range(4):
        flat = "/".join(part.partition(";")[0] for part in decoded.replace("\\", "/").split("/"))
        assert (normpath(flat).replace("//", "/") + "/").startswith("/v1/")
        decoded = unquote(decoded)


# --- declared against granted


def problems(permissions: dict[str, Any], **sections: Any) -> list[tuple[str, str, str]]:
    found = grant_problems(Permissions.model_validate(permissions), profile(**sections))
    return [(problem.rule, problem.message, problem.suggestion) for problem in found]


def test_no_host_is_granted_until_a_policy_names_it() -> None:
    ((rule, message, suggestion),) = problems({"hosts": [API]})

    assert rule == "RP403"
    assert "grants no requests at all" in message
    assert "network.allow" in suggestion


@pytest.mark.parametrize(
    ("allowed", "declared"),
    [
        ([API], API),
        ([API], "GET https://api.example.com/v1/users/"),
        (["GET,POST https://*.example.com/"], f"POST {API}"),
        ([API, f"POST {API}"], f"GET,POST {API}users/"),
    ],
)
def test_a_tool_may_narrow(allowed: list[str], declared: str) -> None:
    assert not problems({"hosts": [declared]}, network={"allow": allowed})


@pytest.mark.parametrize(
    ("allowed", "declared", "words"),
    [
        ([API], "https://api.example.com/", "does not grant"),
        ([API], f"GET,POST {API}", "the methods POST of"),
        ([API], "https://*.example.com/v1/", "does not grant"),
        (["https://a.example.com/"], "https://*.a.example.com/", "does not grant"),
        ([API], "http://api.example.com/v1/", "does not grant"),
        ([API], "nonsense", "spelling"),
    ],
)
def test_a_tool_may_not_widen(allowed: list[str], declared: str, words: str) -> None:
    ((rule, message, _),) = problems({"hosts": [declared]}, network={"allow": allowed})

    assert rule == "RP403"
    assert words in message


SECRET = {"github": {"hosts": [API], "header": "Authorization", "format": "Bearer {secret}"}}


def test_secrets_are_granted_by_name_and_go_with_a_declared_host() -> None:
    network = {"allow": [API, "https://other.example.com/"]}
    wanted = {"hosts": [API], "secrets": ["github"]}

    assert not problems(wanted, network=network, secrets=SECRET)
    ((rule, message, suggestion),) = problems(
        {"hosts": [API], "secrets": ["githib"]}, network=network, secrets=SECRET
    )
    assert (rule, suggestion) == ("RP404", "did you mean 'github'?")
    assert "githib" in message
    ((rule, message, _),) = problems(
        {"hosts": ["https://other.example.com/"], "secrets": ["github"]},
        network=network,
        secrets=SECRET,
    )
    assert rule == "RP404"
    assert "goes only into requests to https://api.example.com/v1/" in message


# --- policy files


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ('[network]\nallow = ["api.example.com"]', "network.allow"),
        ('[network]\nprivate_addresses = ["10.0.0.1/8"]', "10.0.0.1/8"),
        ('[secrets.a]\nhosts = ["x"]\nheader = "X-Key"', "secrets.a.hosts"),
        (f'[secrets.a]\nhosts = ["{API}"]\nheader = "Host"', "about the connection"),
        (f'[secrets.a]\nhosts = ["{API}"]\nheader = "X Key"', "header"),
        (f'[secrets.a]\nhosts = ["{API}"]\nheader = "X-Key"\nformat = "none"', "format"),
        (
            f'[secrets.a]\nhosts = ["{API}"]\nheader = "X"\nformat = "{{secret}}\\r\\nY: 1"',
            "format",
        ),
        (f'[secrets."../a"]\nhosts = ["{API}"]\nheader = "X-Key"', "secrets"),
    ],
)
def test_a_policy_that_is_not_understood_is_refused(section: str, words: str) -> None:
    with pytest.raises(PolicyConfigError, match=words):
        load_profile(f"{_shipped_text('local')}\n{section}\n", origin="test")
