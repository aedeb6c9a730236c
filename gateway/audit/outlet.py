"""One sink of the audit, and what happens while it cannot be written."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from gateway.audit.record import Record, Recorder
from gateway.audit.sinks import Sink

__all__ = ["KEPT", "Outlet"]

KEPT: Final = 1000
"""Records that wait for a sink at most."""
_FIRST_PAUSE: Final = 0.05
_PAUSE: Final = 1.0
"""Seconds between attempts, to begin with and later on; also how long a sink may be merely busy."""


@attrs.define
class _Gap:
    """Where records were lost."""

    count: int
    number: int
    """Of the last of them."""


class Outlet:
    """Writes records to a sink in their order, and keeps them while that is impossible.

    A number of records wait, and are tried again every second.  Beyond it the
    newest are lost; a record in their place says how many.  Refusals may take
    half of the places, so that they leave room for what happens to sessions.
    """

    log = Logger()

    def __init__(
        self,
        sink: Sink,
        recorder: Recorder,
        clock: IReactorTime,
        now: Callable[[], float] = time.time,
        kept: int = KEPT,
    ) -> None:
        """
        :param recorder: makes the records about what was lost.
        :param now: the wall clock, in seconds since the epoch.
        :param kept: records that wait at most.
        """
        self._sink = sink
        self._recorder = recorder
        self._clock = clock
        self._now = now
        self._limit = kept
        self._waiting: deque[Record | _Gap] = deque()
        self._retry: IDelayedCall | None = None
        self._pause = _FIRST_PAUSE
        self._busy_since: float | None = None
        self.waiting = 0
        """Records that wait."""
        self.lost = 0
        """Records that were lost."""
        self.failures = 0
        """Attempts that failed, not counting those that found the sink busy."""
        self.available = True
        """Whether records get through; a sink that is merely busy is given a second."""

    def open(self, first: Record) -> None:
        """Open the sink and write the first record.

        :raises OSError: when either fails; the sink is closed then.
        """
        try:
            self._sink.open()
            self._sink.write(first)
        except BlockingIOError as error:
            self._failed(error)
            self._keep(first)
        except OSError:
            self._sink.close()
            raise

    def put(self, record: Record) -> None:
        """Write a record, or keep it for later."""
        if not self._waiting:
            try:
                self._sink.write(record)
            except OSError as error:
                self._failed(error)
            else:
                return
        self._keep(record)

    def renew(self) -> None:
        """Open the sink anew, and try at once to write what waits."""
        self._renew()
        if self._waiting:
            self._try_again()

    def close(self) -> None:
        """Try once more to write what waits, and close the sink."""
        if self._waiting:
            self._try_again()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self.waiting:
            self.log.error(
                "audit: {count} records were never written to {sink}",
                count=self.waiting,
                sink=self._sink.name,
            )
        self._sink.close()

    def _keep(self, record: Record) -> None:
        limit = self._limit // 2 if record.event == "request-refused" else self._limit
        if self.waiting < limit:
            self._waiting.append(record)
            self.waiting += 1
            return
        self.lost += 1
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, _Gap):
            last.count += 1
            last.number = record.number
        else:
            self._waiting.append(_Gap(1, record.number))

    def _try_again(self) -> None:
        """Write what waits, as far as that is possible."""
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._retry = None
        if not self.available:
            # Whatever was opened may be what is wrong, such as a file of a file system that was mounted anew.
            self._renew()
        while self._waiting:
            first = self._waiting[0]
            gap = isinstance(first, _Gap)
            try:
                self._sink.write(self._told(first) if isinstance(first, _Gap) else first)
            except OSError as error:
                self._failed(error)
                return
            self._waiting.popleft()
            self.waiting -= not gap
        self._recovered()

    def _told(self, gap: _Gap) -> Record:
        return self._recorder.lost(gap.count, gap.number, self._now())

    def _failed(self, error: OSError) -> None:
        now = self._clock.seconds()
        if isinstance(error, BlockingIOError):
            if self._busy_since is None:
                self._busy_since = now
            down = now - self._busy_since >= _PAUSE
        else:
            self.failures += 1
            down = True
        if down and self.available:
            self.available = False
            self.log.error(
                "audit: {sink} cannot be written ({error}); up to {limit} records are kept meanwhile",
                sink=self._sink.name,
                error=_why(error),
                limit=self._limit,
            )
        if self._retry is None:
            self._retry = self._clock.callLater(self._pause, self._due)
            self._pause = min(2 * self._pause, _PAUSE)

    def _due(self) -> None:
        self._retry = None
        self._try_again()

    def _recovered(self) -> None:
        self._pause = _FIRST_PAUSE
        self._busy_since = None
        if not self.available:
            self.available = True
            self.log.info(
                "audit: {sink} is written again; lost so far: {lost} records",
                sink=self._sink.name,
                lost=self.lost,
            )

    def _renew(self) -> None:
        try:
            self._sink.renew()
        except OSError as error:
            if self.available:
                self.log.error(
                    "audit: {sink} cannot be opened anew ({error}); what was open stays in use",
                    sink=self._sink.name,
                    error=_why(error),
                )


def _why(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
