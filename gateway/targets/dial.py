"""Dial a target: resolve, ask the policy, race the allowed addresses, connect."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from typing import Any, Final

import attrs
from twisted.internet import defer, error
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IReactorTime,
    IResolutionReceiver,
)
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from gateway.net import SocketChannel, tune
from gateway.reasons import EndReason
from gateway.targets.policy import DestinationPolicy, Forbidden
from gateway.tickets import Target

__all__ = ["DialError", "Dialler"]

_MAX_ADDRESSES: Final = 16
"""Addresses of one name that are tried; more is a mistake or an attack."""
_ATTEMPT_DELAY: Final = 0.25
"""Seconds before the next address is tried beside the last (RFC 8305, section 5)."""


class DialError(Exception):
    """The target could not be reached; the text is for the log."""

    def __init__(self, reason: EndReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Dialler:
    """Connects to the targets of grants."""

    def __init__(
        self, reactor: Any, policy: DestinationPolicy, sockets: Mapping[str, str], connect_timeout: float
    ) -> None:
        """
        :param reactor: provides ``IReactorTCP``, ``IReactorUNIX``, ``IReactorTime`` and a name resolver.
        :param sockets: Unix-socket paths for tickets that name exactly this ``host:port``.
        :param connect_timeout: seconds for resolving and connecting together.
        """
        self._reactor = reactor
        self._policy = policy
        self._sockets = sockets
        self._timeout = connect_timeout

    async def dial(self, target: Target) -> SocketChannel:
        """Connect to ``target``.

        :raises DialError: when it is forbidden, does not resolve, or cannot be reached in time.
        """
        attempt: defer.Deferred[SocketChannel] = defer.Deferred.fromCoroutine(self._attempt(target))
        attempt.addTimeout(self._timeout, self._reactor)
        try:
            return await attempt
        except DialError:
            raise
        except (defer.TimeoutError, error.TimeoutError):
            raise DialError(EndReason.TARGET_TIMEOUT, f"no connection after {self._timeout:g} s") from None
        except error.ConnectError as failure:
            raise _connect_error(failure) from None
        except OSError as failure:
            raise DialError(EndReason.TARGET_UNREACHABLE, failure.strerror or str(failure)) from None

    async def _attempt(self, target: Target) -> SocketChannel:
        path = self._sockets.get(str(target))
        if path is not None:
            return _take_socket(await UNIXClientEndpoint(self._reactor, path).connect(_factory()))
        try:
            self._policy.check_name(target.host, target.port)
        except Forbidden as denied:
            raise DialError(EndReason.TARGET_FORBIDDEN, str(denied)) from None
        addresses = self._allowed(await self._resolve(target.host), target.port)
        endpoint = HostnameEndpoint(
            _CheckedReactor(self._reactor, addresses),
            # The name is resolved already; this one only satisfies the endpoint's grammar.
            "target.invalid",
            target.port,
            timeout=self._timeout,
            attemptDelay=_ATTEMPT_DELAY,
        )
        return _take_socket(await endpoint.connect(_factory()))

    async def _resolve(self, host: str) -> list[str]:
        if isIPAddress(host) or isIPv6Address(host):
            return [host]
        receiver = _Collector()
        resolution = self._reactor.nameResolver.resolveHostName(receiver, host, transportSemantics="TCP")
        receiver.resolution = resolution
        addresses: list[str] = await receiver.done
        if not addresses:
            raise DialError(EndReason.TARGET_UNRESOLVED, "the name has no address")
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
            raise DialError(EndReason.TARGET_FORBIDDEN, "; ".join(denials))
        return allowed


@implementer(IResolutionReceiver)
class _Collector:
    """Collect the addresses of one resolution."""

    def __init__(self) -> None:
        self._addresses: list[str] = []
        self.resolution: IHostResolution | None = None
        self.done: defer.Deferred[list[str]] = defer.Deferred(self._cancelled)

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, IPv4Address | IPv6Address) and len(self._addresses) < _MAX_ADDRESSES:
            self._addresses.append(address.host)

    def resolutionComplete(self) -> None:
        if not self.done.called:
            self.done.callback(list(dict.fromkeys(self._addresses)))

    def _cancelled(self, _: object) -> None:
        # The threaded resolver cannot be stopped; its late answer finds ``done`` called.
        pass


@implementer(IHostnameResolver)
@attrs.frozen
class _CheckedResolver:
    """Answers with addresses that the policy allowed, whatever is asked."""

    addresses: list[str]

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        resolutionReceiver.resolutionBegan(None)
        for host in self.addresses:
            kind = IPv6Address if ":" in host else IPv4Address
            resolutionReceiver.addressResolved(kind("TCP", host, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolutionReceiver


@implementer(IReactorPluggableNameResolver, IReactorTime)
class _CheckedReactor:
    """The reactor as the racing endpoint sees it: connects, but resolves to checked addresses only."""

    def __init__(self, reactor: Any, addresses: list[str]) -> None:
        self.nameResolver = _CheckedResolver(addresses)
        self.connectTCP = reactor.connectTCP
        self.callLater = reactor.callLater
        self.seconds = reactor.seconds
        self.getDelayedCalls = reactor.getDelayedCalls

    def installNameResolver(self, resolver: Any) -> Any:
        raise NotImplementedError("the addresses are fixed")


def _factory() -> Factory[Any]:
    factory: Factory[Any] = Factory.forProtocol(Protocol)
    factory.noisy = False
    return factory


def _take_socket(protocol: Any) -> SocketChannel:
    """Take the connected socket out of Twisted's transport, which is forgotten.

    Nothing may have been read yet: a server's first bytes belong to the relay.
    """
    transport = protocol.transport
    transport.stopReading()
    transport.stopWriting()
    sock: socket.socket = transport.getHandle()
    sock = socket.socket(sock.family, sock.type, sock.proto, sock.detach())
    tune(sock)
    return SocketChannel(sock)


def _connect_error(failure: error.ConnectError) -> DialError:
    number = failure.osError
    text = errno.errorcode.get(number, str(number)) if isinstance(number, int) else type(failure).__name__
    if isinstance(failure, error.ConnectionRefusedError):
        return DialError(EndReason.TARGET_REFUSED, "nothing listens there")
    if isinstance(failure, error.TimeoutError):
        return DialError(EndReason.TARGET_TIMEOUT, "no answer")
    return DialError(EndReason.TARGET_UNREACHABLE, f"cannot connect ({text})")
