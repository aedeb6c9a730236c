"""Readers for the values of the settings file, and for what clients send in the same notation.

All of them are pure, take bounded time, and raise :class:`ValueError` (in fact :class:`BadValueError`)
with one sentence on what is wrong and one on what to write.
"""

from __future__ import annotations

import bisect
import ipaddress
import re
from collections.abc import Iterable

import attrs

from gateway.settings.endpoints import (
    Endpoint,
    SystemdEndpoint,
    TcpEndpoint,
    UnixEndpoint,
    endpoints_overlap,
    parse_endpoint,
    parse_socket_path,
)
from gateway.settings.problems import BadValueError
from gateway.settings.text import shown

__all__ = [
    "Endpoint",
    "NamePattern",
    "Network",
    "PortSet",
    "SystemdEndpoint",
    "TcpEndpoint",
    "UnixEndpoint",
    "endpoints_overlap",
    "normalise_host",
    "parse_endpoint",
    "parse_name_pattern",
    "parse_network",
    "parse_origin",
    "parse_ports",
    "parse_socket_key",
    "parse_socket_path",
]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAX_HOST = 253  # RFC 1035, section 2.3.4, without the final dot
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_HOST_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]/?#@\\]+)(?::([0-9]{1,5}))?")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_DEFAULT_PORTS = {"https": 443, "http": 80}
_ORIGIN_FORM = "write it as 'https://engine.example.com', with ':PORT' where it is not the usual one"


@attrs.frozen
class PortSet:
    """TCP ports, as sorted ranges that do not touch; ``port in ports`` takes logarithmic time."""

    ranges: tuple[tuple[int, int], ...] = ()
    """First and last port of each, inclusive."""

    @classmethod
    def of(cls, ranges: Iterable[tuple[int, int]]) -> PortSet:
        """Merge *ranges*, in any order, overlapping or not."""
        merged: list[tuple[int, int]] = []
        for first, last in sorted(ranges):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        return cls(tuple(merged))

    def __contains__(self, port: int) -> bool:
        place = bisect.bisect_right(self.ranges, (port, 65535)) - 1
        return place >= 0 and port <= self.ranges[place][1]

    def __or__(self, other: PortSet) -> PortSet:
        return PortSet.of(self.ranges + other.ranges)

    def __str__(self) -> str:
        return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in self.ranges)


@attrs.frozen
class NamePattern:
    """A host name, or every name below one."""

    name: str
    """Lower case, without a final dot."""
    below: bool = False
    """``*.name``: any name below, at any depth, but not the name itself."""

    def __call__(self, host: str) -> bool:
        """Whether *host*, in any case and with or without a final dot, is meant."""
        host = host.lower().removesuffix(".")
        if not self.below:
            return host == self.name
        suffix = f".{self.name}"
        return host.endswith(suffix) and len(host) > len(suffix)

    def __str__(self) -> str:
        return f"*.{self.name}" if self.below else self.name


def normalise_host(text: str) -> str:
    """The one spelling of a host that is compared: lower-case name, or address without brackets.

    Names are ASCII letters, digits, hyphens and underscores in labels of 1 to 63 (RFC 1123, section 2.1; the
    underscore for inventories that use it).  A name that a resolver could take for a number is refused.

    :raises ValueError: when *text* is neither a name nor an address.
    """
    if len(text) <= _MAX_HOST + 1:
        inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        if "%" not in inner:
            try:
                address = ipaddress.ip_address(inner)
            except ValueError:
                pass
            else:
                if inner == text or address.version == 6:
                    return str(address)
        name = text.lower().removesuffix(".") if text.isascii() else ""
        labels = name.split(".")
        if (
            len(name) <= _MAX_HOST
            and all(map(_LABEL.fullmatch, labels))
            and not _NUMBER.fullmatch(labels[-1])
        ):
            return name
    raise BadValueError(
        f"{shown(text)} is not a host name or address",
        "use a name in ASCII letters ('xn--' form otherwise), an IPv4 address or an IPv6 address",
    )


def parse_ports(items: Iterable[str]) -> PortSet:
    """Read ports such as ``443`` and ranges such as ``5900-6923``.

    :raises ValueError: for the first item that is neither, lies outside 1 to 65535 or runs backwards.
    """
    ranges = []
    for item in items:
        match = _PORTS.fullmatch(item)
        if match is None:
            raise BadValueError(f"{shown(item)} is not a port or range", "write '5900' or '5900-6923'")
        first = int(match[1])
        last = int(match[2] or first)
        if not (1 <= first <= 65535 and 1 <= last <= 65535):
            raise BadValueError(f"port {shown(item)} is out of range", "use 1 to 65535")
        if first > last:
            raise BadValueError(f"range {shown(item)} runs backwards", f"write '{last}-{first}'")
        ranges.append((first, last))
    return PortSet.of(ranges)


def parse_network(text: str) -> Network:
    """Read a network with its prefix length, or a single address.

    :raises ValueError: also for host bits behind the prefix, net masks, scoped addresses and networks of
        IPv4-mapped IPv6 addresses (which would be written, but never meant, as their IPv4 network).
    """
    remedy = "write an address with its prefix length, such as '192.0.2.0/24' or '2001:db8::/32'"
    address, slash, prefix = text.partition("/")
    try:
        if len(text) > 64 or "%" in text or (slash and not re.fullmatch(r"[0-9]{1,3}", prefix)):
            raise ValueError
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise BadValueError(f"{shown(text)} is not a network", remedy) from None
    if network.network_address != ipaddress.ip_address(address):
        raise BadValueError(f"network {shown(text)} has bits set behind its prefix", f"write '{network}'")
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        inside = ipaddress.ip_network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
        raise BadValueError(f"network {shown(text)} is of IPv4-mapped addresses", f"write '{inside}'")
    return network


def parse_name_pattern(text: str) -> NamePattern:
    """Read a host name, or ``*.`` and a host name.

    :raises ValueError: for anything else; addresses are refused, too.
    """
    name = text.removeprefix("*.")
    try:
        host = normalise_host(name)
    except ValueError:
        raise BadValueError(
            f"{shown(text)} is not a host name",
            "write 'host.example.com', or '*.example.com' for all names below",
        ) from None
    if ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]):
        raise BadValueError(
            f"{shown(text)} is an address, not a name", "list addresses under targets.networks"
        )
    return NamePattern(host, below=name != text)


def parse_origin(text: str) -> str:
    """The one spelling of a web origin (RFC 6454, section 6.2): lower case, usual port left out.

    :raises ValueError: when *text* is not ``http://`` or ``https://``, a host and perhaps a port; the opaque
        origin ``null`` is none either.
    """
    scheme, separator, rest = text.partition("://")
    match = _HOST_PORT.fullmatch(rest) if len(text) <= _MAX_HOST + 16 else None
    scheme = scheme.lower()
    if not separator or match is None or scheme not in _DEFAULT_PORTS:
        raise BadValueError(f"{shown(text)} is not a web origin", _ORIGIN_FORM)
    try:
        host = _host_in_url(match[1])
    except ValueError:
        raise BadValueError(f"{shown(text)} has no valid host", _ORIGIN_FORM) from None
    port = _DEFAULT_PORTS[scheme] if match[2] is None else int(match[2])
    if not 1 <= port <= 65535:
        raise BadValueError(f"{shown(text)} has no valid port", _ORIGIN_FORM)
    return f"{scheme}://{host}" if port == _DEFAULT_PORTS[scheme] else f"{scheme}://{host}:{port}"


def parse_socket_key(text: str) -> tuple[str, int]:
    """Read ``host:port`` (IPv6 in brackets) into a normalised host and a port from 1 to 65535.

    :raises ValueError: when it is anything else.
    """
    remedy = "write it as 'host:5900', an IPv6 address in brackets"
    match = _HOST_PORT.fullmatch(text) if len(text) <= _MAX_HOST + 8 else None
    if match is None or match[2] is None or not 1 <= int(match[2]) <= 65535:
        raise BadValueError(f"{shown(text)} is not a host and port", remedy)
    try:
        return normalise_host(match[1]), int(match[2])
    except ValueError:
        raise BadValueError(f"{shown(text)} has no valid host", remedy) from None


def _host_in_url(text: str) -> str:
    # A browser sends the final dot of a host; such an origin is a different one and never configured.
    host = normalise_host(text)
    if text.endswith("."):
        raise ValueError
    return f"[{host}]" if ":" in host else host
