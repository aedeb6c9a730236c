"""The whole gateway as one Twisted service: the place where settings become running parts.

The command line, the twistd plug-in and embedding applications all call
:func:`make_service`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from twisted.application.service import Service
from twisted.internet import defer
from twisted.logger import Logger
from twisted.web.resource import IResource

from gateway import __version__
from gateway.audit import Audit
from gateway.condition import Condition
from gateway.drain import Drain
from gateway.entrance import Entrance
from gateway.hand_over import HandOver
from gateway.loaded import Loaded, load_files
from gateway.net import Listener, client_key
from gateway.operations import Operations
from gateway.predecessor import predecessor
from gateway.reasons import EndReason
from gateway.relay import NATIVE
from gateway.reload import Reloader, ReloadReport, compare
from gateway.running import Running, open_ledger
from gateway.sessions import Events, Registry, Selector, SessionInfo
from gateway.settings import Problem, Settings, SettingsError
from gateway.successor import HandOverError
from gateway.systemd import ServiceManager
from gateway.tickets import EngineKeys, Grant, Ledger, TicketDecoder
from gateway.web import PageError, console_resource

__all__ = ["GatewayService", "make_service"]

_PATIENCE: Final = 2
"""A shutdown waits this many close timeouts for sessions to end in order."""
_GRACE: Final = 1.0
"""Seconds that a shutdown leaves connections that were accepted to get an answer."""


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
        self._now = now
        self._load_files = load_files
        self._loaded = loaded = load_files(settings)
        self._engine = engine = EngineKeys(loaded.ticket_keys, loaded.ticket_also, clock=reactor)
        self.events = Events(now)
        """What happens to sessions."""
        self.registry = Registry(
            reactor, settings.limits, settings.sessions, client_key(settings.abuse.ipv6_prefix)
        )
        self._entrance = Entrance(
            reactor,
            settings,
            self.registry,
            self.events,
            lambda settings: make_decode(settings, engine),
            pages,
            lambda: self._operations.may_admit(),
        )
        self._ledger: Ledger | None = None
        self._running: Running | None = None
        self.drain = Drain(reactor, self.registry, self.events, lambda: self.settings)
        """Lets sessions end before a restart."""
        condition = Condition(
            lambda: self.settings,
            lambda: self._loaded,
            lambda: self._running,
            self.registry,
            self._entrance,
            self.drain,
        )
        self._audit = audit = Audit(settings.audit, self.events, reactor, now=now)
        self._manager = ServiceManager(reactor, condition.status)
        readings = condition.readings(lambda: not self.running, audit)
        self._operations = Operations(settings, self.events, audit, readings, reactor, now)
        self.handing_over = HandOver(
            reactor, lambda: self.settings, self._entrance, self._operations, self.drain, self._manager
        )
        """Replaces this process; whoever owns it sets ``command`` and ``leave``."""
        self._reloader = Reloader(self._way_to_reload, self.reload, self._manager)

    # -- for whoever has it ------------------------------------------------------------

    @property
    def listeners(self) -> list[Listener]:
        """What is bound: the real addresses, where a port was 0."""
        return self._entrance.listeners

    def session_infos(self, selector: Selector | None = None) -> list[SessionInfo]:
        """Who is on which console, the longest first.

        :param selector: whom to list, instead of all.
        """
        return [] if self._running is None else self._running.sessions.infos(selector or Selector())

    def end_sessions(self, selector: Selector, message: str = "") -> list[SessionInfo]:
        """End the sessions that ``selector`` is about; their tickets are good for nothing more.

        :param message: for the users, instead of what the reason says; as much of it as a close frame takes.
        :returns: those that were ended.
        """
        return [] if self._running is None else self._running.sessions.end_selected(selector, message)

    def reopen(self) -> None:
        """Open the audit's files anew, after they were rotated."""
        self._audit.reopen()

    def hurry(self) -> None:
        """Wait for sessions no longer, if the gateway drains."""
        if self.drain.draining:
            self.drain.begin(0)

    # -- from start to stop ------------------------------------------------------------

    def bind(self) -> None:
        """Bind every listening socket, or none.

        :raises gateway.net.BindError: when one cannot be bound.
        """
        self._entrance.bind(self.settings)
        try:
            self._operations.bind()
        except BaseException:
            self._entrance.close()
            raise

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
        settings, entrance = self.settings, self._entrance
        self._ledger = ledger = open_ledger(settings, self._reactor, self._now)
        self._operations.open()
        super().startService()
        self.registry.open()
        self.drain.reset()
        self._running = running = Running(
            self._reactor, settings, self._loaded, self.registry, ledger, self.events, entrance.own_addresses
        )
        entrance.pages |= self._operations.start(running.reactor, running.sessions, self)
        entrance.open(settings, self._loaded.context, running)
        entrance.accept(running)
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

    def stopService(self) -> defer.Deferred[None]:
        """Stop accepting, end sessions with close code 1001, and wait for their ends for a bounded time."""
        handed_over = self.handing_over.pid is not None
        # Sessions of a process that handed over have had their time.
        drain_for = 0.0 if handed_over or self._running is None else self.settings.drain.on_stop
        if not handed_over:
            self._manager.stopping(drain_for)
        self.handing_over.abandon()
        super().stopService()
        return defer.Deferred.fromCoroutine(self._stop(drain_for))

    async def _stop(self, drain_for: float) -> None:
        if drain_for:
            self.drain.begin(drain_for)
            await self.drain.finished()
        self._entrance.close()
        running = self._running
        if running is not None:
            reason = EndReason.RESTART if self.drain.draining else EndReason.SHUTDOWN
            for session in list(self.registry.sessions.values()):
                session.end(reason)
            # Who has connected is not to find the connection broken.
            await self._entrance.settle(_GRACE)
            await running.end(reason, _PATIENCE * self.settings.relay.close_timeout)
        self.drain.stop()
        self._manager.stop()
        self._operations.close()
        if self._ledger is not None:
            await self._ledger.close()
        if running is not None:
            running.close()
        self._engine.close()
        self._running = self._ledger = None

    # -- reload ------------------------------------------------------------------------

    async def reload_file(self) -> ReloadReport:
        """Read the settings anew and put them in force; wrong ones are logged and change nothing."""
        return self._reloader.reload()

    def reload(self, settings: Settings) -> ReloadReport:
        """Put other settings in force, all or none; sessions go on, and so do requests that have begun.

        What only a restart can change stays as it is.

        :raises SettingsError: when a file that they name cannot be used.
        :raises gateway.net.BindError: when a new socket cannot be bound.
        """
        running, entrance = self._running, self._entrance
        assert running is not None, "the service does not run"
        settings, report = compare(self.settings, settings)
        loaded = self._load_files(settings)
        take_over_control = self._operations.prepare(settings)
        # The last thing that can fail, because others see it at once.
        entrance.change(settings)
        self.settings, self._loaded = settings, loaded
        self._engine.replace(loaded.ticket_keys, loaded.ticket_also, overlap=settings.tickets.overlap)
        self.registry.configure(settings.limits, settings.sessions, client_key(settings.abuse.ipv6_prefix))
        running.change(settings, loaded, entrance.own_addresses)
        entrance.open(settings, loaded.context, running)
        take_over_control()
        return report

    def _way_to_reload(self) -> Callable[[], Settings]:
        if self.handing_over.is_under_way:
            problem = "a new process is taking over", "reload that one"
        elif self.load is None:
            problem = "did not come from a file", "start it anew"
        elif self._running is None:
            problem = "the gateway does not run", "start it"
        else:
            return self.load
        raise SettingsError([Problem(Path("settings"), "", *problem)])

    # -- hand-over ---------------------------------------------------------------------

    async def hand_over(self, seconds: float | None = None, message: str = "") -> int:
        """Start a process that takes over, and drain; see :meth:`gateway.hand_over.HandOver.begin`.

        :raises gateway.successor.HandOverError: when there is none; nothing is changed then.
        """
        if not self.running:
            raise HandOverError("the gateway is stopping")
        return await self.handing_over.begin(seconds, message)
