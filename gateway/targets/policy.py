"""Where sessions may go: decided on the resolved address, which is then the one dialled.

A signature says that the engine wanted the session, not that the address is a
console.  Names are checked as they stand in the ticket; addresses after
resolution, so that neither an odd spelling nor a changing DNS answer gets
around the rules.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import Final

import attrs

from gateway.settings import TargetSettings, parse_name_pattern, parse_network, parse_ports

__all__ = ["DestinationPolicy", "Forbidden", "OwnAddress"]

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_SPECIAL: Final[tuple[tuple[str, tuple[IPNetwork, ...]], ...]] = (
    ("loopback", (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))),
    ("link-local", (ipaddress.ip_network("169.254.0.0/16"), ipaddress.ip_network("fe80::/10"))),
    ("unspecified", (ipaddress.ip_network("0.0.0.0/8"), ipaddress.ip_network("::/128"))),
    ("multicast", (ipaddress.ip_network("224.0.0.0/4"), ipaddress.ip_network("ff00::/8"))),
    ("broadcast", (ipaddress.ip_network("255.255.255.255/32"),)),
)
"""Ranges that never hold a console unless somebody says so (RFC 6890)."""

_EMBEDDING: Final = tuple(
    ipaddress.IPv6Network(text) for text in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")
)
"""IPv6 ranges with an IPv4 address in the last 32 bits (RFC 4291, RFC 2765, RFC 6052)."""


class Forbidden(Exception):
    """The policy denies a target; the text says which rule, for the log."""


@attrs.frozen
class OwnAddress:
    """One of the gateway's own listening addresses."""

    host: str
    port: int

    def is_reached_by(self, address: IPAddress, port: int, is_local: Callable[[IPAddress], bool]) -> bool:
        """Whether dialling ``address`` and ``port`` would come back to this listener."""
        if port != self.port:
            return False
        own = _reached(ipaddress.ip_address(self.host))[0]
        return is_local(address) if own.is_unspecified else own == address


class DestinationPolicy:
    """The rules of ``[targets]``, compiled."""

    def __init__(
        self,
        settings: TargetSettings,
        own: Iterable[OwnAddress] = (),
        *,
        is_local: Callable[[IPAddress], bool] | None = None,
    ) -> None:
        """
        :param own: addresses the gateway listens on, which are never targets.
        :param is_local: whether an address belongs to this host; asks the kernel by default.
        """
        self._networks = tuple(parse_network(text) for text in settings.networks)
        self._names = tuple(parse_name_pattern(text) for text in settings.names)
        self._ports = parse_ports(settings.ports)
        self._own = tuple(own)
        self._is_local = is_local or _is_local

    def check_name(self, host: str, port: int) -> None:
        """Check what the ticket says, before anything is resolved.

        :raises Forbidden: when the port or the name is not allowed.
        """
        if port not in self._ports:
            raise Forbidden(f"port {port} is not in targets.ports")
        if self._names and not _is_literal(host) and not any(matches(host) for matches in self._names):
            raise Forbidden("the name is not in targets.names")

    def check_address(self, address: str, port: int) -> None:
        """Check one resolved address.

        :raises Forbidden: when it must not be dialled.
        """
        if "%" in address:
            raise Forbidden(f"{address} is bound to an interface")
        for ip in _reached(ipaddress.ip_address(address)):
            self._check_reached(ip, port)

    def _check_reached(self, ip: IPAddress, port: int) -> None:
        allowing = [network for network in self._networks if ip.version == network.version and ip in network]
        if not allowing:
            raise Forbidden(f"{ip} is in no network of targets.networks")
        for name, ranges in _SPECIAL:
            for special in ranges:
                if ip in special and not any(_inside(network, special) for network in allowing):
                    raise Forbidden(f"{ip} is a {name} address that targets.networks does not name expressly")
        if any(own.is_reached_by(ip, port, self._is_local) for own in self._own):
            raise Forbidden(f"{ip} port {port} is this gateway itself")


def _reached(ip: IPAddress) -> tuple[IPAddress, ...]:
    """Every address that packets to ``ip`` get to, each of which must be allowed.

    A mapped address is never seen on the wire; tunnels (RFC 3056, RFC 4380)
    and translators lead on to the IPv4 address inside.
    """
    if isinstance(ip, ipaddress.IPv4Address):
        return (ip,)
    if ip.ipv4_mapped is not None:
        return (ip.ipv4_mapped,)
    inside = ip.teredo[1] if ip.teredo is not None else ip.sixtofour
    if inside is None and int(ip) > 1 and any(ip in network for network in _EMBEDDING):
        inside = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return (ip,) if inside is None else (ip, inside)


def _inside(network: IPNetwork, special: IPNetwork) -> bool:
    return network.version == special.version and network.subnet_of(special)  # type: ignore[arg-type]


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_local(ip: IPAddress) -> bool:
    """Whether this host owns ``ip``: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True
