"""Everything that machines ask of the gateway, in one piece: metrics, and whether it is well."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.resource import IResource

from gateway.control.health import Health
from gateway.control.lag import LoopLag
from gateway.control.metrics import Metrics
from gateway.control.metrics_server import MetricsServer
from gateway.control.readings import Readings
from gateway.sessions.events import Events
from gateway.settings import MetricsSettings

__all__ = ["Monitoring"]


class Monitoring:
    """Counts for as long as it exists; listens and samples while it is started.

    :ivar probes: ``healthz`` and ``readyz``, for every listener that balancers see.
    :ivar pages: these and ``metrics``, for those who may see it.
    """

    log = Logger()

    def __init__(
        self,
        settings: MetricsSettings,
        events: Events,
        readings: Readings,
        clock: IReactorTime,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        :param clock: the reactor.
        :param now: the wall clock, in seconds since the epoch.
        """
        self.lag = LoopLag(clock)
        self.health = Health(readings, self.lag, clock, now)
        self.metrics = Metrics(events, readings, self.health, self.lag, now)
        self.server = MetricsServer(settings.listen)
        self.probes: Mapping[str, IResource] = MappingProxyType(
            {"healthz": self.health.live, "readyz": self.health.ready}
        )
        self.pages: Mapping[str, IResource] = MappingProxyType(
            {**self.probes, "metrics": self.metrics.resource}
        )

    def bind(self) -> None:
        """Bind the listeners of ``[metrics]``, or none of them.

        :raises gateway.net.BindError: when one cannot be bound.
        """
        self.server.bind()

    def start(self, reactor: Any) -> None:
        """Sample and serve; binds first where that was not done.

        :param reactor: provides ``IReactorFDSet`` and ``IReactorTime``.
        :raises gateway.net.BindError: when a listener cannot be bound.
        """
        self.lag.start()
        self.server.start(reactor, self.pages)
        if self.server.listeners:
            addresses = ", ".join(listener.description for listener in self.server.listeners)
            self.log.info("metrics are served on {addresses}", addresses=addresses)

    def stop(self) -> None:
        """Stop what :meth:`start` began; idempotent.

        To be called last, so that whoever asks meanwhile learns that the service is on its way down.
        """
        self.lag.stop()
        self.server.stop()
