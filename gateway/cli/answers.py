"""The options of commands that ask questions: where answers come from, and how to ask."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["accept_defaults", "config_append", "dialect"]

config_append = click.option(
    "--config-append",
    metavar="FILE",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Answer file, with keys (OVESETUP_...) or questions (QUESTION/1/...); may be given several times.",
)
accept_defaults = click.option(
    "--accept-defaults", is_flag=True, help="Take the default of every question that has one."
)
dialect = click.option(
    "--dialect",
    type=click.Choice(["human", "machine"]),
    help="How to ask: people at a terminal (the default), or a program.",
)
