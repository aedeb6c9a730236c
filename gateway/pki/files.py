"""Files that are either there as a whole or not at all; private ones are private from their first byte.

New content goes to a file of its own beside the old one, reaches the disk, and takes the old one's name
(rename(2)).  The mode does not depend on the umask: a new file begins with no more than its owner may do.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from gateway.pki.errors import PasswordNeeded, PkiError, printable

__all__ = ["PRIVATE", "PUBLIC", "Changes", "about", "explained", "read_file", "write_private", "write_public"]

PRIVATE = 0o600
PUBLIC = 0o644

_REMEDIES = {
    "FileNotFoundError": "check the path",
    "PermissionError": "run this as the owner of the directory",
}


def read_file(path: Path, limit: int) -> bytes:
    """Read a file of at most ``limit`` bytes.

    :raises PkiError: it is missing, unreadable, not a regular file, or larger.
    """
    with explained(path):
        # A named pipe would block for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            with open(descriptor, "rb", closefd=False) as stream:
                data = stream.read(limit + 1) if regular else b""
        finally:
            os.close(descriptor)
    if not regular:
        raise PkiError(f"{path}: not a regular file; name the file itself")
    if len(data) > limit:
        raise PkiError(f"{path}: larger than {limit} bytes; this is not the right file")
    return data


def write_private(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write a file that its owner alone may read (0600), in one step.

    :param replace: whether an existing file may be replaced.
    :raises PkiError: it cannot be written, or is there already; whatever was there still is.
    """
    _write(path, data, PRIVATE, replace)


def write_public(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write a file that everybody may read (0644), in one step; otherwise like :func:`write_private`."""
    _write(path, data, PUBLIC, replace)


def _write(path: Path, data: bytes, mode: int, replace: bool) -> None:
    with Changes() as changes:
        changes.write(path, data, mode=mode, keep=False, replace=replace)
        changes.commit()


class Changes:
    """Several files that are replaced together; a context manager.

    What fails before :meth:`commit` leaves no trace.  If one of the renames fails, those before it are
    undone.  Leaving the context without a commit discards everything.
    """

    def __init__(self) -> None:
        self._prepared: list[_Replacement] = []
        self._done: list[_Replacement] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._prepared:
            each.discard()
        self._prepared.clear()

    def write(
        self, path: Path, data: bytes, *, mode: int = PUBLIC, keep: bool = True, replace: bool = True
    ) -> None:
        """Prepare new content for ``path``: all that needs space on the disk is done here.

        :param mode: permissions of the file.
        :param keep: an existing file keeps its owner, and the permissions that it has beyond these.
        :param replace: whether it may exist.
        :raises PkiError: it cannot be written, or exists and must not.
        """
        with explained(path):
            replacement = _Replacement(path, replace)
            self._prepared.append(replacement)
            replacement.prepare(data, mode, keep)

    def commit(self) -> None:
        """Put everything in place, in the order of the calls of :meth:`write`.

        :raises PkiError: this failed, and everything is as it was.
        """
        try:
            for each in self._prepared:
                with explained(each.path):
                    self._done.append(each)
                    each.put()
                    each.settle()
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Put back what was there before the commit; possible until the context is left."""
        while self._done:
            self._done.pop().undo()


class _Replacement:
    """One file of a :class:`Changes`."""

    def __init__(self, path: Path, replace: bool) -> None:
        self.path = path
        self._replace = replace
        token = secrets.token_hex(8)
        self._new = path.with_name(f".{path.name[:100]}.{token}.new")
        self._old = path.with_name(f".{path.name[:100]}.{token}.old")
        self._existed = False
        self._put = False

    def prepare(self, data: bytes, mode: int, keep: bool) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(FileNotFoundError):
            before = os.lstat(self.path)
            self._existed = True
        if self._existed and not self._replace:
            raise FileExistsError(self.path)
        descriptor = os.open(self._new, flags, PRIVATE)
        with open(descriptor, "wb") as stream:
            if self._existed and keep and stat.S_ISREG(before.st_mode):
                mode |= stat.S_IMODE(before.st_mode) & 0o777
                if os.geteuid() == 0:
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, mode)
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        if self._existed:
            # The same file under a second name: putting it back needs no space and loses nothing.
            os.link(self.path, self._old, follow_symlinks=False)

    def put(self) -> None:
        if self._replace:
            self._put = True
            os.replace(self._new, self.path)
        else:
            os.link(self._new, self.path)

    def settle(self) -> None:
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def undo(self) -> None:
        with contextlib.suppress(OSError):
            if self._existed:
                os.replace(self._old, self.path)
            elif self._put or os.path.samefile(self._new, self.path):
                os.unlink(self.path)

    def discard(self) -> None:
        for path in (self._new, self._old):
            with contextlib.suppress(OSError):
                os.unlink(path)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the operating system says into one line that names the file."""
    try:
        yield
    except FileExistsError:
        raise PkiError(f"{path}: is there already and is kept; choose another name") from None
    except ValueError:
        # A NUL in it, or a character that file names of this locale cannot have.
        raise PkiError(f"{printable(str(path))}: no file can have this name; choose another") from None
    except OSError as error:
        remedy = _REMEDIES.get(type(error).__name__, "nothing was changed")
        raise PkiError(f"{path}: {error.strerror or 'input/output error'}; {remedy}") from None


@contextlib.contextmanager
def about(path: Path) -> Iterator[None]:
    """Say in an error which file its content is in."""
    try:
        yield
    except PasswordNeeded as error:
        raise PasswordNeeded(f"{path}: {error}") from None
    except PkiError as error:
        raise PkiError(f"{path}: {error}") from None
