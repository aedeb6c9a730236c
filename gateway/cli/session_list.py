"""Sessions as a table: once, or again and again with rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic, sleep
from typing import Any, Final

from rich.console import Console, Group
from rich.text import Text

from gateway.cli.present import Column, cell, count, duration, records, size, table, terminal, write_json
from gateway.control.client import Answer, ControlClient
from gateway.control.problems import ControlError

__all__ = ["COLUMNS", "Session", "session_row", "total_line", "watch_sessions"]

_STYLES: Final = {"active": "green", "connecting": "yellow", "ending": "red"}

Session = Mapping[str, Any]
"""A session as the API tells of it."""

COLUMNS: Final = (
    Column("ID", whole=True),
    Column("STATE", whole=True, rank=3),
    Column("KIND", whole=True, rank=4),
    Column("SUBJECT"),
    Column("CLIENT", rank=1),
    Column("TARGET"),
    Column("TIME", right=True, whole=True, rank=2),
    Column("IDLE", right=True, whole=True, rank=5),
    Column("TO TARGET", right=True, whole=True, rank=7),
    Column("TO CLIENT", right=True, whole=True, rank=6),
)


def session_row(session: Session) -> list[str | Text]:
    """A session in the columns of :data:`COLUMNS`."""
    state = cell(session.get("state"))
    return [
        cell(session.get("id")),
        Text(state, _STYLES.get(state, "")),
        *(cell(session.get(name)) for name in ("kind", "subject", "client", "target")),
        *(duration(session.get(name)) for name in ("duration", "idle")),
        *(size(session.get(name)) for name in ("to_target", "to_client")),
    ]


def total_line(answer: Answer, found: Sequence[Session]) -> Text:
    """How many there are, below the list."""
    total = answer.value.get("total")
    if isinstance(total, int) and total > len(found):
        return Text(f"{len(found)} of {count(total)}; --limit shows more.")
    return Text(f"{count(len(found))}.")


def watch_sessions(
    client: ControlClient, query: Sequence[tuple[str, str]], seconds: float, as_json: bool
) -> None:
    """Show the list again and again, until Ctrl-C.

    :param seconds: time between two requests.
    :raises ControlError: the gateway does not answer the first time, or refuses.
    """
    watched = _Watched(client, query)
    try:
        if as_json:
            while True:
                write_json(client.get("sessions", query).text)
                sleep(seconds)
        console = terminal()
        if not console.is_terminal:
            while True:
                console.print(watched.shown(console), "")
                sleep(seconds)
        with console.screen() as screen:
            while True:
                screen.update(watched.shown(console))
                sleep(seconds)
    except KeyboardInterrupt:
        pass


class _Watched:
    """The list with rates; a gateway that is away for a while is waited for."""

    def __init__(self, client: ControlClient, query: Sequence[tuple[str, str]]) -> None:
        self._client = client
        self._query = query
        self._seen: dict[str, Session] = {}
        self._at: float | None = None

    def shown(self, console: Console) -> Group:
        """What there is now.

        :raises ControlError: the gateway does not answer the first time, or refuses.
        """
        try:
            answer = self._client.get("sessions", self._query)
        except ControlError as error:
            if self._at is None or error.status is not None:
                raise
            return Group(Text(str(error)), Text("Trying again; Ctrl-C ends it."))
        now = monotonic()
        found = records(answer.value, "sessions")
        rows = [
            [*session_row(each)[:-2], self._rate(each, "to_target", now), self._rate(each, "to_client", now)]
            for each in found
        ]
        self._seen, self._at = {cell(each.get("id")): each for each in found}, now
        return Group(total_line(answer, found), table(console, COLUMNS, rows))

    def _rate(self, session: Session, name: str, now: float) -> str:
        before = self._seen.get(cell(session.get("id")), {}).get(name)
        after = session.get(name)
        if self._at is None or not isinstance(before, int) or not isinstance(after, int):
            return "-"
        return f"{size((after - before) / max(now - self._at, 1e-3))}/s"
