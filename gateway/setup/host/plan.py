"""What setup is going to change on a host, before it does."""

from __future__ import annotations

import enum
import grp
import pwd
import stat
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

import attrs

from gateway.pki.errors import printable
from gateway.setup.errors import SetupError
from gateway.setup.host.ours import is_ours
from gateway.setup.host.system import System

__all__ = ["Change", "ChangeKind", "Plan", "PlannedFile", "PlannedLink", "Step"]

_LARGEST: Final = 1024 * 1024


def _place_of_ours(_: object, __: object, place: PurePosixPath) -> None:
    if not is_ours(place):
        raise ValueError(f"{place} is no place of setup's, so cleanup would never remove it")


@attrs.frozen
class PlannedFile:
    """A file as it is to be; parents that are missing are made.

    :ivar place: one of setup's (:mod:`gateway.setup.host.ours`).
    :ivar content: never shown.
    :ivar file_group: what cleanup removes it with: ``core``, or ``ca_pki_wsp`` for keys and certificates.
    """

    place: PurePosixPath = attrs.field(validator=_place_of_ours)
    content: bytes = attrs.field(repr=False)
    user: str = "root"
    group: str = "root"
    mode: int = 0o644
    file_group: str = attrs.field(default="core", validator=attrs.validators.in_(("core", "ca_pki_wsp")))


@attrs.frozen
class PlannedLink:
    """A symbolic link as it is to be."""

    place: PurePosixPath = attrs.field(validator=_place_of_ours)
    target: str = attrs.field(converter=str)


class Step(ABC):
    """Something that is done to a host beside writing files.

    :ivar description: what is done, as a line for whoever waits ("Starting the service").
    """

    description: str

    def prepare(self, system: System) -> Mapping[str, str]:
        """Look at the host, change nothing.

        :return: what cleanup has to know to undo the step; the names are words with dots.
        """
        return {}

    @abstractmethod
    def apply(self, system: System) -> None:
        """Do it; an exception undoes everything that was done so far."""

    @abstractmethod
    def revert(self, system: System) -> None:
        """Undo :meth:`apply`, also if that failed halfway."""

    def settle(self, system: System) -> None:  # noqa: B027 - most steps have nothing to settle
        """Finish :meth:`revert`, once all files are as they were."""


class ChangeKind(enum.Enum):
    """What becomes of a file."""

    NEW = "new"
    CHANGED = "changed"
    ACCESS = "mode or owner"
    UNCHANGED = "unchanged"


@attrs.frozen
class Change:
    """What becomes of one file or link.

    :ivar detail: what :attr:`kind` leaves open ("0644 root:root -> 0600 ovirt:ovirt"), or nothing.
    """

    place: PurePosixPath
    kind: ChangeKind
    detail: str = ""


@attrs.frozen
class Plan:
    """Everything that one setup does, in this order: ``before``, files, links, ``after``.

    :ivar traces: files that setup itself writes outside the transaction, such as its log; cleanup removes
        them.
    :ivar directories: directories that setup made before, for those; cleanup removes them once empty.
    """

    files: tuple[PlannedFile, ...] = ()
    links: tuple[PlannedLink, ...] = ()
    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    traces: tuple[PurePosixPath, ...] = ()
    directories: tuple[PurePosixPath, ...] = ()

    def __attrs_post_init__(self) -> None:
        places = [file.place for file in self.files] + [link.place for link in self.links]
        if len(set(places)) != len(places):
            raise ValueError("a plan writes one place twice")
        for trace in self.traces:
            _place_of_ours(self, None, trace)

    def changes(self, system: System) -> tuple[Change, ...]:
        """Return what becomes of each file and link; nothing is changed.

        :raise SetupError: something is in the way, cannot be read, or an account is missing.
        """
        return tuple(
            [_file_change(system, file) for file in self.files]
            + [_link_change(system, link) for link in self.links]
        )


def _file_change(system: System, file: PlannedFile) -> Change:
    uid, gid = system.account(file.user, file.group)
    try:
        found = system.tree.stat(file.place)
        if found is None:
            return Change(file.place, ChangeKind.NEW)
        if stat.S_ISLNK(found.st_mode):
            return Change(file.place, ChangeKind.CHANGED, "a link becomes a file")
        if not stat.S_ISREG(found.st_mode):
            raise SetupError(f"{file.place} is not a regular file; move it out of the way")
        if found.st_size > _LARGEST or system.tree.read(file.place, _LARGEST) != file.content:
            return Change(file.place, ChangeKind.CHANGED)
    except OSError as error:
        raise SetupError(f"cannot read {file.place}: {error.strerror}") from None
    mode = stat.S_IMODE(found.st_mode)
    if (found.st_uid, found.st_gid, mode) == (uid, gid, file.mode):
        return Change(file.place, ChangeKind.UNCHANGED)
    was = f"{mode:04o} {_owner(system, found.st_uid, found.st_gid)}"
    return Change(file.place, ChangeKind.ACCESS, f"{was} -> {file.mode:04o} {_owner(system, uid, gid)}")


def _link_change(system: System, link: PlannedLink) -> Change:
    try:
        found = system.tree.stat(link.place)
        if found is None:
            return Change(link.place, ChangeKind.NEW, f"-> {link.target}")
        if stat.S_ISDIR(found.st_mode):
            raise SetupError(f"{link.place} is a directory; move it out of the way")
        target = system.tree.target(link.place)
    except OSError as error:
        raise SetupError(f"cannot read {link.place}: {error.strerror}") from None
    if target == link.target:
        return Change(link.place, ChangeKind.UNCHANGED)
    was = f"was -> {printable(target)}" if target else "was a file"
    return Change(link.place, ChangeKind.CHANGED, f"-> {link.target} ({was})")


def _owner(system: System, uid: int, gid: int) -> str:
    """Return a file's owner and group as they are shown: by name where the host has one."""
    return f"{_name(system, 'passwd', uid)}:{_name(system, 'group', gid)}"


def _name(system: System, kind: str, number: int) -> str:
    if number == 0:
        return "root"
    if system.live:
        try:
            return printable(
                pwd.getpwuid(number).pw_name if kind == "passwd" else grp.getgrgid(number).gr_name
            )
        except KeyError:
            return str(number)
    try:
        table = system.read(PurePosixPath("/etc", kind)) or b""
    except SetupError:
        # A name is a comfort, not more.
        return str(number)
    for line in table.decode("utf-8", "replace").splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[0] and fields[2] == str(number):
            return printable(fields[0])
    return str(number)
