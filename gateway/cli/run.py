"""``console-gateway run``: the gateway in the foreground, as systemd wants it."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.audit import AuditError
from gateway.logs import on_reopen, start_logging
from gateway.net import BindError, install_reactor
from gateway.service import make_service
from gateway.settings import SettingsError, load_settings
from gateway.tap import DEFAULT_CONFIG

__all__ = ["run"]


@click.command()
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    help="Settings file (TOML); etc/console-gateway.toml is an annotated example.",
)
def run(config: Path) -> None:
    """Run the gateway in the foreground.

    It ends on SIGTERM or SIGINT, after telling every session. On SIGUSR1 it opens its log and audit
    files anew, for rotation. A wrong setting, an unusable file or a
    port that cannot be bound ends it at once with one line for each.
    """
    # Here and not at the top: the other commands have no use for a reactor.
    install_reactor()
    from twisted.internet import reactor

    try:
        settings = load_settings(config)
        log = start_logging(settings.log)
        service = make_service(settings, reactor=reactor)
        service.bind()
    except (SettingsError, BindError, OSError) as error:
        _complain(error)
        raise SystemExit(1) from None
    on_reopen(reactor, log.reopen, service.reopen)
    failures: list[Exception] = []

    def start() -> None:
        try:
            service.startService()
        except (SettingsError, AuditError) as error:
            _complain(error)
            failures.append(error)
            reactor.stop()

    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    # From inside the reactor: READY is said when signals are heard, too.
    reactor.callWhenRunning(start)
    reactor.run()
    if failures:
        raise SystemExit(1)


def _complain(error: Exception) -> None:
    for line in str(error).splitlines():
        click.echo(f"console-gateway: {line}", err=True)
