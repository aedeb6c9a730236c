"""How a transaction changes files: each change is noted in a journal that can undo it, before it is made."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from gateway.setup.errors import SetupError
from gateway.setup.host.journal import Journal
from gateway.setup.host.ours import temporary
from gateway.setup.host.plan import PlannedFile, PlannedLink
from gateway.setup.host.system import System

__all__ = ["Writer"]

_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS})


class Writer:
    """Makes files, links and directories, and notes how to undo it.

    Whatever is undone may or may not have been done: so each undoing looks at what is there, and touches
    only what it knows again by its inode.
    """

    def __init__(self, system: System, journal: Journal) -> None:
        self._system, self._tree, self._journal = system, system.tree, journal
        self._root = system.account("root", "root")

    def remember_times(self, directories: Iterable[PurePosixPath]) -> None:
        """Have the times of these directories as they are once everything is undone."""
        for directory in dict.fromkeys(self._tree.resolve(directory) for directory in directories):
            found = self._tree.stat(directory)
            if found is not None and stat.S_ISDIR(found.st_mode):
                times = found.st_atime_ns, found.st_mtime_ns

                def restore(directory: PurePosixPath = directory, times: tuple[int, int] = times) -> None:
                    # In somebody else's directory we may have written; its time is no loss.
                    with contextlib.suppress(PermissionError):
                        now = self._tree.stat(directory)
                        # Where nothing was written, perhaps nothing can be: the disk may be read-only.
                        if now is not None and now.st_mtime_ns != times[1]:
                            self._tree.set_times(directory, times)

                self._journal.note(str(directory), restore)

    def make_directory(self, place: PurePosixPath) -> None:
        """Make a directory of root's that all may read."""

        def undo() -> None:
            if self._tree.stat(place) is not None:
                self._tree.remove_directory(place)

        self._journal.note(str(place), undo)
        uid, gid = self._root
        self._tree.make_directory(place, uid=uid, gid=gid, mode=0o755)

    def stage(self, file: PlannedFile) -> PurePosixPath:
        """Write the content of a file beside it, and return where."""
        staged = self._temporary(file.place)
        uid, gid = self._system.account(file.user, file.group)
        self._tree.create(staged, file.content, uid=uid, gid=gid, mode=file.mode)
        return staged

    def replace(self, file: PlannedFile, staged: PurePosixPath, backup: PurePosixPath | None) -> None:
        """Put what was staged in the place of the file.

        :param backup: the name of what is there now, if anything is.
        """
        self._swap(file.place, staged, backup)
        kept = self._tree.stat(backup) if backup is not None else None
        if backup is None or kept is None or not stat.S_ISREG(kept.st_mode):
            return
        mode = stat.S_IMODE(kept.st_mode)
        if file.mode & 0o077 == 0 and mode & 0o077:
            # What is private from now on was open to others: what stays of it is not.
            self._set_access(backup, kept, kept.st_uid, kept.st_gid, mode & 0o700)

    def give(self, file: PlannedFile) -> None:
        """Have the right owner and mode for a file whose content is right."""
        found = self._tree.stat(file.place)
        if found is None:
            raise SetupError(f"{file.place} went away meanwhile; try again")
        self._set_access(file.place, found, *self._system.account(file.user, file.group), file.mode)

    def link(self, link: PlannedLink, backup: PurePosixPath | None) -> None:
        """Make a link; what is there now is ``backup`` then, or goes if it is a link as well."""
        found, target = self._tree.stat(link.place), self._tree.target(link.place)
        staged = self._temporary(link.place)
        uid, gid = self._root
        self._tree.symlink(staged, link.target, uid=uid, gid=gid)
        if found is None or target is None:
            self._swap(link.place, staged, backup)
            return

        def undo() -> None:
            if not _same(self._tree.stat(link.place), found):
                former = self._temporary(link.place)
                self._copy_link(former, target, found)
                self._tree.rename(former, link.place)

        self._journal.note(str(link.place), undo)
        self._tree.rename(staged, link.place)

    def _temporary(self, place: PurePosixPath) -> PurePosixPath:
        """Return a name that nothing has, for something that is gone once everything is undone."""
        name = temporary(place)

        def undo() -> None:
            if self._tree.stat(name) is not None:
                self._tree.remove(name)

        self._journal.note(str(name), undo)
        return name

    def _swap(self, place: PurePosixPath, new: PurePosixPath, backup: PurePosixPath | None) -> None:
        """Give ``new`` the name ``place``; what had it before is ``backup`` then."""
        before, staged = self._tree.stat(place), self._tree.stat(new)
        if before is not None and backup is None:
            raise SetupError(f"{place} appeared meanwhile; try again")
        copied: list[PurePosixPath] = []

        def undo() -> None:
            now = self._tree.stat(place)
            if before is None or backup is None:
                if _same(now, staged):
                    self._tree.remove(place)
                return
            kept = self._tree.stat(backup)
            if kept is None or not (_same(kept, before) or copied):
                return  # The backup was never made, so nothing was replaced.
            if _same(now, before):
                self._tree.remove(backup)
            else:
                self._tree.rename(backup, place)

        self._journal.note(str(place), undo)
        if before is not None and backup is not None:
            self._keep(place, before, backup, copied)
        self._tree.rename(new, place)

    def _keep(
        self, place: PurePosixPath, found: os.stat_result, backup: PurePosixPath, copied: list[PurePosixPath]
    ) -> None:
        """Have a file, or a link, under a second name: the same one, where files can have two names."""
        try:
            self._tree.hard_link(place, backup)
            return
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
        target = self._tree.target(place)
        content = b"" if target is not None else self._system.read(place)
        copied.append(backup)
        if target is not None:
            self._copy_link(backup, target, found)
        elif content is not None:
            mode = stat.S_IMODE(found.st_mode)
            self._tree.create(backup, content, uid=found.st_uid, gid=found.st_gid, mode=mode)
            self._tree.set_times(backup, (found.st_atime_ns, found.st_mtime_ns))

    def _copy_link(self, place: PurePosixPath, target: str, found: os.stat_result) -> None:
        self._tree.symlink(place, target, uid=found.st_uid, gid=found.st_gid)
        self._tree.set_times(place, (found.st_atime_ns, found.st_mtime_ns))

    def _set_access(self, place: PurePosixPath, found: os.stat_result, uid: int, gid: int, mode: int) -> None:
        def undo() -> None:
            before = stat.S_IMODE(found.st_mode)
            self._tree.set_access(place, uid=found.st_uid, gid=found.st_gid, mode=before)

        self._journal.note(str(place), undo)
        self._tree.set_access(place, uid=uid, gid=gid, mode=mode)


def _same(one: os.stat_result | None, other: os.stat_result | None) -> bool:
    """Return whether both are the same file, and there."""
    return one is not None and other is not None and os.path.samestat(one, other)
