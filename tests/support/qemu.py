"""A real QEMU with console servers and no guest: its firmware's screen is what there is to see."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import attrs
from PIL import Image

from tests.peers import PEERS
from tests.unit.net.samples import write

__all__ = ["Qemu", "Spice", "Vnc"]

_MACHINE = ("-accel", "tcg", "-m", "32", "-nodefaults", "-display", "none")
_START = 30.0
"""Seconds until its monitor answers, at the most."""


@attrs.frozen
class Vnc:
    """One of QEMU's VNC servers; a QEMU may have many, which show the same screen."""

    password: str | None = attrs.field(default=None, repr=False)
    """For VNC authentication, from a ``secret`` object."""
    by_monitor: bool = False
    """Set the password through the monitor instead, as libvirt does."""
    certificates: Path | None = None
    """VeNCrypt's X509 subtypes, with what :func:`tests.support.qemufiles.certificate_directory` wrote."""
    verify_peer: bool = False
    """Demand client certificates."""
    priority: str | None = None
    """What TLS may be, in GnuTLS's words."""
    anonymous: bool = False
    """VeNCrypt's TLS subtypes, without certificates."""
    sasl: bool = False
    """Authenticate with SASL; needs a directory of :func:`tests.support.qemufiles.sasl_directory`."""
    path: Path | None = None
    """Listen on this Unix socket instead of a free TCP port."""
    address: str = "127.0.0.1"
    """Where it listens otherwise."""


@attrs.frozen
class Spice:
    """QEMU's SPICE server, on free TCP ports."""

    password: str | None = attrs.field(default=None, repr=False)
    """The ticket; without one, nobody is asked."""
    certificates: Path | None = None
    """Listen for TLS as well, with what :func:`tests.support.qemufiles.certificate_directory` wrote."""


class Qemu:
    """A QEMU process; a context manager that ends it.

    :ivar ports: TCP ports of its VNC servers by name, of ``spice`` and ``spice-tls``, and of ``serial``.
    """

    def __init__(
        self,
        directory: Path,
        password: str | None = None,
        *,
        vnc: Mapping[str, Vnc] | None = None,
        spice: Spice | None = None,
        serial: str | None = None,
        sasl: Path | None = None,
    ) -> None:
        """
        :param directory: for files of this process; no other may use it.
        :param password: of the VNC server that there is when nothing else is said.
        :param vnc: VNC servers by their names.
        :param spice: a SPICE server.
        :param serial: where the serial line is served, ``tcp`` or the path of a Unix socket.  There is no
            screen then, and the machine waits for :meth:`run`.
        :param sasl: what :func:`tests.support.qemufiles.sasl_directory` wrote.
        """
        program = PEERS["qemu"].find()
        assert program is not None
        self._directory = directory
        self._path = directory / "qmp.sock"
        self._events: list[str] = []
        self._stream: IO[str] | None = None
        self.ports: dict[str, int] = {}
        if vnc is None:
            vnc = {} if spice or serial else {"vnc": Vnc(password)}
        options = ["-vga", "qxl" if spice else "std"]
        for name, server in vnc.items():
            options += self._vnc_options(name, server)
        if spice:
            options += self._spice_options(spice)
        if serial:
            where = "tcp:127.0.0.1:0" if serial == "tcp" else f"unix:{serial}"
            options = ["-machine", "graphics=off", "-boot", "menu=on", "-S"]
            options += ["-serial", f"{where},server=on,wait=off"]
        self._process = subprocess.Popen(
            [program, *_MACHINE, *options, "-qmp", f"unix:{self._path},server=on,wait=off"],
            env={**os.environ, "SASL_CONF_PATH": str(sasl)} if sasl else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            self._connect()
            self._learn_ports()
            for name, server in vnc.items():
                if server.by_monitor:
                    assert server.password is not None
                    self._set_password(name, server.password)
        except BaseException:
            self.close()
            raise

    @property
    def port(self) -> int:
        """The port of its only server."""
        (port,) = self.ports.values()
        return port

    def screen(self) -> Image.Image:
        """The screen as QEMU itself sees it."""
        picture = self._directory / "screen.ppm"
        self._ask("screendump", filename=str(picture))
        return Image.open(picture).convert("RGB")

    def run(self) -> None:
        """Let the machine of a serial line begin."""
        self._ask("cont")

    def wait_for(self, event: str, timeout: float = 10) -> None:
        """Wait for an event of the monitor (RESET and the like) that was not waited for before."""
        deadline = time.monotonic() + timeout
        while event not in self._events:
            assert time.monotonic() < deadline, f"{event} never came, only {self._events}"
            self._ask("query-status")
            time.sleep(0.05)
        self._events.clear()

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._stream is not None:
            self._stream.close()

    def __enter__(self) -> Qemu:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the command line ------------------------------------------------------------------

    def _vnc_options(self, name: str, server: Vnc) -> list[str]:
        options = []
        # The first free display; query-vnc-servers tells which that was.
        listen = f"unix:{server.path}" if server.path else f"{server.address}:10,to=99"
        display = [listen, f"id={name}"]
        if server.by_monitor:
            display.append("password=on")
        elif server.password is not None:
            options += self._secret(name, server.password)
            display.append(f"password-secret=secret-{name}")
        if server.certificates or server.anonymous:
            kind = "anon" if server.anonymous else "x509"
            credentials = [f"tls-creds-{kind},id=tls-{name},endpoint=server"]
            if server.certificates:
                peer = "yes" if server.verify_peer else "no"
                # Certificates that clients have to refuse would not get past QEMU's own look at them.
                credentials += [f"dir={server.certificates}", f"verify-peer={peer}", "sanity-check=no"]
            if server.priority:
                credentials.append(f"priority={server.priority}")
            options += ["-object", ",".join(credentials)]
            display.append(f"tls-creds=tls-{name}")
        if server.sasl:
            display.append("sasl=on")
        return [*options, "-vnc", ",".join(display)]

    def _spice_options(self, server: Spice) -> list[str]:
        options = []
        plain = _free_port()
        display = ["addr=127.0.0.1", f"port={plain.getsockname()[1]}"]
        with plain, _free_port() as secure:
            if server.certificates:
                display += [f"tls-port={secure.getsockname()[1]}", f"x509-dir={server.certificates}"]
        if server.password is None:
            display.append("disable-ticketing=on")
        else:
            options += self._secret("spice", server.password)
            display.append("password-secret=secret-spice")
        return [*options, "-spice", ",".join(display)]

    def _secret(self, name: str, password: str) -> list[str]:
        """A secret object in a file, so that no password stands in the list of processes."""
        path = write(self._directory / f"{name}-password", password.encode("ascii"))
        return ["-object", f"secret,id=secret-{name},file={path}"]

    # -- the monitor -----------------------------------------------------------------------

    def _connect(self) -> None:
        deadline = time.monotonic() + _START
        while self._stream is None:
            with socket.socket(socket.AF_UNIX) as monitor:
                monitor.settimeout(_START)
                try:
                    monitor.connect(str(self._path))
                except OSError:
                    assert self._process.poll() is None, "QEMU ended"
                    assert time.monotonic() < deadline, "QEMU's monitor did not come up"
                    time.sleep(0.02)
                else:
                    # It keeps the connection when the socket object is closed.
                    self._stream = monitor.makefile("rw", encoding="utf-8")
        self._stream.readline()
        self._ask("qmp_capabilities")

    def _ask(self, command: str, **arguments: object) -> Any:
        """Have the monitor execute a command, and return what it returns."""
        assert self._stream is not None
        self._stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._stream.flush()
        while "event" in (answer := json.loads(self._stream.readline())):
            self._events.append(answer["event"])
        assert "return" in answer, answer
        return answer["return"]

    def _learn_ports(self) -> None:
        for server in self._ask("query-vnc-servers"):
            for place in server["server"]:
                if place["family"] != "unix":
                    self.ports[server["id"]] = int(place["service"])
        spice = self._ask("query-spice")
        for name, key in (("spice", "port"), ("spice-tls", "tls-port")):
            if spice.get(key):
                self.ports[name] = spice[key]
        for line in self._ask("query-chardev"):
            kind, _, rest = line["filename"].removeprefix("disconnected:").partition(":")
            if kind == "tcp":
                self.ports["serial"] = int(rest.partition(",")[0].rpartition(":")[2])

    def _set_password(self, display: str, password: str) -> None:
        self._ask("set_password", protocol="vnc", display=display, password=password)
        self._ask("expire_password", protocol="vnc", display=display, time="+3600")


def _free_port() -> socket.socket:
    """A free port on loopback, held until the socket is closed."""
    return socket.create_server(("127.0.0.1", 0))
