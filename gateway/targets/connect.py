"""Connect sockets without blocking, and race several attempts (RFC 8305, section 5).

A relay wants a bare socket from which nothing was read.  Twisted's client
endpoints end in a transport instead, and in a knot of objects around it that
would stay until the garbage collector runs.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet import defer
from twisted.internet.interfaces import IReactorFDSet, IReactorTime, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["ATTEMPT_DELAY", "connect", "first_of", "send_first"]

ATTEMPT_DELAY: Final = 0.25
"""Seconds before the next attempt is begun beside the last."""

Attempt = Callable[[], "defer.Deferred[socket.socket]"]


def connect(reactor: Any, family: socket.AddressFamily, address: Any) -> defer.Deferred[socket.socket]:
    """Connect a stream socket to a numeric address or a path.

    :param reactor: provides ``IReactorFDSet`` and ``IReactorTime``.
    :returns: fires with the connected, non-blocking socket, or fails with ``OSError``; cancelling closes it.
    """
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return defer.fail()
    try:
        sock.setblocking(False)
        number = sock.connect_ex(address)
    except OSError:
        sock.close()
        return defer.fail()
    if number == errno.EINPROGRESS:
        return _Connecting(reactor, sock).done
    if number:
        sock.close()
        return defer.fail(_error(number))
    return defer.succeed(sock)


def first_of(clock: IReactorTime, attempts: Iterable[Attempt]) -> defer.Deferred[socket.socket]:
    """Begin the attempts one after another, and go on with the first that succeeds.

    The next begins as soon as one fails, or :data:`ATTEMPT_DELAY` after the last.

    :param attempts: at least one.
    :returns: fires with the winner's socket when the others are cancelled, or fails as an attempt did when
        all have failed.
    """
    race = _Race(clock, attempts)
    race.begin_next()
    return race.won


def send_first(reactor: Any, sock: socket.socket, data: bytes) -> defer.Deferred[socket.socket]:
    """Send a few bytes on a socket that was just connected.

    :param reactor: provides ``IReactorFDSet`` and ``IReactorTime``.
    :returns: fires with ``sock`` when all are written, or fails with ``OSError``; failing and cancelling
        close it.
    """
    return _Sending(reactor, sock, data).done


@implementer(IWriteDescriptor)
class _Connecting:
    """A connect under way: the socket becomes writable when it is decided."""

    def __init__(self, reactor: Any, sock: socket.socket) -> None:
        self._reactor: IReactorFDSet = reactor
        self._clock: IReactorTime = reactor
        self._sock = sock
        self.done: defer.Deferred[socket.socket] = defer.Deferred(self._cancelled)
        reactor.addWriter(self)

    def doWrite(self) -> None:
        self._decided(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def connectionLost(self, reason: Failure) -> None:
        # How epoll reports a failed connect, and what a reactor says that shuts down.
        if not self.done.called:
            number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._decided(number or errno.ECONNABORTED)

    def fileno(self) -> int:
        return -1 if self.done.called else self._sock.fileno()

    def logPrefix(self) -> str:
        return "connect"

    def _decided(self, number: int) -> None:
        self._reactor.removeWriter(self)
        if number:
            self._sock.close()
            self.done.errback(_error(number))
        else:
            self.done.callback(self._sock)

    def _cancelled(self, _: object) -> None:
        self._reactor.removeWriter(self)
        # Not now: the batch of events that the reactor is serving may hold one for this descriptor, and a
        # connection accepted meanwhile under the same number would be told of this one's end.
        self._clock.callLater(0, self._sock.close)


@implementer(IWriteDescriptor)
class _Sending:
    """Bytes on their way out; a fresh socket has room for them, but nothing says that it must."""

    def __init__(self, reactor: Any, sock: socket.socket, data: bytes) -> None:
        self._reactor: IReactorFDSet = reactor
        self._clock: IReactorTime = reactor
        self._sock = sock
        self._data = data
        self._waits = False
        self.done: defer.Deferred[socket.socket] = defer.Deferred(self._cancelled)
        self.doWrite()

    def doWrite(self) -> None:
        try:
            while self._data:
                self._data = self._data[self._sock.send(self._data) :]
        except (BlockingIOError, InterruptedError):
            if not self._waits:
                self._waits = True
                self._reactor.addWriter(self)
        except OSError:
            self._stop_waiting()
            self._sock.close()
            self.done.errback()
        else:
            self._stop_waiting()
            self.done.callback(self._sock)

    def connectionLost(self, reason: Failure) -> None:
        # As for a connect: the socket knows why.
        if not self.done.called:
            self._stop_waiting()
            number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._sock.close()
            self.done.errback(_error(number or errno.ECONNABORTED))

    def fileno(self) -> int:
        return -1 if self.done.called else self._sock.fileno()

    def logPrefix(self) -> str:
        return "send"

    def _stop_waiting(self) -> None:
        if self._waits:
            self._waits = False
            self._reactor.removeWriter(self)

    def _cancelled(self, _: object) -> None:
        self._stop_waiting()
        # Not now, for the same reason as above.
        self._clock.callLater(0, self._sock.close)


class _Race:
    """What :func:`first_of` keeps."""

    def __init__(self, clock: IReactorTime, attempts: Iterable[Attempt]) -> None:
        self._clock = clock
        self._attempts = iter(attempts)
        self._running: list[defer.Deferred[socket.socket]] = []
        self._timer: Any = None
        self._failure: Failure | None = None
        self._over = False
        self.won: defer.Deferred[socket.socket] = defer.Deferred(self._stop)

    def begin_next(self) -> None:
        """Begin another attempt, if there is one."""
        self._cancel_timer()
        attempt = next(self._attempts, None)
        if attempt is None:
            if not self._running:
                self._over = True
                assert self._failure is not None
                self.won.errback(self._failure)
            return
        running = attempt()
        self._running.append(running)
        self._timer = self._clock.callLater(ATTEMPT_DELAY, self._delay_over)
        running.addCallbacks(self._succeeded, self._failed, callbackArgs=(running,), errbackArgs=(running,))

    def _delay_over(self) -> None:
        self._timer = None
        self.begin_next()

    def _succeeded(self, sock: socket.socket, attempt: defer.Deferred[socket.socket]) -> None:
        self._running.remove(attempt)
        self._stop()
        self.won.callback(sock)

    def _failed(self, failure: Failure, attempt: defer.Deferred[socket.socket]) -> None:
        self._running.remove(attempt)
        if self._over:
            return
        if self._failure is None or not self._failure.check(ConnectionRefusedError):
            # That a host refused says more than that another cannot be reached.
            self._failure = failure
        self.begin_next()

    def _stop(self, _: object = None) -> None:
        self._over = True
        self._cancel_timer()
        for attempt in list(self._running):
            attempt.cancel()

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
