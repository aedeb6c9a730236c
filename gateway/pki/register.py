"""A CA's memory: the next serial number, and what was signed.

The number of a certificate is taken, on the disk, before the certificate is made: no crash gives it out
twice.  All that fails in an orderly way leaves every file as it was.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path

import attrs
from cryptography.x509 import Certificate

from gateway.pki.armour import MAX_PEM
from gateway.pki.chains import chain_pem
from gateway.pki.database import (
    MAX_DATABASE,
    MAX_SERIAL_FILE,
    Entry,
    database_line,
    parse_database,
    parse_serial,
    serial_text,
)
from gateway.pki.errors import PkiError
from gateway.pki.files import PRIVATE, Changes, about, read_file

__all__ = ["DATABASE", "SERIAL", "Register"]

SERIAL = "serial.txt"
DATABASE = "database.txt"


@attrs.frozen
class Register:
    """The files of one directory.  Hold the CA's lock around :meth:`enter`."""

    directory: Path

    def entries(self) -> tuple[Entry, ...]:
        """What was signed, oldest first.

        :raises PkiError: the database is missing or malformed.
        """
        return self._read()[1]

    def enter(
        self, make: Callable[[int], Certificate], out: Path | None, backup_time: datetime.datetime | None
    ) -> Certificate:
        """Make a certificate with the next number, and write it, its copy and its line.

        :param make: signs, given the number.
        :param out: file for the certificate, beside its copy in ``certs``.
        :param backup_time: if given, what ``out`` holds is first copied to a name with this time.
        :raises PkiError: something could not be written; every file is as it was.
        """
        counter, database = self.directory / SERIAL, self.directory / DATABASE
        data = read_file(counter, MAX_SERIAL_FILE)
        with about(counter):
            serial = parse_serial(data)
        lines, entries = self._read()
        copy = self.directory / "certs" / f"{serial_text(serial)}.pem"
        if any(entry.serial == serial for entry in entries) or os.path.lexists(copy):
            raise PkiError(f"{counter}: {serial_text(serial)} is taken; write the next free number there")
        with Changes() as number, Changes() as results:
            number.write(counter, f"{serial_text(serial + 1)}\n".encode(), mode=PRIVATE)
            number.commit()
            try:
                certificate = make(serial)
                pem = chain_pem([certificate])
                separator = b"\n" if lines and not lines.endswith(b"\n") else b""
                results.write(copy, pem, replace=False)
                results.write(database, lines + separator + database_line(certificate), mode=PRIVATE)
                if out is not None:
                    if backup_time is not None and out.exists():
                        results.write(_backup_of(out, backup_time), read_file(out, MAX_PEM), replace=False)
                    results.write(out, pem)
                results.commit()
            except BaseException:
                # The certificate is gone with this process's memory, so that its number is free again.
                number.undo()
                raise
        return certificate

    def _read(self) -> tuple[bytes, tuple[Entry, ...]]:
        database = self.directory / DATABASE
        lines = read_file(database, MAX_DATABASE)
        with about(database):
            return lines, parse_database(lines)


def _backup_of(path: Path, moment: datetime.datetime) -> Path:
    """A free name with the time, to the second."""
    while True:
        candidate = path.with_name(f"{path.name}.{moment:%Y%m%d%H%M%S}")
        if not os.path.lexists(candidate):
            return candidate
        moment += datetime.timedelta(seconds=1)
