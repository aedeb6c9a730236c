"""KubeVirt's consoles: an independent WebSocket server with TLS and a token check, before a real QEMU."""

from __future__ import annotations

import re

import pytest
from websockets.exceptions import ConnectionClosed

from tests.e2e.hypervisor import ALL, BROWSER, PASSWORD, Hypervisor
from tests.peers import needs
from tests.support.kubevirt import PATH, TOKEN
from tests.support.rfb import VNC_AUTHENTICATION, Viewer
from tests.support.screens import assert_shows

pytestmark = needs(*ALL)


def test_seen(hypervisor: Hypervisor) -> None:
    server = hypervisor.kubevirts["kubevirt"]
    with hypervisor.visit(server.port, path=PATH, token=TOKEN) as visit:
        viewer = Viewer(visit.client).enter(PASSWORD)
        assert viewer.types == [VNC_AUTHENTICATION]
        assert_shows(viewer.picture, hypervisor.qemu.screen)
        assert visit.security() == "WebSocket, TLSv1.3"
    server.wait_for("ended code=1000$")
    assert TOKEN not in hypervisor.gateway.output


def test_console_page(hypervisor: Hypervisor) -> None:
    port = hypervisor.kubevirts["kubevirt"].port
    console = hypervisor.page(hypervisor.browser, port, path=PATH, token=TOKEN)
    console.answer(PASSWORD)
    console.wait_for("connected")
    assert_shows(console.canvas, hypervisor.qemu.screen)
    assert console.complaints == []
    console.close()


@pytest.mark.parametrize(
    ("server", "ticket", "code", "reason", "detail"),
    [
        ("kubevirt", {"token": "other"}, 4016, "target-auth-failed", "401"),
        ("kubevirt", {"token": None}, 4016, "target-auth-failed", "401"),
        ("kubevirt", {"path": PATH.replace("testvm", "none")}, 4017, "target-protocol-error", "404"),
        (
            "kubevirt",
            {"server_name": "api.example.com"},
            4012,
            "target-wrong-name",
            r"wrong-name: .*\(expected api\.example\.com, .*; .*issuer CN=Console CA, valid 20",
        ),
        (
            "kubevirt-rogue",
            {},
            4011,
            "target-untrusted",
            "unknown-issuer: .*; certificate: subject CN=localhost, issuer CN=Rogue CA, valid 20",
        ),
        # A VNC server that is no KubeVirt.
        ("none", {}, 4010, "target-tls-failed", "protocol: "),
    ],
)
def test_refused(
    hypervisor: Hypervisor, server: str, ticket: dict[str, str | None], code: int, reason: str, detail: str
) -> None:
    known = hypervisor.kubevirts.get(server)
    port = hypervisor.port(server) if known is None else known.port
    with hypervisor.visit(port, BROWSER, **{"path": PATH, "token": TOKEN, **ticket}) as visit:
        with pytest.raises(ConnectionClosed):
            visit.client.recv()
        ended = visit.ended()
    assert (ended.code, ended.reason) == (code, reason)
    assert re.search(detail, ended.detail), ended.detail
    for secret in (TOKEN, "eyJhbGciOiJub25lIn0"):
        assert secret not in hypervisor.gateway.output
