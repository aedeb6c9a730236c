"""``console-gateway run``: the gateway in the foreground, as systemd wants it."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import click

from gateway.audit import AuditError
from gateway.logs import start_logging
from gateway.net import BindError, install_reactor
from gateway.predecessor import predecessor
from gateway.service import make_service
from gateway.settings import SettingsError, load_settings
from gateway.signals import on_signal
from gateway.successor import own_command
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

    It ends on SIGTERM or SIGINT, after telling every session. On SIGHUP it reads its settings and
    certificates anew; on SIGUSR1 it opens its log and audit files anew, for rotation; on SIGUSR2 it hands
    over to a new process with the same command line, and ends when its sessions have. A wrong setting, an
    unusable file or a port that cannot be bound ends it at once with one line for each.
    """
    predecessor().detach()
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
    service.load = partial(load_settings, config)
    # Rotated files, and settings or certificates that have changed.
    on_signal(reactor, signal.SIGUSR1, log.reopen, service.reopen)
    on_signal(reactor, signal.SIGHUP, service.reload_soon)
    on_signal(reactor, signal.SIGUSR2, service.hand_over_soon)
    service.handing_over.command = own_command()
    service.handing_over.leave = reactor.stop
    failures: list[Exception] = []

    def start() -> None:
        try:
            service.startService()
        except (SettingsError, AuditError) as error:
            _complain(error)
            failures.append(error)
            reactor.stop()

    def stop() -> object:
        # The second of them is from somebody who does not want to wait for the sessions.
        for number in (signal.SIGTERM, signal.SIGINT):
            on_signal(reactor, number, service.hurry)
        return service.stopService()

    reactor.addSystemEventTrigger("before", "shutdown", stop)
    # From inside the reactor: READY is said when signals are heard, too.
    reactor.callWhenRunning(start)
    reactor.run()
    if failures:
        raise SystemExit(1)


def _complain(error: Exception) -> None:
    for line in str(error).splitlines():
        click.echo(f"console-gateway: {line}", err=True)
        predecessor().complain(line)
