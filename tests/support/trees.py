"""What a directory tree is: every file's content, mode, owner and time, and how two of them differ."""

from __future__ import annotations

import datetime
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

__all__ = ["Entry", "Tree", "difference", "snapshot"]


@attrs.frozen
class Entry:
    """One name of a tree."""

    kind: str
    """``file``, ``directory``, ``link`` or what else it is."""
    mode: int
    owner: tuple[int, int]
    content: str
    """SHA-256 of a file in hex, the target of a link; empty for others."""
    modified: int | None
    """In nanoseconds since the epoch, of files; a directory's changes with any visit."""

    def __str__(self) -> str:
        text = f"{self.kind} {self.mode:04o} {self.owner[0]}:{self.owner[1]} {self.content[:16]}"
        if self.modified is None:
            return text
        return f"{text} {datetime.datetime.fromtimestamp(self.modified / 1e9, datetime.UTC):%T.%f}"


Tree = Mapping[str, Entry]
"""Entries by their path below the root, which is the empty one."""


def snapshot(root: Path, *leave_out: str) -> Tree:
    """What is below ``root``, and ``root`` itself.

    :param leave_out: paths below ``root`` that are not looked at, nor what is in them.
    """
    left_out = {name.strip("/") for name in leave_out}
    return {name: _entry(path) for name, path in _walk(root, "") if not _within(name, left_out)}


def difference(before: Tree, after: Tree, *, times: bool = True) -> str:
    """What is not the same, a line each: ``-`` was there, ``+`` is there.  Empty where nothing differs.

    :param times: whether it matters when a file was written.
    """
    lines = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if not times:
            old = old and attrs.evolve(old, modified=None)
            new = new and attrs.evolve(new, modified=None)
        if old != new:
            lines += [f"- /{name}: {old}"] if old else []
            lines += [f"+ /{name}: {new}"] if new else []
    return "\n".join(lines)


def _within(name: str, directories: set[str]) -> bool:
    return any(name == directory or name.startswith(f"{directory}/") for directory in directories)


def _walk(path: Path, name: str) -> Iterator[tuple[str, Path]]:
    yield name, path
    if path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            yield from _walk(child, f"{name}/{child.name}".lstrip("/"))


def _entry(path: Path) -> Entry:
    status = path.lstat()
    kind, content, modified = "other", "", None
    if stat.S_ISREG(status.st_mode):
        kind, content = "file", hashlib.sha256(path.read_bytes()).hexdigest()
        modified = status.st_mtime_ns
    elif stat.S_ISLNK(status.st_mode):
        kind, content = "link", os.readlink(path)
    elif stat.S_ISDIR(status.st_mode):
        kind = "directory"
    return Entry(kind, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid), content, modified)
