"""``console-gateway migrate-config``: shell-like configuration files as a settings file of ours."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.settings.ovirt_files import DEFAULT_CONF
from gateway.settings.ovirt_migrate import migrated
from gateway.source import OvirtSource

__all__ = ["migrate_config"]


@click.command("migrate-config")
@click.option(
    "--ovirt-conf",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help=f"Read this file, and FILE.d/*.conf, instead of {DEFAULT_CONF} and others.",
)
def migrate_config(ovirt_conf: Path | None) -> None:
    """Print a settings file that puts the same in force as the files of ovirt-websocket-proxy.

    Comments in it say where each value comes from, and what was left out and why. Nothing is changed.

    Problems go to standard error, one line each; then nothing is printed, and the exit status is 1.
    """
    configuration = OvirtSource(ovirt_conf).examine_ovirt()
    if configuration.problems:
        for problem in configuration.problems:
            click.echo(str(problem), err=True)
        raise SystemExit(1)
    click.echo(migrated(configuration), nl=False)
