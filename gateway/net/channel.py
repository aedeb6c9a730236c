"""Non-blocking byte channels: a socket, with or without TLS bound to it.

A channel reads into and writes from memory that the caller owns, never blocks
and never buffers.  Whoever drives it (the stream of the opening handshake, a
leg of the relay) asks :attr:`Channel.read_wants_write` and
:attr:`Channel.write_wants_read` after a call returned :data:`BLOCKED`, because
under TLS either direction may have to wait for the other (RFC 8446, section
4.6; RFC 5246 handshakes).
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import termios
from typing import Final, Protocol

from OpenSSL import SSL

__all__ = ["BLOCKED", "RECORD_SIZE", "Channel", "ChannelError", "SocketChannel", "TlsChannel", "tune"]

BLOCKED: Final = -1
"""Returned instead of a count when the call would block."""

RECORD_SIZE: Final = 16384
"""Largest plaintext of one TLS record (RFC 8446, section 5.1), in bytes."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_INT: Final = struct.Struct("i")


class ChannelError(ConnectionError):
    """The channel broke; the text says how and is safe to log."""


class Channel(Protocol):
    """What the stream and the relay need of a connection."""

    read_wants_write: bool
    """The last :meth:`recv_into` waits for the socket to become writable."""
    write_wants_read: bool
    """The last :meth:`send` waits for the socket to become readable."""

    def fileno(self) -> int:
        """The socket's file descriptor."""

    def handshake(self) -> bool:
        """Go on with the TLS handshake; true when it is complete."""

    def recv_into(self, view: memoryview) -> int:
        """Read what is there: bytes read, 0 at the end, or :data:`BLOCKED`.

        ``view`` must hold at least :data:`RECORD_SIZE` bytes, so that nothing
        stays behind in the TLS layer where no poll would see it.
        """

    def send(self, view: memoryview | bytes) -> int:
        """Write what fits: bytes written, or :data:`BLOCKED` for none at all.

        After a short count the next call must begin with exactly the bytes
        that were left.
        """

    def queued(self) -> int:
        """Bytes that were sent and not yet taken by the other side's kernel, framing of TLS included."""

    def shutdown_write(self) -> None:
        """Say that nothing more will be sent (close_notify and FIN)."""

    def close(self) -> None:
        """Close the socket; idempotent."""

    def abort(self) -> None:
        """Close the socket with a reset, dropping what is in flight."""


class SocketChannel:
    """A plain TCP or Unix socket."""

    __slots__ = ("_sock", "read_wants_write", "write_wants_read")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self.read_wants_write = False
        self.write_wants_read = False

    @property
    def sock(self) -> socket.socket:
        """The socket, for whoever binds TLS to it."""
        return self._sock

    def fileno(self) -> int:
        return self._sock.fileno()

    def handshake(self) -> bool:
        return True

    def recv_into(self, view: memoryview) -> int:
        try:
            return self._sock.recv_into(view)
        except (BlockingIOError, InterruptedError):
            return BLOCKED

    def send(self, view: memoryview | bytes) -> int:
        try:
            return self._sock.send(view)
        except (BlockingIOError, InterruptedError):
            return BLOCKED

    def queued(self) -> int:
        return _queued(self._sock)

    def shutdown_write(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._sock.close()

    def abort(self) -> None:
        _abort(self._sock)


class TlsChannel:
    """TLS bound directly to the socket, so that no byte is copied through a BIO."""

    __slots__ = ("_corks", "_end", "_sock", "_tls", "read_wants_write", "write_wants_read")

    def __init__(self, sock: socket.socket, tls: SSL.Connection) -> None:
        """:param tls: made with ``SSL.Connection(context, sock)``, its accept or connect state set."""
        self._sock = sock
        self._tls = tls
        self._corks = sock.family != socket.AF_UNIX
        self._end: SSL.Error | None = None
        self.read_wants_write = False
        self.write_wants_read = False

    def fileno(self) -> int:
        return self._sock.fileno()

    def handshake(self) -> bool:
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self.read_wants_write = False
            return False
        except SSL.WantWriteError:
            self.read_wants_write = True
            return False
        except SSL.Error as error:
            # With its cause, so that whoever verifies the other side can say what went wrong.
            raise _tls_error(error) from error
        self.read_wants_write = False
        return True

    def recv_into(self, view: memoryview) -> int:
        recv_into = self._tls.recv_into
        filled = 0
        room = len(view)
        while room - filled >= RECORD_SIZE:
            try:
                count = recv_into(view[filled:] if filled else view, RECORD_SIZE)
            except SSL.WantReadError:
                self.read_wants_write = False
                return filled or BLOCKED
            except SSL.WantWriteError:
                self.read_wants_write = True
                return filled or BLOCKED
            except SSL.Error as error:
                return self._reached_end(error, filled)
            filled += count
            if count < RECORD_SIZE // 2:
                # A short record is nearly always the last one: asking again would only cost a system call.
                break
        self.read_wants_write = False
        return filled

    def send(self, view: memoryview | bytes) -> int:
        size = len(view)
        # Records are written one by one: together they fill segments, and the other side wakes up less often.
        cork = size > RECORD_SIZE and self._corks
        if cork:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            view = memoryview(view)
        sent = 0
        try:
            # Partial writes are on: each call writes one record at the most.
            sent = self._tls.send(view)
            while sent < size:
                sent += self._tls.send(view[sent:])
        except SSL.WantWriteError:
            self.write_wants_read = False
            return sent or BLOCKED
        except SSL.WantReadError:
            self.write_wants_read = True
            return sent or BLOCKED
        except SSL.Error as error:
            raise _tls_error(error) from None
        finally:
            if cork:
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        self.write_wants_read = False
        return sent

    def _reached_end(self, error: SSL.Error, filled: int) -> int:
        """TLS ended, in order or not: what was read before comes first, then 0 or the error."""
        if self._end is None:
            # Without the frames, which would keep this channel in a cycle.
            self._end = error.with_traceback(None)
        if filled:
            # OpenSSL knows of the end and the socket may not: make it readable, so that a poll finds out.
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RD)
            return filled
        if _is_eof(self._end):
            return 0
        raise _tls_error(self._end) from None

    def queued(self) -> int:
        return _queued(self._sock)

    def shutdown_write(self) -> None:
        # A close_notify that does not fit into the socket's buffer now is not worth waiting for.
        with contextlib.suppress(SSL.Error):
            self._tls.shutdown()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._sock.close()

    def abort(self) -> None:
        _abort(self._sock)


def _queued(sock: socket.socket) -> int:
    # SIOCOUTQ of tcp(7), by the name that it shares its number with.
    (size,) = _INT.unpack(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(_INT.size)))
    return int(size)


def _abort(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.close()


def _is_eof(error: SSL.Error) -> bool:
    """Whether the peer ended TLS, with a close_notify or without: WebSocket and RFB have their own ends."""
    if isinstance(error, SSL.ZeroReturnError):
        return True
    if isinstance(error, SSL.SysCallError):
        return bool(error.args[0] == -1)
    return any("unexpected eof" in item[-1] for item in error.args[0]) if error.args else False


def _tls_error(error: SSL.Error) -> ChannelError:
    if isinstance(error, SSL.SysCallError):
        return ChannelError(str(error.args[1]))
    reasons = [item[-1] for item in error.args[0]] if error.args else []
    return ChannelError("TLS: " + ("; ".join(reasons) or "failed"))


def tune(sock: socket.socket) -> None:
    """Small messages at once, and dead peers noticed by the kernel within about two minutes."""
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
