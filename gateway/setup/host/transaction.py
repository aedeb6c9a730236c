"""One transaction: everything that a plan says is done, or nothing.

First all new content is written beside the files that it is for, where a full disk or a read-only one shows
before anything is touched.  Then the service stops, the new files take the names of the old ones, which stay
as backups, and the service starts; or it goes on, and reloads them.  Whatever fails, and an interrupt at any
point, undoes it all: content, owners, modes, times, links, directories and services.  Files are never open to
others while they are written.
"""

from __future__ import annotations

import functools
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Final

import attrs

from gateway.setup import places
from gateway.setup.errors import Cancelled, SetupError
from gateway.setup.host.interrupts import Interrupts
from gateway.setup.host.journal import Journal, why
from gateway.setup.host.plan import Change, ChangeKind, Plan, PlannedFile, PlannedLink, Step
from gateway.setup.host.record import Record, RecordedFile, RecordedLink, digest_of
from gateway.setup.host.system import System
from gateway.setup.host.writer import Writer

__all__ = ["Change", "ChangeKind", "Outcome", "Plan", "PlannedFile", "PlannedLink", "Step", "carry_out"]

_STAMP: Final = re.compile(r"\d{14}", re.ASCII)
_NAMES: Final = 1000


@attrs.frozen
class Outcome:
    """What a transaction did.

    :ivar changes: what became of each file and link of the plan.
    :ivar backups: where what was replaced is now.
    :ivar directories: those that were made.
    :ivar record: what cleanup will read; ``None`` if nothing had to be done.
    """

    changes: tuple[Change, ...]
    backups: tuple[PurePosixPath, ...] = ()
    directories: tuple[PurePosixPath, ...] = ()
    record: PurePosixPath | None = None


def carry_out(
    system: System, plan: Plan, *, stamp: str, progress: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Do what a plan says, all of it or nothing.

    :param stamp: ``YYYYMMDDhhmmss``, for the names of backups and of the record.
    :param progress: told in a line what is being done.
    :raise SetupError: something failed, and everything is as it was; or the message says what is not.
    :raise Cancelled: the same, after an interrupt.
    """
    if not _STAMP.fullmatch(stamp):
        raise ValueError("a stamp has fourteen digits")
    with Interrupts() as interrupts:
        transaction = _Transaction(system, plan, stamp, progress)
        try:
            with system.checking(interrupts.check):
                return transaction.run(interrupts.check)
        except BaseException as error:
            left = transaction.roll_back()
            raise _told(error, transaction.doing, left) from None


def _told(error: BaseException, doing: str, left: list[str]) -> BaseException:
    """Return what to raise for what happened: a line that says what is as it was, and what is not."""
    end = f"could not be put back: {'; '.join(left)}" if left else "everything is as it was before"
    if isinstance(error, KeyboardInterrupt):
        return Cancelled(f"interrupted; {end}")
    if isinstance(error, SetupError):
        return (Cancelled if isinstance(error, Cancelled) else SetupError)(f"{error}; {end}")
    if isinstance(error, OSError):
        return SetupError(f"cannot {doing}: {why(error)}; {end}")
    error.add_note(end)
    return error


@attrs.frozen
class _Work:
    """What a transaction has to do.

    :ivar given: files that only get another owner or mode.
    :ivar written: where new names appear.
    :ivar content: of the record.
    """

    files: tuple[PlannedFile, ...] = ()
    links: tuple[PlannedLink, ...] = ()
    given: tuple[PlannedFile, ...] = ()
    written: tuple[PurePosixPath, ...] = ()
    directories: tuple[PurePosixPath, ...] = ()
    backups: Mapping[PurePosixPath, PurePosixPath] = attrs.field(factory=dict)
    record: PurePosixPath | None = None
    content: bytes = b""


class _Transaction:
    def __init__(self, system: System, plan: Plan, stamp: str, progress: Callable[[str], None]) -> None:
        self._system, self._tree, self._plan, self._stamp = system, system.tree, plan, stamp
        self._progress = progress
        self._journal = Journal()
        self._writer = Writer(system, self._journal)
        self._applied: list[Step] = []
        self.doing = "look at what is there"

    def run(self, check: Callable[[], None]) -> Outcome:
        plan = self._plan
        facts: dict[str, str] = {}
        for step in (*plan.before, *plan.after):
            check()
            facts.update(step.prepare(self._system))
        changes = plan.changes(self._system)
        work = self._work(changes, facts)
        staged = self._stage(check, work) if work.record is not None else []
        self._apply(check, plan.before)
        for file, temporary in staged:
            self._begin(check, f"write {file.place}")
            self._writer.replace(file, temporary, work.backups.get(file.place))
        for file in work.given:
            self._begin(
                check, f"set the owner and mode of {file.place}", f"Setting owner and mode of {file.place}"
            )
            self._writer.give(file)
        for link in work.links:
            self._begin(check, f"make the link {link.place}", f"Making the link {link.place}")
            self._writer.link(link, work.backups.get(link.place))
        for directory in dict.fromkeys(place.parent for place in (*work.directories, *work.written)):
            self._begin(check, f"write {directory}")
            self._tree.sync(directory / "name")
        self._apply(check, plan.after)
        check()
        return Outcome(changes, tuple(work.backups.values()), work.directories, work.record)

    def roll_back(self) -> list[str]:
        """Undo what was done.

        :return: what could not be undone, and why.
        """
        left = self._journal.roll_back()
        for step in reversed(self._applied):
            try:
                step.settle(self._system)
            except (Exception, KeyboardInterrupt) as error:
                left.append(f"{step.description} ({why(error)})")
        return left

    def _begin(self, check: Callable[[], None], doing: str, told: str = "") -> None:
        check()
        self.doing = doing
        if told:
            self._progress(told)

    def _apply(self, check: Callable[[], None], steps: tuple[Step, ...]) -> None:
        for step in steps:
            check()
            self.doing = f"go on with {step.description!r}"
            self._progress(step.description)
            self._applied.append(step)
            self._journal.note(step.description, functools.partial(step.revert, self._system))
            step.apply(self._system)

    def _stage(self, check: Callable[[], None], work: _Work) -> list[tuple[PlannedFile, PurePosixPath]]:
        """Write everything new, under names of its own.

        The record comes first, here and when the names change: it must be there if the power fails.
        """
        assert work.record is not None
        self._writer.remember_times(place.parent for place in (*work.directories, *work.written))
        for directory in work.directories:
            self._begin(check, f"make the directory {directory}")
            self._writer.make_directory(directory)
        staged = []
        for file in (PlannedFile(work.record, work.content), *work.files):
            self._begin(check, f"write {file.place}", f"Writing {file.place}")
            staged.append((file, self._writer.stage(file)))
        return staged

    def _work(self, changes: tuple[Change, ...], facts: Mapping[str, str]) -> _Work:
        """Return what there is to do, and the record of it."""
        kinds = {change.place: change.kind for change in changes}
        new = (ChangeKind.NEW, ChangeKind.CHANGED)
        files = tuple(file for file in self._plan.files if kinds[file.place] in new)
        links = tuple(link for link in self._plan.links if kinds[link.place] in new)
        place = self._free(places.RECORDS / self._stamp, "-uninstall.conf")
        written = (place, *(file.place for file in files), *(link.place for link in links))
        directories = self._missing(written)
        backups = self._backups(written)
        record = Record(
            files=tuple(RecordedFile(f.place, f.file_group, digest_of(f.content)) for f in files),
            links=tuple(RecordedLink(n.place, n.target, self._former(n.place)) for n in links),
            directories=tuple(dict.fromkeys((*self._plan.directories, *directories))),
            traces=self._plan.traces,
            backups=tuple(backups.values()),
            facts=facts,
        )
        given = tuple(file for file in self._plan.files if kinds[file.place] is ChangeKind.ACCESS)
        if not (files or links or self._plan.traces or self._plan.directories or facts):
            return _Work(given=given)
        return _Work(files, links, given, written, directories, backups, place, record.render())

    def _backups(self, changing: tuple[PurePosixPath, ...]) -> dict[PurePosixPath, PurePosixPath]:
        """Return names for what is replaced.  A link that another replaces needs none: the record tells."""
        linked = {link.place for link in self._plan.links}
        found = {}
        for place in changing:
            there = self._tree.stat(place)
            if there is not None and not (place in linked and stat.S_ISLNK(there.st_mode)):
                found[place] = self._free(place.with_name(f"{place.name}.{self._stamp}"), "")
        return found

    def _former(self, place: PurePosixPath) -> str:
        target = self._tree.target(place) or ""
        return target if target.isprintable() else ""

    def _missing(self, written: tuple[PurePosixPath, ...]) -> tuple[PurePosixPath, ...]:
        """Return the directories that have to be made, outermost first."""
        missing: dict[PurePosixPath, None] = {}
        for place in written:
            for parent in [*place.parents][-2::-1]:
                if self._tree.stat(parent) is None:
                    missing[parent] = None
        return tuple(missing)

    def _free(self, start: PurePosixPath, end: str) -> PurePosixPath:
        """Return a name that nothing has: nothing that is there is ever overwritten."""
        for number in range(_NAMES):
            place = start.with_name(f"{start.name}{f'.{number}' if number else ''}{end}")
            if self._tree.stat(place) is None:
                return place
        raise SetupError(f"there are {_NAMES} backups like {start}; remove some")
