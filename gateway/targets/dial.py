"""Dial a target: resolve, ask the policy, race the allowed addresses, connect, say for whom."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from twisted.internet import defer
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from gateway.net import LOCAL_HEADER, ProxyHeader, SocketChannel, encode_proxy_header, ip_address, tune
from gateway.reasons import EndReason
from gateway.settings import TargetIndex, normalise_host, parse_socket_key, parse_target
from gateway.targets.connect import connect, first_of, send_first
from gateway.targets.errors import TargetError
from gateway.targets.policy import DestinationPolicy, Forbidden
from gateway.tickets import Target

__all__ = ["Dialler"]

_MAX_ADDRESSES: Final = 16
"""Addresses of one name that are tried; more is a mistake or an attack."""


class Dialler:
    """Connects to the targets of grants."""

    def __init__(
        self,
        reactor: Any,
        policy: DestinationPolicy,
        sockets: Mapping[str, str],
        connect_timeout: float,
        *,
        proxy_protocol: Iterable[str] = (),
    ) -> None:
        """
        :param reactor: provides ``IReactorFDSet``, ``IReactorTime`` and ``IReactorPluggableNameResolver``.
        :param sockets: Unix-socket paths for tickets that name exactly this ``host:port``.
        :param connect_timeout: seconds for resolving and connecting together.
        :param proxy_protocol: patterns of targets that are told who the client is.
        """
        self._reactor = reactor
        self._policy = policy
        self._sockets = {parse_socket_key(key): path for key, path in sockets.items()}
        self._timeout = connect_timeout
        self._announced: TargetIndex[None] = TargetIndex()
        for pattern in proxy_protocol:
            self._announced.add(parse_target(pattern), None)

    async def dial(self, target: Target, on_behalf_of: ProxyHeader | None = None) -> SocketChannel:
        """Connect to ``target``.

        :param on_behalf_of: the client, and what it connected to; nobody where the gateway dials for itself.
        :raises TargetError: when it is forbidden, does not resolve, or cannot be reached in time.
        """
        attempt: defer.Deferred[socket.socket] = defer.Deferred.fromCoroutine(
            self._attempt(target, on_behalf_of)
        )
        attempt.addTimeout(self._timeout, self._reactor)
        try:
            sock = await attempt
        except defer.TimeoutError:
            raise TargetError(EndReason.TARGET_TIMEOUT, f"no connection after {self._timeout:g} s") from None
        except OSError as failure:
            raise _connect_error(failure) from None
        tune(sock)
        return SocketChannel(sock)

    async def _attempt(self, target: Target, on_behalf_of: ProxyHeader | None) -> socket.socket:
        sock = await self._connect(target)
        if not self._is_announced(target):
            return sock
        try:
            header = _header(on_behalf_of, sock)
        except OSError:
            # The target has left already.
            sock.close()
            raise
        return await send_first(self._reactor, sock, header)

    def _is_announced(self, target: Target) -> bool:
        """Whether a target gets a PROXY header."""
        try:
            return bool(self._announced and self._announced.matches(target.host, target.port))
        except ValueError:
            # What is no host matches nothing.
            return False

    async def _connect(self, target: Target) -> socket.socket:
        path = self._sockets.get((_spelling(target.host), target.port))
        if path is not None:
            return await connect(self._reactor, socket.AF_UNIX, path)
        try:
            self._policy.check_name(target.host, target.port)
        except Forbidden as denied:
            raise TargetError(EndReason.TARGET_FORBIDDEN, str(denied)) from None
        addresses = self._allowed(await self._resolve(target.host), target.port)
        return await first_of(
            self._reactor,
            [
                partial(
                    connect,
                    self._reactor,
                    socket.AF_INET6 if ":" in address else socket.AF_INET,
                    (address, target.port),
                )
                for address in addresses
            ],
        )

    async def _resolve(self, host: str) -> list[str]:
        if isIPAddress(host) or isIPv6Address(host):
            return [host]
        receiver = _Collector()
        self._reactor.nameResolver.resolveHostName(receiver, host, transportSemantics="TCP")
        addresses = await receiver.done
        if not addresses:
            raise TargetError(EndReason.TARGET_UNRESOLVED, "the name has no address")
        return addresses

    def _allowed(self, addresses: list[str], port: int) -> list[str]:
        allowed = []
        denials = []
        for address in addresses:
            try:
                self._policy.check_address(address, port)
            except Forbidden as denied:
                denials.append(str(denied))
            else:
                allowed.append(address)
        if not allowed:
            raise TargetError(EndReason.TARGET_FORBIDDEN, "; ".join(denials))
        return allowed


@implementer(IResolutionReceiver)
class _Collector:
    """Collect the addresses of one resolution."""

    def __init__(self) -> None:
        self._addresses: list[str] = []
        self.done: defer.Deferred[list[str]] = defer.Deferred()

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, IPv4Address | IPv6Address) and len(self._addresses) < _MAX_ADDRESSES:
            self._addresses.append(address.host)

    def resolutionComplete(self) -> None:
        # Nobody waits any more for an answer that took too long; the resolver cannot be stopped.
        if not self.done.called:
            self.done.callback(list(dict.fromkeys(self._addresses)))


def _spelling(host: str) -> str:
    """The spelling of a host that sockets are listed under, or its own where it has none."""
    try:
        return normalise_host(host)
    except ValueError:
        return host


def _header(client: ProxyHeader | None, sock: socket.socket) -> bytes:
    """What a target is told; of a client that came through a Unix socket, that it connected to the target.

    :raises OSError: the connection is gone.
    """
    if client is None:
        return LOCAL_HEADER
    if client.source is not None and isinstance(client.destination, UNIXAddress | None):
        at: tuple[str, int] = ("0.0.0.0", 0)  # noqa: S104 - nothing is bound
        if sock.family != socket.AF_UNIX:
            at = sock.getpeername()[:2]
        client = ProxyHeader(client.source, ip_address(*at))
    return encode_proxy_header(client)


def _connect_error(failure: OSError) -> TargetError:
    if failure.errno == errno.ECONNREFUSED:
        return TargetError(EndReason.TARGET_REFUSED, "nothing listens there")
    if failure.errno == errno.ETIMEDOUT:
        return TargetError(EndReason.TARGET_TIMEOUT, "no answer")
    text = errno.errorcode.get(failure.errno or 0, str(failure))
    return TargetError(EndReason.TARGET_UNREACHABLE, f"cannot connect ({text})")
