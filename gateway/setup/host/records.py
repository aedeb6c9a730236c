"""All records of a host, and what they come to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

import attrs

from gateway.setup import places
from gateway.setup.errors import SetupError
from gateway.setup.host.ours import OUR_DIRECTORIES, is_our_temporary
from gateway.setup.host.record import Record, RecordedFile, RecordedLink, parse_record
from gateway.setup.host.system import System

__all__ = ["leftovers", "merge_records", "read_records"]

_RECORDS: Final = 1000
_NAMES: Final = 100_000
_RECORD_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}\.conf", re.ASCII)


def read_records(system: System) -> dict[PurePosixPath, Record]:
    """Read all records of a host, the oldest first.

    :raise SetupError: one cannot be read.
    """
    try:
        names = system.tree.names(places.RECORDS, _RECORDS)
    except OSError as error:
        raise SetupError(f"cannot read {places.RECORDS}: {error.strerror}") from None
    found = {}
    for name in names:
        place = places.RECORDS / name
        data = system.read(place) if _RECORD_NAME.fullmatch(name) else None
        if data is not None:
            found[place] = parse_record(data, str(place))
    return found


def leftovers(system: System) -> tuple[PurePosixPath, ...]:
    """Return what a setup wrote that was ended by force, and had no time to name or undo it."""
    found = []
    for directory in sorted(OUR_DIRECTORIES):
        try:
            names = system.tree.names(directory, _NAMES)
        except OSError as error:
            raise SetupError(f"cannot read {directory}: {error.strerror}") from None
        found += [directory / name for name in names if is_our_temporary(directory / name)]
    return tuple(found)


def merge_records(records: Iterable[Record]) -> Record:
    """Return what several setups wrote, given the oldest first: of each file, what the last one wrote."""
    files: dict[PurePosixPath, RecordedFile] = {}
    links: dict[PurePosixPath, RecordedLink] = {}
    facts: dict[str, str] = {}
    groups: dict[str, str] = {}
    whole = Record()
    for record in records:
        files.update({file.place: file for file in record.files})
        for link in record.links:
            former = links[link.place].former if link.place in links else link.former
            links[link.place] = attrs.evolve(link, former=former)
        for name, value in record.facts.items():
            # Lists of words grow: what each of the setups did is to be undone.
            words = dict.fromkeys([*facts.get(name, "").split(), *value.split()])
            facts[name] = " ".join(words)
        groups.update(record.groups)
        whole = attrs.evolve(
            whole,
            directories=_joined(whole.directories, record.directories),
            traces=_joined(whole.traces, record.traces),
            backups=_joined(whole.backups, record.backups),
            foreign=tuple(dict.fromkeys(whole.foreign + record.foreign)),
            foreign_lines=whole.foreign_lines + record.foreign_lines,
        )
    return attrs.evolve(
        whole, files=tuple(files.values()), links=tuple(links.values()), facts=facts, groups=groups
    )


def _joined(one: tuple[PurePosixPath, ...], other: tuple[PurePosixPath, ...]) -> tuple[PurePosixPath, ...]:
    return tuple(dict.fromkeys(one + other))
