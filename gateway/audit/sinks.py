"""Where records go.  A sink knows how to write one record; keeping and retrying is :mod:`.outlet`'s job."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Final, Protocol

from gateway.audit.record import Record, Value

__all__ = ["FileSink", "JournalSink", "Sink", "SyslogSink"]

_MODE: Final = 0o640
_SMALL: Final = 1000
"""Bytes of a record that get through wherever datagrams do."""
_IDENTIFIER: Final = "console-gateway"
_AUTHPRIV: Final = 10
"""Security and authorization messages that are not for everybody (RFC 5424, section 6.2.1)."""
_PREFIX: Final = "CONSOLE_GATEWAY_"


class Sink(Protocol):
    """A place that takes records."""

    @property
    def name(self) -> str:
        """What it is, for messages."""

    def open(self) -> None:
        """Get ready.

        :raises OSError: when that is impossible.
        """

    def write(self, record: Record) -> None:
        """Write a record as a whole, without waiting.

        :raises BlockingIOError: when there is no room just now.
        :raises OSError: when it cannot be written.
        """

    def renew(self) -> None:
        """Let go of what was opened and open it anew.

        :raises OSError: when that is impossible; what was open before stays in use.
        """

    def close(self) -> None:
        """Let go of everything."""


class FileSink:
    """Appends lines to a file.

    A line is one ``write`` to a file opened for appending, so that several
    processes may share it.  The write ends in the page cache: it does not wait
    for the disk, and what was written in the last seconds before a power cut
    may be missing afterwards.

    Where a line stays incomplete, because the disk is full or a process was
    killed, the next begins on a line of its own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._torn = False

    @property
    def name(self) -> str:
        return str(self._path)

    def open(self) -> None:
        """Open the file, or make it with mode 640.

        :raises OSError: when that is impossible, or it is a link or no regular file.
        """
        # Not blocking, because opening a FIFO would otherwise wait for a reader.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags | os.O_NOCTTY | os.O_NONBLOCK, _MODE)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
        except OSError:
            os.close(descriptor)
            raise
        self._torn = status.st_size > 0 and not self._ends_a_line(status)
        self._descriptor = descriptor

    def write(self, record: Record) -> None:
        if self._descriptor is None:
            raise OSError(errno.EBADF, "the file is not open")
        rest = memoryview((b"\n" if self._torn else b"") + record.line() + b"\n")
        while rest:
            # In one go, as a rule; a second one finds out why the first was short.
            written = os.write(self._descriptor, rest)
            if not written:
                raise OSError(errno.ENOSPC, "nothing could be written")
            rest = rest[written:]
            self._torn = bool(rest)

    def renew(self) -> None:
        old = self._descriptor
        self.open()
        if old is not None:
            with contextlib.suppress(OSError):
                os.close(old)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _ends_a_line(self, status: os.stat_result) -> bool:
        """Whether the file's last byte ends a line; not, when it may not be read."""
        try:
            reader = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            size = 0
            while os.path.samestat(found := os.fstat(reader), status) and found.st_size != size:
                # Again as long as it grows: another process may be in the middle of a line.
                size = found.st_size
                if os.pread(reader, 1, size - 1) == b"\n":
                    return True
        except OSError:
            pass
        finally:
            os.close(reader)
        return False


class _DatagramSink:
    """Sends each record as a datagram to a Unix socket.

    The socket is not connected, so that a server that is started anew is found again.
    """

    _size: int
    """Bytes of a record that the server takes."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def open(self) -> None:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def write(self, record: Record) -> None:
        if self._socket is None:
            raise OSError(errno.EBADF, "the socket is not open")
        try:
            self._socket.sendto(self._datagram(record.fitted(self._size)), self._path)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            # This host's buffers are small; one large record must not hold up those behind it for ever.
            self._socket.sendto(self._datagram(record.fitted(_SMALL)), self._path)

    def renew(self) -> None:
        self.close()
        self.open()

    def close(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    def _datagram(self, record: Record) -> bytes:
        raise NotImplementedError


class JournalSink(_DatagramSink):
    """Sends records to journald in its native protocol, with a field for each item.

    See `Native Journal Protocol <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>`_.
    """

    _size = 16000

    def __init__(self, path: str = "/run/systemd/journal/socket") -> None:
        super().__init__(path)

    @property
    def name(self) -> str:
        return f"journald ({self._path})"

    def _datagram(self, record: Record) -> bytes:
        fields = [
            _journal_field("MESSAGE", record.summary()),
            _journal_field("PRIORITY", str(record.priority)),
            _journal_field("SYSLOG_IDENTIFIER", _IDENTIFIER),
            _journal_field("SYSLOG_FACILITY", str(_AUTHPRIV)),
        ]
        for key, value in record.values.items():
            fields += (_journal_field(_PREFIX + key.upper(), text) for text in _texts(value))
        return b"".join(fields)


class SyslogSink(_DatagramSink):
    """Sends records to the local syslog server as RFC 5424 messages whose text is the JSON of the file."""

    _size = 7700  # with the head below 8 KiB, which is what servers take by default

    def __init__(self, path: str = "/dev/log") -> None:
        super().__init__(path)

    @property
    def name(self) -> str:
        return f"syslog ({self._path})"

    def _datagram(self, record: Record) -> bytes:
        host = "".join(sign for sign in str(record.values["host"]) if "!" <= sign <= "~")[:255] or "-"
        head = (
            f"<{_AUTHPRIV * 8 + record.priority}>1 {record.values['time']} {host} {_IDENTIFIER} "
            f"{os.getpid()} {record.event} - "
        ).encode("ascii")
        return head + record.line()


def _journal_field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode("ascii"), data)
    return b"%s\n%s%s\n" % (name.encode("ascii"), struct.pack("<Q", len(data)), data)


def _texts(value: Value) -> list[str]:
    """The field's values; one that is given more than once is a list to journald as well."""
    if value is None:
        return []
    return value if isinstance(value, list) else [str(value)]
