"""The whole gateway as one Twisted service: the place where settings become running parts.

The command line, the twistd plug-in and embedding applications all call
:func:`make_service`.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.resource import IResource

from gateway import __version__
from gateway.audit import Audit
from gateway.control.readings import Readings
from gateway.drain import Drain
from gateway.front import Front, Gate, Watch
from gateway.hand_over import HandOver
from gateway.loaded import Loaded, load_files
from gateway.net import (
    BindError,
    ConsoleReactor,
    Listener,
    ListenerSet,
    PolledReactor,
    Poller,
    client_key,
)
from gateway.operations import Operations
from gateway.predecessor import predecessor
from gateway.reasons import EndReason
from gateway.relay import NATIVE
from gateway.reload import ReloadReport, compare
from gateway.sessions import AdminAction, Events, Registry, Selector, SessionInfo, Sessions, Uses
from gateway.settings import AbuseSettings, Problem, Settings, SettingsError
from gateway.successor import HandOverError
from gateway.systemd import ServiceManager
from gateway.targets import DestinationPolicy, Dialler, OwnAddress, Securer
from gateway.tickets import (
    EngineKeys,
    Grant,
    Ledger,
    LedgerError,
    LedgerRefusal,
    LedgerRefused,
    MemoryLedger,
    SqliteLedger,
    TicketDecoder,
)
from gateway.web import PageError, console_resource

__all__ = ["GatewayService", "make_service"]

_PATIENCE = 2
"""A shutdown waits this many close timeouts for sessions to end in order."""
_GRACE = 1.0
"""Seconds that a shutdown leaves connections that were accepted to get an answer."""
_BEAT = 0.02
"""Seconds between two looks at how many of them are left."""


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
    load = partial(load_files, ticket_keys=None if ticket_keys is None else tuple(ticket_keys))
    make_decode = partial(_decode, complete=complete, now=now)
    return GatewayService(
        settings, reactor, load, make_decode, {**_own_pages(settings), **(pages or {})}, now
    )


def _decode(
    settings: Settings,
    keys: EngineKeys,
    *,
    complete: Callable[[Grant], Grant] | None,
    now: Callable[[], float],
) -> Callable[[str], Grant]:
    decode = TicketDecoder(keys, settings.tickets, now).decode
    return decode if complete is None else lambda path: complete(decode(path))


def _own_pages(settings: Settings) -> dict[str, IResource]:
    if not settings.pages.enabled:
        return {}
    try:
        return {"console": console_resource()}
    except PageError as error:
        problem = Problem(Path("settings"), "pages.enabled", str(error), "install the gateway again")
        raise SettingsError([problem]) from None


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
        load_files: Callable[[Settings], Loaded],
        make_decode: Callable[[Settings, EngineKeys], Callable[[str], Grant]],
        pages: dict[str, IResource],
        now: Callable[[], float],
    ) -> None:
        """Use :func:`make_service`."""
        self.setName("console-gateway")
        self.settings = settings
        """What is in force."""
        self.load: Callable[[], Settings] | None = None
        """Reads the settings anew for :meth:`reload_file`; for whoever knows where they are."""
        self._reactor = reactor
        self._load_files = load_files
        self._loaded = loaded = load_files(settings)
        self._make_decode = make_decode
        self._engine = EngineKeys(loaded.ticket_keys, loaded.ticket_also, clock=reactor)
        self._pages = pages
        self._now = now
        self.events = Events(now)
        """What happens to sessions."""
        self._sockets = ListenerSet()
        self.registry = Registry(
            reactor, settings.limits, settings.sessions, client_key(settings.abuse.ipv6_prefix)
        )
        self._watch = Watch(reactor, _abuse(settings), settings.limits)
        self._ledger: Ledger | None = None
        self._fronts: list[Front] = []
        self._sessions: Sessions | None = None
        self._poller: Poller | None = None
        self._audit = Audit(settings.audit, self.events, reactor, now=now)
        self._manager = ServiceManager(reactor, self._status)
        self.drain = Drain(reactor, self.registry, self.events, lambda: self.settings)
        """Lets sessions end before a restart."""
        self.handing_over = HandOver(reactor, lambda: self.settings, self, self.drain, self._manager)
        """Replaces this process; whoever owns it sets ``command`` and ``leave``."""
        self._operations = Operations(settings, self.events, self._audit, self._readings(), reactor, now)

    @property
    def listeners(self) -> list[Listener]:
        """What is bound: the real addresses, where a port was 0."""
        return self._sockets.bound

    def session_infos(self, selector: Selector | None = None) -> list[SessionInfo]:
        """Who is on which console, the longest first.

        :param selector: whom to list, instead of all.
        """
        return [] if self._sessions is None else self._sessions.infos(selector or Selector())

    def end_sessions(self, selector: Selector, message: str = "") -> list[SessionInfo]:
        """End the sessions that ``selector`` is about; their tickets are good for nothing more.

        :param message: for the users, instead of what the reason says; as much of it as a close frame takes.
        :returns: those that were ended.
        """
        return [] if self._sessions is None else self._sessions.end_selected(selector, message)

    def bind(self) -> None:
        """Bind every listening socket, or none.

        :raises gateway.net.BindError: when one cannot be bound.
        """
        self._sockets.bind(_endpoints(self.settings))
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
        self._ledger = ledger = self._open_ledger()
        self._operations.open()
        super().startService()
        self.registry.open()
        self.drain.reset()
        self._poller = self._make_poller()
        polled = PolledReactor(reactor, self._poller)
        self._sessions = Sessions(
            reactor,
            self._poller,
            self._dialler(polled),
            Securer(polled, self._poller, settings.security, self._loaded.trusts),
            self.registry,
            ledger,
            self.events,
            settings.relay,
        )
        self._sessions.heartbeat.start()
        self._pages |= self._operations.start(polled, self._sessions, self)
        self._open_front(polled, self._sessions)
        self._sockets.accept(polled, self._accept)
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
        self._manager.begin(ready=not predecessor().ready())

    def reload_soon(self) -> None:
        """Begin :meth:`reload_file`, for signals."""
        self.events.publish(AdminAction("signal", "reload", (), ""))
        defer.Deferred.fromCoroutine(self.reload_file()).addErrback(
            lambda failure: self.log.failure("Unexpected error while reloading", failure)
        )

    async def reload_file(self) -> ReloadReport:
        """Read the settings anew and put them in force; wrong ones are logged and change nothing."""
        try:
            if self.handing_over.is_under_way:
                raise SettingsError(
                    [Problem(Path("settings"), "", "a new process is taking over", "reload that one")]
                )
            if self.load is None:
                raise SettingsError(
                    [Problem(Path("settings"), "", "did not come from a file", "start it anew")]
                )
            self._manager.reloading()
            try:
                report = self.reload(self.load())
            finally:
                self._manager.reloaded()
        except (SettingsError, BindError, PageError) as error:
            problems = tuple(str(error).splitlines())
            for problem in problems:
                self.log.error("reload refused, nothing is changed: {problem}", problem=problem)
            return ReloadReport(problems=problems)
        self.log.info(
            "settings are reloaded; changed: {changed}; in force after a restart: {later}",
            changed=", ".join(report.changed) or "no setting, files were read again",
            later=", ".join(report.needs_restart) or "nothing",
        )
        return report

    def reload(self, settings: Settings) -> ReloadReport:
        """Put other settings in force, all or none; sessions go on, and so do requests that have begun.

        What only a restart can change stays as it is.

        :raises SettingsError: when a file that they name cannot be used.
        :raises gateway.net.BindError: when a new socket cannot be bound.
        """
        sessions, poller = self._sessions, self._poller
        assert sessions is not None, "the service does not run"
        assert poller is not None
        settings, report = compare(self.settings, settings)
        loaded = self._load_files(settings)
        take_over_control = self._operations.prepare(settings)
        # The last thing that can fail, because others see it at once.
        self._sockets.change(_endpoints(settings))
        self.settings, self._loaded = settings, loaded
        self._engine.replace(loaded.ticket_keys, loaded.ticket_also, overlap=settings.tickets.overlap)
        polled = PolledReactor(self._reactor, poller)
        self.registry.configure(settings.limits, settings.sessions, client_key(settings.abuse.ipv6_prefix))
        self._watch.change(_abuse(settings), settings.limits)
        sessions.settings = settings.relay
        sessions.dialler = self._dialler(polled)
        sessions.securer = Securer(
            polled, poller, settings.security, loaded.trusts, seen=sessions.securer.seen
        )
        self._open_front(polled, sessions)
        take_over_control()
        return report

    def stopService(self) -> defer.Deferred[None]:
        """Stop accepting, end sessions with close code 1001, and wait for their ends for a bounded time."""
        handed_over = self.handing_over.pid is not None
        # Sessions of a process that handed over have had their time.
        drain_for = 0.0 if handed_over or self._sessions is None else self.settings.drain.on_stop
        if not handed_over:
            self._manager.stopping(drain_for)
        self.handing_over.abandon()
        super().stopService()
        return defer.Deferred.fromCoroutine(self._stop(drain_for))

    def hurry(self) -> None:
        """Wait for sessions no longer, if the gateway drains."""
        if self.drain.draining:
            self.drain.begin(0)

    async def hand_over(self, seconds: float | None = None, message: str = "") -> int:
        """Start a process that takes over, and drain; see :meth:`gateway.hand_over.HandOver.begin`.

        :raises gateway.successor.HandOverError: when there is none; nothing is changed then.
        """
        if not self.running:
            raise HandOverError("the gateway is stopping")
        return await self.handing_over.begin(seconds, message)

    def hand_over_soon(self) -> None:
        """Begin :meth:`hand_over`, for signals."""
        self.events.publish(AdminAction("signal", "hand-over", (), ""))
        defer.Deferred.fromCoroutine(self._try_hand_over()).addErrback(
            lambda failure: self.log.failure("Unexpected error while handing over", failure)
        )

    async def _try_hand_over(self) -> None:
        # What did not go well was logged.
        with contextlib.suppress(HandOverError):
            await self.hand_over()

    def all_listeners(self) -> list[Listener]:
        """Those of operators as well, in the order in which they are bound."""
        return [*self._sockets.bound, *self._operations.listeners]

    def leave_listeners(self) -> None:
        """Stop accepting, and leave the sockets to another process."""
        self._sockets.leave()
        self._operations.leave()

    async def settle(self, seconds: float) -> None:
        """Let connections that were accepted become sessions, for so long, and drop the rest."""
        end = self._reactor.seconds() + seconds
        while self._handshakes() and self._reactor.seconds() < end:
            await deferLater(self._reactor, _BEAT)
        for front in self._fronts:
            front.end()
        self._fronts.clear()

    async def _stop(self, drain_for: float) -> None:
        if drain_for:
            self.drain.begin(drain_for)
            await self.drain.finished()
        self._sockets.close()
        if self._sessions is not None:
            reason = EndReason.RESTART if self.drain.draining else EndReason.SHUTDOWN
            for session in list(self.registry.sessions.values()):
                session.end(reason)
            # Who has connected is not to find the connection broken.
            await self.settle(_GRACE)
            self._sessions.heartbeat.stop()
            drained = self._sessions.end_all(reason)
            patience = _PATIENCE * self.settings.relay.close_timeout
            cut = self._reactor.callLater(patience, self._sessions.abort_all)
            await drained
            if cut.active():
                cut.cancel()
        self.drain.stop()
        self._manager.stop()
        self._operations.close()
        if self._ledger is not None:
            await self._ledger.close()
        if self._poller is not None and not isinstance(self._reactor, ConsoleReactor):
            self._poller.close()
        self._engine.close()
        self._sessions = self._poller = self._ledger = None

    def _dialler(self, polled: PolledReactor) -> Dialler:
        targets = self.settings.targets
        policy = DestinationPolicy(targets, self._own_addresses())
        return Dialler(
            polled,
            policy,
            targets.sockets,
            targets.connect_timeout,
            proxy_protocol=targets.proxy_protocol,
        )

    def _open_front(self, polled: PolledReactor, sessions: Sessions) -> None:
        """Take new connections with the present settings; those that are there stay where they are."""
        settings = self.settings
        assert self._ledger is not None
        gate = Gate(
            self._reactor,
            settings.front,
            self._make_decode(settings, self._engine),
            self.registry,
            Uses(self._ledger, settings.uses),
            self.events,
            self._watch,
            recording=self._operations.may_admit,
        )
        context = self._loaded.context
        front = Front(
            polled,
            settings.front,
            gate,
            sessions.start,
            max_handshakes=settings.limits.handshakes,
            context=None if context is None else lambda: context,
            watch=self._watch,
            proxies=settings.proxies,
        )
        for name, resource in self._pages.items():
            front.add_pages(name, resource)
        front.begin()
        for former in [each for each in self._fronts if not each.handshakes_open]:
            former.end()
            self._fronts.remove(former)
        self._fronts.append(front)

    def _accept(self, listener: Listener, sock: socket.socket, address: Any) -> None:
        announced = listener.name in self.settings.proxies.listeners
        self._fronts[-1].accept(sock, address, tls=listener.tls, announced=announced)

    def _readings(self) -> Readings:
        """Where operators read how things are."""
        return Readings(
            sessions=lambda: () if self._sessions is None else self._sessions.infos(),
            limits=lambda: self.registry.limits,
            handshakes=self._handshakes,
            admitting=lambda: self.registry.admitting,
            stopping=lambda: not self.running,
            drain=lambda: self.drain.progress,
            listeners=lambda: [listener.description for listener in self.listeners],
            ledger_size=self._ledger_size,
            ledger_limit=lambda: self.settings.uses.limit,
            certificate_expires=lambda: self._loaded.expires,
            certificate_setting=lambda: self._loaded.expiring,
            targets_expire=self._targets_expire,
            audit=self._audit,
            abuse=self._watch,
        )

    def _handshakes(self) -> int:
        return sum(front.handshakes_open for front in self._fronts)

    def _status(self) -> str:
        """For ``systemctl status``."""
        progress, handshakes = self.drain.progress, self._handshakes()
        if progress.left is not None:
            return f"draining: {progress.sessions} sessions left, {progress.left:.0f} s for them"
        return f"{progress.sessions} sessions, {handshakes} handshakes"

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

    def _own_addresses(self) -> list[OwnAddress]:
        addresses = [listener.sock.getsockname() for listener in self.listeners]
        return [OwnAddress(address[0], address[1]) for address in addresses if isinstance(address, tuple)]


def _endpoints(settings: Settings) -> list[tuple[str, bool]]:
    """Where consoles are served, and whether TLS is spoken there."""
    listen = settings.listen
    return [*((name, True) for name in listen.tls), *((name, False) for name in listen.plain)]


def _abuse(settings: Settings) -> AbuseSettings:
    """What is held against whom: never against a proxy that speaks for others."""
    return attrs.evolve(settings.abuse, exempt=(*settings.abuse.exempt, *settings.proxies.networks))
