"""``console-gateway demo``: see a console in the browser within seconds."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

__all__ = ["demo"]

_READY = """\
Console Gateway demo

  Open      {url}
  You see   {console}
  Stop      Ctrl-C; everything it made goes away with it

The demo made its own certificate authority, which your browser does not know. Accept the warning
once (page and console share one address, so that covers both), or trust the authority while you look:

  Firefox   Settings, Privacy & Security, View Certificates, Authorities, Import: {ca}
  Chromium  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n console-gateway-demo -i {ca}
            and afterwards: certutil -d sql:$HOME/.pki/nssdb -D -n console-gateway-demo
  curl      curl --cacert {ca} https://localhost:{port}/
"""


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=6100, show_default=True, help="0 for any free port."
)
@click.option(
    "--listen",
    default="localhost",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen on. The demo gives its console to everybody who can reach it.",
)
@click.option(
    "--qemu", is_flag=True, help="Show a QEMU machine (no guest needed) instead of the built-in screen."
)
def demo(port: int, listen: str, qemu: bool) -> None:
    """Show a live console in the browser, with nothing set up.

    Makes a throw-away certificate authority and certificate, starts the gateway, a console server
    and a page, and prints the address to open. Everything listens on loopback unless told otherwise.
    """
    from twisted.internet import defer

    from gateway.logs import start_logging
    from gateway.settings import LogLevel, LogSettings
    from gateway.web import novnc_available

    if not novnc_available():
        raise click.ClickException(
            "the page's library (noVNC) is missing. Install npm (Debian: apt install npm), then run: "
            "python -m gateway.web.fetch"
        )
    reactor = _reactor()
    start_logging(LogSettings(level=LogLevel.INFO))
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="console-gateway-demo-") as directory:

        def start() -> None:
            begun = defer.Deferred.fromCoroutine(_start(reactor, Path(directory), port, listen, qemu))
            begun.addErrback(lambda failure: _failed(reactor, failure, failures))

        # From inside the reactor, so that Ctrl-C and SIGTERM are heard before there is anything to clean up.
        reactor.callWhenRunning(start)
        reactor.run()
    if failures:
        raise click.ClickException(failures[0])


async def _start(reactor: Any, directory: Path, port: int, listen: str, qemu: bool) -> None:
    from gateway.demo.run import make_demo

    running = await make_demo(reactor, directory, port=port, listen=listen, qemu=qemu)
    reactor.addSystemEventTrigger("before", "shutdown", running.stop)
    running.service.bind()
    click.echo(
        _READY.format(
            url=running.url,
            console=running.console,
            ca=running.pki.ca_file,
            port=running.service.listeners[0].sock.getsockname()[1],
        )
    )
    running.service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", running.service.stopService)


def _failed(reactor: Any, failure: Any, failures: list[str]) -> None:
    from gateway.demo.run import QemuMissing
    from gateway.net import BindError
    from gateway.pki import PkiError
    from gateway.settings import SettingsError

    text = str(failure.value)
    if failure.check(BindError):
        text += "; choose another with --port"
    elif not failure.check(QemuMissing, SettingsError, PkiError):
        text = failure.getTraceback()
    failures.append(text)
    reactor.stop()


def _reactor() -> Any:
    # Twisted's reactor installs itself on import, which the other commands have no use for.
    from twisted.internet import reactor

    return reactor
