"""``console-gateway reload``, ``drain`` and ``hand-over``: changes and restarts that lose nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import click

from gateway.cli.control import Connect, control_options
from gateway.cli.present import cell, count, duration, terminal, write_json
from gateway.control.client import Answer, ControlClient
from gateway.control.problems import ControlError

__all__ = ["drain", "hand_over", "reload"]

_MAX_SECONDS: Final = 604800
_MAX_MESSAGE: Final = 120
"""Bytes of a message, which has to fit a close frame (RFC 6455, section 5.5)."""
_LOOK: Final = 1.0
"""Seconds between two looks at how far it is."""
_LINE: Final = 10.0
"""Seconds between two lines where a line cannot be written over."""
_PATIENCE: Final = 660.0
"""Seconds for the new process to be ready, which drain.start_timeout allows, and some more."""


def _as_message(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if len(value.encode("utf-8", "surrogatepass")) > _MAX_MESSAGE or not value.isprintable():
        raise click.BadParameter(f"at most {_MAX_MESSAGE} bytes of printable text.", context, parameter)
    return value


_seconds = click.option(
    "--seconds",
    type=click.IntRange(0, _MAX_SECONDS),
    metavar="N",
    help="Time that sessions have; drain.cap of the settings by default.",
)
_message = click.option(
    "--message",
    default="",
    metavar="TEXT",
    callback=_as_message,
    help="What users are told, 120 bytes at the most.",
)


@click.command(
    epilog="""\b
Examples:
  console-gateway reload
  console-gateway reload --json | jq -r .needs_restart[]
"""
)
@control_options
def reload(connect: Connect, as_json: bool) -> None:
    """Have a running gateway read its settings, certificates and keys again.

    All of it is put in force or nothing: where something is wrong, every problem is printed, nothing is
    changed, and the exit status is 1. Sessions go on.
    """
    answer = connect().post("reload", {})
    if as_json:
        write_json(answer.text)
        return
    changed = _names(answer.value, "changed")
    click.echo(
        f"Reloaded. {f'Changed: {changed}.' if changed else 'No setting has changed; files were read again.'}"
    )
    if later := _names(answer.value, "needs_restart"):
        click.echo(f"Not in force before a restart or a hand-over: {later}.")


@click.command(
    epilog="""\b
Examples:
  console-gateway drain --seconds 600 --message "Maintenance of the host"
  console-gateway drain --cancel
  console-gateway drain --json | jq .sessions
"""
)
@_seconds
@_message
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Show how many sessions are left until none is."
)
@click.option("--cancel", is_flag=True, help="Take sessions again, and tell the users.")
@control_options
def drain(
    seconds: int | None, message: str, wait: bool, cancel: bool, connect: Connect, as_json: bool
) -> None:
    """Empty a running gateway: take no new sessions, tell users, wait, and end those that are left.

    Readiness turns red first, so that balancers go elsewhere. Pages count down; who is left when the time is
    over is disconnected with code 1012. The gateway goes on running, without sessions: stop or restart it, or
    take the drain back. With --json, there is a line for each look at what is left.
    """
    if cancel and (seconds is not None or message):
        raise click.UsageError("--cancel goes with neither --seconds nor --message.")
    client = connect()
    if cancel:
        answer = client.delete("drain")
        if as_json:
            write_json(answer.text)
        else:
            click.echo("Sessions are taken.")
        return
    answer = client.post(
        "drain",
        {
            **({"seconds": seconds} if seconds is not None else {}),
            **({"message": message} if message else {}),
        },
    )
    if not wait:
        if as_json:
            write_json(answer.text)
        else:
            click.echo(_line(answer.value))
        return
    try:
        _watch(client, answer, as_json)
    except KeyboardInterrupt:
        click.echo("\nThe drain goes on; 'console-gateway drain --cancel' takes it back.", err=True)
        raise click.exceptions.Exit(130) from None


@click.command(
    "hand-over",
    epilog="""\b
Examples:
  console-gateway hand-over
  console-gateway hand-over --seconds 86400 --message "Please open your consoles again today"
""",
)
@_seconds
@_message
@control_options
def hand_over(seconds: int | None, message: str, connect: Connect, as_json: bool) -> None:
    """Have a running gateway start a new process that takes over, such as after an upgrade.

    The new process has the same command line and reads everything anew. No connection is refused; the
    sessions of the old process live on in it until they end or their time is over. Where the new process
    cannot start, nothing has happened, and the exit status is 1.
    """
    answer = connect().post(
        "hand-over",
        {
            **({"seconds": seconds} if seconds is not None else {}),
            **({"message": message} if message else {}),
        },
        timeout=_PATIENCE,
    )
    if as_json:
        write_json(answer.text)
        return
    click.echo(
        f"Process {cell(answer.value.get('pid'))} has taken over from process "
        f"{cell(answer.value.get('former'))}, which ends with its sessions."
    )


def _watch(client: ControlClient, answer: Answer, as_json: bool) -> None:
    """Show how far a drain is until no session is left.

    :raises ControlError: it was taken back, or nobody can tell.
    """
    console = terminal()
    over = console.is_terminal and not as_json
    shown, said = "", float("-inf")
    while True:
        value = answer.value
        if value.get("draining") is not True:
            raise ControlError("The drain was taken back: sessions are taken")
        done = not value.get("sessions")
        line = _line(value)
        if as_json:
            write_json(answer.text)
        elif over:
            click.echo(f"\r{line}{' ' * (len(shown) - len(line))}", nl=done)
        elif done or time.monotonic() - said >= _LINE:
            said = time.monotonic()
            click.echo(line)
        shown = line
        if done:
            return
        time.sleep(_LOOK)
        answer = client.get("drain")


def _line(value: Mapping[str, Any]) -> str:
    sessions, left = value.get("sessions"), value.get("left_seconds")
    if not isinstance(sessions, int) or not sessions:
        return "No session is left."
    return f"{count(sessions)} left, {duration(left)} for them."


def _names(value: Mapping[str, Any], name: str) -> str:
    names = value.get(name)
    return ", ".join(cell(each) for each in names) if isinstance(names, list) else ""
