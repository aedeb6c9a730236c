"""``console-gateway check-config``: what a settings file puts in force, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.source import ovirt_options, source_of
from gateway.loaded import check_files
from gateway.settings import one_line
from gateway.settings.describe import describe

__all__ = ["check_config"]


@click.command("check-config")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@ovirt_options
@click.option("-q", "--quiet", is_flag=True, help="Print problems and warnings only.")
def check_config(file: Path | None, ovirt: bool, ovirt_conf: Path | None, quiet: bool) -> None:
    """Print the settings that FILE puts in force, and every problem with them.

    FILE is /etc/console-gateway/console-gateway.toml if none is named.  With --ovirt or --ovirt-conf, the
    shell-like files of ovirt-websocket-proxy take its place.

    The certificate and key files that the settings name are read and checked as well.

    Problems go to standard error, one line each, and so do warnings.  The exit status is 1 when there are
    problems, otherwise 0.
    """
    if file is not None and (ovirt or ovirt_conf is not None):
        raise click.UsageError("FILE, --ovirt and --ovirt-conf exclude each other: give one of them.")
    source = source_of(file, ovirt, ovirt_conf)
    examined = source.examine()
    settings, found = examined.settings, examined.problems
    problems = list(found)
    if settings is not None:
        # A key that had a problem has its default now: what a further check says of it means nothing.
        further = (problem for problem in check_files(settings) if problem.key not in examined.wrong)
        problems += map(examined.placed, further)
    if settings is not None and not found and not quiet:
        click.echo(describe(settings))
    for warning in examined.warnings:
        click.echo(f"warning: {warning}", err=True)
    for problem in problems:
        click.echo(str(problem), err=True)
    if problems:
        raise SystemExit(1)
    if not quiet:
        click.echo(one_line(f"{source}: no problems found"))
