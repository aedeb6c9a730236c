"""Proof that something ended without a trace: no descriptor open, nothing left for the garbage collector."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase


@contextlib.contextmanager
def nothing_left(case: SynchronousTestCase, kinds: set[str], what: str = "") -> Iterator[None]:
    """Fail when descriptors or objects of classes named ``kinds`` are left by what is done inside.

    The garbage collector rests meanwhile, so that an object in a reference cycle counts as left.
    """
    gc.collect()
    gc.disable()
    try:
        # Kept alive, so that no identity is used twice.
        known = gc.get_objects()
        before = len(os.listdir("/proc/self/fd"))
        yield
        case.assertEqual(before, len(os.listdir("/proc/self/fd")), what)
        old = {id(o) for o in known}
        left = [type(o).__name__ for o in gc.get_objects() if id(o) not in old]
        case.assertEqual([], [name for name in left if name in kinds], what)
    finally:
        gc.enable()
