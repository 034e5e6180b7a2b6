"""Which requests a grant is about: spelling, matching, and whether one lies inside of another.

Pure. A grant is written `[METHODS ]scheme://host[:port][/prefix]`. A request is compared only
after its address was brought to one spelling; one that servers could read in two ways is
refused, whatever it seems to match.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = [
    "CONNECTION_HEADERS",
    "DEFAULT_METHODS",
    "METHODS",
    "AddressError",
    "HostGrant",
    "Target",
    "covering",
    "is_covered",
    "parse_grant",
    "parse_network",
    "parse_target",
    "split_authority",
    "split_url",
]

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""All that can be granted; `TRACE` and `CONNECT` cannot."""

DEFAULT_METHODS: Final = frozenset({"GET", "HEAD"})

CONNECTION_HEADERS: Final = frozenset(
    {
        *("connection", "content-length", "expect", "host", "http2-settings", "keep-alive"),
        *("proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
    }
)
"""Headers, in small letters, that are about one connection and never passed on."""

_PORTS: Final = {"http": 80, "https": 443}
_MAX_PORT: Final = 65_535
_MAX_URL: Final = 8_192
_MAX_HOST: Final = 253
_LEAST_WILDCARD_LABELS: Final = 2
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PATH: Final = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
_QUERY: Final = re.compile(r"(?:[!-\"$&-~]|%[0-9A-Fa-f]{2})*")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]")
_TWICE_ESCAPED: Final = re.compile(r"%25(?:2[eEfF]|3[bB]|5[cC]|00|25)")
_HIDDEN: Final = re.compile(r"%(?:[01][0-9A-F]|2F|5C|7F)")


class AddressError(ValueError):
    """An address or a grant cannot be understood, or could be understood in two ways."""


@dataclass(frozen=True)
class Target:
    """Where one request goes, in its one spelling."""

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""

    @property
    def origin(self) -> str:
        """`scheme://host[:port]`."""
        return f"{self.scheme}://{authority(self.scheme, self.host, self.port)}"

    @property
    def shown(self) -> str:
        """The address without the query, which may carry what nobody should read."""
        return self.origin + self.path + ("?…" if self.query else "")

    @property
    def request_line(self) -> str:
        """Path and query, as the server gets them."""
        return self.path + (f"?{self.query}" if self.query else "")


@dataclass(frozen=True)
class HostGrant:
    """Requests of some methods to one host, or to the hosts below one, under a path."""

    methods: frozenset[str]
    scheme: str
    host: str
    """Without the `*.` of a wildcard."""

    wildcard: bool
    port: int
    prefix: str

    def __str__(self) -> str:
        host = f"*.{self.host}" if self.wildcard else self.host
        methods = ",".join(method for method in METHODS if method in self.methods)
        before = "" if self.methods == DEFAULT_METHODS else f"{methods} "
        return f"{before}{self.scheme}://{authority(self.scheme, host, self.port)}{self.prefix}"

    def covers_place(self, target: Target) -> bool:
        """Whether `target` lies in it, whatever the method."""
        return (
            (self.scheme, self.port) == (target.scheme, target.port)
            and self.covers_host(target.host, wildcard=False)
            and _is_under(target.path, self.prefix)
        )

    def covers(self, method: str, target: Target) -> bool:
        """Whether a request is granted by it."""
        return method in self.methods and self.covers_place(target)

    def contains_place(self, other: HostGrant) -> bool:
        """Whether everything that `other` is about lies in it, whatever the method."""
        return (
            (self.scheme, self.port) == (other.scheme, other.port)
            and self.covers_host(other.host, wildcard=other.wildcard)
            and _is_under(other.prefix, self.prefix)
        )

    def overlaps(self, other: HostGrant) -> bool:
        """Whether some request could be covered by both."""
        hosts = self.covers_host(other.host, wildcard=other.wildcard) or other.covers_host(
            self.host, wildcard=self.wildcard
        )
        paths = _is_under(self.prefix, other.prefix) or _is_under(other.prefix, self.prefix)
        return (
            (self.scheme, self.port) == (other.scheme, other.port)
            and hosts
            and paths
            and bool(self.methods & other.methods)
        )

    def covers_host(self, host: str, *, wildcard: bool) -> bool:
        """Whether a host, or all hosts below it where `wildcard` is set, are meant by it."""
        if not self.wildcard:
            return not wildcard and host == self.host
        return host.endswith(f".{self.host}") or (wildcard and host == self.host)


def covering(grants: Iterable[HostGrant], wanted: HostGrant) -> frozenset[str]:
    """The methods of `wanted` for which some one of `grants` has all of its places."""
    places = [grant for grant in grants if grant.contains_place(wanted)]
    return wanted.methods & frozenset().union(*(grant.methods for grant in places))


def is_covered(host: str, granted: Iterable[str]) -> bool:
    """Whether everything that `host`, a grant in words, is about lies in `granted`.

    What cannot be understood covers nothing and is covered by nothing.
    """
    try:
        wanted = parse_grant(host)
        return covering([parse_grant(text) for text in granted], wanted) == wanted.methods
    except AddressError:
        return False


def parse_grant(text: str) -> HostGrant:
    """Read one grant.

    Raises:
        AddressError: It is not in the spelling, or would be about more than one can mean.
    """
    words = text.split(" ")
    if len(words) > 2 or not words[-1]:  # noqa: PLR2004  methods and address
        raise _bad_grant(text, "expected at most one space, between methods and address")
    try:
        methods = _parse_methods(words[0]) if len(words) > 1 else DEFAULT_METHODS
        return _parse_place(words[-1], methods)
    except AddressError as error:
        raise _bad_grant(text, str(error)) from None


def _parse_place(url: str, methods: frozenset[str]) -> HostGrant:
    scheme, rest = _split_scheme(url)
    if "?" in rest or "#" in rest:
        raise AddressError("it has a query or a fragment, which no grant can have")
    name, slash, path = rest.partition("/")
    wildcard = name.startswith("*.")
    host, port = split_authority(name.removeprefix("*."), _PORTS[scheme])
    if wildcard:
        _check_wildcard(host)
    return HostGrant(methods, scheme, host, wildcard, port, normal_path(slash + path or "/"))


def _bad_grant(text: str, reason: str) -> AddressError:
    return AddressError(
        f"{text!r:.300}: {reason}; the spelling is `[METHODS ]scheme://host[:port][/prefix]`, "
        "such as `https://api.example.com/v1/` or `GET,POST https://api.example.com/v1/`"
    )


def _parse_methods(text: str) -> frozenset[str]:
    methods = frozenset(text.split(","))
    unknown = sorted(methods - set(METHODS))
    if unknown:
        raise AddressError(
            f"{unknown[0]!r:.40} is no method that can be granted; there are {', '.join(METHODS)}, "
            "written with commas and no spaces between them"
        )
    # Whoever may get something may ask whether it is there.
    return methods | {"HEAD"} if "GET" in methods else methods


def _check_wildcard(host: str) -> None:
    if is_address(host) or host.count(".") + 1 < _LEAST_WILDCARD_LABELS:
        raise AddressError(f"`*.{host}` is too wide; a wildcard stands before at least two names")


def parse_target(scheme: str, name: str, line: str) -> Target:
    """Where a request goes, from scheme, authority (`host[:port]`) and path with query.

    Raises:
        AddressError: It is not an address, or servers could read it in two ways.
    """
    if scheme not in _PORTS:
        raise AddressError(f"the scheme {scheme!r:.40} is neither http nor https")
    if len(line) > _MAX_URL:
        raise AddressError(f"the address has {len(line)} characters, where {_MAX_URL} are allowed")
    host, port = split_authority(name, _PORTS[scheme])
    path, _, query = line.partition("?")
    if not _QUERY.fullmatch(query):
        raise AddressError("the query has characters that must be percent-encoded")
    return Target(scheme, host, port, normal_path(path or "/"), query)


def split_url(url: str) -> tuple[str, str, str]:
    """Scheme, authority, and path with query, of an absolute address.

    Raises:
        AddressError: It is not one.
    """
    scheme, rest = _split_scheme(url)
    end = next((place for place, letter in enumerate(rest) if letter in "/?#"), len(rest))
    line = rest[end:]
    return scheme, rest[:end], line if line.startswith("/") else f"/{line}"


def _split_scheme(url: str) -> tuple[str, str]:
    scheme, mark, rest = url.partition("://")
    if not mark:
        raise AddressError("there is no `http://` or `https://`")
    if scheme.lower() not in _PORTS:
        raise AddressError(f"the scheme {scheme!r:.40} is neither http nor https")
    return scheme.lower(), rest


def split_authority(text: str, default_port: int) -> tuple[str, int]:
    """Host and port of `host[:port]`, the host in its one spelling.

    Raises:
        AddressError: It is neither a name nor an address, or could be read in two ways.
    """
    if "@" in text:
        raise AddressError("a user name or password stands before the host")
    if text.startswith("["):
        inside, mark, after = text[1:].partition("]")
        if not mark or (after and not after.startswith(":")):
            raise AddressError(f"{text!r:.80} is not an IPv6 address in brackets")
        return _ipv6(inside), _port(after.removeprefix(":"), default_port, given=bool(after))
    host, colon, port = text.partition(":")
    return _host(host), _port(port, default_port, given=bool(colon))


def _port(text: str, default: int, *, given: bool) -> int:
    if not given:
        return default
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text) or int(text) > _MAX_PORT:
        raise AddressError(f"the port {text!r:.40} is not a number from 1 to {_MAX_PORT}")
    return int(text)


def _ipv6(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise AddressError(f"{text!r:.80} is not an IPv6 address") from None
    if address.scope_id is not None:
        raise AddressError(f"{text!r:.80} names an interface")
    return f"[{address}]"


def _host(text: str) -> str:
    if not text.isascii():
        raise AddressError(f"the host {text!r:.80} is not ASCII; write it as its punycode, `xn--…`")
    host = text.lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > _MAX_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressError(f"{text!r:.80} is not the name of a host")
    if _NUMBER.fullmatch(labels[-1]):
        # Resolvers take 127.1, 0x7f.1 and 2130706433 for addresses; only the plain form is one.
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise AddressError(
                f"{text!r:.80} ends in a number and is not a plain IPv4 address"
            ) from None
    return host


def is_address(host: str) -> bool:
    """Whether a host, in its one spelling, is an address and no name."""
    return host.startswith("[") or bool(_NUMBER.fullmatch(host.rpartition(".")[2]))


def authority(scheme: str, host: str, port: int) -> str:
    """`host[:port]`, the port only where it is not the scheme's own."""
    return host if port == _PORTS[scheme] else f"{host}:{port}"


def normal_path(path: str) -> str:
    """A path in its one spelling: nothing escaped that need not be, escapes in capitals.

    Raises:
        AddressError: It has parts that servers read differently: dot segments, escaped slashes,
            backslashes or control characters, characters that must be escaped.
    """
    if not _PATH.fullmatch(path):
        raise AddressError("the path has characters that must be percent-encoded, or no `/` first")
    normal = _ESCAPE.sub(_normal_escape, path)
    if _HIDDEN.search(normal):
        raise AddressError("the path has an escaped slash, backslash or control character")
    if _TWICE_ESCAPED.search(normal):
        raise AddressError(
            "the path has a dot, slash, semicolon or percent sign that is escaped twice"
        )
    # Some servers cut `;…` off each segment before they look for dots.
    segments = normal.replace("%3B", ";").split("/")
    if any(segment.partition(";")[0] in (".", "..") for segment in segments):
        raise AddressError("the path has `.` or `..` as a segment; write it out")
    return normal


def _normal_escape(match: re.Match[str]) -> str:
    letter = chr(int(match[1], 16))
    return letter if _UNRESERVED.fullmatch(letter) else match[0].upper()


def _is_under(path: str, prefix: str) -> bool:
    if prefix.endswith("/"):
        return path.startswith(prefix)
    return path == prefix or path.startswith(f"{prefix}/")


def parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Read a network of `private_addresses`.

    Raises:
        AddressError: It is not a network, or has bits behind its mask.
    """
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise AddressError(
            f"{text!r:.80} is not a network: {error}; write `10.0.0.0/8`, or an address alone"
        ) from None
