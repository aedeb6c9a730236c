"""One gateway with everything it needs, on loopback and until Ctrl-C: the embedded default."""

from __future__ import annotations

import datetime
import json
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import defer, error
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from gateway.demo.pki import DemoPki, make_pki
from gateway.demo.rfb_server import DemoConsoleFactory
from gateway.net import address_text
from gateway.service import GatewayService, make_service
from gateway.settings import ListenSettings, PageSettings, Settings, TargetSettings, TlsSettings
from gateway.tickets import Target, encode_ticket

__all__ = ["Demo", "QemuMissing", "find_qemu", "make_demo"]

_TARGET = Target("demo.console", 5900)
"""What the tickets name; it is mapped to a Unix socket, so that no port is opened for it."""
_TICKET_LIFE = datetime.timedelta(seconds=120)
_QEMU_WAIT = 10.0


class QemuMissing(Exception):
    """QEMU was asked for and is not installed."""


@attrs.frozen
class Demo:
    """A demo that is ready to start."""

    service: GatewayService
    pki: DemoPki
    console: str
    """What is at the other end, in words."""
    stop: Callable[[], None]
    """End the console server."""

    @property
    def url(self) -> str:
        """What to open in the browser, once :meth:`gateway.service.GatewayService.bind` was called."""
        port = self.service.listeners[0].sock.getsockname()[1]
        return f"https://localhost:{port}/console/#grant=/demo/grant"

    @property
    def addresses(self) -> str:
        """Where the gateway listens."""
        return ", ".join(address_text(each.sock.getsockname()) for each in self.service.listeners)


async def make_demo(reactor: Any, directory: Path, *, port: int, listen: str, qemu: bool) -> Demo:
    """Make a CA and keys in ``directory``, start a console server there, and build the gateway.

    :param directory: private to the user; holds keys and the console's socket.
    :param port: TCP port of the gateway; 0 for any that is free.
    :param listen: address to listen on; ``localhost`` for both loopback addresses.
    :param qemu: show a QEMU machine instead of the built-in screen.
    :raises QemuMissing: when QEMU is not installed.
    """
    pki = make_pki(directory, _names(listen))
    password = secrets.token_urlsafe(6)[:8]
    socket_path = directory / "console.sock"
    if qemu:
        stop = await _start_qemu(reactor, directory, socket_path, password)
        console = "QEMU's own firmware screen; no guest is installed"
    else:
        listening = reactor.listenUNIX(str(socket_path), DemoConsoleFactory(password), mode=0o600)
        stop = listening.stopListening
        console = "a built-in screen that shows what you type"
    interfaces = ("127.0.0.1", "[::1]") if listen == "localhost" and port else (_first(listen),)
    settings = Settings(
        listen=ListenSettings(tls=tuple(f"tcp:{port}:interface={each}" for each in interfaces)),
        tls=TlsSettings(certificate=pki.certificate_file, key=pki.key_file),
        targets=TargetSettings(networks=(), sockets={str(_TARGET): str(socket_path)}),
        pages=PageSettings(enabled=True),
    )
    demo_pages = Resource()
    demo_pages.putChild(b"grant", _GrantResource(pki, password))
    service = make_service(
        settings,
        reactor=reactor,
        pages={"demo": demo_pages},
        ticket_keys=[pki.engine_key.public_key()],
    )
    return Demo(service, pki, console, stop)


def find_qemu() -> str | None:
    """The QEMU system emulator for this kind of machine, if one is installed."""
    return shutil.which("qemu-system-x86_64") or shutil.which("qemu-system-aarch64")


class _GrantResource(Resource):
    """``POST /demo/grant``: a fresh ticket for the demo's console, as an engine would hand it out."""

    isLeaf = True

    def __init__(self, pki: DemoPki, password: str) -> None:
        super().__init__()
        self._pki = pki
        self._password = password

    def render_POST(self, request: Any) -> bytes:
        ticket = encode_ticket(
            self._pki.engine_key,
            _TARGET,
            certificate=self._pki.engine_certificate,
            valid_from=datetime.datetime.now(datetime.UTC),
            lifetime=_TICKET_LIFE,
        )
        request.setHeader("Content-Type", "application/json")
        request.setHeader("Cache-Control", "no-store")
        answer = {"ticket": ticket, "password": self._password, "title": "Demo console"}
        return json.dumps(answer).encode("ascii")


class _Qemu(ProcessProtocol):
    """Collects what QEMU complains of."""

    def __init__(self) -> None:
        self.complaint = b""
        self.ended: defer.Deferred[None] = defer.Deferred()

    def errReceived(self, data: bytes) -> None:
        self.complaint = (self.complaint + data)[-1000:]

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(None)


async def _start_qemu(reactor: Any, directory: Path, socket_path: Path, password: str) -> Callable[[], None]:
    program = find_qemu()
    if program is None:
        raise QemuMissing("QEMU is not installed; install it (Debian: qemu-system-x86) or leave out --qemu")
    # The password goes through a file: arguments are visible to every user.
    secret = directory / "vnc-password"
    secret.touch(mode=0o600)
    secret.write_text(password, encoding="ascii")
    machine = ["-machine", "virt", "-device", "ramfb"] if program.endswith("aarch64") else ["-vga", "std"]
    arguments = [
        program,
        *("-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none", *machine),
        *("-object", f"secret,id=vnc,file={secret}"),
        *("-vnc", f"unix:{socket_path},password-secret=vnc"),
    ]
    qemu = _Qemu()
    process = reactor.spawnProcess(qemu, program, arguments, env=None)
    for _ in range(round(_QEMU_WAIT / 0.05)):
        if socket_path.exists() or qemu.ended.called:
            break
        pause: defer.Deferred[None] = defer.Deferred()
        reactor.callLater(0.05, pause.callback, None)
        await pause
    if qemu.ended.called or not socket_path.exists():
        _terminate(process)
        lines = qemu.complaint.decode("utf-8", "replace").strip().splitlines()
        raise QemuMissing("QEMU did not start: " + (lines[-1] if lines else "no reason given"))
    return lambda: _terminate(process)


def _terminate(process: Any) -> None:
    try:
        process.signalProcess("TERM")
    except error.ProcessExitedAlready:
        return


def _first(listen: str) -> str:
    if listen == "localhost":
        return "127.0.0.1"
    return f"[{listen}]" if ":" in listen else listen


def _names(listen: str) -> list[str]:
    names = ["localhost", "127.0.0.1", "::1"]
    return names if listen in {*names, "0.0.0.0", "::"} else [*names, listen]  # noqa: S104 - a comparison
