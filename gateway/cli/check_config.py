"""``console-gateway check-config FILE``: what a settings file puts in force, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.loaded import check_files
from gateway.settings import examine_settings, one_line
from gateway.settings.describe import describe

__all__ = ["check_config"]


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-q", "--quiet", is_flag=True, help="Print problems only.")
def check_config(file: Path, quiet: bool) -> None:
    """Print the settings that FILE puts in force, and every problem with them.

    The certificate and key files that it names are read and checked as well.

    Problems go to standard error, one line each.  The exit status is 1 when there are any, otherwise 0.
    """
    settings, found = examine_settings(file)
    problems = list(found)
    if settings is not None:
        # A key that had a problem has its default now: what a further check says of it means nothing.
        reported = {problem.key for problem in problems}
        problems += (problem for problem in check_files(settings) if problem.key not in reported)
    if settings is not None and not found and not quiet:
        click.echo(describe(settings))
    for problem in problems:
        click.echo(str(problem), err=True)
    if problems:
        raise SystemExit(1)
    if not quiet:
        click.echo(one_line(f"{file}: no problems found"))
