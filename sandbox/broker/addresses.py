"""Which addresses a request may go to: those of the public internet, and those that were listed.

A name proves nothing about where it leads, so each address that it resolves to is checked, and
the connection is made to an address that was checked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

__all__ = ["Address", "AddressRules", "Network", "Resolver", "literal_address", "resolve"]

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver: TypeAlias = Callable[[str], Awaitable[tuple[str, ...]]]
"""From a host's name to its addresses; raises OSError."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

_SPECIAL_4: Final = {
    "0.0.0.0/8": "an address of this host",
    "10.0.0.0/8": "a private address",
    "100.64.0.0/10": "an address of a carrier's inner network",
    "127.0.0.0/8": "a loopback address",
    "169.254.0.0/16": "a link-local address, where clouds keep their metadata",
    "172.16.0.0/12": "a private address",
    "192.0.0.0/24": "an address for protocols",
    "192.0.2.0/24": "an address for documentation",
    "192.31.196.0/24": "an address for protocols",
    "192.52.193.0/24": "an address for protocols",
    "192.88.99.0/24": "an address of a relay",
    "192.168.0.0/16": "a private address",
    "192.175.48.0/24": "an address for protocols",
    "198.18.0.0/15": "an address for measurements",
    "198.51.100.0/24": "an address for documentation",
    "203.0.113.0/24": "an address for documentation",
    "224.0.0.0/4": "a multicast address",
    "240.0.0.0/4": "a reserved or broadcast address",
}
_SPECIAL_6: Final = {
    "::/128": "the unspecified address",
    "::1/128": "a loopback address",
    "::ffff:0:0/96": "an IPv4 address in the form of IPv6",
    "::/96": "an IPv4 address in the form of IPv6",
    "64:ff9b::/96": "a translated IPv4 address",
    "64:ff9b:1::/48": "a translated IPv4 address",
    "100::/64": "an address that discards",
    "2001::/32": "a tunnel",
    "2001::/23": "an address for protocols",
    "2001:db8::/32": "an address for documentation",
    "2002::/16": "a tunnel",
    "2620:4f:8000::/48": "an address for protocols",
    "3fff::/20": "an address for documentation",
    "5f00::/16": "an address of inner routing",
    "fc00::/7": "a private address",
    "fe80::/10": "a link-local address",
    "fec0::/10": "a private address",
    "ff00::/8": "a multicast address",
}
_SPECIAL: Final[tuple[tuple[Network, str], ...]] = tuple(
    (ipaddress.ip_network(text), meaning)
    for table in (_SPECIAL_4, _SPECIAL_6)
    for text, meaning in table.items()
)
_GLOBAL_6: Final = ipaddress.IPv6Network("2000::/3")


class AddressRules:
    """What may be reached: public addresses, and the networks that a policy lists."""

    def __init__(self, listed: Sequence[Network] = ()) -> None:
        self._listed = tuple(listed)

    def refusal(self, address: Address) -> str | None:
        """What kind of address it is, where it may not be reached."""
        if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
            return "an address of one interface"
        meaning = _meaning(address)
        if meaning is None:
            return None
        if not any(address in network for network in self._listed):
            return meaning
        if isinstance(address, ipaddress.IPv6Address) and address in _NAT64:
            # Listing the translator must not open what it translates to.
            return self.refusal(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        return None


def _meaning(address: Address) -> str | None:
    """What is special about an address; None where nothing is."""
    for network, meaning in _SPECIAL:
        if address in network:
            return meaning
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_6:
        return "a reserved address"
    return None


def literal_address(host: str) -> Address | None:
    """The address that `host` is written as; None where it is a name."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


async def resolve(host: str) -> tuple[str, ...]:
    """The addresses of a host, as the system's own resolver says.

    Raises:
        OSError: It has none, or no resolver answers.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
