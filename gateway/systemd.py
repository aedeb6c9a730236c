"""What systemd is told of the process: readiness, reloads, a state in words, and that the event loop turns.

See sd_notify(3), sd_watchdog_enabled(3) and systemd.service(5).  Where there is no service manager, nothing
is done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from gateway.net import notify

__all__ = ["ServiceManager"]

_STATUS: Final = 5.0
"""Seconds between two states in words, at the least."""
_MARGIN: Final = 15.0
"""Seconds for the end of sessions and files, beside those that the settings give."""
_LONGEST: Final = 365 * 86400.0


class ServiceManager:
    """Keeps systemd up to date, from :meth:`begin` to :meth:`stop`.

    The watchdog is fed from a timer of the reactor, at half of its interval.  So it is fed only while the
    event loop gets round to its timers in time: what hangs it, starves sessions as well.
    """

    def __init__(
        self, clock: IReactorTime, status: Callable[[], str], environ: Mapping[str, str] = os.environ
    ) -> None:
        """
        :param clock: the reactor whose loop is meant.
        :param status: says how the gateway is, in one line.
        :param environ: where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are looked up.
        """
        self._clock = clock
        self._status = status
        self._environ = environ
        self._interval = _watchdog(environ)
        self._said = ""
        self._timers: dict[str, Any] = {}

    def begin(self, *, ready: bool = True) -> None:
        """Begin to report.

        :param ready: whether to say that the service is up; a process that took over leaves that out, because
            the service never was down.
        """
        if not self._environ.get("NOTIFY_SOCKET"):
            return
        if ready:
            self._tell("READY=1")
        self._repeat("status", _STATUS, self._say_status)
        if self._interval is not None:
            self._tell("WATCHDOG=1")
            self._repeat("watchdog", self._interval / 2, lambda: self._tell("WATCHDOG=1"))

    def reloading(self) -> None:
        """Settings are about to be read anew."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """That was done, or refused."""
        self._tell("READY=1")

    def succeeded(self, pid: int) -> None:
        """Another process is the service now; nothing is told any more, because that one does."""
        self._tell(f"MAINPID={pid}")
        self.stop()

    def stopping(self, seconds: float = 0.0) -> None:
        """The service is on its way down.

        :param seconds: how long sessions may go on; systemd has to wait for as long.
        """
        self._tell("STOPPING=1")
        if seconds:
            self._tell(f"EXTEND_TIMEOUT_USEC={int((seconds + _MARGIN) * 1_000_000)}")

    def stop(self) -> None:
        """Report no more; idempotent."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _tell(self, state: str) -> None:
        notify(state, self._environ)

    def _say_status(self) -> None:
        status = self._status()
        if status != self._said:
            self._said = status
            self._tell(f"STATUS={status}")

    def _repeat(self, name: str, interval: float, call: Callable[[], object]) -> None:
        def due() -> None:
            self._timers[name] = self._clock.callLater(interval, due)
            call()

        self._timers[name] = self._clock.callLater(interval, due)


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Seconds after which systemd takes this process for dead, where it watches it."""
    text = environ.get("WATCHDOG_USEC", "")
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        return None
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    seconds = int(text) / 1_000_000
    return seconds if 0 < seconds <= _LONGEST else None
