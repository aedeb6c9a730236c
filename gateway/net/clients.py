"""Who is one client: an IPv4 address, or an IPv6 network as it is given to one customer.

Whoever has an IPv6 prefix has all of its addresses, and a limit for each of
them would be none.  The least that a site is given is a /64 (RFC 6177).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Final

from gateway.settings import parse_network

__all__ = ["IPV6_PREFIX", "NetworkSet", "client_key"]

IPV6_PREFIX: Final = 64
"""Leading bits by which IPv6 addresses are one client, by default."""

_MAPPED: Final = bytes(10) + b"\xff\xff"
"""IPv4 addresses that a dual-stack socket shows (RFC 4291, section 2.5.5.2)."""


def client_key(prefix: int = IPV6_PREFIX) -> Callable[[str], bytes]:
    """A function that tells clients apart: the same bytes for the same client.

    It takes an address as text, in any spelling and perhaps with a zone, and never fails: what is no address
    is a client of its own.  IPv4-mapped addresses are IPv4.  Link-local addresses of all neighbours share one
    prefix (RFC 4291, section 2.5.6), so that they are taken whole.

    :param prefix: leading bits that count of an IPv6 address, from 0 to 128.
    """
    mask = ((1 << prefix) - 1) << (128 - prefix)

    def key(host: str) -> bytes:
        address = _packed(host)
        if address is None:
            # Of a length that no address has.
            return b"text:" + host.encode("utf-8", "surrogatepass").ljust(16)
        if len(address) == 4 or (address[0] == 0xFE and address[1] & 0xC0 == 0x80):
            return address
        return (int.from_bytes(address, "big") & mask).to_bytes(16, "big")

    return key


class NetworkSet:
    """Networks; whether an address is in one takes a time that does not grow with their number."""

    def __init__(self, networks: Iterable[str]) -> None:
        """
        :param networks: in the forms of the settings.
        :raises ValueError: when one is no network.
        """
        # By the bits of an address and those behind the prefix.
        self._prefixes: dict[tuple[int, int], set[int]] = {}
        for text in networks:
            network = parse_network(text)
            behind = network.max_prefixlen - network.prefixlen
            prefixes = self._prefixes.setdefault((network.max_prefixlen, behind), set())
            prefixes.add(int(network.network_address) >> behind)

    def __contains__(self, host: str) -> bool:
        address = _packed(host)
        if address is None:
            return False
        number, length = int.from_bytes(address, "big"), 8 * len(address)
        return any(
            bits == length and number >> behind in prefixes
            for (bits, behind), prefixes in self._prefixes.items()
        )


def _packed(host: str) -> bytes | None:
    """The bytes of an address; those of the IPv4 address that an IPv4-mapped one stands for."""
    try:
        if ":" not in host:
            return socket.inet_pton(socket.AF_INET, host)
        address = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except (OSError, ValueError):
        return None
    return address[12:] if address.startswith(_MAPPED) else address
