"""``console-gateway run``: the gateway in the foreground, as systemd wants it."""

from __future__ import annotations

import click

from gateway.cli.source import source_options
from gateway.signals import hold_signals
from gateway.source import SettingsSource

__all__ = ["run"]


@click.command()
@source_options
def run(source: SettingsSource) -> None:
    """Run the gateway in the foreground.

    It ends on SIGTERM or SIGINT, after telling every session. On SIGHUP it reads its settings and
    certificates anew; on SIGUSR1 it opens its log and audit files anew, for rotation; on SIGUSR2 it hands
    over to a new process with the same command line, and ends when its sessions have. A wrong setting, an
    unusable file or a port that cannot be bound ends it at once with one line for each.
    """
    hold_signals()
    # Not before, because that takes its time.
    from gateway.cli.serve import serve

    serve(source)
