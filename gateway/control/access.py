"""Who may call the control API, and from where.

Over a Unix socket the kernel says who calls, ``SO_PEERCRED`` of unix(7), and
the permissions of the socket say who can.  Everybody else shows a bearer token
(RFC 6750) or a client certificate.  Credentials that are shown must hold: a
call with a wrong token is not judged by anything else.

A browser can be told by any page to send requests anywhere.  So that foreign
pages cannot use what an operator's browser or host may do, the host that a
request names must be one of ours, which defeats rebinding of names, and its
origin, where it has one, must be that host.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

import attrs
from cryptography import x509
from twisted.web.server import Request

from gateway.control.errors import ApiError, Fault
from gateway.control.tokens import Token, find_token
from gateway.net import Arrival
from gateway.settings import Role, normalise_host

__all__ = ["Access", "Caller"]

_CREDENTIALS: Final = struct.Struct("3i")
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?")
_ORIGIN: Final = re.compile(r"(https?)://([^/?#@\\\s]{1,300})")
_PORTS: Final = {"http": 80, "https": 443}
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="console-gateway"'}


@attrs.frozen
class Caller:
    """Somebody who may call."""

    actor: str
    """``uid:0``, ``token:NAME`` or ``certificate:NAME``."""
    role: Role

    def may(self, role: Role) -> bool:
        """Whether the caller may do what needs *role*."""
        return self.role is Role.OPERATE or role is Role.READ


class Access:
    """Decides on each request."""

    def __init__(
        self,
        *,
        tokens: tuple[Token, ...],
        clients: Mapping[str, str],
        hosts: tuple[str, ...],
        unix_role: Role,
    ) -> None:
        """
        :param clients: roles by the common names of client certificates.
        :param hosts: names under which browsers reach the API.
        :param unix_role: what everybody may who can connect to a Unix socket.
        """
        self._tokens = tokens
        self._clients = {name: Role(role) for name, role in clients.items()}
        self._hosts = frozenset({"localhost", *(normalise_host(host) for host in hosts)})
        self._unix_role = unix_role

    def check_source(self, request: Request) -> None:
        """Let no foreign page in.

        :raises ApiError: the host that is named is not ours, or the origin is another.
        """
        values = _values(request, "host")
        match = _HOST.fullmatch(values[0]) if len(values) == 1 else None
        if match is None:
            raise ApiError(Fault.BAD_REQUEST, "There must be one Host field, with a name or address")
        host = _normalised(match[1])
        if host is None or not (host in self._hosts or _is_own_address(host, request)):
            raise ApiError(Fault.HOST, remedy="add the name to control.hosts")
        for origin in _values(request, "origin"):
            if not _is_same(origin, host, match[2], secure=_arrival(request).tls is not None):
                raise ApiError(Fault.ORIGIN)

    def caller(self, request: Request) -> Caller:
        """Who calls.

        :raises ApiError: nobody that is known.
        """
        arrival = _arrival(request)
        authorization = _values(request, "authorization")
        if authorization:
            token = find_token(self._tokens, _bearer(authorization))
            if token is not None:
                return Caller(f"token:{token.name}", token.role)
        elif arrival.sock.family == socket.AF_UNIX:
            return Caller(f"uid:{_uid(arrival.sock)}", self._unix_role)
        elif (name := _common_name(arrival)) is not None and name in self._clients:
            return Caller(f"certificate:{name}", self._clients[name])
        raise ApiError(
            Fault.UNAUTHORIZED,
            remedy="send 'Authorization: Bearer' with a token, or a client certificate",
            fields=_CHALLENGE,
        )


def _arrival(request: Request) -> Arrival:
    channel: Any = request.channel
    arrival: Arrival = channel.arrival
    return arrival


def _values(request: Request, name: str) -> list[str]:
    # In bytes: asked for as text, a value that is not UTF-8 would be an exception.
    return [value.decode("latin-1") for value in request.requestHeaders.getRawHeaders(name.encode(), [])]


def _bearer(values: list[str]) -> str:
    scheme, _, token = values[0].partition(" ")
    return token.strip(" ") if len(values) == 1 and scheme.lower() == "bearer" else ""


def _uid(sock: socket.socket) -> int:
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(data)
    return int(uid)


def _common_name(arrival: Arrival) -> str | None:
    """The one common name of the client's certificate, which OpenSSL has verified in the handshake."""
    certificate = arrival.tls.get_peer_certificate(as_cryptography=True) if arrival.tls is not None else None
    if certificate is None:
        return None
    try:
        names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    except ValueError:
        return None
    value = names[0].value if len(names) == 1 else None
    return value if isinstance(value, str) else None


def _normalised(host: str) -> str | None:
    try:
        return normalise_host(host)
    except ValueError:
        return None


def _is_own_address(host: str, request: Request) -> bool:
    """An address cannot be rebound as a name can; this one must be where the request really came to."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or host == getattr(request.getHost(), "host", None)


def _is_same(origin: str, host: str, port: str | None, *, secure: bool) -> bool:
    match = _ORIGIN.fullmatch(origin)
    parts = _HOST.fullmatch(match[2]) if match is not None else None
    # Where there is no TLS, a proxy may have taken it off, and the scheme may be either.
    if match is None or parts is None or (secure and match[1] != "https"):
        return False
    usual = _PORTS[match[1]]
    return _normalised(parts[1]) == host and int(parts[2] or usual) == int(port or usual)
