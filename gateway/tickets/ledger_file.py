"""The transactions of a ledger in a file; see :mod:`gateway.tickets.sqlite_ledger` for the ledger itself.

Everything here blocks and belongs into one worker thread.  Members of owners
that are gone count as having left after use; see :mod:`.ledger_disk`.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from gateway.tickets.ledger import SWEEP, Group, LedgerRefusal, LedgerRefused, UsePolicy
from gateway.tickets.ledger_disk import Owner, explained, open_database

__all__ = ["Answer", "ClaimRequest", "EndRequest", "LeaveRequest", "LedgerFile", "Request", "SizeRequest"]

_BURY = """UPDATE uses SET used = 1, live = live -
           (SELECT count(*) FROM members WHERE owner = ?1 AND members.ticket = uses.ticket)
           WHERE ticket IN (SELECT ticket FROM members WHERE owner = ?1)"""


@attrs.frozen
class ClaimRequest:
    """Use a ticket; answered with the member's index or a refusal."""

    ticket: str
    expires: float
    policy: UsePolicy


@attrs.frozen
class LeaveRequest:
    """A member left; answered with 1."""

    ticket: str
    member: int
    used: bool


@attrs.frozen
class EndRequest:
    """Close a group; answered with 1, or 0 where there is none."""

    ticket: str


@attrs.frozen
class SizeRequest:
    """Answered with how many groups are remembered."""


Request = ClaimRequest | LeaveRequest | EndRequest | SizeRequest
Answer = int | LedgerRefusal


class LedgerFile:
    """An open ledger file; to be used by one thread at a time.

    :param path: the database; made if it does not exist.  ``-wal``, ``-shm`` and
        ``-owners`` are appended for the files beside it.
    :param limit: groups remembered at most.
    :param patience: how long to wait for another process that writes, in seconds.
    :param now: the wall clock, in seconds since the epoch.
    :raises LedgerError: it cannot be used.
    """

    def __init__(self, path: Path, limit: int, patience: float, now: Callable[[], float]) -> None:
        self._limit = limit
        self._now = now
        self._size = 0
        self._horizon = 0.0
        self._database = open_database(path, patience)
        try:
            self._owner = Owner(path)
            try:
                with explained(path):
                    self._begin()
                    self._commit()
            except BaseException:
                self._owner.close()
                raise
        except BaseException:
            self._database.close()
            raise

    def serve(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer requests in their order, in one transaction.

        :raises sqlite3.Error: the storage failed; none of them had an effect.
        """
        try:
            self._begin()
            now = self._now()
            self._sweep(now)
            answers = [self._answer(request, now) for request in requests]
            self._commit()
        except BaseException:
            if self._database.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
            raise
        return answers

    def close(self, requests: Sequence[Request] = ()) -> None:
        """Serve the last requests and close the file; whoever uses it next finds this owner gone.

        :raises sqlite3.Error: the storage failed; the file is closed all the same.
        """
        try:
            if requests:
                self.serve(requests)
        finally:
            self._database.close()
            self._owner.close()

    # -- requests --------------------------------------------------------------------

    def _answer(self, request: Request, now: float) -> Answer:
        match request:
            case ClaimRequest():
                try:
                    return self._claim(request, now)
                except LedgerRefused as refused:
                    return refused.reason
            case LeaveRequest():
                self._leave(request)
                return 1
            case EndRequest():
                return self._database.execute(
                    "UPDATE uses SET ended = 1 WHERE ticket = ?", (request.ticket,)
                ).rowcount
            case SizeRequest():
                return self._size

    def _claim(self, request: ClaimRequest, now: float) -> int:
        group = self._find(request.ticket)
        known = group is not None
        if group is None:
            if request.expires <= self._horizon:
                raise LedgerRefused(LedgerRefusal.WINDOW_OVER)
            if self._size >= self._limit:
                raise LedgerRefused(LedgerRefusal.LEDGER_FULL)
            group = Group(request.expires, now)
        member = group.join(request.policy, now)
        if known:
            self._update(request.ticket, group)
        else:
            self._size += 1
            self._database.execute(
                "INSERT INTO uses VALUES (?, ?, ?, ?, ?, ?, ?)", (request.ticket, *attrs.astuple(group))
            )
        self._database.execute(
            "INSERT INTO members VALUES (?, ?, ?)", (self._owner.id, request.ticket, member)
        )
        return member

    def _leave(self, request: LeaveRequest) -> None:
        gone = self._database.execute(
            "DELETE FROM members WHERE owner = ? AND ticket = ? AND member = ?",
            (self._owner.id, request.ticket, request.member),
        )
        group = self._find(request.ticket) if gone.rowcount else None
        if group is not None:
            group.leave(request.used)
            self._update(request.ticket, group)

    def _find(self, ticket: str) -> Group | None:
        row = self._database.execute(
            "SELECT expires, begun, claims, live, used, ended FROM uses WHERE ticket = ?", (ticket,)
        ).fetchone()
        return None if row is None else Group(*row)

    def _update(self, ticket: str, group: Group) -> None:
        self._database.execute(
            "UPDATE uses SET claims = ?, live = ?, used = ? WHERE ticket = ?",
            (group.claims, group.live, group.used, ticket),
        )

    # -- the transaction -----------------------------------------------------------------

    def _begin(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        self._state = self._database.execute("SELECT size, horizon FROM state").fetchone()
        self._size, self._horizon = self._state
        known = {owner for (owner,) in self._database.execute("SELECT id FROM owners")}
        if self._owner.id not in known:
            # New, or taken for gone by somebody who saw another lock file.
            self._database.execute("INSERT INTO owners VALUES (?)", (self._owner.id,))
        for other in known - {self._owner.id}:
            if not self._owner.sees(other):
                self._bury(other)

    def _commit(self) -> None:
        if self._state != (self._size, self._horizon):
            self._database.execute("UPDATE state SET size = ?, horizon = ?", (self._size, self._horizon))
        self._database.execute("COMMIT")

    def _sweep(self, now: float) -> None:
        """Forget some groups that nobody needs any more."""
        due = self._database.execute(
            "SELECT ticket, expires FROM uses WHERE live = 0 AND expires < ? ORDER BY expires LIMIT ?",
            (now, SWEEP),
        ).fetchall()
        for ticket, expires in due:
            self._database.execute("DELETE FROM uses WHERE ticket = ?", (ticket,))
            self._size -= 1
            self._horizon = max(self._horizon, expires)

    def _bury(self, owner: int) -> None:
        """An owner is gone: its members have left after use."""
        self._database.execute(_BURY, (owner,))
        self._database.execute("DELETE FROM members WHERE owner = ?", (owner,))
        self._database.execute("DELETE FROM owners WHERE id = ?", (owner,))
