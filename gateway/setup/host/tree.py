"""A directory tree whose places are resolved as a process with that root directory would (openat(2) style).

A symbolic link inside the tree leads somewhere inside the tree, whatever it says.  Each part of a path is
opened on its own, relative to the one before, so that nobody can swap a directory for a link in between;
and a link counts only if root, the owner of the tree or whoever runs this made it, so that the owner of
some directory inside cannot point root's hand elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from gateway.pki.errors import printable
from gateway.setup.errors import SetupError

__all__ = ["Tree"]

_LINKS: Final = 40
"""Links followed on the way to one place, as Linux has it."""
_PARTS: Final = 256
"""Parts of one path, those that links add included."""
_PATH: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE_BITS: Final = 0o7777


class Tree:
    """Places below a root directory, as absolute paths inside it.

    Methods raise :exc:`OSError` as the system calls do, and :exc:`SetupError` for a place that is not an
    absolute path without ``.`` and ``..``, and for links that lead in circles or are not to be trusted.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self._trusted = {0, os.geteuid()}

    def resolve(self, place: PurePosixPath) -> PurePosixPath:
        """Return where ``place`` is once all links are followed; what is missing stays as it is named."""
        with contextlib.ExitStack() as opened:
            return PurePosixPath("/", *self._walk(place, opened, missing=True).names)

    def stat(self, place: PurePosixPath) -> os.stat_result | None:
        """Return what is there, a link as a link; ``None`` if nothing is."""
        if not _parts(place):
            return os.stat(self.root)
        try:
            with self.parent(place) as (directory, name):
                return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, place: PurePosixPath, limit: int) -> bytes | None:
        """Return the content of a regular file, through links; ``None`` if there is none.

        :param limit: bytes that it may have.
        """
        with contextlib.ExitStack() as opened:
            try:
                walk = self._walk(place, opened, missing=False)
                # Before it is opened: for some devices, a watchdog or a tape, that is an order.
                self._regular(place, walk.last)
                file = walk.reopen(os.O_NONBLOCK | os.O_NOCTTY)
            except (FileNotFoundError, NotADirectoryError):
                return None
            opened.callback(os.close, file)
            self._regular(place, file)
            with open(file, "rb", closefd=False) as reader:
                data = reader.read(limit + 1)
        if len(data) > limit:
            raise SetupError(f"{place} has more than {limit} bytes, which is not what belongs there")
        return data

    @staticmethod
    def _regular(place: PurePosixPath, descriptor: int) -> None:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SetupError(f"{place} is not a regular file; move it out of the way")

    def names(self, place: PurePosixPath, limit: int) -> list[str]:
        """Return what a directory holds, sorted; nothing if it is not there.

        :param limit: names that it may hold.
        """
        with contextlib.ExitStack() as opened:
            try:
                directory = self._walk(place, opened, missing=False).reopen(os.O_DIRECTORY)
            except (FileNotFoundError, NotADirectoryError):
                return []
            opened.callback(os.close, directory)
            names = os.listdir(directory)
        if len(names) > limit:
            raise SetupError(f"{place} holds more than {limit} files, which is not what belongs there")
        return sorted(names)

    def target(self, place: PurePosixPath) -> str | None:
        """Return what a link says; ``None`` if there is no link."""
        try:
            with self.parent(place) as (directory, name):
                return os.readlink(name, dir_fd=directory)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None
            raise

    def create(self, place: PurePosixPath, content: bytes, *, uid: int, gid: int, mode: int) -> None:
        """Make a file that was not there; until it is whole, nobody but who runs this can read it."""
        with self.parent(place) as (directory, name):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(name, flags, 0o600, dir_fd=directory), "wb") as file:
                file.write(content)
                file.flush()
                _set_access(file.fileno(), uid, gid, mode)
                os.fsync(file.fileno())

    def symlink(self, place: PurePosixPath, target: str, *, uid: int, gid: int) -> None:
        with self.parent(place) as (directory, name):
            os.symlink(target, name, dir_fd=directory)
            made = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if (made.st_uid, made.st_gid) != (uid, gid):
                os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)

    def hard_link(self, place: PurePosixPath, other: PurePosixPath) -> None:
        """Give a file, or a link as such, a second name in the same directory."""
        with self.parent(place) as (directory, name):
            os.link(name, other.name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)

    def rename(self, place: PurePosixPath, other: PurePosixPath) -> None:
        """Give a file another name in the same directory, in place of what had it."""
        with self.parent(place) as (directory, name):
            os.rename(name, other.name, src_dir_fd=directory, dst_dir_fd=directory)

    def set_access(self, place: PurePosixPath, *, uid: int, gid: int, mode: int) -> None:
        """Set owner, group and permissions of a file that is no link."""
        with self.parent(place) as (directory, name):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = os.open(name, flags, dir_fd=directory)
            try:
                _set_access(file, uid, gid, mode)
            finally:
                os.close(file)

    def set_times(self, place: PurePosixPath, times: tuple[int, int]) -> None:
        """Set access and modification time, in nanoseconds, of what is there, a link as a link."""
        if not _parts(place):
            os.utime(self.root, ns=times)
            return
        with self.parent(place) as (directory, name):
            os.utime(name, ns=times, dir_fd=directory, follow_symlinks=False)

    def make_directory(self, place: PurePosixPath, *, uid: int, gid: int, mode: int) -> None:
        with self.parent(place) as (directory, name):
            os.mkdir(name, 0o700, dir_fd=directory)
            made = os.open(
                name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory
            )
            try:
                _set_access(made, uid, gid, mode)
            finally:
                os.close(made)

    def remove(self, place: PurePosixPath) -> None:
        """Remove a file, or a link as such."""
        with self.parent(place) as (directory, name):
            os.unlink(name, dir_fd=directory)

    def remove_directory(self, place: PurePosixPath) -> None:
        """Remove a directory that is empty."""
        with self.parent(place) as (directory, name):
            os.rmdir(name, dir_fd=directory)

    def sync(self, place: PurePosixPath) -> None:
        """Have the names in the directory of ``place`` on the disk."""
        with self.parent(place) as (directory, _):
            opened = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
            try:
                os.fsync(opened)
            finally:
                os.close(opened)

    @contextlib.contextmanager
    def parent(self, place: PurePosixPath) -> Iterator[tuple[int, str]]:
        """Open the directory of ``place``; yield its descriptor (which only names it) and the name in it."""
        with contextlib.ExitStack() as opened:
            walk = self._walk(place.parent, opened, missing=False)
            if not stat.S_ISDIR(os.fstat(walk.last).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place.parent))
            yield walk.last, _parts(place)[-1]

    def _walk(self, place: PurePosixPath, opened: contextlib.ExitStack, *, missing: bool) -> _Walk:
        walk = _Walk(os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), opened)
        trusted = self._trusted | {os.fstat(walk.last).st_uid}
        ahead = _parts(place)[::-1]
        links = steps = 0
        while ahead:
            steps += 1
            part = ahead.pop()
            if part == "..":
                walk.up()
                continue
            try:
                entry = os.open(part, _PATH, dir_fd=walk.last)
            except (FileNotFoundError, NotADirectoryError):
                if not missing:
                    raise
                walk.missing([part, *ahead[::-1]])
                return walk
            opened.callback(os.close, entry)
            found = os.fstat(entry)
            if not stat.S_ISLNK(found.st_mode):
                walk.down(part, entry)
                continue
            links += 1
            if links > _LINKS or steps > _PARTS:
                raise SetupError(f"{place} leads through too many links; have it lead somewhere")
            if found.st_uid not in trusted:
                raise SetupError(
                    f"{place} leads through the link {printable('/'.join(['', *walk.names, part]))}, which "
                    "neither root nor you own; remove it"
                )
            target = os.readlink("", dir_fd=entry)
            if target.startswith("/"):
                walk.restart()
            ahead += [name for name in target.split("/")[::-1] if name not in ("", ".")]
        return walk


class _Walk:
    """Directories from the root to where a walk has come."""

    def __init__(self, root: int, opened: contextlib.ExitStack) -> None:
        opened.callback(os.close, root)
        self.names: list[str] = []
        self._descriptors = [root]

    @property
    def last(self) -> int:
        return self._descriptors[-1]

    def down(self, name: str, descriptor: int) -> None:
        self.names.append(name)
        self._descriptors.append(descriptor)

    def up(self) -> None:
        """The root directory's parent is itself."""
        if self.names:
            self.names.pop()
            self._descriptors.pop()

    def restart(self) -> None:
        del self.names[:]
        del self._descriptors[1:]

    def missing(self, parts: list[str]) -> None:
        """Note what is not there; the walk cannot go on."""
        for part in parts:
            if part != "..":
                self.names.append(part)
            elif self.names:
                self.names.pop()

    def reopen(self, flags: int) -> int:
        """Open for reading what the last descriptor only names."""
        flags |= os.O_RDONLY | os.O_CLOEXEC
        if not self.names:
            return os.open(".", flags, dir_fd=self.last)
        return os.open(self.names[-1], flags | os.O_NOFOLLOW, dir_fd=self._descriptors[-2])


def _parts(place: PurePosixPath) -> list[str]:
    text = str(place)
    parts = list(place.parts[1:])
    if not place.is_absolute() or text.startswith("//") or ".." in parts or "\0" in text:
        raise SetupError(f"{text!r} is not an absolute path without '..'")
    if len(parts) > _PARTS:
        raise SetupError(f"a path of more than {_PARTS} parts is not one of setup's")
    return parts


def _set_access(descriptor: int, uid: int, gid: int, mode: int) -> None:
    """Owner first: until then nobody new can read it; and changing the owner may take mode bits away."""
    found = os.fstat(descriptor)
    if (found.st_uid, found.st_gid) != (uid, gid):
        os.fchown(descriptor, uid, gid)
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode & _MODE_BITS:
        os.fchmod(descriptor, mode & _MODE_BITS)
