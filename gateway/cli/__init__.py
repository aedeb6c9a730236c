"""The command line: ``console-gateway``."""

from __future__ import annotations

import click

from gateway import __version__
from gateway.cli.check_config import check_config
from gateway.cli.demo import demo
from gateway.cli.run import run
from gateway.cli.ticket import ticket

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="console-gateway")
def main() -> None:
    """Put consoles of virtual machines in browsers, through one door that checks a signed ticket.

    To see it work: console-gateway demo. To run it: write a settings file, check it with
    check-config, and start it with run (or twistd console-gateway).
    """


for _command in (check_config, demo, run, ticket):
    main.add_command(_command)
