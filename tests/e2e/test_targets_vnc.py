"""VNC servers of every kind, seen through the gateway by a viewer that knows no more than a browser does."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect
from websockets.exceptions import ConnectionClosed

from tests.e2e.hypervisor import ALL, BROWSER, GATEWAY, PASSWORD, Hypervisor
from tests.peers import needs
from tests.support.door import Visit
from tests.support.rfb import NONE, VNC_AUTHENTICATION, Denied, Viewer
from tests.support.screens import assert_shows

pytestmark = needs(*ALL)

_CERTIFICATE = (
    r"certificate: subject CN={}, issuer CN={}, valid 20[-\d]+ [\d:]+ to 20[-\d]+ [\d:]+ UTC, SHA-256 "
)


@pytest.mark.parametrize(
    ("server", "host", "tls", "password", "security"),
    [
        ("x509none", BROWSER, True, None, "RFB X509_NONE, TLSv1.3"),
        ("x509vnc", BROWSER, True, PASSWORD, "RFB X509_VNC, TLSv1.3"),
        ("x509vnc", GATEWAY, True, None, "RFB X509_VNC, TLSv1.3"),
        ("tls12", BROWSER, True, PASSWORD, "RFB X509_VNC, TLSv1.2"),
        ("tls12", GATEWAY, True, None, "RFB X509_VNC, TLSv1.2"),
        ("peer", GATEWAY, True, None, "RFB X509_NONE, TLSv1.3"),
        ("peer12", GATEWAY, True, None, "RFB X509_NONE, TLSv1.2"),
        ("anonymous", GATEWAY, True, None, "RFB TLS_NONE, TLSv1.2"),
        ("sasl", GATEWAY, True, None, "RFB X509_SASL, TLSv1.3"),
        ("password", GATEWAY, False, None, "RFB VNC_AUTHENTICATION"),
        ("monitor", GATEWAY, False, None, "RFB VNC_AUTHENTICATION"),
        # Secured where the server can only be, whatever the ticket says.
        ("x509vnc", GATEWAY, False, None, "RFB X509_VNC, TLSv1.3"),
    ],
)
def test_seen(
    hypervisor: Hypervisor, server: str, host: str, tls: bool, password: str | None, security: str
) -> None:
    with hypervisor.visit(hypervisor.port(server), host, tls=tls) as visit:
        viewer = Viewer(visit.client).enter(password)
        assert viewer.types == [NONE if password is None else VNC_AUTHENTICATION]
        assert_shows(viewer.picture, hypervisor.qemu.screen)
        assert visit.security() == security


def test_seen_on_a_unix_socket(hypervisor: Hypervisor) -> None:
    """Its name is not that of the certificate, and server_names has the right one."""
    host, port = hypervisor.socket
    with hypervisor.visit(port, host, tls=True) as visit:
        assert_shows(Viewer(visit.client).enter().picture, hypervisor.qemu.screen)
        assert visit.security() == "RFB X509_VNC, TLSv1.3"


def test_seen_under_the_name_of_the_ticket(hypervisor: Hypervisor) -> None:
    port = hypervisor.port("other-name")
    with hypervisor.visit(port, tls=True, server_name="other.example.com") as visit:
        assert_shows(Viewer(visit.client).enter().picture, hypervisor.qemu.screen)


def test_seen_by_its_authority_alone(hypervisor: Hypervisor) -> None:
    port = hypervisor.port("other-name")
    with hypervisor.visit(port, GATEWAY, tls=True) as visit:
        assert_shows(Viewer(visit.client).enter().picture, hypervisor.qemu.screen)
    shown = _CERTIFICATE.format(r"other\.example\.com", "Console CA").removeprefix("certificate: ")
    hypervisor.gateway.wait_for(rf"127\.0\.0\.1:{port}: .*not held to any name .*{shown}")


@pytest.mark.parametrize("server", ["rogue", "self-signed"])
def test_seen_by_its_fingerprint(hypervisor: Hypervisor, server: str) -> None:
    with hypervisor.visit(hypervisor.port(server), GATEWAY, tls=True) as visit:
        assert_shows(Viewer(visit.client).enter().picture, hypervisor.qemu.screen)


@pytest.mark.parametrize(
    ("server", "password"), [("none", None), ("password", PASSWORD), ("monitor", PASSWORD)]
)
def test_relayed_as_it_is(hypervisor: Hypervisor, server: str, password: str | None) -> None:
    with hypervisor.visit(hypervisor.port(server)) as visit:
        assert_shows(Viewer(visit.client).enter(password).picture, hypervisor.qemu.screen)


class TestSeveralTypes:
    """TigerVNC offers None, VNC authentication and VeNCrypt, and there TLSVnc, X509Vnc and X509None."""

    @pytest.mark.parametrize(
        ("host", "tls", "password", "security"),
        [
            (BROWSER, True, PASSWORD, "RFB X509_VNC, TLSv1.3"),
            (GATEWAY, True, None, "RFB X509_VNC, TLSv1.3"),
            (GATEWAY, False, None, "RFB VNC_AUTHENTICATION"),
        ],
    )
    def test_best_is_taken(
        self, hypervisor: Hypervisor, host: str, tls: bool, password: str | None, security: str
    ) -> None:
        tiger = hypervisor.tigers["tiger"]
        with hypervisor.visit(tiger.port, host, tls=tls) as visit:
            viewer = Viewer(visit.client).enter(password)
            assert (viewer.name, viewer.size) == (tiger.name, tiger.size)
            assert viewer.picture().size == tiger.size
            assert visit.security() == security

    def test_relayed_as_it_is(self, hypervisor: Hypervisor) -> None:
        with hypervisor.visit(hypervisor.port("tiger")) as visit:
            viewer = Viewer(visit.client).enter(PASSWORD)
            assert {NONE, VNC_AUTHENTICATION, 19} <= set(viewer.types)

    def test_wrong_password(self, hypervisor: Hypervisor) -> None:
        with hypervisor.visit(hypervisor.port("tiger"), tls=True) as visit:
            with pytest.raises(Denied, match="Authentication failure"):
                Viewer(visit.client).enter("wrong")
            assert visit.ended().code == 4016

    def test_nothing_but_anonymous(self, hypervisor: Hypervisor) -> None:
        with hypervisor.visit(hypervisor.port("tiger-anonymous"), GATEWAY, tls=True) as visit:
            ended = visit.ended()
        assert (ended.code, ended.reason) == (4015, "target-insecure")
        assert "TLS_VNC" in ended.detail


@pytest.mark.parametrize(
    ("server", "host", "code", "reason", "detail"),
    [
        (
            "other-name",
            BROWSER,
            4012,
            "target-wrong-name",
            r"wrong-name: .*\(expected localhost, and it is for 'other\.example\.com'\); "
            + _CERTIFICATE.format(r"other\.example\.com", "Console CA"),
        ),
        (
            "rogue",
            BROWSER,
            4011,
            "target-untrusted",
            "unknown-issuer: .*; " + _CERTIFICATE.format("localhost", "Rogue CA"),
        ),
        (
            "expired",
            BROWSER,
            4013,
            "target-expired",
            "expired: .*; " + _CERTIFICATE.format("localhost", "Console CA"),
        ),
        (
            "self-signed",
            BROWSER,
            4011,
            "target-untrusted",
            "self-signed: .*; " + _CERTIFICATE.format("localhost", "localhost"),
        ),
        ("peer", BROWSER, 4014, "target-rejected-us", "client-certificate: .*none is set for this target"),
        ("peer12", BROWSER, 4014, "target-rejected-us", "client-certificate: .*none is set for this target"),
        (
            "peer-rogue",
            GATEWAY,
            4014,
            "target-rejected-us",
            "client-certificate: .*ours was shown.*; " + _CERTIFICATE.format("gateway", "Rogue CA"),
        ),
        (
            "peer12-rogue",
            GATEWAY,
            4014,
            "target-rejected-us",
            "client-certificate: .*ours was shown.*; " + _CERTIFICATE.format("gateway", "Rogue CA"),
        ),
        ("none", BROWSER, 4015, "target-insecure", "server offers NONE; TLS by VeNCrypt is required"),
        ("password", GATEWAY, 4015, "target-insecure", "server offers VNC_AUTHENTICATION; TLS"),
        ("anonymous", BROWSER, 4015, "target-insecure", "VeNCrypt offers TLS_NONE; only TLS with cert"),
        ("x509vnc-wrong", GATEWAY, 4016, "target-auth-failed", ""),
        ("x509vnc-unknown", GATEWAY, 4016, "target-auth-failed", "there is no password to answer with"),
        ("sasl-wrong", GATEWAY, 4016, "target-auth-failed", ""),
        ("sasl", BROWSER, 4016, "target-auth-failed", "which a browser cannot answer"),
    ],
)
def test_refused(hypervisor: Hypervisor, server: str, host: str, code: int, reason: str, detail: str) -> None:
    with hypervisor.visit(hypervisor.port(server), host, tls=True) as visit:
        # The browser is not let in before the target is known to be good.
        with pytest.raises(ConnectionClosed):
            Viewer(visit.client).enter()
        ended = visit.ended()
    assert (ended.code, ended.reason) == (code, reason)
    assert re.search(detail, ended.detail), ended.detail
    assert ended.text


def test_wrong_password_of_the_browser(hypervisor: Hypervisor) -> None:
    with hypervisor.visit(hypervisor.port("x509vnc"), tls=True) as visit:
        with pytest.raises(Denied, match="Authentication failed"):
            Viewer(visit.client).enter("wrong")
        assert visit.ended().code == 4016


class TestPasswordStays:
    """In gateway mode nothing of a password reaches the browser or the log."""

    @pytest.mark.parametrize("server", ["right", "monitor", "x509vnc", "tls12", "sasl", "tiger"])
    def test_while_it_is_right(self, hypervisor: Hypervisor, server: str) -> None:
        with hypervisor.visit(hypervisor.port(server), GATEWAY) as visit:
            Viewer(visit.client).enter().picture()
            assert visit.payload.startswith(b"RFB 003.008\n\x01\x01")
            self.check(hypervisor, visit)

    @pytest.mark.parametrize("server", ["wrong", "x509vnc-wrong", "sasl-wrong"])
    def test_while_it_is_wrong(self, hypervisor: Hypervisor, server: str) -> None:
        with hypervisor.visit(hypervisor.port(server), GATEWAY) as visit:
            assert visit.ended().code == 4016
            self.check(hypervisor, visit)

    def check(self, hypervisor: Hypervisor, visit: Visit) -> None:
        places = (visit.heard, visit.payload, hypervisor.gateway.output.encode())
        assert all(places)
        secrets = [secret.encode() for secret in hypervisor.secrets]
        for tap in hypervisor.taps.values():
            secrets += _challenges_and_responses(bytes(tap.from_server), bytes(tap.from_client))
        for secret in secrets:
            for form in _forms(secret):
                assert not any(form in place for place in places)

    def test_taps_saw_something(self, hypervisor: Hypervisor) -> None:
        """What was looked for is what was said."""
        for name, code in (("right", 0), ("wrong", 1)):
            tap = hypervisor.taps[name]
            with hypervisor.visit(tap.port, GATEWAY) as visit:
                if code:
                    visit.ended()
                else:
                    Viewer(visit.client).enter()
            seen = _challenges_and_responses(bytes(tap.from_server), bytes(tap.from_client))
            assert len(seen) >= 2
            assert all(len(secret) == 16 for secret in seen)


class TestConsolePage:
    """noVNC in Chromium."""

    def test_password_is_asked_for(self, hypervisor: Hypervisor, artifacts: Path) -> None:
        console = hypervisor.page(hypervisor.browser, hypervisor.port("x509vnc"), tls=True)
        console.answer("wrong")
        console.wait_for("ended")
        assert (console.code, console.notice) == ("password", "The console did not accept the password")
        console.page.click("#reconnect")
        console.answer(PASSWORD)
        console.wait_for("connected")
        assert_shows(console.canvas, hypervisor.qemu.screen)
        console.page.screenshot(path=artifacts / "target-x509vnc.png")
        # Of the wrong one.
        (complaint,) = console.complaints
        assert "Authentication failed" in complaint
        console.close()

    @pytest.mark.parametrize("server", ["x509vnc", "sasl", "password"])
    def test_password_is_not_asked_for(self, hypervisor: Hypervisor, server: str) -> None:
        tls = server != "password"
        console = hypervisor.page(hypervisor.browser, hypervisor.port(server), GATEWAY, tls=tls)
        console.wait_for("connected")
        expect(console.page.locator("#ask")).to_be_hidden()
        assert_shows(console.canvas, hypervisor.qemu.screen)
        assert console.complaints == []
        console.close()

    def test_wrong_name_is_shown(self, hypervisor: Hypervisor) -> None:
        console = hypervisor.page(hypervisor.browser, hypervisor.port("other-name"), tls=True)
        console.wait_for("ended")
        assert (console.code, console.notice) == ("4012", "The console's certificate is for another host")
        console.close()


def _challenges_and_responses(from_server: bytes, from_client: bytes) -> list[bytes]:
    """What is secret of VNC authentication in the open, in all sessions of a tap.

    The server begins with its version (12 bytes), one type (2) and the challenge (16); the client with its
    version, the type (1) and the response.
    """
    version = b"RFB 003.008\n"
    sides = ((from_server, b"\x01\x02"), (from_client, b"\x02"))
    return [
        match[1]
        for said, lead in sides
        for match in re.finditer(re.escape(version + lead) + rb"(?s:(.{16}))", said)
    ]


def _forms(secret: bytes) -> list[bytes]:
    """How a secret could be written down."""
    mirrored = bytes(int(f"{value:08b}"[::-1], 2) for value in secret)
    forms = []
    for plain in (secret, mirrored):
        forms += [plain, plain.hex().encode(), plain.hex(" ").encode(), repr(plain)[2:-1].encode()]
        forms.append(base64.b64encode(plain).rstrip(b"="))
    return forms
