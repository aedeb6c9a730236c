"""The whole gateway as one Twisted service: the place where settings become running parts.

The command line, the twistd plug-in and embedding applications all call
:func:`make_service`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from twisted.application.service import Service
from twisted.internet import defer
from twisted.logger import Logger
from twisted.web.resource import IResource

from gateway import __version__
from gateway.front import Front, Gate
from gateway.net import (
    Acceptor,
    ConsoleReactor,
    Listener,
    PolledReactor,
    Poller,
    load_identity,
    notify,
    open_listener,
    server_context,
)
from gateway.reasons import EndReason
from gateway.relay import NATIVE
from gateway.sessions import Registry, Sessions
from gateway.settings import Problem, Settings, SettingsError, parse_endpoint
from gateway.targets import DestinationPolicy, Dialler, OwnAddress, Securer, Trusts
from gateway.tickets import Grant, KeyFileError, TicketDecoder, load_verification_key
from gateway.web import PageError, console_resource

__all__ = ["GatewayService", "check_files", "make_service"]

_PATIENCE = 2
"""A shutdown waits this many close timeouts for sessions to end in order."""


def make_service(
    settings: Settings,
    *,
    reactor: Any = None,
    pages: Mapping[str, IResource] | None = None,
    ticket_keys: Sequence[RSAPublicKey] | None = None,
    complete: Callable[[Grant], Grant] | None = None,
    now: Callable[[], float] = time.time,
) -> GatewayService:
    """Build the gateway; nothing listens until the service is started.

    :param settings: what to run, see :mod:`gateway.settings`.
    :param reactor: defaults to Twisted's; it must provide ``IReactorFDSet`` (all but IOCP do).
    :param pages: twisted.web resources served under ``/NAME`` of the same listeners.
    :param ticket_keys: keys that verify tickets, instead of the one in ``tickets.certificate``.
    :param complete: is given the grant of every ticket that was verified and returns the one to go by, such
        as with the password that the gateway is to answer the target with; it may raise ``TicketRefused``.
        It is called in the reactor's thread, more than once for a ticket that is used again.
    :param now: wall clock that tickets are held against, in seconds since the epoch.
    :raises SettingsError: when a certificate or key file, or a file of the console page, cannot be used.
    """
    if reactor is None:
        from twisted.internet import reactor as default_reactor

        reactor = default_reactor
    problems = check_files(settings, need_ticket_key=ticket_keys is None)
    if problems:
        raise SettingsError(problems)
    if ticket_keys is None:
        assert settings.tickets.certificate is not None
        ticket_keys = [load_verification_key(settings.tickets.certificate)]
    decoder = TicketDecoder(ticket_keys, settings.tickets, now)
    decode = decoder.decode if complete is None else _completed(decoder.decode, complete)
    return GatewayService(settings, reactor, decode, {**_own_pages(settings), **(pages or {})})


def _completed(decode: Callable[[str], Grant], complete: Callable[[Grant], Grant]) -> Callable[[str], Grant]:
    return lambda path: complete(decode(path))


def _own_pages(settings: Settings) -> dict[str, IResource]:
    if not settings.pages.enabled:
        return {}
    try:
        return {"console": console_resource()}
    except PageError as error:
        problem = Problem(Path("settings"), "pages.enabled", str(error), "install the gateway again")
        raise SettingsError([problem]) from None


def check_files(settings: Settings, *, need_ticket_key: bool = True) -> list[Problem]:
    """Everything wrong with the files that the settings name."""
    problems: list[Problem] = []
    if settings.listen.tls:
        try:
            server_context(settings.tls, load_identity(settings.tls))
        except SettingsError as error:
            problems += error.problems
    try:
        Trusts(settings)
    except SettingsError as error:
        problems += error.problems
    if need_ticket_key and settings.tickets.certificate is None:
        remedy = "name the certificate of the engine that signs the tickets"
        problems.append(Problem(Path("settings"), "tickets.certificate", "is not set", remedy))
    elif need_ticket_key:
        assert settings.tickets.certificate is not None
        try:
            load_verification_key(settings.tickets.certificate)
        except KeyFileError as error:
            remedy = "name the certificate of the engine that signs the tickets"
            problems.append(Problem(error.path, "tickets.certificate", error.problem, remedy))
    return problems


class GatewayService(Service):
    """The running gateway.

    :meth:`bind` may be called early, so that a failed bind is an error of the
    caller's and privileges are there; otherwise starting the service binds.
    """

    log = Logger()

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        decode: Callable[[str], Grant],
        pages: dict[str, IResource],
    ) -> None:
        """Use :func:`make_service`."""
        self.setName("console-gateway")
        self.settings = settings
        self._reactor = reactor
        self._decode = decode
        self._pages = pages
        self._context = (
            server_context(settings.tls, load_identity(settings.tls)) if settings.listen.tls else None
        )
        self._trusts = Trusts(settings)
        self.listeners: list[Listener] = []
        """What is bound: the real addresses, where a port was 0."""
        self.registry = Registry(settings.limits)
        self._acceptors: list[Acceptor] = []
        self._front: Front | None = None
        self._sessions: Sessions | None = None
        self._poller: Poller | None = None

    def bind(self) -> None:
        """Bind every listening socket, or none.

        :raises gateway.net.BindError: when one cannot be bound.
        """
        if self.listeners:
            return
        listen = self.settings.listen
        bound: list[Listener] = []
        try:
            for names, tls in ((listen.tls, True), (listen.plain, False)):
                # One by one, so that those bound before a failure are known.
                bound.extend(open_listener(name, parse_endpoint(name), tls=tls) for name in names)
        except BaseException:
            for listener in bound:
                listener.close()
            raise
        self.listeners = bound

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        self.bind()

    def startService(self) -> None:
        self.bind()
        super().startService()
        settings, reactor = self.settings, self._reactor
        policy = DestinationPolicy(settings.targets, self._own_addresses())
        self.registry.open()
        self._poller = self._make_poller()
        polled = PolledReactor(reactor, self._poller)
        dialler = Dialler(polled, policy, settings.targets.sockets, settings.targets.connect_timeout)
        securer = Securer(polled, self._poller, settings.security, self._trusts)
        self._sessions = Sessions(reactor, self._poller, dialler, securer, self.registry, settings.relay)
        self._sessions.heartbeat.start()
        self._front = front = Front(
            polled,
            settings.front,
            Gate(settings.front, self._decode, self.registry),
            self._sessions.start,
            max_handshakes=settings.limits.handshakes,
            context=self._current_context,
        )
        for name, resource in self._pages.items():
            front.add_pages(name, resource)
        front.begin()
        for listener in self.listeners:
            self._acceptors.append(Acceptor(polled, listener, partial(front.accept, tls=listener.tls)))
        if not NATIVE:
            self.log.warn(
                "no native unmasking routine could be loaded: uploads are slow; "
                "install the 'websockets' package with its compiled extension"
            )
        self.log.info(
            "console-gateway {version} listens on {addresses}",
            version=__version__,
            addresses=", ".join(listener.description for listener in self.listeners),
        )
        notify("READY=1")

    def stopService(self) -> defer.Deferred[None]:
        """Stop accepting, end sessions with close code 1001, and wait for their ends for a bounded time."""
        notify("STOPPING=1")
        super().stopService()
        return defer.Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()
        for listener in self.listeners:
            # Bound, but perhaps never accepted from.
            listener.close()
        self.listeners.clear()
        if self._front is not None:
            self._front.end()
        if self._sessions is not None:
            self._sessions.heartbeat.stop()
            drained = self._sessions.end_all(EndReason.SHUTDOWN)
            patience = _PATIENCE * self.settings.relay.close_timeout
            cut = self._reactor.callLater(patience, self._sessions.abort_all)
            await drained
            if cut.active():
                cut.cancel()
        if self._poller is not None and not isinstance(self._reactor, ConsoleReactor):
            self._poller.close()
        self._front = self._sessions = self._poller = None

    def _make_poller(self) -> Poller:
        reactor = self._reactor
        if isinstance(reactor, ConsoleReactor):
            return reactor.poller
        poller = Poller(reactor)
        poller.attach(reactor)
        return poller

    def _current_context(self) -> Any:
        return self._context

    def _own_addresses(self) -> list[OwnAddress]:
        addresses = [listener.sock.getsockname() for listener in self.listeners]
        return [OwnAddress(address[0], address[1]) for address in addresses if isinstance(address, tuple)]
