"""Trees that fail at a chosen operation, and what a tree is, to the last time stamp."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from gateway.setup.host.tree import Tree

__all__ = ["FaultyTree", "scratch", "state"]

_CHANGES = (
    "create",
    "hard_link",
    "make_directory",
    "remove",
    "remove_directory",
    "rename",
    "set_access",
    "set_times",
    "symlink",
    "sync",
)


class FaultyTree(Tree):
    """Counts what changes the tree; the n-th time raises an error, before or after it was done."""

    def __init__(self, root: Path, error: BaseException | None = None, at: int = -1, *, late: bool = False):
        super().__init__(root)
        self.count = 0
        self.at = at
        self._error, self._late = error, late
        for name in _CHANGES:
            setattr(self, name, self._faulty(getattr(self, name)))

    def _faulty(self, method: Any) -> Any:
        def call(place: PurePosixPath, *others: Any, **more: Any) -> Any:
            number, self.count = self.count, self.count + 1
            if number == self.at and self._error is not None and not self._late:
                raise self._error
            result = method(place, *others, **more)
            if number == self.at and self._error is not None:
                raise self._error
            return result

        return call


def scratch(case: SynchronousTestCase) -> Path:
    """A directory for a test, in memory where there is such a place: hundreds of changes are synced."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None)).resolve()
    case.addCleanup(shutil.rmtree, folder)
    return folder


def state(root: Path) -> dict[str, tuple[Any, ...]]:
    """What is below a directory: kinds, content, modes, owners, times of change, directories included."""
    return dict(_entries(root, "/"))


def _entries(path: Path, name: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    found = path.lstat()
    content: str | None = None
    if stat.S_ISREG(found.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    elif stat.S_ISLNK(found.st_mode):
        content = os.readlink(path)
    yield name, (oct(found.st_mode), found.st_uid, found.st_gid, found.st_mtime_ns, found.st_nlink, content)
    if stat.S_ISDIR(found.st_mode):
        for child in sorted(path.iterdir()):
            yield from _entries(child, f"{name.rstrip('/')}/{child.name}")
