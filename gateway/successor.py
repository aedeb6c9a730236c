"""The side of a hand-over that leaves: starting a process with the same command line that takes over.

The new process gets the listening sockets and a pipe, see :mod:`gateway.predecessor`.
Until it says that it accepts connections, nothing changes for the present one; if
it does not, it is ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from twisted.internet import defer
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.net import SOCKETS, Listener, describe_sockets
from gateway.predecessor import READY
from gateway.settings import one_line

__all__ = ["HandOverError", "Successor", "own_command"]

_MAX_TALK: Final = 16384
_REAPED: Final = 1.0
"""Seconds within which a process that ends has ended."""
_PID: Final = re.compile(r"pid ([1-9][0-9]{0,9})")
_OTHERS: Final = frozenset({SOCKETS, READY, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"})
"""Variables that name this process, or sockets that are passed in another way."""


class HandOverError(Exception):
    """Nothing was handed over, and this process goes on; the text is one line that says why."""


def own_command() -> list[str]:
    """The command line of this process.

    :raises HandOverError: when it cannot be told.
    """
    if not sys.executable or not sys.orig_argv:
        raise HandOverError("the command line of this process cannot be told")
    return [sys.executable, *sys.orig_argv[1:]]


@implementer(IReadDescriptor)
class Successor:
    """A process that is to take over.

    :ivar pid: its number, as far as it is known.
    """

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        """:param reactor: provides ``IReactorFDSet`` and ``IReactorTime``."""
        self._reactor = reactor
        self._pipe = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""
        self._detached: int | None = None
        self._ready: defer.Deferred[None] | None = None

    @property
    def pid(self) -> int:
        if self._detached is not None:
            return self._detached
        assert self._process is not None
        return self._process.pid

    async def start(
        self,
        command: Sequence[str],
        listeners: Sequence[Listener],
        timeout: float,
        environ: Mapping[str, str] = os.environ,
    ) -> int:
        """Start the process and wait until it accepts connections.

        :param listeners: what it is passed.
        :param timeout: seconds that it has.
        :returns: its number.
        :raises HandOverError: when it ends before, or takes longer; there is no such process any more then.
        """
        ready = self._ready = defer.Deferred()
        self._launch(command, listeners, environ)
        self._reactor.addReader(self)
        limit = self._reactor.callLater(timeout, self._too_late, timeout)
        try:
            await ready
        except BaseException:
            self._kill()
            raise
        finally:
            if limit.active():
                limit.cancel()
            self._reactor.removeReader(self)
            os.close(self._pipe)
            self._pipe = -1
            self._reap()
        return self.pid

    def abandon(self) -> None:
        """Give up waiting: this process ends itself."""
        self._failed("was given up: the gateway stops")

    def doRead(self) -> None:
        """Hear what the process says."""
        try:
            data = os.read(self._pipe, _MAX_TALK)
        except BlockingIOError:
            return
        self._said = (self._said + data)[:_MAX_TALK]
        lines = self._said.decode("utf-8", "replace").split("\n")[:-1]
        for line in lines:
            if match := _PID.fullmatch(line):
                self._detached = int(match[1])
        if "ready" in lines:
            self._succeeded()
        elif not data:
            problems = [line.removeprefix("problem ") for line in lines if line.startswith("problem ")]
            self._failed(f"could not start: {one_line('; '.join(problems) or 'the log has more')}")

    def fileno(self) -> int:
        return self._pipe

    def connectionLost(self, reason: Failure) -> None:
        """Called by reactors that find the pipe hung up, or shut down."""
        if self._pipe >= 0:
            self.doRead()
            self._failed("could not start: the log has more")

    def logPrefix(self) -> str:
        return "successor"

    def _launch(
        self, command: Sequence[str], listeners: Sequence[Listener], environ: Mapping[str, str]
    ) -> None:
        self._pipe, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._pipe, False)
        descriptors = [listener.sock.fileno() for listener in listeners]
        sockets = describe_sockets(
            (listener.name, listener.tls, descriptor)
            for listener, descriptor in zip(listeners, descriptors, strict=True)
        )
        kept = {name: value for name, value in environ.items() if name not in _OTHERS}
        try:
            # Descriptors keep their numbers, and no others are open in the new process.
            self._process = subprocess.Popen(  # noqa: S603 - it is the command line of this process
                list(command),
                env={**kept, SOCKETS: sockets, READY: str(theirs)},
                stdin=subprocess.DEVNULL,
                pass_fds=[*descriptors, theirs],
            )
        except (OSError, ValueError) as error:
            os.close(self._pipe)
            self._pipe = -1
            problem = error.strerror if isinstance(error, OSError) else "its command line cannot be used"
            raise HandOverError(f"the new process could not be started: {problem}") from None
        finally:
            os.close(theirs)

    def _too_late(self, timeout: float) -> None:
        self.doRead()
        self._failed(f"was not ready after {timeout:g} s")

    def _succeeded(self) -> None:
        ready, self._ready = self._ready, None
        if ready is not None:
            ready.callback(None)

    def _failed(self, problem: str) -> None:
        ready, self._ready = self._ready, None
        if ready is not None:
            ready.errback(HandOverError(f"the new process {problem}"))

    def _kill(self) -> None:
        """End what is left of it; what holds the pipe open is still the process that said its number."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(_REAPED)
        if self._detached is not None and not self._has_ended():
            with contextlib.suppress(OSError):
                os.kill(self._detached, signal.SIGKILL)

    def _has_ended(self) -> bool:
        try:
            return os.read(self._pipe, _MAX_TALK) == b""
        except OSError:
            return False

    def _reap(self) -> None:
        """The one that was started ends as soon as it has said the number of the one that goes on."""
        if self._process is not None and self._detached is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_REAPED)
