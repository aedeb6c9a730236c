"""The places that setup may write, and that cleanup may therefore remove, whatever a record says.

A record is a text file: somebody may have edited it.  What is not named here is never touched.
"""

from __future__ import annotations

import re
import secrets
from pathlib import PurePosixPath
from typing import Final

from gateway.setup import places

__all__ = ["OUR_DIRECTORIES", "is_our_backup", "is_our_directory", "is_our_temporary", "is_ours", "temporary"]

_FILES: Final = frozenset(
    {
        places.CA_CERTIFICATE,
        places.CERTIFICATE,
        places.CONFIGURATION,
        places.ENGINE_CERTIFICATE,
        places.FIREWALLD_EXAMPLE,
        places.FIREWALLD_SERVICE,
        places.KEY,
        places.POST_INSTALL,
        places.UNIT,
        places.UNIT_WANTED,
    }
)
_NAMES: Final = {
    places.ANSWERS: re.compile(r"\d{14}[A-Za-z0-9.-]{0,64}\.conf", re.ASCII),
    places.LOGS: re.compile(r"ovirt-engine-(setup|cleanup)-[A-Za-z0-9._-]{1,64}\.log", re.ASCII),
    places.RECORDS: re.compile(r"\d{14}(\.\d{1,3})?-uninstall\.conf", re.ASCII),
}
"""Directories in which setup makes new names, and what these look like."""
_BACKUP: Final = re.compile(r"(?P<name>.+)\.\d{14}(\.\d{1,3})?", re.ASCII)
_TEMPORARY: Final = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}", re.ASCII)
OUR_DIRECTORIES: Final = frozenset({*(place.parent for place in _FILES), *_NAMES})
"""Where setup writes."""
_DIRECTORIES: Final = frozenset(
    directory
    for place in [*_FILES, *(folder / "name" for folder in _NAMES)]
    for directory in place.parents
    if directory != PurePosixPath("/")
)


def is_ours(place: PurePosixPath) -> bool:
    """Return whether setup writes a file at ``place``."""
    if place in _FILES:
        return True
    pattern = _NAMES.get(place.parent)
    return pattern is not None and pattern.fullmatch(place.name) is not None


def is_our_backup(place: PurePosixPath) -> bool:
    """Return whether ``place`` is where setup puts what was in one of its places before."""
    match = _BACKUP.fullmatch(place.name)
    return match is not None and is_ours(place.with_name(match["name"]))


def temporary(place: PurePosixPath) -> PurePosixPath:
    """Return a name beside ``place`` that nothing has, for what is going to be there."""
    return place.with_name(f".{place.name}.{secrets.token_hex(8)}")


def is_our_temporary(place: PurePosixPath) -> bool:
    """Return whether ``place`` is such a name; if nobody is at work, it was left when the power failed."""
    match = _TEMPORARY.fullmatch(place.name)
    return match is not None and is_ours(place.with_name(match["name"]))


def is_our_directory(place: PurePosixPath) -> bool:
    """Return whether setup may have made the directory ``place``; it is removed only if it is empty."""
    return place in _DIRECTORIES
