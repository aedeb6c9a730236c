"""The side of a hand-over that takes over: what a process owes the one that started it.

The earlier process passes its listening sockets (see :mod:`gateway.net.inheritance`)
and the writing end of a pipe, whose descriptor is in :data:`READY`.  On it, one
line each, this process says ``pid NUMBER``, perhaps ``problem TEXT``, and at last
``ready``.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections.abc import MutableMapping
from typing import Final

from gateway.net import inherited
from gateway.settings import one_line

__all__ = ["READY", "Predecessor", "predecessor"]

READY: Final = "CONSOLE_GATEWAY_READY"
_MAX_PROBLEM: Final = 500


class Predecessor:
    """The process that passed its sockets, if there is one."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """:param environ: the variable is removed from it."""
        self._pipe = _adopt(environ.pop(READY, ""))

    @property
    def is_there(self) -> bool:
        """Whether a process waits to hear from this one."""
        return self._pipe is not None

    def detach(self) -> None:
        """Go on in a process whose parent is the service manager and not the earlier process.

        systemd hears of the end of its own children only, and the earlier process is soon to be gone.  To be
        called before there are threads and files; does nothing where nobody waits.
        """
        if self._pipe is None:
            return
        pid = os.fork()
        if pid:
            self._say(f"pid {pid}")
            os._exit(0)

    def complain(self, problem: str) -> None:
        """Tell why this process cannot take over."""
        self._say(f"problem {one_line(problem)[:_MAX_PROBLEM]}")

    def ready(self) -> bool:
        """Tell that connections are accepted, and close what is not needed.

        :returns: whether there was somebody to be told.
        """
        sockets = inherited()
        sockets.close()
        if self._pipe is None:
            return False
        self._say("ready")
        sockets.shared = False
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            os.close(pipe)
        return True

    def _say(self, line: str) -> None:
        if self._pipe is not None:
            # It may be gone; then there is nobody to take over from, and all the more reason to serve.
            with contextlib.suppress(OSError):
                os.write(self._pipe, f"{line}\n".encode("utf-8", "replace"))


@functools.cache
def predecessor() -> Predecessor:
    """That of this process."""
    return Predecessor(os.environ)


def _adopt(text: str) -> int | None:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        return None
    pipe = int(text)
    try:
        if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
            return None
        os.set_inheritable(pipe, False)
        os.set_blocking(pipe, False)
    except OSError:
        return None
    return pipe
