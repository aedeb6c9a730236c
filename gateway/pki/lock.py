"""One at a time: the lock that oVirt's own script takes, flock(2) on the CA's certificate."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.pki.errors import PkiError
from gateway.pki.files import explained

__all__ = ["exclusive"]

_PAUSE: Final = 0.02


@contextlib.contextmanager
def exclusive(path: Path, timeout: float) -> Iterator[None]:
    """Hold the lock on a file.

    :param timeout: seconds to wait for it.
    :raises PkiError: somebody else has it all that time, or the file is missing.
    """
    deadline = time.monotonic() + timeout
    while (descriptor := _locked(path)) is None:
        if time.monotonic() >= deadline:
            raise PkiError(
                f"{path}: locked by another run for {timeout:g} seconds; try again, or raise --timeout"
            )
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int | None:
    with explained(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have put another file in this one's place.
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None
