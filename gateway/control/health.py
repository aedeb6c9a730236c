"""Whether the gateway is well: for balancers in one word, for operators in a list."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from gateway.control.lag import LoopLag
from gateway.control.plain import Answer, PlainResource
from gateway.control.readings import LedgerProbe, Readings
from gateway.relay import NATIVE

__all__ = ["Check", "Health"]

_DAY: Final = 86400.0
_MAX_LAG: Final = 1.0
"""Seconds by which the event loop may be late."""
_RENEW: Final = 7 * _DAY
"""Seconds before a certificate expires from which on that is a problem."""
_SPARE: Final = 0.05
"""Part of the file descriptors that should be left."""
_RETRY: Final = "10"
"""Seconds after which to ask again whether the gateway is ready."""


@attrs.frozen
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    """What was found; where that is a problem, also what to do.  One line."""


class Health:
    """Looks at what the gateway needs.

    * *Live* is a process that answers at all: ``/healthz``, :attr:`live`.
    * *Ready* is one that takes sessions: ``/readyz``, :attr:`ready`.
    * *Healthy* is one with nothing that somebody should look at: :meth:`checks`.
    """

    def __init__(
        self, readings: Readings, lag: LoopLag, clock: IReactorTime, now: Callable[[], float] = time.time
    ) -> None:
        """:param now: the wall clock, in seconds since the epoch."""
        self._readings = readings
        self._lag = lag
        self._now = now
        self.ledger = LedgerProbe(readings.ledger_size, clock)
        self.live: IResource = _Live()
        """Resource for ``/healthz``."""
        self.ready: IResource = _Ready(self)
        """Resource for ``/readyz``."""

    async def why_not_ready(self) -> str | None:
        """Why no session is taken now, in one line; ``None`` when one is, as far as there is a place."""
        if self._readings.drain().draining:
            return "draining"
        if self._readings.stopping():
            return "shutting down"
        if not self._readings.listeners():
            return "not listening"
        if not self._readings.admitting():
            return "an operator has stopped admission"
        if self._readings.audit.is_required and not self._readings.audit.available:
            return "the audit cannot be written"
        if await self.ledger.ask() is None:
            return "the ledger does not answer"
        return None

    async def checks(self) -> list[Check]:
        """Everything that is looked at, in an order that does not change."""
        return [
            self._admission(),
            self._listeners(),
            self._capacity(),
            await self._ledger(),
            self._audit(),
            self._loop(),
            _masker(NATIVE),
            self._certificate(),
            _descriptors(),
        ]

    # -- the checks ----------------------------------------------------------------

    def _admission(self) -> Check:
        drain = self._readings.drain()
        if drain.draining:
            left = f"{drain.sessions} sessions left, {drain.left or 0:.0f} s for them"
            return Check("admission", False, f"the gateway drains: {left}")
        if self._readings.stopping():
            return Check("admission", False, "the gateway is shutting down")
        if not self._readings.admitting():
            return Check("admission", False, "stopped by an operator, until one resumes it")
        return Check("admission", True, "new sessions are taken")

    def _listeners(self) -> Check:
        listeners = self._readings.listeners()
        if not listeners:
            return Check("listeners", False, "no address is listened on")
        return Check("listeners", True, ", ".join(listeners))

    def _capacity(self) -> Check:
        limits = self._readings.limits()
        sessions = sum(1 for _ in self._readings.sessions())
        handshakes = self._readings.handshakes()
        text = f"{sessions} of {limits.sessions} sessions, {handshakes} of {limits.handshakes} handshakes"
        if sessions >= limits.sessions or handshakes >= limits.handshakes:
            return Check(
                "capacity", False, f"{text}: others are turned away; raise [limits] or add a gateway"
            )
        return Check("capacity", True, text)

    async def _ledger(self) -> Check:
        size, limit = await self.ledger.ask(), self._readings.ledger_limit()
        if size is None:
            return Check("ledger", False, "it does not answer, tickets are refused; look at uses.file's disk")
        if size >= limit:
            return Check("ledger", False, f"{size} of {limit} tickets: others are refused; raise uses.limit")
        return Check("ledger", True, f"{size} of {limit} tickets")

    def _audit(self) -> Check:
        audit = self._readings.audit
        if not audit.available:
            effect = "sessions are refused" if audit.is_required else f"{audit.waiting} records wait"
            return Check("audit", False, f"it cannot be written, {effect}; the log says why")
        if audit.lost:
            return Check("audit", False, f"{audit.lost} records were lost; the log says why")
        return Check("audit", True, "every record was written")

    def _loop(self) -> Check:
        lag = self._lag.latest
        text = f"{lag * 1000:.0f} ms late"
        if lag >= _MAX_LAG:
            return Check("event loop", False, f"{text}: the processor is too slow or too busy")
        return Check("event loop", True, text)

    def _certificate(self) -> Check:
        expires = self._readings.certificate_expires()
        if expires is None:
            return Check("certificate", True, "clients are served without TLS")
        left, setting = expires - self._now(), self._readings.certificate_setting()
        if left <= 0:
            return Check("certificate", False, f"expired {_days(-left)} ago; renew {setting}")
        if left < _RENEW:
            return Check("certificate", False, f"expires in {_days(left)}; renew {setting}")
        return Check("certificate", True, f"expires in {_days(left)}")


def _days(seconds: float) -> str:
    return f"{seconds / _DAY:.1f} days"


def _masker(native: bool) -> Check:
    if native:
        return Check("masker", True, "native")
    remedy = "install 'websockets' with its compiled extension"
    return Check("masker", False, f"none that is native, uploads are slow; {remedy}")


def _descriptors() -> Check:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(os.listdir("/proc/self/fd"))
    except OSError:
        return Check("file descriptors", True, "cannot be counted here")
    if limit == resource.RLIM_INFINITY:
        return Check("file descriptors", True, f"{used} used, without limit")
    text = f"{max(0, limit - used)} of {limit} left"
    if limit - used < limit * _SPARE:
        return Check("file descriptors", False, f"{text}; raise LimitNOFILE or lower limits.sessions")
    return Check("file descriptors", True, text)


class _Live(PlainResource):
    async def answer(self, request: Any) -> Answer:
        return Answer(b"ok\n")


class _Ready(PlainResource):
    def __init__(self, health: Health) -> None:
        super().__init__()
        self._health = health

    async def answer(self, request: Any) -> Answer:
        why = await self._health.why_not_ready()
        if why is None:
            return Answer(b"ok\n")
        return Answer(f"{why}\n".encode(), HTTPStatus.SERVICE_UNAVAILABLE, fields=(("Retry-After", _RETRY),))
