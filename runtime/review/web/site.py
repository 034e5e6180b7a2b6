"""Where the review page is: the address that it listens at and the names that it answers to."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from runtime.errors import UsageError

DEFAULT_LISTEN: Final = "127.0.0.1:8421"
_HOST_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Site:
    """One server as browsers see it."""

    hosts: frozenset[str]
    """Values of `Host` that are meant for it, in small letters; any other is refused, so that a
    name that somebody points at this machine (DNS rebinding) gets nothing."""

    secure: bool
    """Whether it speaks TLS."""

    port: int

    @property
    def origins(self) -> frozenset[str]:
        """The origins that its own forms come from."""
        scheme = "https" if self.secure else "http"
        return frozenset(f"{scheme}://{host}" for host in self.hosts)

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


def make_site(host: str, port: int, *, names: tuple[str, ...], secure: bool) -> Site:
    """The site at `host`, which is also reached under `names`.

    Raises:
        UsageError: a name is none, or there is none to reach an address that stands for all.
    """
    reached = [name.lower() for name in names]
    if is_loopback(host):
        reached += ["127.0.0.1", "localhost", "::1"]
    elif not _stands_for_all(host):
        reached.append(host.lower())
    if not reached:
        raise UsageError(
            f"--listen {host} stands for all addresses of this machine; say with --name NAME under "
            "which name browsers reach it, as any other name is refused"
        )
    return Site(
        hosts=frozenset(value for name in reached for value in _host_values(name, port, secure)),
        secure=secure,
        port=port,
    )


def _stands_for_all(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _host_values(name: str, port: int, secure: bool) -> list[str]:  # noqa: FBT001 - inside
    try:
        literal = ipaddress.ip_address(name)
    except ValueError:
        if not _HOST_NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is no name of a host; give it without scheme and port"
            ) from None
        written = name
    else:
        written = f"[{literal}]" if literal.version == 6 else str(literal)  # noqa: PLR2004 - IPv6
    default = 443 if secure else 80
    return [f"{written}:{port}", *([written] if port == default else [])]
