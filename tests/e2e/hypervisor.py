"""A hypervisor's consoles of every kind, the gateway in front of them, and a browser.

One QEMU has all its VNC servers.  Tickets that name ``localhost`` get browser
mode, and those that name ``127.0.0.1`` gateway mode; every certificate is for
both unless its server is there to show a bad one.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs
from playwright.sync_api import Playwright

from tests.support.browser import Browser
from tests.support.door import Door
from tests.support.kubevirt import KubeVirt
from tests.support.pki import CLIENT, Authority, Leaf, install
from tests.support.process import GatewayProcess, write_settings
from tests.support.qemu import Qemu, Vnc
from tests.support.qemufiles import certificate_directory, sasl_directory
from tests.support.tigervnc import TigerVnc
from tests.support.wiretap import Wiretap
from tests.unit.net.samples import DAY, NOW, write

__all__ = ["ALL", "BROWSER", "GATEWAY", "PASSWORD", "Hypervisor", "run_hypervisor"]

ALL = ("chromium", "certutil", "novnc", "qemu", "scram", "saslpasswd2", "tigervnc")
"""What this needs."""
BROWSER, GATEWAY = "localhost", "127.0.0.1"
"""Hosts for tickets, by who answers."""
PASSWORD = "hK7#q2Zw"
"""What VNC servers ask for."""

_SASL_PASSWORD = "neither short nor wrong 94"
_WRONG_PASSWORDS = ("xN4!wW8g", "quite wrong and long 17")
_TIGERS = {
    "tiger": ("None", "VncAuth", "X509Vnc", "TLSVnc", "X509None"),
    "tiger-anonymous": ("TLSVnc",),
}
"""TigerVNC's servers, with what they offer."""
_TLS12 = "NORMAL:-VERS-ALL:+VERS-TLS1.2"
_NAMES = ("localhost", "127.0.0.1")
_SOCKET = ("socket.test", 5900)
"""The name of a VNC server on a Unix socket."""


_Process = TypeVar("_Process", Qemu, TigerVnc, KubeVirt)


@attrs.frozen
class Hypervisor(Door):
    """Where the consoles are."""

    browser: Browser
    qemu: Qemu
    taps: Mapping[str, Wiretap]
    """Ways to VNC servers of QEMU's that ask for a password: ``right``, and ``wrong`` with another one."""
    tigers: Mapping[str, TigerVnc]
    kubevirts: Mapping[str, KubeVirt]
    socket: tuple[str, int] = _SOCKET
    """Host and port of QEMU's VNC server on a Unix socket; its certificate is for ``localhost``."""
    secrets: tuple[str, ...] = (PASSWORD, _SASL_PASSWORD, *_WRONG_PASSWORDS)
    """Every password, the wrong ones as well."""

    def port(self, name: str) -> int:
        """The port of a VNC server by its name."""
        if name in self.taps:
            return self.taps[name].port
        return self.tigers[name].port if name in self.tigers else self.qemu.ports[name]


class _Pki:
    """Authorities and what they issued."""

    def __init__(self) -> None:
        self.authority, self.rogue = Authority("Console CA"), Authority("Rogue CA")
        self.server = self.authority.issue(*_NAMES)
        self.elsewhere = self.authority.issue("other.example.com")
        self.expired = self.authority.issue(*_NAMES, begin=NOW - 9 * DAY, end=NOW - 2 * DAY)
        self.stranger = self.rogue.issue(*_NAMES)
        self.own = Authority.self_signed("localhost")
        self.gateway = self.authority.issue("gateway", purposes=CLIENT)
        self.rogue_gateway = self.rogue.issue("gateway", purposes=CLIENT)


@contextlib.contextmanager
def run_hypervisor(playwright: Playwright, directory: Path) -> Iterator[Hypervisor]:
    """Start everything."""
    installation, pki = install(directory), _Pki()
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor())

        def start(make: Callable[[], _Process]) -> Future[_Process]:
            """Begin in another thread; whatever becomes of the test, the process is ended."""
            future = pool.submit(make)

            def end() -> None:
                if future.exception() is None:
                    future.result().close()

            stack.callback(end)
            return future

        sasl = sasl_directory(directory / "sasl", {"console": _SASL_PASSWORD})
        vnc = _servers(directory, pki)
        qemu = start(lambda: Qemu(_made(directory / "qemu"), vnc=vnc, sasl=sasl))
        prowling = {
            name: start(partial(TigerVnc, _made(directory / name), types, PASSWORD, pki.server))
            for name, types in _TIGERS.items()
        }
        browser = stack.enter_context(Browser(playwright, directory / "home", installation.pki.ca_file))
        ports = dict(qemu.result().ports)
        relays = {
            name: start(partial(_kubevirt, leaf.save(directory, name), ports["password"]))
            for name, leaf in (("kubevirt", pki.server), ("kubevirt-rogue", pki.stranger))
        }
        taps = {name: stack.enter_context(Wiretap(ports["password"])) for name in ("right", "wrong")}
        tigers = {name: future.result() for name, future in prowling.items()}
        ports |= {name: tiger.port for name, tiger in tigers.items()}
        ports |= {name: tap.port for name, tap in taps.items()}

        tables = installation.settings()
        tables["pages"] = {"enabled": True}
        tables["log"] = {"level": "debug"}
        tables["targets"]["sockets"] = {":".join(map(str, _SOCKET)): str(directory / "vnc.sock")}
        tables["security"] = {"ca": str(pki.authority.save(directory, "consoles"))}
        tables |= _rules(directory, pki, ports)
        config = write_settings(directory / "gateway.toml", tables)
        gateway = stack.enter_context(GatewayProcess(config, chatty=True))
        kubevirts = {name: future.result() for name, future in relays.items()}
        yield Hypervisor(gateway.ready(), installation, browser, qemu.result(), taps, tigers, kubevirts)


def _servers(directory: Path, pki: _Pki) -> dict[str, Vnc]:
    root = pki.authority.certificate
    good = certificate_directory(directory / "good", root, pki.server)
    elsewhere = certificate_directory(directory / "elsewhere", root, pki.elsewhere)
    rogue = certificate_directory(directory / "rogue", pki.rogue.certificate, pki.stranger)
    expired = certificate_directory(directory / "expired", root, pki.expired)
    own = certificate_directory(directory / "own", pki.own.certificate, pki.own)
    return {
        "none": Vnc(),
        "password": Vnc(PASSWORD),
        "monitor": Vnc(PASSWORD, by_monitor=True),
        "x509none": Vnc(certificates=good),
        "x509vnc": Vnc(PASSWORD, certificates=good),
        "x509vnc-wrong": Vnc(PASSWORD, certificates=good),
        "x509vnc-unknown": Vnc(PASSWORD, certificates=good),
        "tls12": Vnc(PASSWORD, certificates=good, priority=_TLS12),
        "peer": Vnc(certificates=good, verify_peer=True),
        "peer-rogue": Vnc(certificates=good, verify_peer=True),
        "peer12": Vnc(certificates=good, verify_peer=True, priority=_TLS12),
        "peer12-rogue": Vnc(certificates=good, verify_peer=True, priority=_TLS12),
        "anonymous": Vnc(anonymous=True),
        "sasl": Vnc(certificates=good, sasl=True),
        "sasl-wrong": Vnc(certificates=good, sasl=True),
        "socket": Vnc(PASSWORD, certificates=good, path=directory / "vnc.sock"),
        "other-name": Vnc(certificates=elsewhere),
        "rogue": Vnc(certificates=rogue),
        "expired": Vnc(certificates=expired),
        "self-signed": Vnc(certificates=own),
    }


def _rules(directory: Path, pki: _Pki, ports: Mapping[str, int]) -> dict[str, dict[str, object]]:
    """The gateway's rules, and the files that they name."""

    def targets(*names: str) -> list[str]:
        return [f"{GATEWAY}:{ports[name]}" for name in names]

    def shows(client: Leaf, *names: str) -> dict[str, object]:
        certificate, key = client.save(directory, names[0])
        return {"targets": targets(*names), "certificate": str(certificate), "key": str(key)}

    known: dict[str, tuple[str | None, str]] = {
        **dict.fromkeys(("password", "monitor", "x509vnc", "tls12", "right", *_TIGERS), (None, PASSWORD)),
        **dict.fromkeys(("wrong", "x509vnc-wrong"), (None, _WRONG_PASSWORDS[0])),
        "sasl": ("console", _SASL_PASSWORD),
        "sasl-wrong": ("console", _WRONG_PASSWORDS[1]),
    }
    entries = {f"{GATEWAY}:{ports[name]}": answer for name, answer in known.items()}
    entries[":".join(map(str, _SOCKET))] = (None, PASSWORD)
    return {
        "rules.client": shows(pki.gateway, "peer", "peer12"),
        "rules.rogue-client": shows(pki.rogue_gateway, "peer-rogue", "peer12-rogue"),
        "rules.anonymous": {"targets": targets("anonymous"), "anonymous": True},
        "rules.chain": {"targets": targets("other-name"), "verify": "chain"},
        "rules.pinned": {
            "targets": targets("rogue", "self-signed"),
            "verify": "fingerprint",
            "fingerprints": [pki.stranger.fingerprint, pki.own.fingerprint],
        },
        "rules.gateway": {
            "targets": [GATEWAY, _SOCKET[0]],
            "password": "gateway",
            "secrets": str(_write_secrets(directory / "secrets.toml", entries)),
            "server_names": {_SOCKET[0]: "localhost"},
        },
    }


def _write_secrets(path: Path, entries: Mapping[str, tuple[str | None, str]]) -> Path:
    lines = []
    for target, (user, password) in entries.items():
        lines += [f"[{json.dumps(target)}]", f"password = {json.dumps(password)}"]
        lines += [f"username = {json.dumps(user)}"] if user else []
    return write(path, "\n".join(lines).encode())


def _kubevirt(identity: tuple[Path, Path], port: int) -> KubeVirt:
    return KubeVirt(*identity, "relay", "--console", f"127.0.0.1:{port}")


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
