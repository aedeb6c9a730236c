"""``console-gateway cleanup``: what setup made on this host goes again."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli import answers

__all__ = ["cleanup"]

_FILE = click.Path(path_type=Path)


@click.command(
    epilog="""\b
Examples:
  console-gateway cleanup --dry-run --accept-defaults
  console-gateway cleanup
  console-gateway cleanup --accept-defaults \\
      --otopi-environment "OVESETUP_CORE/remove=bool:True"
"""
)
@click.option(
    "--root",
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default="/",
    show_default=True,
    help="Root directory of the host, an image that does not run, say: only files are removed then.",
)
@answers.config_append
@click.option(
    "--otopi-environment",
    metavar="TEXT",
    default="",
    help="Values in the form 'KEY=type:value KEY=type:value'.",
)
@answers.accept_defaults
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and change nothing.")
@answers.dialect
@click.option("--log", metavar="FILE", type=_FILE, help="Log to this file; there is no log otherwise.")
def cleanup(
    root: Path,
    config_append: tuple[Path, ...],
    otopi_environment: str,
    accept_defaults: bool,
    dry_run: bool,
    dialect: str | None,
    log: Path | None,
) -> None:
    """Remove what setup of the gateway made on this host.

    Asks what is to go, shows it, and asks once more; the default of that last question is to cancel. What
    has changed since setup wrote it goes only if you say so, and backups of what setup replaced stay.

    The exit status is 0 when it is done, 1 when it failed, 2 when the command line is wrong, 11 when no
    setup is recorded here, and 130 when it was cancelled.
    """
    from gateway.setup.cleanup import clean_up
    from gateway.setup.session import Manner, Session, converse

    manner = Manner(
        "cleanup",
        root=root,
        append=config_append,
        settings=otopi_environment,
        accept_defaults=accept_defaults,
        dialect=dialect,
        log=log,
        logs=False,
    )
    found = 0

    def work(session: Session) -> None:
        nonlocal found
        found = clean_up(session, dry_run=dry_run)

    raise SystemExit(converse(manner, work) or found)
