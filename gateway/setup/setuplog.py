"""The log of a setup: begun in the directory of temporary files, put in its place when all is well.

So a setup that fails or is cancelled leaves nothing on the host that is set up, and its log can still be
read.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import time
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from gateway.setup import places
from gateway.setup.asking.dialog import plain
from gateway.setup.errors import SetupError
from gateway.setup.host.system import System

__all__ = ["SetupLog"]

_MODE: Final = 0o600
_RANDOM: Final = 3
"""Bytes that tell logs of the same second apart."""


class SetupLog:
    """A file that only its owner can read.

    :ivar path: where it is now.
    :ivar place: where it will be on the host, or ``None`` if the user named a file.
    """

    def __init__(self, kind: str, stamp: str, path: Path | None = None) -> None:
        """
        :param kind: ``setup`` or ``cleanup``.
        :param stamp: the time, as in the names of other files of this run.
        :param path: the file that the user named, to which the log is added.
        :raises SetupError: if it cannot be written.
        """
        name = f"ovirt-engine-{kind}-{stamp}-{secrets.token_hex(_RANDOM)}.log"
        self.place: PurePosixPath | None = places.LOGS / name if path is None else None
        self.path = Path(tempfile.gettempdir(), name) if path is None else path
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(self.path, flags | (os.O_EXCL if path is None else 0), _MODE)
        except OSError as error:
            raise SetupError(
                f"cannot write the log {self.path}: {error.strerror}; name a file that can be, with --log"
            ) from None
        self._file: BinaryIO = os.fdopen(descriptor, "wb", buffering=0)
        self._settled = False

    def write(self, kind: str, text: str) -> None:
        """Add lines.  A full disk costs the log, not the setup.

        :param kind: a word for what it is.
        :param text: without passwords; what would command a terminal that shows the log is taken out.
        """
        now = time.time()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
        lines = plain(text).strip("\n").split("\n")
        with contextlib.suppress(OSError, ValueError):
            self._file.write("".join(f"{moment} {kind} {line}\n" for line in lines).encode())

    def settle(self, system: System) -> Path:
        """Put the log in its place on the host, whose directory is there, and return it.

        :raises SetupError: if that does not work; the log stays where it is.
        """
        if self.place is None:
            return self.path
        try:
            uid, gid = system.account("root", "root")
            system.tree.create(self.place, self.path.read_bytes(), uid=uid, gid=gid, mode=_MODE)
        except OSError as error:
            raise SetupError(f"cannot write {self.place}: {error.strerror}") from None
        self.discard()
        self.path = system.locate(self.place)
        self._settled = True
        return self.path

    def discard(self) -> None:
        """Remove the log, unless the user named a file, or it is in its place."""
        self.close()
        if self.place is not None and not self._settled:
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Write no more."""
        self._file.close()
