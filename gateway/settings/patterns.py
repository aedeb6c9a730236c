"""Targets in the notation of settings: names, networks, and hosts with a port; and tables keyed by them."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, Generic, TypeVar

import attrs

from gateway.settings.problems import BadValueError
from gateway.settings.text import shown
from gateway.settings.values import (
    NamePattern,
    Network,
    normalise_host,
    parse_name_pattern,
    parse_network,
    parse_socket_key,
)

__all__ = ["TargetIndex", "TargetPattern", "parse_fingerprint", "parse_target"]

_T = TypeVar("_T")
_FINGERPRINT: Final = re.compile(r"[0-9A-Fa-f]{64}|[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){31}")
_MAX_TARGET: Final = 300  # longer than any name or address with a port


@attrs.frozen
class TargetPattern:
    """Some targets."""

    where: NamePattern | Network
    """Names, or addresses."""
    port: int | None = None
    """The only port that is meant, for one name or address; or ``None``."""

    def __str__(self) -> str:
        if isinstance(self.where, NamePattern):
            return str(self.where) if self.port is None else f"{self.where}:{self.port}"
        if self.port is None:
            return str(self.where)
        address = self.where.network_address
        return f"[{address}]:{self.port}" if address.version == 6 else f"{address}:{self.port}"


def parse_target(text: str) -> TargetPattern:
    """Read ``host.example.com``, ``*.example.com``, an address, a network, or ``host:port``.

    :raises ValueError: when it is anything else.
    """
    if len(text) <= _MAX_TARGET:
        if "/" in text or _is_address(text):
            return TargetPattern(parse_network(text))
        if ":" in text:
            host, port = parse_socket_key(text)
            return TargetPattern(parse_network(host) if _is_address(host) else NamePattern(host), port)
        try:
            return TargetPattern(parse_name_pattern(text))
        except ValueError:
            pass
    raise BadValueError(
        f"{shown(text)} is no target",
        "write 'host.example.com', '*.example.com', '192.0.2.0/24', or 'host.example.com:5900'",
    )


def parse_fingerprint(text: str) -> bytes:
    """Read the SHA-256 fingerprint of a certificate into its 32 bytes.

    :raises ValueError: unless it is 64 hexadecimal digits, perhaps with colons between all pairs.
    """
    if not _FINGERPRINT.fullmatch(text):
        raise BadValueError(
            f"{shown(text)} is no SHA-256 fingerprint",
            "write what 'openssl x509 -noout -fingerprint -sha256 -in FILE' prints behind '='",
        )
    return bytes.fromhex(text.replace(":", ""))


_Entry = tuple[int, TargetPattern, _T]


class TargetIndex(Generic[_T]):
    """Values by target pattern; looking one up takes a time that does not grow with their number."""

    def __init__(self) -> None:
        self._names: dict[NamePattern, list[_Entry[_T]]] = {}
        self._networks: dict[tuple[int, int], dict[int, list[_Entry[_T]]]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, pattern: TargetPattern, value: _T) -> None:
        """Put *value* behind the others, of which some may have the same pattern."""
        where = pattern.where
        if isinstance(where, NamePattern):
            entries = self._names.setdefault(where, [])
        else:
            of_length = self._networks.setdefault((where.version, where.prefixlen), {})
            entries = of_length.setdefault(int(where.network_address), [])
        entries.append((self._size, pattern, value))
        self._size += 1

    def matches(self, host: str, port: int) -> list[tuple[TargetPattern, _T]]:
        """All that match, in the order in which they were added.

        An IPv4-mapped IPv6 address is the IPv4 address (RFC 4291, section 2.5.5.2).

        :param host: a name or address in any spelling.
        :raises ValueError: when *host* is neither.
        """
        host = normalise_host(host)
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            found = self._by_name(host)
        else:
            mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
            found = self._by_address(mapped or address)
        found = [entry for entry in found if entry[1].port in (None, port)]
        found.sort(key=_position)
        return [(pattern, value) for _, pattern, value in found]

    def _by_name(self, host: str) -> list[_Entry[_T]]:
        found = list(self._names.get(NamePattern(host), ()))
        _, _, above = host.partition(".")
        while above:
            found += self._names.get(NamePattern(above, below=True), ())
            _, _, above = above.partition(".")
        return found

    def _by_address(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[_Entry[_T]]:
        found: list[_Entry[_T]] = []
        number, size = int(address), address.max_prefixlen
        for (version, length), networks in self._networks.items():
            if version == address.version:
                found += networks.get(number >> (size - length) << (size - length), ())
        return found


def _position(entry: tuple[int, TargetPattern, object]) -> int:
    return entry[0]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
