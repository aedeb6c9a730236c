"""What operators have in their hands of one gateway: audit, monitoring, control API and dashboard."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from twisted.web.resource import IResource

from gateway.audit import Audit
from gateway.control.api import Controlled, Steered
from gateway.control.monitoring import Monitoring
from gateway.control.readings import Readings
from gateway.control.server import ControlServer
from gateway.control.tally import Tally
from gateway.net import Listener
from gateway.sessions import Events, Sessions
from gateway.settings import Settings
from gateway.web import dashboard_resource

__all__ = ["Operations"]


class Operations:
    """Made with the service, bound with its listeners, and started before its first session."""

    def __init__(
        self,
        settings: Settings,
        events: Events,
        audit: Audit,
        readings: Readings,
        clock: Any,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        :param clock: the reactor.
        :param now: the wall clock, in seconds since the epoch.
        :raises SettingsError: when a file that the settings name cannot be used.
        :raises gateway.web.PageError: when a file of the dashboard is missing.
        """
        self._settings = settings
        self._audit = audit
        self._readings = readings
        self._now = now
        self._control = ControlServer(settings)
        self._tally = Tally(events)
        self._monitoring = Monitoring(settings.metrics, events, readings, clock, now)
        self._dashboard = dashboard_resource()

    def bind(self) -> None:
        """Bind every listening socket, or none.

        :raises gateway.net.BindError: when one cannot be bound.
        """
        try:
            self._control.bind()
            self._monitoring.bind()
        except BaseException:
            self._unbind()
            raise

    def open(self) -> None:
        """Begin to record, before the first session.

        :raises gateway.audit.AuditError: the audit cannot be written.
        """
        self._audit.open()

    def may_admit(self) -> bool:
        """Whether a session would be recorded as the settings demand."""
        return not self._audit.is_required or self._audit.available

    @property
    def listeners(self) -> list[Listener]:
        """What is bound."""
        return [*self._control.listeners, *self._monitoring.server.listeners]

    def start(self, reactor: Any, sessions: Sessions, steered: Steered) -> Mapping[str, IResource]:
        """Serve operators.

        :param reactor: serves the sockets.
        :param steered: what they have reloaded, drained and handed over.
        :returns: pages that balancers ask for on the console listeners, by name.
        """
        monitoring, seen = self._monitoring, sessions.securer.seen
        controlled = Controlled(
            settings=lambda: self._settings,
            sessions=sessions,
            steered=steered,
            readings=self._readings,
            health=monitoring.health,
            lag=monitoring.lag,
            tally=self._tally,
            targets=lambda: [(target, its.not_after.timestamp()) for target, its in seen.items()],
            started=self._now(),
        )
        monitoring.start(reactor)
        self._control.start(reactor, controlled, extra=monitoring.pages, dashboard=self._dashboard)
        return monitoring.probes

    def prepare(self, settings: Settings) -> Callable[[], None]:
        """Read anew what other settings name; returns the way to go by them.

        :raises SettingsError: when a file cannot be used; nothing is changed.
        """
        take_over_control = self._control.prepare(settings)

        def take_over() -> None:
            self._settings = settings
            take_over_control()

        return take_over

    def leave(self) -> None:
        """Leave the listeners to another process; the control API goes on beside its Unix sockets."""
        self._control.leave()
        self._monitoring.server.leave()

    def close(self) -> None:
        """Stop serving and recording; to be called last, so that operators see the end of the sessions."""
        self._unbind()
        self._audit.close()

    def _unbind(self) -> None:
        self._control.stop()
        self._monitoring.stop()
