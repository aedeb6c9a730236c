"""What cleanup removes, and how: one thing after the other, and a record of what is left if it cannot go."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final

import attrs

from gateway.setup import places
from gateway.setup.errors import Cancelled, SetupError
from gateway.setup.host import firewall, service
from gateway.setup.host.interrupts import Interrupts
from gateway.setup.host.journal import why
from gateway.setup.host.made_ca import MadeCa
from gateway.setup.host.ours import temporary
from gateway.setup.host.record import Record, RecordedFile, RecordedLink
from gateway.setup.host.system import System

__all__ = ["Left", "Removal", "emptied", "is_changed", "remove"]

_NOT_EMPTY: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})
_ENTRIES: Final = 10_000
_LARGEST: Final = 1024 * 1024
"""Bytes; what setup writes is smaller."""


@attrs.frozen
class Removal:
    """What is to go.

    :ivar authorities: CAs that setup made, and that nobody else has used.
    :ivar service: whether the gateway itself goes, so that its service has to stop.
    :ivar remains: what stays, for the next cleanup.
    :ivar records: files to remove at the end, since ``remains`` replaces them.
    """

    files: tuple[RecordedFile, ...] = ()
    links: tuple[RecordedLink, ...] = ()
    traces: tuple[PurePosixPath, ...] = ()
    directories: tuple[PurePosixPath, ...] = ()
    authorities: tuple[MadeCa, ...] = ()
    records: tuple[PurePosixPath, ...] = ()
    zones: tuple[str, ...] = ()
    service: bool = False
    remains: Record = attrs.field(factory=Record)

    @property
    def firewalld(self) -> bool:
        """Whether firewalld has to forget the service."""
        return bool(self.zones) or places.FIREWALLD_SERVICE in {file.place for file in self.files}

    @property
    def places(self) -> tuple[PurePosixPath, ...]:
        """Files, links and traces, in the order in which they go."""
        return (*(link.place for link in self.links), *(file.place for file in self.files), *self.traces)


@attrs.frozen
class Left:
    """What a removal left.

    :ivar directories: those that setup made and that hold something now.
    :ivar unsettled: what did not follow the files, and why: systemd or the firewall.
    """

    directories: tuple[PurePosixPath, ...]
    unsettled: tuple[str, ...]


def is_changed(system: System, found: RecordedFile | RecordedLink) -> bool:
    """Return whether what setup wrote is something else now; what is gone has not changed.

    :raise SetupError: it cannot be read.
    """
    try:
        status = system.tree.stat(found.place)
        if status is None:
            return False
        if isinstance(found, RecordedLink):
            return system.tree.target(found.place) != found.target
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            return True
    except OSError as error:
        raise SetupError(f"cannot read {found.place}: {error.strerror}") from None
    content = system.read(found.place)
    return content is not None and not found.wrote(content)


def emptied(system: System, removal: Removal) -> tuple[PurePosixPath, ...]:
    """Return which of the directories will be empty, and go."""
    going = {*removal.places, *(removal.records if removal.remains.empty else ())}
    found = []
    for directory in sorted(removal.directories, key=lambda place: -len(place.parts)):
        try:
            names = system.tree.names(directory, _ENTRIES)
        except (OSError, SetupError):
            continue
        if all(directory / name in going for name in names):
            going.add(directory)
            found.append(directory)
    return tuple(found)


def remove(system: System, removal: Removal, *, stamp: str, progress: Callable[[str], None]) -> Left:
    """Remove it.

    :param stamp: for the name of the record of what remains.
    :raise SetupError: something would not go; the message says what, and the records are still there.
    :raise Cancelled: the same, after an interrupt.
    """
    with Interrupts() as interrupts, system.checking(interrupts.check):
        try:
            return _Remover(system, removal, stamp, progress, interrupts.check).run()
        except OSError as error:
            raise SetupError(f"cannot finish: {why(error)}; run cleanup again") from None


class _Remover:
    def __init__(
        self,
        system: System,
        removal: Removal,
        stamp: str,
        progress: Callable[[str], None],
        check: Callable[[], None],
    ) -> None:
        self._system, self._tree, self._removal, self._stamp = system, system.tree, removal, stamp
        self._progress, self._check = progress, check
        self._kept: list[PurePosixPath] = []
        self._unsettled: list[str] = []

    def run(self) -> Left:
        systemd = self._removal.service and service.has_systemd(self._system)
        firewalld = self._removal.firewalld and firewall.runs(self._system)
        try:
            self._prepare(systemd=systemd, firewalld=firewalld)
        except SetupError as error:
            kind = Cancelled if isinstance(error, Cancelled) else SetupError
            raise kind(f"{error}; no file was removed; run cleanup again") from None
        self._remove_files()
        self._remove_authorities()
        on_the_way = {*places.RECORDS.parents, places.RECORDS}
        self._remove_directories(on_the_way, later=False)
        self._replace_records()
        # From here on nothing is recorded any more, so that what fails is only told.
        self._remove_directories(on_the_way, later=True)
        for name, wanted, reload in (
            ("systemd", systemd, service.reload_units),
            ("firewalld", firewalld, firewall.reload),
        ):
            try:
                if wanted:
                    reload(self._system)
            except SetupError as error:
                self._unsettled.append(f"{name} still goes by the files that are gone: {error}")
        return Left(tuple(sorted(self._kept)), tuple(self._unsettled))

    def _prepare(self, *, systemd: bool, firewalld: bool) -> None:
        """Do what can be refused, while all files are there."""
        if systemd:
            self._progress("Stopping the service")
            service.stop_service(self._system)
        if firewalld:
            self._progress("Closing the port in firewalld")
            firewall.withdraw(self._system, self._removal.zones)

    def _remove_files(self) -> None:
        failed: dict[PurePosixPath, str] = {}
        waiting = list(self._removal.places)
        while waiting:
            try:
                self._check()
            except Cancelled as interrupted:
                left = ", ".join(map(str, [*failed, *waiting]))
                raise Cancelled(f"{interrupted}; still there: {left}; run cleanup again") from None
            place = waiting.pop(0)
            try:
                if self._tree.stat(place) is not None:
                    self._progress(f"Removing {place}")
                    self._tree.remove(place)
            except (OSError, SetupError) as error:
                failed[place] = why(error)
        if failed:
            left = "; ".join(f"{place} ({reason})" for place, reason in failed.items())
            raise SetupError(f"could not remove {left}; all else is gone; run cleanup again")

    def _remove_authorities(self) -> None:
        for made in self._removal.authorities:
            self._progress(f"Removing the CA in {made.place}")
            try:
                made.remove(self._system)
            except SetupError as error:
                raise SetupError(f"{error}; all other files are gone; run cleanup again") from None

    def _replace_records(self) -> None:
        """Have one record of what remains instead of those that there were."""
        remains = self._removal.remains
        if not remains.empty:
            there = tuple(place for place in remains.directories if self._tree.stat(place) is not None)
            remains = attrs.evolve(remains, directories=there)
            uid, gid = self._system.account("root", "root")
            place = self._free_record()
            staged = temporary(place)
            try:
                self._tree.create(staged, remains.render(), uid=uid, gid=gid, mode=0o644)
                self._tree.rename(staged, place)
                self._tree.sync(place)
            except OSError as error:
                if self._tree.stat(staged) is not None:
                    self._tree.remove(staged)
                raise SetupError(f"cannot write {place}: {why(error)}; run cleanup again") from None
        for record in self._removal.records:
            self._tree.remove(record)

    def _remove_directories(self, on_the_way: set[PurePosixPath], *, later: bool) -> None:
        """Remove what is empty, the innermost first; ``later`` those that lead to the records."""
        for directory in sorted(self._removal.directories, key=lambda place: -len(place.parts)):
            if (directory in on_the_way) is not later:
                continue
            try:
                if self._tree.stat(directory) is not None:
                    self._tree.remove_directory(directory)
            except OSError as error:
                if error.errno in _NOT_EMPTY:
                    self._kept.append(directory)
                elif later:
                    self._unsettled.append(f"the directory {directory} could not be removed: {why(error)}")
                else:
                    raise SetupError(
                        f"could not remove the directory {directory} ({why(error)}); run cleanup again"
                    ) from None

    def _free_record(self) -> PurePosixPath:
        for number in range(1000):
            name = f"{self._stamp}{f'.{number}' if number else ''}-uninstall.conf"
            if self._tree.stat(places.RECORDS / name) is None:
                return places.RECORDS / name
        raise SetupError(f"there are too many files in {places.RECORDS}; remove some")
