"""The host that is set up: its files below a root directory, its accounts, its commands."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from gateway.setup.errors import SetupError
from gateway.setup.host.commands import run_command
from gateway.setup.host.tree import Tree

__all__ = ["System"]

_FILE: Final = 1024 * 1024
"""Bytes of a file that setup reads."""
_ACCOUNTS: Final = 4 * 1024 * 1024
_IDS: Final = range(2**32 - 1)
"""The last number of 32 bits means "as it is" where owners are set."""
_PROGRAMS: Final = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")


class System:
    """A host, or the root directory of one.

    :ivar root: its root directory.
    :ivar live: whether it is the one that runs now, whose commands may be run.
    :ivar owners: whether files get the owners that they should have.
    :ivar tree: its files, without ever leaving ``root``.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        live: bool | None = None,
        owners: bool = True,
        tree: Tree | None = None,
    ) -> None:
        """
        :param live: unless given, whether ``root`` is the root directory of this process.
        :param owners: ``False`` leaves all files to whoever runs this, who then need not be root.
        """
        self.root = root
        self.live = root.resolve() == Path("/") if live is None else live
        self.owners = owners
        self.tree = Tree(root) if tree is None else tree
        self._check: Callable[[], None] = lambda: None

    def locate(self, place: PurePosixPath) -> Path:
        """Return where ``place`` is for this process, with the links on the way, and the last, followed.

        Whatever the links say, it is below the root directory; it need not exist.

        :raise SetupError: ``place`` is no absolute path, or leads through links in a circle, or through one
            that neither root nor whoever runs this owns.
        """
        resolved = self.tree.resolve(place)
        return self.tree.root.joinpath(*resolved.parts[1:])

    def read(self, place: PurePosixPath) -> bytes | None:
        """Return the content of a file of at most 1 MiB; ``None`` if it is not there.

        :raise SetupError: it cannot be read.
        """
        return self._read(place, _FILE)

    def account(self, user: str, group: str) -> tuple[int, int]:
        """Return the numbers of a user and a group of that host.

        :raise SetupError: there is no such user or group; it says how to make it.
        """
        if not self.owners:
            return os.geteuid(), os.getegid()
        uid = self._number("passwd", user)
        gid = self._number("group", group)
        where = [] if self.live else ["--root", str(self.root)]
        if uid is None:
            extra = ["--user-group"] if gid is None and group == user else ["--gid", group]
            options = ["--system", "--no-create-home", "--shell", "/sbin/nologin", *extra]
            make = " ".join(["useradd", *where, *options, user])
            raise SetupError(f"there is no user {user!r}; make it with: {make}")
        if gid is None:
            make = " ".join(["groupadd", *where, "--system", group])
            raise SetupError(f"there is no group {group!r}; make it with: {make}")
        return uid, gid

    def has(self, program: str) -> bool:
        """Return whether a program is installed."""
        if self.live:
            return shutil.which(program) is not None
        return any(os.path.lexists(self.locate(PurePosixPath(folder, program))) for folder in _PROGRAMS)

    def run(self, command: Sequence[str], *, timeout: float = 60, data: bytes = b"") -> str:
        """Run a command and return what it printed.

        :param timeout: seconds it may take.
        :param data: what it reads from its standard input.
        :raise SetupError: it could not be run, failed, or took too long.
        """
        if not self.live:
            raise SetupError(f"{command[0]} is not run for {self.root}: only the running host has commands")
        return run_command(command, timeout=timeout, data=data, check=self._check)

    @contextlib.contextmanager
    def checking(self, check: Callable[[], None]) -> Iterator[None]:
        """Have ``check`` called now and then while commands run; what it raises ends them."""
        before, self._check = self._check, check
        try:
            yield
        finally:
            self._check = before

    def make_directories(self, place: PurePosixPath) -> tuple[PurePosixPath, ...]:
        """Make the missing ones of the directories that lead to ``place``: 0755, root's.

        :return: those that were made, outermost first.
        :raise SetupError: one cannot be made.
        """
        uid, gid = self.account("root", "root")
        made = []
        for parent in [*place.parents][-2::-1]:
            try:
                if self.tree.stat(parent) is None:
                    self.tree.make_directory(parent, uid=uid, gid=gid, mode=0o755)
                    made.append(parent)
            except OSError as error:
                raise SetupError(f"cannot make the directory {parent}: {error.strerror}") from None
        return tuple(made)

    def _number(self, kind: str, name: str) -> int | None:
        if name == "root":
            return 0
        if self.live:
            try:
                return pwd.getpwnam(name).pw_uid if kind == "passwd" else grp.getgrnam(name).gr_gid
            except KeyError:
                return None
        table = self._read(PurePosixPath("/etc", kind), _ACCOUNTS) or b""
        for line in table.decode("utf-8", "replace").splitlines():
            fields = line.split(":")
            if len(fields) > 2 and fields[0] == name and fields[2].isdecimal() and len(fields[2]) <= 10:
                return int(fields[2]) if int(fields[2]) in _IDS else None
        return None

    def _read(self, place: PurePosixPath, limit: int) -> bytes | None:
        try:
            return self.tree.read(place, limit)
        except OSError as error:
            raise SetupError(f"cannot read {place}: {error.strerror}") from None
