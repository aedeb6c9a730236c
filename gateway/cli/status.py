"""``console-gateway status`` and ``admission``: how a gateway is, and whether it takes new sessions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click
from rich.text import Text

from gateway.cli.control import Connect, control_options
from gateway.cli.present import cell, duration, moment, pairs, part, records, terminal, write_json

__all__ = ["admission", "status"]

_SHOWN_TARGETS: Final = 5
_DAY: Final = 86400
_SOON: Final = 14 * _DAY
"""Seconds before its end from which on a certificate is pointed out."""
_LATE: Final = 0.25
"""Seconds by which the event loop may be late before that is pointed out."""


@click.command(
    epilog="""\b
Examples:
  console-gateway status
  console-gateway status --json | jq .sessions.total
  console-gateway status --url https://gateway.example.com:6190 \\
      --token-file ~/.config/console-gateway/token
"""
)
@control_options
def status(connect: Connect, as_json: bool) -> None:
    """Show how a running gateway is, on one screen.

    The exit status is 1 when it does not answer or says that it is not healthy.
    """
    client = connect()
    found = client.get("status")
    health = client.get("health").value
    if as_json:
        write_json(found.text)
    else:
        terminal().print(pairs([*_health_rows(health), *_rows(found.value)]))
    if health.get("healthy") is not True:
        raise click.exceptions.Exit(1)


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  console-gateway admission
  console-gateway admission stop --reason "Maintenance of the host"
  console-gateway admission resume
""",
)
@control_options
@click.pass_context
def admission(context: click.Context, connect: Connect, as_json: bool) -> None:
    """Tell whether a gateway takes new sessions; stop and resume that.

    Sessions that are there already go on. Not to admit lasts until it is resumed or the gateway is restarted.
    """
    if context.invoked_subcommand is None:
        answer = connect().get("admission")
        _tell(answer.text, answer.value, as_json)


@admission.command()
@click.option("--reason", metavar="TEXT", help="Why, for the audit.")
@control_options
def stop(reason: str | None, connect: Connect, as_json: bool) -> None:
    """Turn new sessions away, with HTTP status 503."""
    _set(False, reason, connect, as_json)


@admission.command()
@click.option("--reason", metavar="TEXT", help="Why, for the audit.")
@control_options
def resume(reason: str | None, connect: Connect, as_json: bool) -> None:
    """Take new sessions again."""
    _set(True, reason, connect, as_json)


def _set(admitting: bool, reason: str | None, connect: Connect, as_json: bool) -> None:
    answer = connect().post(
        "admission", {"admitting": admitting, **({"reason": reason} if reason is not None else {})}
    )
    _tell(answer.text, answer.value, as_json)


def _tell(text: str, value: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        write_json(text)
    else:
        click.echo(f"New sessions are {'admitted' if value.get('admitting') is True else 'turned away'}.")


def _health_rows(health: Mapping[str, Any]) -> Iterator[tuple[str, str | Text]]:
    good = health.get("healthy") is True
    yield "Health", Text("good", "green") if good else Text("not good", "bold red")
    if health.get("ready") is not True:
        yield "Ready", Text("no", "bold red")
    for check in records(health, "checks"):
        if check.get("ok") is not True:
            yield "", f"{cell(check.get('name'))}: {cell(check.get('detail'))}"


def _rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str | Text]]:
    yield "Version", cell(found.get("version"))
    yield "Running", f"{duration(found.get('uptime'))}, since {moment(found.get('started'))}"
    admitted = found.get("admitting") is True
    yield "Admission", Text("open", "green") if admitted else Text("stopped by an operator", "yellow")
    drain = part(found, "drain")
    if drain.get("draining") is True:
        left = f"{cell(drain.get('sessions'))} sessions left, {duration(drain.get('left_seconds'))} for them"
        yield "Draining", Text(left, "bold yellow")
    sessions = part(found, "sessions")
    yield "Sessions", _used(sessions.get("total"), sessions.get("limit"))
    for name in ("by_kind", "by_state"):
        if counts := _counts(part(sessions, name)):
            yield "", counts
    handshakes = part(found, "handshakes")
    yield "Handshakes", _used(handshakes.get("open"), handshakes.get("limit"))
    ledger = part(found, "ledger")
    yield "Used tickets", _used(ledger.get("size"), ledger.get("limit"))
    listeners = found.get("listeners")
    for place, name in enumerate(listeners if isinstance(listeners, list) else []):
        yield "" if place else "Listens on", cell(name)
    if found.get("certificate_expires") is not None:
        yield "Certificate", _expiry(found["certificate_expires"])
    for place, target in enumerate(records(found, "targets")[:_SHOWN_TARGETS]):
        yield "" if place else "Of targets", _expiry(target.get("expires"), f"{cell(target.get('target'))} ")
    yield "Ended", _counts(part(found, "ended")) or "none"
    yield "Refused", _counts(part(found, "refused")) or "none"
    yield "Event loop", _lag(found.get("event_loop_lag"))
    if found.get("masker") is not True:
        yield "Masker", Text("not native; sessions cost more than they need to", "yellow")
    yield "You", f"{cell(found.get('actor'))}, role {cell(found.get('role'))}"


def _used(used: object, limit: object) -> str:
    if not isinstance(used, int) or not isinstance(limit, int) or limit <= 0:
        return cell(used)
    return f"{used} of {limit} ({100 * used // limit} %)"


def _counts(counts: Mapping[str, Any]) -> str:
    """What there is any of, the most first."""
    found = [(name, count) for name, count in counts.items() if isinstance(count, int) and count]
    found.sort(key=lambda item: -item[1])
    return ", ".join(f"{cell(name)} {count}" for name, count in found)


def _expiry(moment_of_it: object, whose: str = "") -> Text:
    text = Text(f"{whose}until {moment(moment_of_it)}")
    if isinstance(moment_of_it, int | float):
        left = moment_of_it - time.time()
        if left < 0:
            return text.append(", expired", "bold red")
        text.append(f", {duration(left)} left", "yellow" if left < _SOON else "")
    return text


def _lag(lag: object) -> str | Text:
    if not isinstance(lag, int | float):
        return cell(lag)
    return Text(f"{lag * 1000:.1f} ms late", "yellow" if lag > _LATE else "")
