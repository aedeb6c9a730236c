"""Sees every change of files before it is made, and has something happen at one of them.

Python's audit events tell when a file is about to be made, renamed, changed
or removed, or a program started.  So an interrupt or a full disk can come at
each of these moments, and no moment is missed at which a secret lies open:
between two of them the content of a file may grow, but not who may read it.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from tests.support.process import ROOT

__all__ = ["Accident", "Witness"]


@attrs.frozen
class Accident:
    """What happens to a run."""

    at: int = 0
    """With which change of files it happens, from 1; never for 0."""
    what: str = "SIGINT"
    """A signal's name, or that of an error of the operating system, with which the change fails."""
    lasting: bool = False
    """It happens again and again: somebody leans on Ctrl-C, or the disk stays full."""
    change: str = ""
    """What is in the description of the change with which it happens, instead of ``at``."""


class Witness:
    """Hears of every change of files before it is made."""

    _EVENTS = frozenset(
        [f"os.{name}" for name in ("chmod", "chown", "link", "mkdir", "remove", "rename", "rmdir", "symlink")]
        + ["os.truncate", "os.utime", "subprocess.Popen"]
    )
    _MAKING = ("open", "os.mkdir", "os.link", "os.symlink")
    _REMOVING = ("os.remove", "os.rmdir")
    _WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    _MOUNTED = (str(ROOT), sys.prefix, sys.base_prefix)
    _ELSEWHERE = ("/dev/", "/proc/", "/sys/")

    def __init__(self, accident: dict[str, Any], secrets: list[str], watched: list[str]) -> None:
        self.changes: list[str] = []
        self.exposed: list[str] = []
        self._accident = Accident(**accident)
        self._secrets = [b"PRIVATE KEY-----", *(secret.encode() for secret in secrets)]
        self._watched = watched
        self._busy = False
        self._harmless: dict[Path, tuple[int, int, int]] = {}

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._busy or not self._changes_files(event, arguments):
            return
        self._busy = True
        try:
            change = f"{event} {' '.join(map(str, arguments[:2]))}"
            self.changes.append(change)
            self.look(change)
        finally:
            self._busy = False
        accident = self._accident
        if accident.change and not accident.at and accident.change in change:
            self._accident = accident = attrs.evolve(accident, at=len(self.changes))
        if accident.at == len(self.changes) or (accident.lasting and 0 < accident.at < len(self.changes)):
            self._happen(event)

    def look(self, before: str) -> None:
        """Note which secrets lie open."""
        for path in self._files():
            try:
                status = path.lstat()
                readable = status.st_mode & 0o077
                state = (status.st_ino, status.st_ctime_ns, status.st_size)
                if not readable or self._harmless.get(path) == state:
                    continue
                content = path.read_bytes()
            except OSError:
                continue
            self._harmless[path] = state
            if any(secret in content for secret in self._secrets):
                self.exposed.append(f"{path} was {readable:03o} for others, before {before}")

    def _happen(self, event: str) -> None:
        number = getattr(errno, self._accident.what, None)
        if number is not None:
            # A full disk is no hindrance to what makes nothing; and what cannot be removed has to stay.
            if event in self._MAKING or not (self._accident.lasting or event in self._REMOVING):
                raise OSError(number, os.strerror(number))
            return
        os.kill(os.getpid(), getattr(signal, self._accident.what))

    def _changes_files(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & self._WRITES or isinstance(path, int):
                return False
            return not os.fsdecode(path).startswith(self._ELSEWHERE) and "__pycache__" not in str(path)
        return event in self._EVENTS and "__pycache__" not in str(arguments[0])

    def _files(self) -> Iterator[Path]:
        for root in self._watched:
            for directory, below, names in os.walk(root):
                # What Python and we are installed in may be mounted there.
                below[:] = [name for name in below if f"{directory}/{name}" not in self._MOUNTED]
                yield from (Path(directory) / name for name in names)
