"""``console-gateway events``: what happens, as it happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from time import sleep
from typing import Any, Final

import click
from rich.text import Text

from gateway.cli.control import Connect, control_options
from gateway.cli.present import cell, duration, moment, part, records, size, terminal, write_json
from gateway.control.client import Answer, ControlClient
from gateway.control.problems import ControlError

__all__ = ["TYPES", "events"]

TYPES: Final = (
    *("session-opened", "session-joined", "session-warned", "session-ended"),
    *("request-refused", "admin-action"),
)
_STYLES: Final = {
    "session-opened": "green",
    "session-joined": "green",
    "session-warned": "yellow",
    "session-ended": "blue",
    "request-refused": "red",
    "admin-action": "magenta",
}
_LOST: Final = "lost"
"""Tells that some events are not remembered any more."""
_FIRST_PAUSE: Final = 1.0
"""Seconds before a lost connection is made again; doubled each time in vain."""
_LONGEST_PAUSE: Final = 15.0
_WIDTH: Final = max(map(len, TYPES))


@click.command(
    epilog="""\b
Examples:
  console-gateway events
  console-gateway events --type session-ended --type request-refused
  console-gateway events --after 0            what is remembered, and then what follows
  console-gateway events --json | jq 'select(.type == "admin-action")'
"""
)
@click.option(
    "--type", "types", type=click.Choice(TYPES), multiple=True, help="Only these; may be given again."
)
@click.option(
    "--after",
    "--since",
    type=click.IntRange(0),
    metavar="N",
    help="Begin with what came after event number N and is still remembered; 0 for all of that.",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after N events.")
@control_options
def events(
    types: tuple[str, ...], after: int | None, count: int | None, connect: Connect, as_json: bool
) -> None:
    """Follow what happens on a running gateway, one line for each event.

    When the connection is lost, it is made again, and goes on with the event after the last one. With --json,
    each line is one object. Ctrl-C ends it.
    """
    client = connect()
    out = terminal()
    left = count
    try:
        for name, answer in _follow(client, types, after):
            if as_json:
                write_json(answer.text)
            else:
                out.print(_line(name, answer.value), soft_wrap=True)
            if left is not None and name != _LOST:
                left -= 1
                if not left:
                    return
    except KeyboardInterrupt:
        pass


def _follow(client: ControlClient, types: Sequence[str], after: int | None) -> Iterator[tuple[str, Answer]]:
    """Events without end, over as many connections as it takes.

    :raises ControlError: the first connection fails, or the gateway refuses.
    """
    query = [("type", name) for name in types]
    started = client.get("status").value.get("started")
    if after is None:
        # From now on; by its number, so that a lost connection leaves no gap.
        after = _latest(client)
    pause = _FIRST_PAUSE
    while True:
        try:
            with client.follow(query, after=after) as following:
                pause = _FIRST_PAUSE
                for name, answer in following:
                    number = answer.value.get("number")
                    if isinstance(number, int) and number >= 0:
                        after = number
                    yield name, answer
            _note("The gateway ended the stream. Trying again.")
        except ControlError as error:
            if error.status is not None:
                raise
            _note(f"{error} Trying again.")
        started, after, pause = _again(client, started, after, pause)


def _again(client: ControlClient, started: object, after: int, pause: float) -> tuple[object, int, float]:
    """Wait until the gateway answers; another process counts its events anew.

    :return: when it was started, the last event that is known, and how long to wait the next time.
    :raises ControlError: it refuses.
    """
    while True:
        sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        try:
            now = client.get("status").value.get("started")
        except ControlError as error:
            if error.status is not None:
                raise
            continue
        if now != started:
            _note("The gateway was restarted.")
            after = 0
        return now, after, pause


def _latest(client: ControlClient) -> int:
    latest = records(client.get("history", [("limit", "1")]).value, "events")
    numbers = [event.get("number") for event in latest]
    return max((number for number in numbers if isinstance(number, int)), default=0)


def _note(text: str) -> None:
    terminal(err=True).print(text, soft_wrap=True)


def _line(name: str, event: Mapping[str, Any]) -> Text:
    """An event in one line."""
    if name == _LOST:
        return Text(f"Events after number {cell(event.get('missed_after'))} are lost.", "red")
    tell = _TELL.get(name, _tell_anything)
    line = Text(f"{moment(event.get('time'))}  ")
    line.append(f"{cell(name):<{_WIDTH}}", _STYLES.get(name, ""))
    return line.append(f"  {tell(event)}")


def _tell_opened(event: Mapping[str, Any]) -> str:
    session = part(event, "session")
    return f"{_who(session)}, attach {cell(session.get('attach'))}, ticket {cell(session.get('ticket'))}"


def _tell_joined(event: Mapping[str, Any]) -> str:
    session = part(event, "session")
    secured = session.get("security")
    return (
        f"{_who(session)}, {cell(session.get('kind') or 'kind unknown')}, "
        f"{cell(secured) if secured else 'not secured'}, dialled in {_milliseconds(event.get('dialling'))}"
    )


def _tell_warned(event: Mapping[str, Any]) -> str:
    left = duration(event.get("left"))
    return f"{_who(part(event, 'session'))}, {cell(event.get('reason'))} in {left}"


def _tell_ended(event: Mapping[str, Any]) -> str:
    session = part(event, "session")
    code = event.get("code")
    told = "" if code is None else f" ({cell(code)})"
    return (
        f"{_who(session)}, {cell(event.get('reason'))}{told} after {duration(session.get('duration'))}, "
        f"{size(session.get('to_target'))} to target, {size(session.get('to_client'))} to client"
        f"{_detail(event)}"
    )


def _tell_refused(event: Mapping[str, Any]) -> str:
    return (
        f"{_who(event)}, {cell(event.get('reason'))} ({cell(event.get('status'))}), "
        f"ticket {cell(event.get('ticket'))}{_detail(event)}"
    )


def _tell_action(event: Mapping[str, Any]) -> str:
    meant = event.get("sessions")
    ids = f" {', '.join(map(cell, meant))}" if isinstance(meant, list) and meant else ""
    return f"{cell(event.get('actor'))}: {cell(event.get('action'))}{ids}{_detail(event)}"


def _tell_anything(event: Mapping[str, Any]) -> str:
    return cell({name: value for name, value in event.items() if name not in ("number", "time", "type")})


_TELL: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "session-opened": _tell_opened,
    "session-joined": _tell_joined,
    "session-warned": _tell_warned,
    "session-ended": _tell_ended,
    "request-refused": _tell_refused,
    "admin-action": _tell_action,
}


def _who(session: Mapping[str, Any]) -> str:
    name = f"{cell(session['id'])}  " if session.get("id") else ""
    subject = f" ({cell(session['subject'])})" if session.get("subject") else ""
    return f"{name}{cell(session.get('client'))}{subject} -> {cell(session.get('target'))}"


def _detail(event: Mapping[str, Any]) -> str:
    return f": {cell(event['detail'])}" if event.get("detail") else ""


def _milliseconds(value: object) -> str:
    return f"{value * 1000:.0f} ms" if isinstance(value, int | float) and 0 <= value < 60 else duration(value)
