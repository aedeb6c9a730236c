"""A ledger on the disk: a SQLite database that several processes of one host may share, and who they are.

**Durability.**  The database is in WAL mode with ``synchronous=FULL``: every
commit is on the disk before a claim is answered.  With ``NORMAL`` it would
survive a killed process as well, but the claims of the last minutes could be
gone after a power failure, and their tickets could be replayed.  One commit
serves all requests that came meanwhile, so a slow disk costs time, not
throughput.

**Owners.**  Each opened file is an owner with a random number, which holds a
lock on the byte of that number in a file beside the database
(``F_OFD_SETLK``, see fcntl(2)).  The kernel gives the lock up when the
process ends, however it ends, and no process can be taken for another, as it
could by its pid, in containers above all.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.tickets.ledger import LedgerError

__all__ = ["Owner", "explained", "open_database"]

_APPLICATION = 0x43474C31
_VERSION = 1
_MODE = 0o600
_FLOCK = struct.Struct("@hhqqi0q")
"""``struct flock`` of fcntl(2) on Linux: type, whence, start, length, pid."""
_SCHEMA = (
    "CREATE TABLE state (size INTEGER NOT NULL, horizon REAL NOT NULL)",
    "INSERT INTO state VALUES (0, -1e300)",
    "CREATE TABLE owners (id INTEGER PRIMARY KEY)",
    """CREATE TABLE uses (ticket TEXT PRIMARY KEY, expires REAL NOT NULL, begun REAL NOT NULL,
       claims INTEGER NOT NULL, live INTEGER NOT NULL, used INTEGER NOT NULL, ended INTEGER NOT NULL)
       WITHOUT ROWID""",
    "CREATE INDEX due ON uses (expires) WHERE live = 0",
    """CREATE TABLE members (owner INTEGER NOT NULL, ticket TEXT NOT NULL, member INTEGER NOT NULL,
       PRIMARY KEY (owner, ticket, member)) WITHOUT ROWID""",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
)


def open_database(path: Path, patience: float) -> sqlite3.Connection:
    """A ledger's database, with its tables.

    :param path: made, for its user alone, if it does not exist.
    :param patience: how long to wait for another process that writes, in seconds.
    :raises LedgerError: it cannot be used.
    """
    with explained(path):
        _prepare(path)
        # rw: a file that vanished since it was checked is not made again, with other permissions.
        database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=patience,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            # In a transaction, since another process may be making the tables.
            database.execute("BEGIN")
            _identify(database, path)
            database.execute("COMMIT")
            _set_mode(database, patience)
            database.execute("BEGIN IMMEDIATE")
            if not _identify(database, path):
                for statement in _SCHEMA:
                    database.execute(statement)
            database.execute("COMMIT")
            if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("the file is damaged")
        except BaseException:
            database.close()
            raise
    return database


class Owner:
    """One user of a ledger's database, for as long as it is open.

    :ivar id: its number.
    :raises LedgerError: the file of locks cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.id = 1 + secrets.randbits(60)
        beside = path.with_name(path.name + "-owners")
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with explained(beside):
            self._descriptor = os.open(beside, flags, _MODE)
            try:
                _check(beside, os.fstat(self._descriptor))
                fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _flock(self.id))
            except BaseException:
                os.close(self._descriptor)
                raise

    def sees(self, other: int) -> bool:
        """Whether another owner of the same database is alive."""
        answer = fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, _flock(other))
        kind: int = _FLOCK.unpack(answer)[0]
        return kind != fcntl.F_UNLCK

    def close(self) -> None:
        """Be gone."""
        os.close(self._descriptor)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file into a ``LedgerError``."""
    try:
        yield
    except sqlite3.Error as error:
        problem = _explain(error)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the name is not a file name"
        problem = f"cannot be used ({reason}); name a file in a local directory of the gateway's user"
    else:
        return
    raise LedgerError(path, problem)


def _flock(owner: int) -> bytes:
    return _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, owner, 1, 0)


def _prepare(path: Path) -> None:
    """Make the database's file, or check the one that is there.

    It is not opened when it exists: closing a file drops the locks that SQLite
    may hold on it elsewhere in this process.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        os.close(os.open(path, flags, _MODE))
    except FileExistsError:
        _check(path, os.lstat(path))


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise LedgerError(path, "not a regular file; name a file of the ledger's own")
    if status.st_uid != os.geteuid():
        raise LedgerError(path, "belongs to another user; give it to the user that the gateway runs as")
    if status.st_mode & 0o077:
        raise LedgerError(path, f"open to other users; run 'chmod {_MODE:o}' on it")


def _identify(database: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables exist.

    :raises LedgerError: they are not ours, or of a later version.
    """
    application = database.execute("PRAGMA application_id").fetchone()[0]
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if application == _APPLICATION:
        if version > _VERSION:
            raise LedgerError(
                path,
                f"written by a later release (version {version}, this one knows {_VERSION}); "
                "run that release, or name another file",
            )
        return True
    if application or version or database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise LedgerError(path, "a database of another program; name another file")
    return False


def _set_mode(database: sqlite3.Connection, patience: float) -> None:
    """Set the modes that last and those of this connection."""
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA trusted_schema = OFF")
    last = time.monotonic() + patience
    while True:
        try:
            # Where several change this mode at once, SQLite does not have one wait for the other.
            mode = database.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > last:
                raise
            time.sleep(0.02)
        else:
            break
    if mode != "wal":
        raise sqlite3.DatabaseError("no WAL mode in its directory")


def _explain(error: sqlite3.Error) -> str:
    """What is wrong with the file, and what to do."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "locked by another program; end that one"
    if primary == sqlite3.SQLITE_FULL:
        return "no room on its file system; make room"
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or primary is None:
        return (
            f"not a usable ledger ({error}); move it away with its '-wal' file. "
            "Tickets that were used can then be used again until they expire"
        )
    return f"cannot be used ({error}); check its file system, and that the gateway may write there"
