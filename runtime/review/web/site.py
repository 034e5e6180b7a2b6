"""Where the review page is: the address that it listens at and the names that it answers to."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from runtime.errors import UsageError

DEFAULT_LISTEN: Final = "127.0.0.1:8421"
_ORIGIN: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[1-9]\d{0,4}))?/?"
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Site:
    """One server as browsers see it."""

    origins: frozenset[str]
    """Such as `https://review.example.org`: where its own forms come from."""

    port: int
    """The one that it listens at."""

    @property
    def hosts(self) -> frozenset[str]:
        """Values of `Host` that are meant for it; any other is refused.

        So a name that somebody else points at this machine (DNS rebinding) gets nothing.
        """
        return frozenset(origin.partition("://")[2] for origin in self.origins)

    @property
    def secure(self) -> bool:
        """Whether browsers reach it by TLS alone."""
        return all(origin.startswith("https://") for origin in self.origins)

    @property
    def strict(self) -> bool:
        """Whether browsers may be told to come by TLS alone from now on.

        Not for names of the browser's own machine: other servers there share them.
        """
        names = (re.sub(r":\d+$", "", host) for host in self.hosts)
        return self.secure and not any(is_loopback(name.strip("[]")) for name in names)

    @property
    def cookie_name(self) -> str:
        """With the port: cookies of two servers on one host share everything else."""
        prefix = "__Host-" if self.secure else ""
        return f"{prefix}toolkiln_review_{self.port}"


def parse_listen(text: str) -> tuple[str, int]:
    """Address and port of `127.0.0.1:8421`, `[::1]:8421` or `name:8421`.

    Raises:
        UsageError: it is none of them.
    """
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    brackets = host.startswith("[") and host.endswith("]")
    if not colon or not bare or (":" in bare) != brackets or not port.isascii():
        raise UsageError(
            f"--listen {text!r} is no address; write HOST:PORT, such as 127.0.0.1:8421"
        )
    if not port.isdigit() or not 0 <= int(port) <= 65_535:  # noqa: PLR2004 - the highest port
        raise UsageError(f"--listen {text!r}: {port!r} is no port; a port is 0 to 65535")
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_site(host: str, port: int, *, origins: tuple[str, ...], tls: bool) -> Site:
    """The site that listens at `host`.

    Args:
        host: The address, or its name.
        port: Where it listens.
        origins: How browsers reach it, where that is not the address itself.
        tls: Whether it speaks TLS itself.

    Raises:
        UsageError: an origin is none, or none is given for an address that stands for all.
    """
    if origins:
        return Site(frozenset(map(_checked_origin, origins)), port)
    if _stands_for_all(host):
        raise UsageError(
            f"--listen {host} stands for all addresses of this machine; say with --origin how "
            f"browsers reach it, such as --origin https://review.example.org:{port}"
        )
    names = {host.lower(), *(("127.0.0.1", "localhost", "::1") if is_loopback(host) else ())}
    scheme = "https" if tls else "http"
    return Site(
        frozenset(_checked_origin(f"{scheme}://{_bracketed(name)}:{port}") for name in names), port
    )


def address_of(site: Site, host: str) -> str:
    """What to type into a browser, with `host` if it goes by that."""
    mine = [each for each in site.origins if f"//{_bracketed(host.lower())}" in each]
    return min(mine or site.origins) + "/"


def _checked_origin(text: str) -> str:
    """An origin as browsers write it: small letters, without the port that goes without saying."""
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        raise UsageError(
            f"{text!r} is no origin; write scheme, name and port as a browser shows them, "
            "such as https://review.example.org:8443"
        )
    scheme, host, port = match["scheme"], match["host"], match["port"]
    implied = port is None or int(port) == _DEFAULT_PORTS[scheme]
    return f"{scheme}://{host}" if implied else f"{scheme}://{host}:{port}"


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _stands_for_all(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
