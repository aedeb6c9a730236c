"""The gateway as the process: from settings to the end, for every command that is the gateway."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TextIO

import attrs
import click

from gateway.audit import AuditError
from gateway.logs import start_logging
from gateway.net import BindError, install_reactor
from gateway.ownership import own_process
from gateway.predecessor import predecessor
from gateway.service import make_service
from gateway.settings import LogLevel, LogSettings, Settings, SettingsError
from gateway.signals import on_signal
from gateway.source import SettingsSource

__all__ = ["serve"]


def serve(
    source: SettingsSource,
    *,
    level: LogLevel | None = None,
    stream: Callable[[LogSettings], TextIO | None] = lambda _: None,
    ready: Callable[[], object] = lambda: None,
) -> None:
    """Run the gateway until it is told to end; to be called where there is no reactor yet.

    :param source: is read now, and on every reload.
    :param level: what to log, whatever the settings say.
    :param stream: where to log, for the settings of the log, instead of where they say.
    :param ready: called once connections are accepted.
    :raises SystemExit: with status 1 and a line for each thing that is wrong, on standard error.
    """
    predecessor().detach()
    # Here and not at the top: the other commands have no use for a reactor.
    install_reactor()
    from twisted.internet import reactor

    def load() -> Settings:
        settings = source.load()
        return (
            settings if level is None else attrs.evolve(settings, log=attrs.evolve(settings.log, level=level))
        )

    try:
        settings = load()
        log = start_logging(settings.log, stream(settings.log))
        service = make_service(settings, reactor=reactor)
        service.bind()
    except (SettingsError, BindError, OSError) as error:
        _complain(error)
        raise SystemExit(1) from None
    own_process(service, reactor, load, log.reopen)
    failures: list[Exception] = []

    def start() -> None:
        try:
            service.startService()
            ready()
        except (SettingsError, AuditError, OSError) as error:
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
