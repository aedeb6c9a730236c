"""The host's syslog as a stream to log to, for a process that has no output.

Lines go to ``/dev/log`` as glibc's syslog(3) sends them (RFC 3164, section 4.1, without a host name).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import time
from typing import Any, Final

__all__ = ["open_syslog"]

_DAEMON: Final = 3
"""The facility of system daemons."""
_INFO: Final = 6
_SEVERITIES: Final = {b"debug": 7, b"info": _INFO, b"warn": 4, b"error": 3, b"critical": 2}
_SEVERITY: Final = re.compile(rb"\S+ (\w+) ")
"""In a line of our log, behind the time."""
_MAX_LINE: Final = 8192
"""Bytes of a message; journald and rsyslog take as many."""


def open_syslog(identifier: str, path: str = "/dev/log") -> io.TextIOWrapper:
    """A stream whose lines go to syslog; what it cannot take just now is lost, and nothing waits for it.

    :param identifier: what its lines are said to come from.
    """
    return io.TextIOWrapper(_Syslog(identifier, path), encoding="utf-8", errors="backslashreplace")


class _Syslog(io.RawIOBase):
    def __init__(self, identifier: str, path: str) -> None:
        self._identifier = identifier.encode("ascii")
        self._path = path
        self.name = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._severity = _INFO

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        view = bytes(data)
        for line in view.splitlines():
            # A line that does not begin with a time goes on with what the one before it said.
            if match := _SEVERITY.match(line):
                self._severity = _SEVERITIES.get(match[1], _INFO)
            when = time.strftime("%b %e %H:%M:%S").encode("ascii", "replace")
            head = b"<%d>%s %s[%d]: " % (_DAEMON * 8 + self._severity, when, self._identifier, os.getpid())
            # Not connected, so that a server that is started anew is found again.
            with contextlib.suppress(OSError):
                self._socket.sendto(head + line[:_MAX_LINE], self._path)
        return len(view)

    def close(self) -> None:
        self._socket.close()
        super().close()
