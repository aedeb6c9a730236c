"""Calls to the operating system that fail, one after the other."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from typing import Any, Final
from unittest import mock

from gateway.pki import PkiError

__all__ = ["CALLS", "disk_full", "each_failure", "failing", "interrupt"]

CALLS: Final = ("open", "fchmod", "fsync", "link", "replace")
"""What the room changes files with."""
_MAX_STEPS: Final = 200


def disk_full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupt() -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def failing(at: int, fault: Callable[[], None]) -> Iterator[None]:
    """Let ``fault`` happen in place of the call number ``at``."""
    count = 0

    def wrapped(original: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == at:
                fault()
            return original(*args, **kwargs)

        return call

    with contextlib.ExitStack() as stack:
        for name in CALLS:
            stack.enter_context(mock.patch.object(os, name, wrapped(getattr(os, name))))
        yield


def each_failure(fault: Callable[[], None], action: Callable[[], object]) -> Iterator[int]:
    """Run ``action`` again and again, with its first call failing, then its second, until none fails.

    Yields after each failure, to look at what is left.
    """
    for at in range(1, _MAX_STEPS):
        try:
            with failing(at, fault):
                action()
        except (PkiError, KeyboardInterrupt):
            yield at
        else:
            return
    raise AssertionError("it never succeeds")
