"""The directory of a new CA."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.pki.database import FIRST_SERIAL, serial_text
from gateway.pki.errors import PkiError
from gateway.pki.files import PRIVATE, Changes, explained
from gateway.pki.register import DATABASE, SERIAL

__all__ = ["found", "refuse_occupied"]

_ATTRIBUTES: Final = b"unique_subject = no\n"
"""Beside the database: several certificates may have one subject, as renewed ones do."""


def refuse_occupied(directory: Path) -> None:
    """Keep what is there.

    :raises PkiError: the directory has a CA, or part of one.
    """
    for name in ("ca.pem", "private/ca.pem", SERIAL, DATABASE):
        if os.path.lexists(directory / name):
            raise PkiError(
                f"{directory / name}: there is a CA already, and it is kept; choose another directory"
            )


def found(directory: Path, certificate: bytes, key: bytes) -> None:
    """Write the files of a new CA; directories that are missing are made.

    :raises PkiError: a file is there already, or cannot be written; nothing is left behind.
    """
    refuse_occupied(directory)
    with _directories(directory), Changes() as changes:
        changes.write(directory / "private" / "ca.pem", key, mode=PRIVATE, replace=False)
        changes.write(directory / SERIAL, f"{serial_text(FIRST_SERIAL)}\n".encode(), replace=False)
        changes.write(directory / DATABASE, b"", replace=False)
        changes.write(directory / f"{DATABASE}.attr", _ATTRIBUTES)
        changes.write(directory / "ca.pem", certificate, replace=False)
        changes.commit()


@contextlib.contextmanager
def _directories(directory: Path) -> Iterator[None]:
    """Make the directories; those that were made are gone again if the rest fails."""
    made: list[Path] = []
    wanted = [(directory, 0o755), (directory / "private", 0o700)]
    wanted += [(directory / name, 0o755) for name in ("certs", "requests")]
    try:
        for path, mode in wanted:
            with explained(path), contextlib.suppress(FileExistsError):
                path.mkdir(0o700)
                made.append(path)
                path.chmod(mode)
        yield
    except BaseException:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
