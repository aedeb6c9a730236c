"""One setup or cleanup of a host at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.setup.errors import SetupError

__all__ = ["alone"]


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold the lock of the host whose root directory is ``root``.

    The directory itself is locked, so that nothing is left of it, and a process that dies gives it up.

    :raises SetupError: if another process holds it, or there is no such directory.
    """
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SetupError(f"cannot set up {root}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(
                f"another setup or cleanup of {root} is running; wait until it is done"
            ) from None
        yield
    finally:
        os.close(descriptor)
