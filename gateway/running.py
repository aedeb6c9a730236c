"""What a gateway has from its start to its stop: the ledger of used tickets, the poller, and the sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gateway.loaded import Loaded
from gateway.net import ConsoleReactor, PolledReactor, Poller
from gateway.reasons import EndReason
from gateway.sessions import Events, Registry, Sessions
from gateway.settings import Problem, Settings, SettingsError
from gateway.targets import DestinationPolicy, Dialler, OwnAddress, Securer
from gateway.tickets import Ledger, LedgerError, MemoryLedger, SqliteLedger

__all__ = ["Running", "open_ledger"]


def open_ledger(settings: Settings, reactor: Any, now: Callable[[], float]) -> Ledger:
    """The ledger that the settings ask for.

    :param now: wall clock, in seconds since the epoch.
    :raises SettingsError: its file cannot be used.
    """
    uses, skew = settings.uses, settings.tickets.skew
    if uses.file is None:
        return MemoryLedger(limit=uses.limit, skew=skew, now=now)
    try:
        return SqliteLedger(reactor, uses.file, limit=uses.limit, skew=skew, timeout=uses.timeout, now=now)
    except LedgerError as error:
        problem = Problem(error.path, "uses.file", error.problem, "name another file or mend this one")
        raise SettingsError([problem]) from None


class Running:
    """Sessions, and the ways to their targets.

    :ivar ledger: of used tickets; whoever opened it closes it.
    :ivar reactor: serves sockets from the poller's epoll set.
    :ivar sessions: all of them.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        loaded: Loaded,
        registry: Registry,
        ledger: Ledger,
        events: Events,
        own_addresses: Sequence[OwnAddress],
    ) -> None:
        """:param own_addresses: where no target is to be."""
        self._reactor = reactor
        self._poller = poller = _poller_of(reactor)
        self.ledger = ledger
        self.reactor = polled = PolledReactor(reactor, poller)
        self.sessions = Sessions(
            reactor,
            poller,
            _dialler(polled, settings, own_addresses),
            Securer(polled, poller, settings.security, loaded.trusts),
            registry,
            ledger,
            events,
            settings.relay,
        )
        self.sessions.heartbeat.start()

    def change(self, settings: Settings, loaded: Loaded, own_addresses: Sequence[OwnAddress]) -> None:
        """Begin sessions with other settings from now on."""
        sessions = self.sessions
        sessions.settings = settings.relay
        sessions.dialler = _dialler(self.reactor, settings, own_addresses)
        sessions.securer = Securer(
            self.reactor, self._poller, settings.security, loaded.trusts, seen=sessions.securer.seen
        )

    async def end(self, reason: EndReason, patience: float) -> None:
        """End every session, and wait for that.

        :param patience: seconds after which those that are left are cut.
        """
        self.sessions.heartbeat.stop()
        drained = self.sessions.end_all(reason)
        cut = self._reactor.callLater(patience, self.sessions.abort_all)
        await drained
        if cut.active():
            cut.cancel()

    def close(self) -> None:
        """Give up the poller, once nothing is served any more."""
        if not isinstance(self._reactor, ConsoleReactor):
            self._poller.close()


def _poller_of(reactor: Any) -> Poller:
    if isinstance(reactor, ConsoleReactor):
        return reactor.poller
    poller = Poller(reactor)
    poller.attach(reactor)
    return poller


def _dialler(reactor: PolledReactor, settings: Settings, own_addresses: Sequence[OwnAddress]) -> Dialler:
    targets = settings.targets
    return Dialler(
        reactor,
        DestinationPolicy(targets, own_addresses),
        targets.sockets,
        targets.connect_timeout,
        proxy_protocol=targets.proxy_protocol,
    )
