"""``console-gateway sessions``: who is on which console, and the end of it."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from gateway.cli.control import Connect, control_options
from gateway.cli.present import (
    cell,
    count,
    duration,
    moment,
    pairs,
    records,
    size,
    table,
    terminal,
    write_json,
)
from gateway.cli.session_list import COLUMNS, session_row, total_line, watch_sessions
from gateway.control.client import ControlClient
from gateway.control.problems import ControlError

__all__ = ["KINDS", "STATES", "sessions"]

# As the gateway has them in its enums, which are not imported: they bring along all that it consists of.
KINDS: Final = ("vnc", "spice", "serial", "unknown")
STATES: Final = ("connecting", "active", "ending")

_MAX_MESSAGE: Final = 120
"""Bytes of a message, which has to fit a close frame (RFC 6455, section 5.5)."""
_MAX_LIMIT: Final = 10000

_F = TypeVar("_F", bound=Callable[..., object])

_SELECTORS: Final = (
    click.option("--client", metavar="ADDRESS", help="Of this client address or network (192.0.2.0/24)."),
    click.option("--subject", metavar="WHO", help="Whose ticket was made for WHO."),
    click.option("--console", metavar="HOST:PORT", help="On this console, as the list has it."),
    click.option("--ticket", metavar="ID", help="Let in by the ticket with this id."),
)
_NAMES: Final = ("client", "subject", "console", "ticket")


def _selectors(command: _F) -> _F:
    for option in reversed(_SELECTORS):
        command = option(command)
    return command


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  console-gateway sessions
  console-gateway sessions --client 192.0.2.0/24 --state active
  console-gateway sessions --watch 2
  console-gateway sessions --json | jq '.sessions[].id'
  console-gateway sessions show 4f1f0c5be2aa
  console-gateway sessions end 4f1f0c5be2aa --message "Maintenance at noon"
  console-gateway sessions end --subject alice@example.com --yes
""",
)
@_selectors
@click.option("--kind", type=click.Choice(KINDS), help="What is spoken there.")
@click.option("--state", type=click.Choice(STATES), help="How far they are.")
@click.option(
    "--limit", type=click.IntRange(1, _MAX_LIMIT), help="Show so many at the most, in place of 1000."
)
@click.option(
    "--watch",
    type=click.FloatRange(0.2, 3600),
    metavar="SECONDS",
    help="Show them again and again, with the rates since the last time; Ctrl-C ends it.",
)
@control_options
@click.pass_context
def sessions(
    context: click.Context, /, connect: Connect, as_json: bool, watch: float | None, **wanted: Any
) -> None:
    """List the sessions of a running gateway, the oldest first.

    Several criteria must all fit. TO TARGET and TO CLIENT count bytes of the console's own protocol. IDLE is
    the time since the user's last input. A narrow terminal has not room for all columns; --json and show have
    everything.
    """
    query = [(name, str(value)) for name, value in wanted.items() if value is not None]
    if context.invoked_subcommand is not None:
        if query or watch is not None:
            raise click.UsageError(
                f"What is to be chosen goes behind '{context.invoked_subcommand}'; nothing was done."
            )
        return
    client = connect()
    if watch is not None:
        watch_sessions(client, query, watch, as_json)
        return
    answer = client.get("sessions", query)
    if as_json:
        write_json(answer.text)
        return
    console = terminal()
    found = records(answer.value, "sessions")
    console.print(table(console, COLUMNS, [session_row(session) for session in found]))
    console.print(total_line(answer, found))


@sessions.command(
    epilog="""\b
Example:
  console-gateway sessions show 4f1f0c5be2aa
"""
)
@click.argument("session", metavar="ID")
@control_options
def show(session: str, connect: Connect, as_json: bool) -> None:
    """Show everything that is known of a session.

    Nothing of it can be used to attach to the console.
    """
    answer = connect().get(f"sessions/{_segment(session)}")
    if as_json:
        write_json(answer.text)
        return
    found = answer.value
    rows = [(_label(name), show_as(found.get(name))) for name, show_as in _FIELDS.items()]
    rows += [(_label(name), cell(value)) for name, value in found.items() if name not in _FIELDS]
    terminal().print(pairs(rows))


@sessions.command(
    epilog="""\b
Examples:
  console-gateway sessions end 4f1f0c5be2aa --message "Maintenance at noon"
  console-gateway sessions end --console hypervisor1.example.com:5900
  console-gateway sessions end --client 192.0.2.0/24 --yes
  console-gateway sessions end --all --message "The host goes down"
"""
)
@click.argument("session", metavar="[ID]", required=False)
@_selectors
@click.option("--all", "everything", is_flag=True, help="All sessions of the gateway.")
@click.option(
    "--message",
    metavar="TEXT",
    default="",
    help=f"What users are told: up to {_MAX_MESSAGE} bytes.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@control_options
def end(
    session: str | None,
    everything: bool,
    message: str,
    yes: bool,
    connect: Connect,
    as_json: bool,
    **wanted: Any,
) -> None:
    """End sessions, and their tickets with them.

    Several criteria must all fit. What will be ended is shown, and done when the answer is y. Sessions that
    begin in the meantime and fit are ended as well. The exit status is 1 when there was nothing to end.
    """
    criteria = {name: wanted[name] for name in _NAMES if wanted[name] is not None}
    if session is not None:
        criteria["session"] = session
    if everything == bool(criteria):
        raise click.UsageError(
            "--all goes alone." if everything else "Say which: an ID, criteria, or --all for all of them."
        )
    if len(message.encode("utf-8", "surrogatepass")) > _MAX_MESSAGE or not message.isprintable():
        raise click.BadParameter(f"at most {_MAX_MESSAGE} bytes of printable text.", param_hint="'--message'")
    client = connect()
    if not yes:
        _ask(client, list(criteria.items()))
    answer = client.post(
        "sessions/end",
        {**criteria, **({"all": True} if everything else {}), **({"message": message} if message else {})},
    )
    ended = records(answer.value, "ended")
    if as_json:
        write_json(answer.text)
    else:
        console = terminal()
        if ended and yes:
            console.print(table(console, COLUMNS, [session_row(each) for each in ended]))
        console.print(f"Ended {count(len(ended))}." if ended else "No session fits; nothing was ended.")
    if not ended:
        raise click.exceptions.Exit(1)


def _ask(client: ControlClient, query: Sequence[tuple[str, str]]) -> None:
    """Show what will be ended, and go on if that is meant."""
    answer = client.get("sessions", [*query, ("limit", str(_MAX_LIMIT))])
    found = records(answer.value, "sessions")
    if not found:
        raise ControlError("No session fits; nothing was ended")
    console = terminal(err=True)
    console.print(table(console, COLUMNS, [session_row(each) for each in found]))
    these = "this session" if len(found) == 1 else f"these {count(len(found))}"
    if not click.confirm(f"End {these}?", err=True):
        raise click.ClickException("Nothing was ended.")


_FIELDS: Final[dict[str, Callable[[object], str]]] = {
    **dict.fromkeys(
        ("id", "ticket", "subject", "client", "target", "kind", "attach", "state", "security"), cell
    ),
    "started": moment,
    "duration": duration,
    "idle": duration,
    "to_target": size,
    "to_client": size,
    "messages_to_target": cell,
    "messages_to_client": cell,
}


def _label(name: str) -> str:
    text = cell(name).replace("_", " ")
    return text[:1].upper() + text[1:]


def _segment(text: str) -> str:
    if not text or text in (".", ".."):
        raise click.BadParameter("this is no id.", param_hint="'ID'")
    return urllib.parse.quote(text, safe="", errors="surrogateescape")
