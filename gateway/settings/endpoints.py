r"""Listening endpoints: the strings under ``listen``.

The grammar is that of Twisted's endpoint strings: fields separated by colons, a backslash takes the next
character literally.  An IPv6 address may stand in brackets instead of having its colons escaped::

    tcp:6100                             every address
    tcp:6100:interface=192.0.2.1
    tcp:6100:interface=[2001:db8::1]     or interface=2001\:db8\:\:1
    unix:/run/console-gateway/ws.sock:mode=660
    systemd:console-gateway.socket       by name (FileDescriptorName=)
    systemd:0                            by index
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

import attrs

from gateway.settings.problems import BadValueError
from gateway.settings.text import shown

__all__ = [
    "Endpoint",
    "SystemdEndpoint",
    "TcpEndpoint",
    "UnixEndpoint",
    "endpoints_overlap",
    "parse_endpoint",
    "parse_socket_path",
]

_MAX_LENGTH = 512
_MAX_SOCKET_PATH = 107  # sun_path holds 108 bytes with the final NUL (unix(7))
_MAX_NAME = 255  # of a systemd file descriptor (sd_listen_fds_with_names(3))
_FORMS = "use 'tcp:PORT', 'tcp:PORT:interface=ADDRESS', 'unix:PATH:mode=660' or 'systemd:NAME'"

# The first alternative keeps the colons of a bracketed address together.
_FIELD = re.compile(r"(interface=\[[^\]\\]*\]|(?:\\.|[^\\:])*)(:|\Z)", re.DOTALL)
_ADDRESS = re.compile(r"\[?[0-9A-Fa-f:.]+(?:%[0-9A-Za-z._-]{1,15})?\]?")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@attrs.frozen
class TcpEndpoint:
    """A TCP port."""

    port: int
    """0 to 65535; 0 is any free port."""
    interface: str = ""
    """A literal address without brackets, or empty for every IPv4 and IPv6 address."""

    def __str__(self) -> str:
        if not self.interface:
            return f"tcp:{self.port}"
        address = f"[{self.interface}]" if ":" in self.interface else self.interface
        return f"tcp:{self.port}:interface={address}"


@attrs.frozen
class UnixEndpoint:
    """A Unix stream socket."""

    path: str
    """Absolute."""
    mode: int = 0o660
    """Permission bits of the socket file."""

    def __str__(self) -> str:
        return f"unix:{_escaped(self.path)}:mode={self.mode:03o}"


@attrs.frozen
class SystemdEndpoint:
    """A listening socket inherited from systemd: either by name or by index."""

    name: str | None = None
    index: int | None = None

    def __str__(self) -> str:
        return f"systemd:{self.index if self.name is None else _escaped(self.name)}"


Endpoint = TcpEndpoint | UnixEndpoint | SystemdEndpoint


def parse_endpoint(text: str) -> Endpoint:
    """Read one endpoint string.

    :raises ValueError: (:class:`BadValueError`) with a sentence that says what is wrong and what to write.
    """
    if len(text) > _MAX_LENGTH:
        raise BadValueError(f"endpoint {shown(text)} is longer than {_MAX_LENGTH} characters", "shorten it")
    fields = _split(text)
    kind = fields[0]
    if kind not in ("tcp", "unix", "systemd"):
        raise BadValueError(f"endpoint {shown(text)} is of no known kind", _FORMS)
    if len(fields) < 2 or not fields[1]:
        raise BadValueError(f"endpoint {shown(text)} is incomplete", _FORMS)
    value = _unescaped(fields[1])
    if kind == "tcp":
        options = _options(text, fields[2:], {"interface"})
        return TcpEndpoint(_port(text, value), _interface(text, options.get("interface")))
    if kind == "unix":
        options = _options(text, fields[2:], {"mode"})
        return UnixEndpoint(parse_socket_path(value), _mode(text, options.get("mode", "660")))
    _options(text, fields[2:], set())
    return _systemd(text, value)


def parse_socket_path(text: str) -> str:
    """Check the path of a Unix socket: absolute, printable, short enough for the kernel.

    :raises ValueError: as :func:`parse_endpoint`.
    """
    if not text.startswith("/"):
        raise BadValueError(f"socket path {shown(text)} is not absolute", "begin it with '/'")
    if not text.isprintable():
        raise BadValueError(f"socket path {shown(text)} has unprintable characters", "remove them")
    if len(text.encode("utf-8")) > _MAX_SOCKET_PATH:
        raise BadValueError(
            f"socket path {shown(text)} is longer than {_MAX_SOCKET_PATH} bytes", "shorten it"
        )
    return text


def endpoints_overlap(one: Endpoint, other: Endpoint) -> bool:
    """Whether both claim the same socket, so that they cannot be listened on together."""
    if isinstance(one, TcpEndpoint) and isinstance(other, TcpEndpoint):
        if one.port != other.port or not one.port:
            return False
        return one.interface == other.interface or _covers(one, other) or _covers(other, one)
    if isinstance(one, UnixEndpoint) and isinstance(other, UnixEndpoint):
        return one.path == other.path
    return one == other


def _split(text: str) -> list[str]:
    fields, position = [], 0
    while True:
        match = _FIELD.match(text, position)
        if match is None:
            raise BadValueError(
                f"endpoint {shown(text)} ends with a backslash", "write '\\\\' for the character itself"
            )
        fields.append(match[1])
        if not match[2]:
            return fields
        position = match.end()


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(r"\1", text)


def _escaped(text: str) -> str:
    return re.sub(r"([\\:])", r"\\\1", text)


def _options(text: str, fields: Iterable[str], known: set[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals or name not in known:
            # Colons of a bare IPv6 address end its field, so that the rest looks like parameters.
            bare = "interface" in options and "[" not in text
            raise BadValueError(
                f"endpoint {shown(text)} has an unknown parameter {shown(field)}",
                "put an IPv6 address in brackets: 'interface=[::1]'" if bare else _FORMS,
            )
        if name in options:
            raise BadValueError(f"endpoint {shown(text)} has '{name}' twice", "keep one")
        options[name] = _unescaped(value)
    return options


def _port(text: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", value) or int(value) > 65535:
        raise BadValueError(f"endpoint {shown(text)} has no valid port", "use 0 (any free port) to 65535")
    return int(value)


def _interface(text: str, value: str | None) -> str:
    if value is None:
        return ""
    bracketed = value.startswith("[") and value.endswith("]")
    try:
        if not _ADDRESS.fullmatch(value):
            raise ValueError
        address = ipaddress.ip_address(value[1:-1] if bracketed else value)
        if bracketed and address.version != 6:
            raise ValueError
    except ValueError:
        raise BadValueError(
            f"endpoint {shown(text)} has no valid interface",
            "use a literal address such as 'interface=192.0.2.1' or 'interface=[::1]'",
        ) from None
    return str(address)


def _mode(text: str, value: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", value):
        raise BadValueError(f"endpoint {shown(text)} has no valid mode", "use three octal digits: 'mode=660'")
    return int(value, 8)


def _systemd(text: str, value: str) -> SystemdEndpoint:
    if re.fullmatch(r"[0-9]{1,3}", value):
        return SystemdEndpoint(index=int(value))
    if value.isdecimal() or len(value) > _MAX_NAME or not re.fullmatch(r"[!-9;-~]+", value):
        raise BadValueError(
            f"endpoint {shown(text)} names no socket of systemd",
            "use its FileDescriptorName= (no spaces or colons) or its index from 0 to 999",
        )
    return SystemdEndpoint(name=value)


def _covers(one: TcpEndpoint, other: TcpEndpoint) -> bool:
    if not one.interface or not other.interface:
        return True
    wide, narrow = ipaddress.ip_address(one.interface), ipaddress.ip_address(other.interface)
    return wide.is_unspecified and wide.version == narrow.version
