"""Log events as lines of text or JSON, on standard error or in a file.

One event is one line, whatever an event's fields hold: control and invisible characters are escaped.  (In
text, a traceback follows on indented lines.)  A line has the event's message and, in JSON, the event's own
scalar fields; objects are never rendered unless the message asks for them.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import os
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogBeginner
from zope.interface import implementer

from gateway.settings import LogFormat, LogSettings, one_line

__all__ = ["LogObserver", "make_observer", "start_logging"]

_FILE_MODE = 0o640
_MAX_MESSAGE = 8192
_MAX_FIELD = 2048
_MAX_TRACEBACK = 65536
_LEVELS = ("debug", "info", "warn", "error", "critical")
_OWN_KEYS = frozenset({"time", "level", "namespace", "message", "traceback"})
_LEGACY_KEYS = frozenset({"message", "time", "system", "format", "failure", "isError", "why"})


def make_observer(settings: LogSettings, stream: TextIO | None = None) -> LogObserver:
    """An observer that writes events of the configured level and above.

    :param stream: Where to write, instead of the configured file or standard error.
    :raises OSError: when the configured file cannot be opened for appending.
    """
    return LogObserver(settings, stream)


def start_logging(settings: LogSettings, stream: TextIO | None = None) -> LogObserver:
    """Send everything that Twisted logs in this process to a new observer, events so far included.

    To be called once, by whatever owns the process.  Standard output and error stay what they are.

    :raises OSError: as :func:`make_observer`; logging has not begun then.
    """
    observer = make_observer(settings, stream)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    return observer


@implementer(ILogObserver)
class LogObserver:
    """Writes log events; made by :func:`make_observer`."""

    def __init__(self, settings: LogSettings, stream: TextIO | None) -> None:
        self._lowest = _LEVELS.index(settings.level.value)
        self._render = _json_line if settings.format is LogFormat.JSON else _text_line
        self._path = settings.file if stream is None else None
        self._stream = stream or (sys.stderr if self._path is None else _open(self._path))
        # Reentrant, because garbage collection while writing may log an unhandled error in the same thread.
        self._lock = threading.RLock()

    def __call__(self, event: LogEvent) -> None:
        """Write *event* if its level is high enough; never raise, since a log must not stop a service."""
        try:
            level = _level(event)
            if _LEVELS.index(level) < self._lowest:
                return
            try:
                line = self._render(event, level)
            except Exception as error:
                lost = {"log_format": "event could not be rendered: {error}", "error": type(error).__name__}
                line = self._render({"log_namespace": __name__, **lost}, level)
            with self._lock:
                self._stream.write(line)
                self._stream.flush()
        except Exception:  # noqa: S110 - a full disk or a closed pipe has nowhere to be reported
            pass

    def reopen(self) -> None:
        """Close the log file and open its path anew, for rotation.  Does nothing without a file.

        :raises OSError: when it cannot be opened; the old file stays in use.
        """
        if self._path is None:
            return
        fresh = _open(self._path)
        with self._lock:
            old, self._stream = self._stream, fresh
        _close(old)

    def close(self) -> None:
        """Close the log file, if it is one; later events are dropped."""
        if self._path is not None:
            with self._lock:
                _close(self._stream)


def _open(path: Path) -> TextIO:
    # Not blocking, because opening a FIFO would otherwise wait for a reader.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    descriptor = os.open(path, flags, _FILE_MODE)
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode)):
        os.close(descriptor)
        raise OSError(f"{path} is neither a file nor a character device")
    os.set_blocking(descriptor, True)
    return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")


def _close(stream: TextIO) -> None:
    with contextlib.suppress(OSError):  # what was still to be flushed is lost
        stream.close()


def _level(event: LogEvent) -> str:
    name = getattr(event.get("log_level"), "name", "info")
    return name if name in _LEVELS else "info"


def _text_line(event: LogEvent, level: str) -> str:
    when = _time(event, "seconds")
    line = one_line(f"{when} {level} {_namespace(event)} {_message(event)}".rstrip()) + "\n"
    return line + "".join(f"    {one_line(part)}\n" for part in _traceback(event).splitlines())


def _json_line(event: LogEvent, level: str) -> str:
    record: dict[str, Any] = {
        "time": _time(event, "milliseconds"),
        "level": level,
        "namespace": _namespace(event),
        "message": _message(event),
    }
    record.update(_fields(event))
    traceback = _traceback(event)
    if traceback:
        record["traceback"] = traceback
    # ASCII only, which leaves DEL as the one control character that JSON does not escape.
    return json.dumps(record, allow_nan=False).replace("\x7f", "\\u007f") + "\n"


def _fields(event: LogEvent) -> dict[str, Any]:
    """The scalars that were logged with the message; one named like a key of ours gets a final underscore."""
    fields: dict[str, Any] = {}
    # What an observer of Twisted's old logging system left there.
    foreign = _LEGACY_KEYS if "isError" in event else frozenset()
    for name, value in event.items():
        if not isinstance(name, str) or name.startswith("log_") or name in foreign:
            continue
        if isinstance(value, float) and not math.isfinite(value):
            value = str(value)
        if value is None or isinstance(value, bool | int | float):
            fields[f"{name}_" if name in _OWN_KEYS else name] = value
        elif isinstance(value, str):
            fields[f"{name}_" if name in _OWN_KEYS else name] = _cut(value, _MAX_FIELD)
    return fields


def _time(event: LogEvent, precision: str) -> str:
    try:
        when = datetime.datetime.fromtimestamp(event["log_time"], datetime.UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        when = datetime.datetime.fromtimestamp(time.time(), datetime.UTC)
    return when.isoformat(timespec=precision).replace("+00:00", "Z")


def _namespace(event: LogEvent) -> str:
    namespace = event.get("log_namespace")
    return namespace if isinstance(namespace, str) and namespace else "-"


def _message(event: LogEvent) -> str:
    text = formatEvent(event)
    if text.startswith(("Unable to format event", "MESSAGE LOST")):
        # Twisted shows the whole event here, with objects and values that nobody meant to log.
        return f"event that its format does not fit: {_cut(str(event['log_format']), _MAX_FIELD)}"
    if not text and "log_failure" in event:
        return "failure"
    return _cut(text, _MAX_MESSAGE)


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    if failure is None:
        return ""
    try:
        text = failure.getTraceback()
    except Exception as error:
        text = f"(no traceback: {type(error).__name__})"
    # The end of a traceback says more than its beginning.
    return text if len(text) <= _MAX_TRACEBACK else f"[...]\n{text[-_MAX_TRACEBACK:]}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}[{len(text) - length} more]"
