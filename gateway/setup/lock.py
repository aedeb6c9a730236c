"""One setup or cleanup of a host at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gateway.setup.errors import SetupError

__all__ = ["alone"]


_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PRIVATE: Final = "root"
_GROUP: Final = 0o040
_OTHERS: Final = 0o004


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold the lock of the host whose root directory is ``root``.

    A directory is locked, so that nothing is left of it, and a process that dies gives it up: root's own, if
    there is one that others cannot open, who could keep us waiting for ever; else the root directory.

    :raises SetupError: if another process holds it, or there is no such directory.
    """
    try:
        descriptor = _private(root)
        if descriptor is None:
            descriptor = os.open(root, _FLAGS)
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


def _private(root: Path) -> int | None:
    try:
        descriptor = os.open(root / _PRIVATE, _FLAGS | os.O_NOFOLLOW)
    except OSError:
        return None
    found = os.fstat(descriptor)
    if not found.st_mode & (_OTHERS if found.st_gid == 0 else _OTHERS | _GROUP):
        return descriptor
    os.close(descriptor)
    return None
