"""``console-gateway doctor``: what keeps the gateway from working, and what to do about it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Sequence
from typing import Final

import attrs
import click
from rich.table import Table
from rich.text import Text
from twisted.internet import defer

from gateway import __version__
from gateway.cli.present import terminal
from gateway.cli.source import source_options
from gateway.doctor import Finding, Level, check_target, examine_host, load
from gateway.doctor.finding import fail
from gateway.net import install_reactor
from gateway.settings import Settings, TargetSecurity, normalise_host, parse_socket_key
from gateway.source import SettingsSource
from gateway.tickets import Target

__all__ = ["doctor"]

_STYLES: Final = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
_MAX_TARGETS: Final = 20


def _as_targets(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, int], ...]:
    try:
        return tuple(parse_socket_key(value) for value in values)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _as_host(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else _as_hosts(ctx, param, (value,))[0]


def _as_hosts(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(normalise_host(value) for value in values)
    except ValueError:
        raise click.BadParameter("it is neither a host name nor an address", ctx, param) from None


@click.command(
    epilog="""\b
Examples:
  console-gateway doctor
  console-gateway doctor --name consoles.example.com
  console-gateway doctor --target host7.example.com:5900 --security auto
"""
)
@source_options
@click.option(
    "--name",
    "names",
    metavar="HOST",
    callback=_as_hosts,
    multiple=True,
    help="A name under which browsers reach the gateway; its certificate has to be for it. May be repeated.",
)
@click.option(
    "--target",
    "targets",
    metavar="HOST:PORT",
    callback=_as_targets,
    multiple=True,
    help="A console server to connect to, just as for a session whose ticket names it. May be repeated.",
)
@click.option(
    "--security",
    type=click.Choice(
        [each.value for each in (TargetSecurity.AUTO, TargetSecurity.TLS, TargetSecurity.VENCRYPT)]
    ),
    help="What the ticket asks for with --target; without it, for nothing, so that the settings decide.",
)
@click.option(
    "--server-name",
    metavar="HOST",
    callback=_as_host,
    help="The name that the ticket says the target's certificate is for, with --target.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(
    source: SettingsSource,
    names: tuple[str, ...],
    targets: tuple[tuple[str, int], ...],
    security: str | None,
    server_name: str | None,
    as_json: bool,
) -> None:
    """Find out what keeps the gateway from working, and say what to do about it.

    Looks at the settings and every file that they name, certificates and when they expire, the clock, the
    resolver, limits, permissions and ports; at the gateway that runs, if there is one; and at the targets
    that are given. Nothing is changed, and no session of the running gateway is disturbed.

    A target is dialled and secured just as for a session. Where it wants a password that the gateway knows,
    that is tried; where the user would be asked, the check ends.

    The exit status is 1 when something failed; warnings alone leave it 0.
    """
    if len(targets) > _MAX_TARGETS:
        raise click.UsageError(f"More than {_MAX_TARGETS} targets.")
    if (security or server_name) and not targets:
        raise click.UsageError("--security and --server-name go with --target.")
    now = datetime.datetime.now(datetime.UTC)
    settings, findings = load(source)
    usable = settings is not None and not Finding.any_failed(findings)
    findings += examine_host(settings, now, names)
    mode = TargetSecurity(security) if security else None
    wanted = [Target(host, port, security=mode, server_name=server_name) for host, port in targets]
    if wanted and usable:
        assert settings is not None
        findings += _ask_targets(settings, wanted, now)
    elif wanted:
        findings.append(fail("target", "not tried, because the settings are wrong", "correct them first"))
    if as_json:
        _print_json(findings)
    else:
        _print_table(findings)
    if Finding.any_failed(findings):
        raise SystemExit(1)


def _ask_targets(settings: Settings, targets: Sequence[Target], now: datetime.datetime) -> list[Finding]:
    # Here and not at the top: without targets there is no use for a reactor.
    install_reactor()
    from twisted.internet import reactor

    findings: list[Finding] = []

    async def ask() -> None:
        for target in targets:
            findings.extend(await check_target(reactor, settings, target, now))

    async def run() -> None:
        try:
            await ask()
        except Exception as error:
            # By name: its text may be anything.
            text = f"a defect of the gateway ({type(error).__name__})"
            findings.append(fail("target", text, "report it"))
        finally:
            done.append(True)
            reactor.stop()

    done: list[bool] = []
    reactor.callWhenRunning(lambda: defer.ensureDeferred(run()))
    reactor.run()
    if not done:
        raise click.Abort
    return findings


def _print_json(findings: Iterable[Finding]) -> None:
    found = list(findings)
    value = {
        "version": __version__,
        "ok": not Finding.any_failed(found),
        "findings": [
            {**attrs.asdict(each), "level": each.level.value, "remedy": each.remedy or None} for each in found
        ],
    }
    click.echo(json.dumps(value, indent=2))


def _print_table(findings: Sequence[Finding]) -> None:
    console = terminal()
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("Check", no_wrap=True)
    table.add_column("Result", no_wrap=True)
    table.add_column("What was found, and what to do", overflow="fold")
    for each in findings:
        text = Text(each.detail)
        if each.remedy:
            text.append(f"\n-> {each.remedy}", style="bold")
        table.add_row(each.name, Text(each.level.value, style=_STYLES[each.level]), text)
    with console.capture() as capture:
        console.print(table)
    # Without the blanks up to the edge of the widest line.
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))
    counts = {level: sum(each.level is level for each in findings) for level in Level}
    console.print(
        f"\n{counts[Level.FAIL]} failed, {counts[Level.WARN]} warning(s), {counts[Level.OK]} in order"
    )
