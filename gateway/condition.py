"""The condition that a gateway is in, for operators and the service manager; read when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.audit import Audit
from gateway.control.readings import Readings
from gateway.drain import Drain
from gateway.entrance import Entrance
from gateway.loaded import Loaded
from gateway.running import Running
from gateway.sessions import Registry, SessionInfo
from gateway.settings import Settings
from gateway.tickets import LedgerRefusal, LedgerRefused

__all__ = ["Condition"]


class Condition:
    """Asks the parts of a gateway."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        loaded: Callable[[], Loaded],
        running: Callable[[], Running | None],
        registry: Registry,
        entrance: Entrance,
        drain: Drain,
    ) -> None:
        """
        :param settings: those in force.
        :param loaded: what their files hold.
        :param running: what there is while the gateway runs.
        """
        self._settings = settings
        self._loaded = loaded
        self._running = running
        self._registry = registry
        self._entrance = entrance
        self._drain = drain

    def readings(self, stopping: Callable[[], bool], audit: Audit) -> Readings:
        """Where operators read it.

        :param stopping: whether the service is on its way down, or not up yet.
        """
        return Readings(
            sessions=self._sessions,
            limits=lambda: self._registry.limits,
            handshakes=lambda: self._entrance.handshakes,
            admitting=lambda: self._registry.admitting,
            stopping=stopping,
            drain=lambda: self._drain.progress,
            listeners=lambda: [listener.description for listener in self._entrance.listeners],
            ledger_size=self._ledger_size,
            ledger_limit=lambda: self._settings().uses.limit,
            certificate_expires=lambda: self._loaded().expires,
            certificate_setting=lambda: self._loaded().expiring,
            targets_expire=self._targets_expire,
            audit=audit,
            abuse=self._entrance.watch,
        )

    def status(self) -> str:
        """A line for ``systemctl status``."""
        progress = self._drain.progress
        if progress.left is not None:
            return f"draining: {progress.sessions} sessions left, {progress.left:.0f} s for them"
        return f"{progress.sessions} sessions, {self._entrance.handshakes} handshakes"

    def _sessions(self) -> Sequence[SessionInfo]:
        running = self._running()
        return () if running is None else running.sessions.infos()

    async def _ledger_size(self) -> int:
        running = self._running()
        if running is None:
            raise LedgerRefused(LedgerRefusal.UNAVAILABLE)
        return await running.ledger.size()

    def _targets_expire(self) -> list[float]:
        running = self._running()
        seen = () if running is None else running.sessions.securer.seen.items()
        return [certificate.not_after.timestamp() for _, certificate in seen]
