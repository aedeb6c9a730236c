"""The record of who was on which console: every event, in every place that the settings name."""

from __future__ import annotations

import errno
import secrets
import socket
import time
from collections.abc import Callable
from functools import partial

from twisted.internet.interfaces import IReactorTime

from gateway import __version__
from gateway.audit.outlet import Outlet
from gateway.audit.record import Record, Recorder
from gateway.audit.sinks import FileSink, JournalSink, Sink, SyslogSink
from gateway.sessions.events import Event, Events
from gateway.settings import AuditSettings, one_line

__all__ = ["Audit", "AuditError"]

_REMEDIES = {
    errno.ENOENT: "make the directory, or correct the path",
    errno.ENOTDIR: "correct the path",
    errno.EACCES: "let the service's user write there",
    errno.EPERM: "let the service's user write there",
    errno.EROFS: "use a directory that the service may write (ReadWritePaths= or LogsDirectory= of its unit)",
    errno.ELOOP: "name the file itself and not a link to it",
    errno.EISDIR: "name a file",
    errno.EINVAL: "name a regular file",
    errno.ENXIO: "name a regular file",
    errno.ENOSPC: "make room on that file system",
    errno.EDQUOT: "make room on that file system",
}


class AuditError(Exception):
    """The audit cannot begin; the text is one line that says where and what to do."""


class Audit:
    """Writes a record of every event from :meth:`open` to :meth:`close`.

    Records are written in the reactor's thread, because each is one ``write``
    to the page cache or one datagram that does not wait; the file is not
    synchronised with the disk.
    """

    def __init__(
        self,
        settings: AuditSettings,
        events: Events,
        clock: IReactorTime,
        *,
        now: Callable[[], float] = time.time,
        sinks: tuple[Sink, ...] | None = None,
    ) -> None:
        """
        :param settings: where to write; with nothing set, nothing is written and all is well.
        :param clock: times the attempts to write again what could not be written.
        :param now: the wall clock, in seconds since the epoch.
        :param sinks: where to write instead.
        """
        self._settings = settings
        self._events = events
        self._now = now
        self._recorder = Recorder(socket.gethostname(), secrets.token_hex(6))
        self._sinks = _configured(settings) if sinks is None else sinks
        make = partial(Outlet, recorder=self._recorder, clock=clock, now=now)
        self._outlets = [make(sink) for sink in self._sinks]
        self._unsubscribe: Callable[[], None] | None = None

    @property
    def available(self) -> bool:
        """Whether what happens now is recorded everywhere; at most a second old."""
        return all(outlet.available for outlet in self._outlets)

    @property
    def failures(self) -> int:
        """Attempts to write that failed."""
        return sum(outlet.failures for outlet in self._outlets)

    @property
    def waiting(self) -> int:
        """Records that wait to be written."""
        return sum(outlet.waiting for outlet in self._outlets)

    @property
    def lost(self) -> int:
        """Records that were lost because too many waited."""
        return sum(outlet.lost for outlet in self._outlets)

    @property
    def is_required(self) -> bool:
        """Whether nobody is to be admitted while this is not :attr:`available`."""
        return self._settings.required

    def open(self) -> None:
        """Open every place and write the first record there.

        :raises AuditError: when one of them does not take it.
        """
        if self._settings.required and not self._outlets:
            raise AuditError(
                "audit.required: nothing is audited; set audit.file, audit.journal or audit.syslog, "
                "or this to false"
            )
        first = self._recorder.started(__version__, self._now())
        for index, (outlet, sink) in enumerate(zip(self._outlets, self._sinks, strict=True)):
            try:
                outlet.open(first)
            except OSError as error:
                for opened in self._outlets[:index]:
                    opened.close()
                raise AuditError(_problem(sink, error)) from None
        if self._outlets:
            self._unsubscribe = self._events.subscribe(self._happened)

    def reopen(self) -> None:
        """Open everything anew, for rotation.  Failures are logged; what was open stays in use then."""
        if self._unsubscribe is not None:
            for outlet in self._outlets:
                outlet.renew()

    def close(self) -> None:
        """Write the last record and close.  Idempotent."""
        if self._unsubscribe is None:
            return
        self._unsubscribe()
        self._unsubscribe = None
        self._put(self._recorder.stopped(self._now()))
        for outlet in self._outlets:
            outlet.close()

    def _happened(self, event: Event) -> None:
        self._put(self._recorder.of(event))

    def _put(self, record: Record) -> None:
        for outlet in self._outlets:
            outlet.put(record)


def _configured(settings: AuditSettings) -> tuple[Sink, ...]:
    sinks: list[Sink] = []
    if settings.file is not None:
        sinks.append(FileSink(settings.file))
    if settings.journal:
        sinks.append(JournalSink())
    if settings.syslog:
        sinks.append(SyslogSink())
    return tuple(sinks)


def _problem(sink: Sink, error: OSError) -> str:
    if isinstance(sink, FileSink):
        setting, remedy = "audit.file", "name a file that the service's user can write"
        remedy = _REMEDIES.get(error.errno or 0, remedy)
    else:
        setting = "audit.journal" if isinstance(sink, JournalSink) else "audit.syslog"
        remedy = f"start the server that listens there, or set {setting} to false"
    return one_line(f"{sink.name}: {setting}: cannot be written ({error.strerror or error}); {remedy}")
