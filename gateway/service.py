"""The whole gateway as one Twisted service: the place where settings become running parts.

The command line, the twistd plug-in and embedding applications all call
:func:`make_service`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from twisted.application.service import Service
from twisted.internet import defer
from twisted.logger import Logger
from twisted.web.resource import IResource

from gateway import __version__
from gateway.audit import Audit
from gateway.control.readings import Readings
from gateway.control.server import check_control_files
from gateway.front import Front, Gate
from gateway.net import (
    ConsoleReactor,
    Listener,
    ListenerSet,
    PolledReactor,
    Poller,
    load_identity,
    notify,
    server_context,
)
from gateway.operations import Operations
from gateway.reasons import EndReason
from gateway.relay import NATIVE
from gateway.sessions import Events, Registry, Sessions, Uses
from gateway.settings import Problem, Settings, SettingsError
from gateway.targets import DestinationPolicy, Dialler, OwnAddress, Securer, Trusts
from gateway.tickets import (
    Grant,
    KeyFileError,
    Ledger,
    LedgerError,
    LedgerRefusal,
    LedgerRefused,
    MemoryLedger,
    SqliteLedger,
    TicketDecoder,
    load_verification_key,
)
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
    return GatewayService(settings, reactor, decode, {**_own_pages(settings), **(pages or {})}, now)


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
    problems += check_control_files(settings)
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
        now: Callable[[], float],
    ) -> None:
        """Use :func:`make_service`."""
        self.setName("console-gateway")
        self.settings = settings
        self._reactor = reactor
        self._decode = decode
        self._pages = pages
        self._now = now
        identity = load_identity(settings.tls) if settings.listen.tls else None
        self._context = None if identity is None else server_context(settings.tls, identity)
        self._expires = None if identity is None else identity.not_after.timestamp()
        self._trusts = Trusts(settings)
        self.events = Events(now)
        """What happens to sessions."""
        self._sockets = ListenerSet()
        self.registry = Registry(reactor, settings.limits, settings.sessions)
        self._ledger: Ledger | None = None
        self._front: Front | None = None
        self._sessions: Sessions | None = None
        self._poller: Poller | None = None
        self._audit = Audit(settings.audit, self.events, reactor, now=now)
        self._operations = Operations(settings, self.events, self._audit, self._readings(), reactor, now)

    @property
    def listeners(self) -> list[Listener]:
        """What is bound: the real addresses, where a port was 0."""
        return self._sockets.bound

    def bind(self) -> None:
        """Bind every listening socket, or none.

        :raises gateway.net.BindError: when one cannot be bound.
        """
        listen = self.settings.listen
        self._sockets.bind(
            [*((name, True) for name in listen.tls), *((name, False) for name in listen.plain)]
        )
        try:
            self._operations.bind()
        except BaseException:
            self._sockets.close()
            raise

    def reopen(self) -> None:
        """Open the audit's files anew, after they were rotated."""
        self._audit.reopen()

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        self.bind()

    def startService(self) -> None:
        """Begin to serve.

        :raises gateway.net.BindError: when a socket cannot be bound.
        :raises SettingsError: when the file of used tickets cannot be used.
        :raises gateway.audit.AuditError: when the audit cannot be written.
        """
        self.bind()
        settings, reactor = self.settings, self._reactor
        policy = DestinationPolicy(settings.targets, self._own_addresses())
        self._ledger = ledger = self._open_ledger()
        self._operations.open()
        super().startService()
        self.registry.open()
        self._poller = self._make_poller()
        polled = PolledReactor(reactor, self._poller)
        dialler = Dialler(polled, policy, settings.targets.sockets, settings.targets.connect_timeout)
        securer = Securer(polled, self._poller, settings.security, self._trusts)
        self._sessions = Sessions(
            reactor, self._poller, dialler, securer, self.registry, ledger, self.events, settings.relay
        )
        self._sessions.heartbeat.start()
        self._front = front = Front(
            polled,
            settings.front,
            Gate(
                reactor,
                settings.front,
                self._decode,
                self.registry,
                Uses(ledger, settings.uses),
                self.events,
                recording=self._operations.may_admit,
            ),
            self._sessions.start,
            max_handshakes=settings.limits.handshakes,
            context=self._current_context,
        )
        probes = self._operations.start(polled, self._sessions)
        for name, resource in {**probes, **self._pages}.items():
            front.add_pages(name, resource)
        front.begin()
        self._sockets.accept(
            polled, lambda listener, sock, address: front.accept(sock, address, tls=listener.tls)
        )
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
        self._sockets.close()
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
        self._operations.close()
        if self._ledger is not None:
            await self._ledger.close()
        if self._poller is not None and not isinstance(self._reactor, ConsoleReactor):
            self._poller.close()
        self._front = self._sessions = self._poller = self._ledger = None

    def _readings(self) -> Readings:
        """Where operators read how things are."""
        return Readings(
            sessions=lambda: () if self._sessions is None else self._sessions.infos(),
            limits=lambda: self.registry.limits,
            handshakes=lambda: 0 if self._front is None else self._front.handshakes_open,
            admitting=lambda: self.registry.admitting,
            stopping=lambda: not self.running,
            listeners=lambda: [listener.description for listener in self.listeners],
            ledger_size=self._ledger_size,
            ledger_limit=lambda: self.settings.uses.limit,
            certificate_expires=lambda: self._expires,
            targets_expire=self._targets_expire,
            audit=self._audit,
        )

    async def _ledger_size(self) -> int:
        if self._ledger is None:
            raise LedgerRefused(LedgerRefusal.UNAVAILABLE)
        return await self._ledger.size()

    def _targets_expire(self) -> list[float]:
        seen = () if self._sessions is None else self._sessions.securer.seen.items()
        return [certificate.not_after.timestamp() for _, certificate in seen]

    def _open_ledger(self) -> Ledger:
        """:raises SettingsError: its file cannot be used."""
        uses, skew = self.settings.uses, self.settings.tickets.skew
        if uses.file is None:
            return MemoryLedger(limit=uses.limit, skew=skew, now=self._now)
        try:
            return SqliteLedger(
                self._reactor, uses.file, limit=uses.limit, skew=skew, timeout=uses.timeout, now=self._now
            )
        except LedgerError as error:
            problem = Problem(error.path, "uses.file", error.problem, "name another file or mend this one")
            raise SettingsError([problem]) from None

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
