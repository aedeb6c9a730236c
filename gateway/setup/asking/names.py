"""What names mean: the host's own resolver, and the DNS by itself (RFC 1035).

The resolver of a host also reads files, which nobody else has.  Whether others can know a name is for the DNS
to say.
"""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import attrs
from twisted.names import dns

__all__ = ["Names", "is_own", "lookup", "own_name", "resolve", "reverse"]

_CONFIGURATION: Final = Path("/etc/resolv.conf")
_MAX_CONFIGURATION: Final = 65536
_PORT: Final = 53
_SERVERS: Final = 2
_PATIENCE: Final = 2.0
"""Seconds for each server's answer."""
_MAX_ANSWER: Final = 4096
_TYPES: Final = (dns.A, dns.AAAA)


def resolve(name: str) -> tuple[str, ...]:
    """The addresses of a name, as the host's resolver has them; none if it has none."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(address[0]).partition("%")[0] for *_others, address in found))


def reverse(address: str) -> tuple[str, ...]:
    """The names of an address, as the host's resolver has them."""
    try:
        name, aliases, _ = socket.gethostbyaddr(address)
    except OSError:
        return ()
    return tuple(found.lower() for found in (name, *aliases))


def is_own(address: str) -> bool:
    """Whether an address is one of this host."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.bind((address, 0))
    except OSError:
        return False
    return True


def own_name() -> str | None:
    """What the host calls itself, if others could know it by that."""
    name = socket.getfqdn().lower()
    return name if "." in name and not name.endswith((".localhost", ".localdomain", ".arpa")) else None


def lookup(name: str, servers: Sequence[str] | None = None, port: int = _PORT) -> bool | None:
    """Whether the DNS has addresses for a name; ``None`` if no server says so or otherwise.

    :param servers: addresses to ask, instead of those that the host asks.
    """
    for server in (_servers() if servers is None else servers)[:_SERVERS]:
        for kind in _TYPES:
            found = _ask(server, port, name, kind)
            if found:
                return True
            if found is None:
                break
        else:
            return False
    return None


@attrs.frozen
class Names:
    """Where names are looked up."""

    resolve: Callable[[str], Sequence[str]] = resolve
    reverse: Callable[[str], Sequence[str]] = reverse
    lookup: Callable[[str], bool | None] = lookup
    own_name: Callable[[], str | None] = own_name
    is_own: Callable[[str], bool] = is_own


def _servers() -> list[str]:
    try:
        with _CONFIGURATION.open("rb") as file:
            text = file.read(_MAX_CONFIGURATION).decode("utf-8", "replace")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                with contextlib.suppress(ValueError):
                    found.append(str(ipaddress.ip_address(address)))
    return found


def _ask(server: str, port: int, name: str, kind: int) -> bool | None:
    """Whether a server has records of a kind for a name; ``None`` if it does not say."""
    number = secrets.randbelow(65536)
    question = dns.Message(number, recDes=1)
    question.addQuery(name.encode("ascii"), kind)
    try:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as line:
            line.settimeout(_PATIENCE)
            line.connect((server, port))
            line.send(question.toStr())
            answer = dns.Message()
            answer.fromStr(line.recv(_MAX_ANSWER))
    except (OSError, EOFError, ValueError):
        return None
    if answer.id != number or answer.rCode not in (dns.OK, dns.ENAME):
        return None
    return any(record.type == kind for record in answer.answers)
