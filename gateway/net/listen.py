"""Listening sockets: opened from settings or inherited, accepted from in batches."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.interfaces import IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.net.inheritance import inherited
from gateway.settings import SystemdEndpoint, TcpEndpoint, UnixEndpoint

__all__ = ["Acceptor", "BindError", "Listener", "address_text", "open_listener"]

_BACKLOG: Final = 1024
_BATCH: Final = 64
_EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_FIRST_INHERITED: Final = 3
"""systemd passes sockets from this descriptor on, see sd_listen_fds(3)."""


class BindError(Exception):
    """A listening socket could not be had; the text names it and says why."""


@attrs.frozen
class Listener:
    """A bound listening socket and whether its connections speak TLS."""

    sock: socket.socket
    name: str
    """The endpoint string it was made from."""
    tls: bool
    adopted: bool = False
    """Whether an earlier process bound it, and passed it on."""

    @property
    def description(self) -> str:
        """The address really bound, for the log."""
        return f"{address_text(self.sock.getsockname())} ({'TLS' if self.tls else 'plain'})"

    def close(self) -> None:
        """Close the socket, and remove it from the file system if it was made there."""
        shared = self.adopted and inherited().shared
        if self.sock.family == socket.AF_UNIX and self.name.startswith("unix:") and not shared:
            # Removed while it still answers: a successor that finds it dead may replace it by its own.
            with contextlib.suppress(OSError):
                os.unlink(self.sock.getsockname())
        self.leave()

    def leave(self) -> None:
        """Close the socket, and leave it in the file system to the process that goes on serving it."""
        self.sock.close()


def open_listener(
    name: str,
    endpoint: TcpEndpoint | UnixEndpoint | SystemdEndpoint,
    *,
    tls: bool,
    environ: Mapping[str, str] | None = None,
) -> Listener:
    """Bind the socket of an endpoint, or adopt it from an earlier process or from systemd.

    :param environ: where ``LISTEN_PID``, ``LISTEN_FDS`` and ``LISTEN_FDNAMES`` are looked up; defaults to
        what this process was started with.
    :raises BindError: when it cannot be bound, or systemd passed no such socket.
    """
    try:
        passed = inherited().take(name, tls=tls)
        if passed is not None:
            sock = passed
        elif isinstance(endpoint, TcpEndpoint):
            sock = _bind_tcp(endpoint)
        elif isinstance(endpoint, UnixEndpoint):
            sock = _bind_unix(endpoint)
        else:
            sock = _adopt(endpoint, _first_environ() if environ is None else environ)
        sock.setblocking(False)
        sock.listen(_BACKLOG)
    except OSError as error:
        raise BindError(f"cannot listen on {name}: {error.strerror or error}") from None
    return Listener(sock, name, tls, adopted=passed is not None)


def address_text(address: Any) -> str:
    """A socket address as people write it; IPv4 clients of a dual-stack socket appear as IPv4."""
    if isinstance(address, tuple):
        host, port = address[0].removeprefix("::ffff:"), address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(address, bytes):
        address = address.decode("utf-8", "replace")
    return f"unix:{address}" if address else "unix"


@implementer(IReadDescriptor)
class Acceptor:
    """Accept connections of one listener and hand each to ``accepted(sock, address)``."""

    log = Logger()

    def __init__(
        self, reactor: Any, listener: Listener, accepted: Callable[[socket.socket, Any], None]
    ) -> None:
        """:param reactor: provides ``IReactorFDSet`` and ``IReactorTime``."""
        self._fds: IReactorFDSet = reactor
        self._clock: IReactorTime = reactor
        self._listener = listener
        self._accepted = accepted
        self._retry: Any = None
        self._closed = False
        self._fds.addReader(self)

    def doRead(self) -> None:
        """Accept what is waiting, at most one batch."""
        for _ in range(_BATCH):
            try:
                sock, address = self._listener.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    # Network errors of the new connection, see accept(2): the listener itself is well.
                    self.log.debug("accept failed: {error}", error=error.strerror)
                    return
                # Out of descriptors: the queue stays readable, so look away for a moment.
                self.log.error(
                    "cannot accept on {name}: {error}; raise LimitNOFILE or lower limits.sessions",
                    name=self._listener.name,
                    error=error.strerror,
                )
                self._fds.removeReader(self)
                self._retry = self._clock.callLater(1.0, self._resume)
                return
            try:
                self._accepted(sock, address)
            except Exception:
                sock.close()
                self.log.failure("Unexpected error for a new connection")

    def close(self) -> None:
        """Stop accepting and close the listening socket; idempotent."""
        if self._stop():
            self._listener.close()

    def leave(self) -> None:
        """Stop accepting, and leave the listening socket to the process that goes on serving it."""
        if self._stop():
            self._listener.leave()

    def fileno(self) -> int:
        return self._listener.sock.fileno()

    def connectionLost(self, reason: Failure) -> None:
        """Called by a reactor that shuts down."""

    def logPrefix(self) -> str:
        return "accept"

    def _stop(self) -> bool:
        """Stop accepting, if that was not done."""
        if self._closed:
            return False
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        # A set of epoll would otherwise go on telling of a socket that another process has open, too.
        self._fds.removeReader(self)
        return True

    def _resume(self) -> None:
        self._retry = None
        self._fds.addReader(self)


def _bind_tcp(endpoint: TcpEndpoint) -> socket.socket:
    if endpoint.interface:
        family = socket.AF_INET6 if ":" in endpoint.interface else socket.AF_INET
        return _bound(family, (endpoint.interface, endpoint.port), dual=False)
    try:
        return _bound(socket.AF_INET6, ("::", endpoint.port), dual=True)
    except OSError as error:
        if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
            raise
        # This host has no IPv6.
        return _bound(socket.AF_INET, ("0.0.0.0", endpoint.port), dual=False)  # noqa: S104 - every interface is asked for


def _bound(family: socket.AddressFamily, address: tuple[str, int], *, dual: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _bind_unix(endpoint: UnixEndpoint) -> socket.socket:
    _remove_stale(endpoint.path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mode must hold from the first instant, so it is set by the umask and not afterwards.
    mask = os.umask(0o777 & ~endpoint.mode)
    try:
        sock.bind(endpoint.path)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(mask)
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket that a killed process left behind; never one that still answers, nor a file."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                os.unlink(path)
        except OSError:
            return


def _first_environ() -> Mapping[str, str]:
    """The environment at the start of the process: importing Twisted removes from it what systemd said."""
    try:
        data = Path("/proc/self/environ").read_bytes()
    except OSError:
        return os.environ
    pairs = (item.partition(b"=") for item in data.split(b"\0"))
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def _adopt(endpoint: SystemdEndpoint, environ: Mapping[str, str]) -> socket.socket:
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        raise OSError(errno.ENOENT, "systemd passed no socket to this process (is the .socket unit active?)")
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    index = endpoint.index
    if index is None:
        if endpoint.name not in names:
            raise OSError(errno.ENOENT, f"systemd passed no socket named {endpoint.name!r}")
        index = names.index(endpoint.name)
    if index >= int(count):
        raise OSError(errno.ENOENT, f"systemd passed {count} socket(s), there is no index {index}")
    # A duplicate, so that two gateways in one process can be given the same descriptor without closing it.
    sock = socket.socket(fileno=os.dup(_FIRST_INHERITED + index))
    if sock.type != socket.SOCK_STREAM:
        sock.close()
        raise OSError(errno.EINVAL, f"the inherited socket {index} is not a stream socket")
    os.set_inheritable(sock.fileno(), False)
    return sock
