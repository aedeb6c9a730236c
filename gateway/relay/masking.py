"""Unmasking of client frames (RFC 6455, section 5.3), natively wherever it can be.

The C routine of the ``websockets`` package is used because it costs a quarter
of a microsecond a call, where making a masker object per frame costs three.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["NATIVE", "Unmask", "unmask", "unmask_slowly"]

Unmask: TypeAlias = Callable[[bytes | memoryview, bytes], bytes]
"""``unmask(data, key)`` for a four-byte key that starts at the data's first byte."""


def unmask_slowly(data: bytes | memoryview, key: bytes) -> bytes:
    """XOR ``data`` with the repeated four-byte ``key`` in pure Python."""
    size = len(data)
    stream = key * (size // 4 + 1)
    return (int.from_bytes(data, "little") ^ int.from_bytes(stream[:size], "little")).to_bytes(size, "little")


def _load() -> tuple[Unmask, bool]:
    try:
        from websockets.speedups import apply_mask
    except ImportError:
        return unmask_slowly, False
    return apply_mask, True


unmask, NATIVE = _load()
"""The routine in use, and whether it is native; the service warns when it is not."""
