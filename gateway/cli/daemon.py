"""What a daemon of the old kind does: leave the terminal, and say in a file which process it is."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["PidFile", "go_to_background", "redirect_output"]

_READY: Final = b"ready\n"


def go_to_background() -> Callable[[], None]:
    """Go on in a process of its own session; to be called before there are threads and files.

    The process that was started stays until the other one is ready, and ends with status 0, or until it is
    gone, and ends with status 1. What the other says until then goes where it would have gone.

    :returns: to be called when it is ready.
    """
    reading, writing = os.pipe()
    if pid := os.fork():
        os.close(writing)
        os.waitpid(pid, 0)
        with open(reading, "rb") as pipe:
            os._exit(0 if pipe.read(len(_READY)) == _READY else 1)
    os.close(reading)
    os.setsid()
    # Not the leader of the session any more, so that it never gets a terminal.
    if os.fork():
        os._exit(0)
    # It stays in its directory: the names on its command line go on to mean the same.
    _replace(0, os.O_RDONLY)

    def ready() -> None:
        with contextlib.suppress(OSError):
            os.write(writing, _READY)
        os.close(writing)

    return ready


def redirect_output() -> None:
    """Send what is written to standard output and error nowhere."""
    for descriptor in (1, 2):
        _replace(descriptor, os.O_WRONLY)


def _replace(descriptor: int, flags: int) -> None:
    null = os.open(os.devnull, flags | os.O_CLOEXEC)
    os.dup2(null, descriptor)
    os.close(null)


class PidFile:
    """Holds the number of this process in a line, while it is there."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()

    def write(self) -> None:
        """Make the file, or replace what it holds.

        :raises OSError: when that is impossible, or it is a link or no regular file.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with open(os.open(self._path, flags, 0o644), "wb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(f"{self._path} is not a regular file")
            file.truncate(0)
            file.write(self._line())

    def remove(self) -> None:
        """Remove it, or empty it where that is forbidden, unless it is about another process by now."""
        with contextlib.suppress(OSError):
            if self._path.read_bytes()[:32] != self._line():
                return
            try:
                self._path.unlink()
            except OSError:
                os.truncate(self._path, 0)

    def _line(self) -> bytes:
        return b"%d\n" % os.getpid()
