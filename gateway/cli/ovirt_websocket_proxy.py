"""``console-gateway ovirt-websocket-proxy``: the gateway behind the command line of that service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TextIO

import click

from gateway.cli.daemon import PidFile, go_to_background, redirect_output
from gateway.local_syslog import open_syslog
from gateway.settings import LogLevel, LogSettings
from gateway.signals import hold_signals
from gateway.source import OvirtSource

__all__ = ["ovirt_websocket_proxy"]

_IDENTIFIER: Final = "ovirt-websocket-proxy"


class _Abbreviated(click.Command):
    """Takes long options as far as they are unambiguous, as ``getopt_long`` does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = [name for parameter in self.get_params(ctx) for name in parameter.opts if name[:2] == "--"]
        return super().parse_args(ctx, [_completed(argument, known) for argument in args])


def _completed(argument: str, known: list[str]) -> str:
    name, equals, value = argument.partition("=")
    if len(name) < 3 or not name.startswith("--") or name in known:
        return argument
    fitting = [each for each in known if each.startswith(name)]
    return f"{fitting[0]}{equals}{value}" if len(fitting) == 1 else argument


@click.command("ovirt-websocket-proxy", cls=_Abbreviated)
@click.option("-d", "--debug", is_flag=True, help="Log what is of use to developers only, too.")
@click.option(
    "--pidfile",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the number of the process there, and remove the file at the end.",
)
@click.option("--background", is_flag=True, help="Go to the background once connections are accepted.")
@click.option(
    "--systemd",
    type=click.Choice(["simple", "notify"]),
    default="simple",
    help="Understood; systemd is told of everything whenever it wants to know.",
)
@click.option("--redirect-output", is_flag=True, help="Write nothing to standard output and error.")
@click.option(
    "--ovirt-conf",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read this file, and FILE.d/*.conf, instead of those of this host.",
)
@click.argument("action", type=click.Choice(["start"]), metavar="start")
def ovirt_websocket_proxy(
    debug: bool,
    pidfile: Path | None,
    background: bool,
    systemd: str,  # noqa: ARG001 - $NOTIFY_SOCKET says it
    redirect_output: bool,
    ovirt_conf: Path | None,
    action: str,  # noqa: ARG001 - there is but one
) -> None:
    """Run the gateway with the configuration and command line of ovirt-websocket-proxy.

    As "run --ovirt" does, with the options that the service has had; long ones may be abbreviated. Where
    OVIRT_SERVICE_DEBUG is set to anything but 0, it is as with --debug. Tickets are never logged.

    In the background, and with --redirect-output, the log goes to syslog unless log.file is set.

    The exit status is 0 after SIGTERM, 1 when the configuration or a port cannot be used, and 2 when the
    command line is wrong.
    """
    hold_signals()
    # Not before, because that takes its time; and the first of the processes has no use for the rest.
    from gateway.predecessor import predecessor

    silent = background or redirect_output
    number = None if pidfile is None else PidFile(pidfile)
    # Whoever takes over from another process is in the background as soon as that one is.
    at_ease = go_to_background() if background and not predecessor().is_there else None

    def stream(settings: LogSettings) -> TextIO | None:
        return open_syslog(_IDENTIFIER) if silent and settings.file is None else None

    def ready() -> None:
        if number is not None:
            number.write()
        if silent:
            _redirect_output()
        if at_ease is not None:
            at_ease()

    level = LogLevel.DEBUG if debug or _is_debug(os.environ) else None
    try:
        from gateway.cli.serve import serve

        serve(OvirtSource(ovirt_conf), level=level, stream=stream, ready=ready)
    finally:
        if number is not None:
            number.remove()


_redirect_output = redirect_output  # which the option hides


def _is_debug(environ: Mapping[str, str]) -> bool:
    return environ.get("OVIRT_SERVICE_DEBUG", "0") != "0"
