"""The command line: ``console-gateway``."""

from __future__ import annotations

import importlib

import click

from gateway import __version__

__all__ = ["main"]

_COMMANDS = {
    "admission": "gateway.cli.status",
    "check-config": "gateway.cli.check_config",
    "cleanup": "gateway.cli.cleanup",
    "demo": "gateway.cli.demo",
    "doctor": "gateway.cli.doctor",
    "drain": "gateway.cli.restart",
    "events": "gateway.cli.events",
    "hand-over": "gateway.cli.restart",
    "migrate-config": "gateway.cli.migrate_config",
    "ovirt-websocket-proxy": "gateway.cli.ovirt_websocket_proxy",
    "pki": "gateway.cli.pki",
    "reload": "gateway.cli.restart",
    "run": "gateway.cli.run",
    "sessions": "gateway.cli.sessions",
    "setup": "gateway.cli.setup",
    "status": "gateway.cli.status",
    "ticket": "gateway.cli.ticket",
    "token": "gateway.cli.token",
}
"""Commands and the modules that define them, under the same name with underscores."""


class _Commands(click.Group):
    """Commands that are imported when they are asked for: most have no use for what others need."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = getattr(importlib.import_module(module), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="console-gateway")
def main() -> None:
    """Put consoles of virtual machines in browsers, through one door that checks a signed ticket.

    To see it work: console-gateway demo. To run it: write a settings file, check it with
    check-config, and start it with run (or twistd console-gateway). While it runs: sessions, events and
    status show what goes on.
    """
