"""The gateway that a host's files make, and a console of a hypervisor seen through it."""

from __future__ import annotations

import contextlib
import datetime
import re
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.setup import places
from gateway.tickets import Target, encode_ticket
from tests.support.client import WebSocketClient
from tests.support.enginehost import EngineHost
from tests.support.enginepki import load_certificate, load_rsa_key
from tests.support.hosts import GATEWAY, OVIRT, Host
from tests.support.process import GatewayProcess
from tests.support.qemu import Qemu, Vnc
from tests.support.rfb import Viewer
from tests.support.screens import assert_shows

__all__ = ["Signer", "assert_console_is_seen", "hypervisor", "port_of", "serve"]


def serve(host: Host, directory: Path) -> GatewayProcess:
    """Start the gateway of a host, as its unit does: that command line, that user.

    Where the host is a root directory only, a copy of its configuration is served whose paths lead there,
    and which may connect to loopback.

    :param directory: for that copy.
    """
    command = ["-m", "gateway", "ovirt-websocket-proxy", "--systemd=notify"]
    if host.holder is not None:
        return GatewayProcess(
            directory, command=host.command(sys.executable, *command, "start", user=OVIRT)
        ).ready()
    text = host.path(places.CONFIGURATION).read_text().replace("=/etc/", f"={host.root}/etc/")
    further = directory / "further.toml"
    further.write_text('[targets]\nnetworks = ["127.0.0.0/8"]\n')
    copy = directory / "ovirt-websocket-proxy.conf"
    copy.write_text(f"{text}CONSOLE_GATEWAY_SETTINGS={further}\n")
    start = [sys.executable, *command, f"--ovirt-conf={copy}", "start"]
    return GatewayProcess(directory, command=start).ready()


@contextlib.contextmanager
def hypervisor(engine: EngineHost, directory: Path) -> Iterator[Qemu]:
    """A QEMU whose screen is to be seen from elsewhere; it has no password, the gateway's check is all."""
    directory.mkdir()
    with (
        engine.host.network(),
        Qemu(directory, vnc={"vnc": Vnc(address=engine.host.address)}) as qemu,
    ):
        yield qemu


@attrs.frozen
class Signer:
    """Who signs tickets, and the authority that browsers trust."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate
    ca_file: Path

    @classmethod
    def of(cls, pki: Path) -> Signer:
        """From a directory of an engine's layout."""
        certificate = load_certificate(pki / "certs/engine.cer")
        return cls(load_rsa_key(pki / "keys/engine.key.nopass"), certificate, pki / "ca.pem")


def assert_console_is_seen(signer: Signer, engine: Host, gateway: Host, port: int, qemu: Qemu) -> None:
    """Open a session as a browser does, from the engine's host to a display there.

    :param port: the gateway's.
    """
    ticket = encode_ticket(
        signer.key,
        Target(engine.address, qemu.port, False, None, None, None, None),
        certificate=signer.certificate,
        valid_from=datetime.datetime.now(datetime.UTC),
        lifetime=datetime.timedelta(seconds=120),
    )
    context = ssl.create_default_context(cafile=str(signer.ca_file))
    with engine.network():
        plain = socket.create_connection((gateway.address, port), 10)
    secure = context.wrap_socket(plain, server_hostname=GATEWAY)
    with WebSocketClient(secure, f"wss://{GATEWAY}:{port}/{ticket}", subprotocols=["binary"]) as client:
        assert_shows(Viewer(client).enter().picture, qemu.screen)


def port_of(host: Host) -> int:
    """The port in the configuration that setup wrote."""
    match = re.search(r"^PROXY_PORT=(\d+)$", host.path(places.CONFIGURATION).read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1])
