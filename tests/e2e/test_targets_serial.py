"""Serial lines of real machines: relayed as they are, from TCP and from a Unix socket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest

from tests.peers import needs
from tests.support.door import Door, Visit
from tests.support.pki import install
from tests.support.process import GatewayProcess, write_settings
from tests.support.qemu import Qemu

pytestmark = needs("qemu")

_SOCKET = ("serial.test", 4555)


@attrs.frozen
class Site(Door):
    tcp: Qemu
    unix: Qemu


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("serial")
    installation = install(directory)
    line = directory / "line.sock"
    tables = installation.settings()
    tables["targets"]["sockets"] = {":".join(map(str, _SOCKET)): str(line)}
    config = write_settings(directory / "gateway.toml", tables)

    def start(name: str, serial: str) -> Qemu:
        place = directory / name
        place.mkdir()
        return Qemu(place, serial=serial)

    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor())
        starting = [pool.submit(start, "tcp", "tcp"), pool.submit(start, "unix", str(line))]
        gateway = stack.enter_context(GatewayProcess(config))
        machines = [stack.enter_context(future.result()) for future in starting]
        yield Site(gateway.ready(), installation, *machines)


def test_tcp(site: Site) -> None:
    with site.visit(site.tcp.ports["serial"], "127.0.0.1") as visit:
        _use(site.tcp, visit)


def test_unix_socket(site: Site) -> None:
    host, port = _SOCKET
    with site.visit(port, host) as visit:
        _use(site.unix, visit)


def _use(machine: Qemu, visit: Visit) -> None:
    """See the firmware's banner, ask for its menu, and see that."""
    machine.run()
    text = _read_until(visit, b"Press ESC for boot menu.")
    assert b"SeaBIOS" in text
    visit.client.send(b"\x1b")
    _read_until(visit, b"Select boot device:")


def _read_until(visit: Visit, text: bytes) -> bytes:
    received = b""
    while text not in received:
        received += visit.client.recv()
    return received
