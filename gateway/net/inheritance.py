"""Listening sockets that an earlier process of the gateway passes to the one that takes over from it.

They come as open descriptors.  The environment variable :data:`SOCKETS` says
which is which, as JSON: ``[[ENDPOINT, TLS, DESCRIPTOR], ...]``, in the order in
which the earlier process bound them.  systemd's ``LISTEN_FDS`` cannot do this,
because it names a process that does not exist yet.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import stat
from collections.abc import Iterable, MutableMapping
from typing import Any, Final

__all__ = ["SOCKETS", "InheritanceError", "Inherited", "describe_sockets", "inherited"]

SOCKETS: Final = "CONSOLE_GATEWAY_SOCKETS"
_MAX_TEXT: Final = 65536
_MAX_SOCKETS: Final = 256
_FIRST: Final = 3


class InheritanceError(OSError):
    """What was passed is not what it is said to be."""


class Inherited:
    """The sockets that were passed and are not taken yet.

    :ivar shared: whether the process that passed them serves them still, so that paths of Unix sockets are
        not this one's to remove.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """:param environ: the variable is removed from it.

        :raises InheritanceError: when it does not describe open listening sockets.
        """
        text = environ.pop(SOCKETS, None)
        self._sockets: list[tuple[str, bool, socket.socket]] = []
        self.shared = text is not None
        try:
            for name, tls, descriptor in _read(text) if text is not None else ():
                self._sockets.append((name, tls, _adopt(descriptor)))
        except BaseException:
            self.close()
            raise

    def take(self, name: str, *, tls: bool) -> socket.socket | None:
        """The socket of an endpoint, if it was passed; from then on it is the caller's.

        :param name: the endpoint as it stands in the settings.
        :param tls: decides between several of this name, such as free ports.
        """
        found = [each for each in self._sockets if each[0] == name]
        found.sort(key=lambda each: each[1] is not tls)
        if not found:
            return None
        self._sockets.remove(found[0])
        return found[0][2]

    def close(self) -> None:
        """Close what nobody took: the settings have no such endpoint any more."""
        for _, _, sock in self._sockets:
            sock.close()
        self._sockets.clear()


@functools.cache
def inherited() -> Inherited:
    """What this process was passed.

    :raises InheritanceError: as for :class:`Inherited`.
    """
    return Inherited(os.environ)


def describe_sockets(sockets: Iterable[tuple[str, bool, int]]) -> str:
    """The value of the variable for endpoints, whether TLS is spoken there, and descriptors."""
    return json.dumps([list(each) for each in sockets])


def _read(text: str) -> list[tuple[str, bool, int]]:
    problem = InheritanceError(f"{SOCKETS} does not describe sockets")
    try:
        items = json.loads(text) if len(text) <= _MAX_TEXT else None
    except (ValueError, RecursionError):
        raise problem from None
    if not isinstance(items, list) or len(items) > _MAX_SOCKETS or not all(map(_is_item, items)):
        raise problem
    descriptors = [descriptor for _, _, descriptor in items]
    if len(set(descriptors)) != len(descriptors):
        raise problem
    return [(name, tls, descriptor) for name, tls, descriptor in items]


def _is_item(item: Any) -> bool:
    if not isinstance(item, list) or len(item) != 3:
        return False
    name, tls, descriptor = item
    return (
        isinstance(name, str)
        and isinstance(tls, bool)
        and type(descriptor) is int
        and _FIRST <= descriptor < 2**31
    )


def _adopt(descriptor: int) -> socket.socket:
    problem = InheritanceError(f"{SOCKETS}: descriptor {descriptor} is no listening socket")
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise problem
        sock = socket.socket(fileno=descriptor)
    except OSError:
        raise problem from None
    with contextlib.suppress(OSError):
        if sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.set_inheritable(False)
            return sock
    # It is somebody else's: not to be closed.
    sock.detach()
    raise problem
