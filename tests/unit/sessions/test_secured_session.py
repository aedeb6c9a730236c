"""Sessions whose target is secured before it is relayed: passwords, refusals, and what the log says."""

from __future__ import annotations

import os
from http import HTTPStatus

from OpenSSL import SSL
from twisted.logger import formatEvent

from gateway.reasons import EndReason
from gateway.settings import PasswordMode
from tests.support.pki import CLIENT, Authority
from tests.unit.net.samples import DAY, NOW
from tests.unit.relay.wires import End
from tests.unit.rfb.samples import FAILED, LINE, OK, PASSWORD, RESPONSE, X509_VNC, text
from tests.unit.sessions.securing import LINES, Life, SecuredSessionCase
from tests.unit.targets.consoles import echo, kubevirt, rfb, says, spice, vencrypt
from tests.unit.targets.securing import (
    AT_ONCE,
    HANDSHAKE_TIMEOUT,
    INSIDE_RFB,
    KUBEVIRT,
    PATH,
    SILENCE,
    authority,
    grant,
    leaf,
)
from tests.unit.targets.tls import NAME, server_side


class BrowserPasswordTests(SecuredSessionCase):
    """X509Vnc: the browser is shown VNC authentication."""

    def test_its_answer_reaches_the_target(self) -> None:
        for line in LINES:
            life = self.begin(vencrypt(X509_VNC))
            life.authenticates(line)
            self.assertEqual(OK, life.hears(4))
            life.talks()
            life.browser.close_frame(1000)
            life.ends(EndReason.CLIENT_CLOSED, 1000)

    def test_wrong_password(self) -> None:
        """It is told as a VNC server would, and then why the connection is closed."""
        for line in LINES:
            for rude in (False, True):
                life = self.begin(vencrypt(X509_VNC, rude=rude))
                life.authenticates(line, bytes(16))
                said = FAILED
                if line == LINE:
                    why = b"Server closed the connection instead of accepting the answer"
                    said += text(why if rude else b"Authentication failed")
                self.assertEqual(said, life.hears(len(said)))
                life.ends(EndReason.TARGET_AUTH_FAILED, 4016)
                self.assertEqual(b"", bytes(life.browser.received))

    def test_a_browser_that_breaks_rfb(self) -> None:
        for said in (b"GET / HTTP/1.1\r\n", LINE + b"\1"):
            life = self.begin(vencrypt(X509_VNC))
            life.hears(12)
            life.browser.message(said)
            life.ends(EndReason.CLIENT_RFB_ERROR, 1002, "the browser: ")

    def test_a_browser_that_is_ahead(self) -> None:
        """ClientInit behind the answer, in one message with it: it is for the target."""
        life = self.begin(vencrypt(X509_VNC))
        life.browser.message(LINE + b"\2" + RESPONSE + b"\1")
        life.hears(12 + 2 + 16)
        self.assertEqual(OK, life.hears(4))
        self.assertEqual(b"\1", life.hears(1), "it was said back")
        life.talks()

    def test_x509_none(self) -> None:
        for line in LINES:
            life = self.begin(vencrypt())
            life.is_let_in(line)
            life.talks()
            life.console.close()
            life.ends(EndReason.TARGET_CLOSED, 1000)


class GatewayPasswordTests(SecuredSessionCase):
    """The password never leaves the gateway, but for the target."""

    def setUp(self) -> None:
        super().setUp()
        secrets = self.directory / "secrets.toml"
        secrets.write_text(f'["{NAME}"]\npassword = "{PASSWORD}"\n')
        os.chmod(secrets, 0o600)
        self.make(password=PasswordMode.GATEWAY, secrets=secrets)

    def assert_secret(self, life: Life, *secrets: bytes) -> None:
        wire = bytes(life.browser.wire)
        log = self.log_text()
        for secret in secrets:
            self.assertNotIn(secret, wire)
            for shown in (secret.decode("latin-1"), secret.hex(), repr(secret)[2:-1]):
                self.assertNotIn(shown, log)

    def test_the_browser_is_not_asked(self) -> None:
        for script, to in (
            (vencrypt(X509_VNC), INSIDE_RFB),
            (vencrypt(X509_VNC), grant(tls=True, password=PASSWORD)),
            (rfb(2), grant()),
        ):
            for line in LINES:
                life = self.begin(script, to)
                life.is_let_in(line)
                life.talks()
                life.console.close()
                life.ends(EndReason.TARGET_CLOSED, 1000)
                self.assertIn(RESPONSE, bytes(life.console.wire) if to == grant() else RESPONSE)
                self.assert_secret(life, PASSWORD.encode(), RESPONSE)

    def test_neither_when_it_is_wrong(self) -> None:
        for script, to in (
            (vencrypt(X509_VNC, answer=bytes(16)), INSIDE_RFB),
            (rfb(2, answer=bytes(16)), grant()),
            (rfb(2, answer=bytes(16), rude=True), grant()),
            (says(LINE, b"\1\2", bytes(16), FAILED, text(b"not " + PASSWORD.encode())), grant()),
        ):
            life = self.begin(script, to)
            life.ends(EndReason.TARGET_AUTH_FAILED, 4016)
            self.assertEqual(b"", bytes(life.browser.received))
            self.assert_secret(life, PASSWORD.encode(), RESPONSE)

    def test_others_are_relayed_as_they_are(self) -> None:
        life = self.begin(says(b"login: "), grant())
        self.assertEqual(b"login: ", life.hears(7))
        life = self.begin(echo, grant(), early=b"")
        life.browser.message(b"early")
        self.settle()
        self.assertEqual(b"", bytes(life.console.wire))
        self.clock.advance(SILENCE)
        self.assertEqual(b"early", life.hears(5))
        life.talks()


class KubeVirtTests(SecuredSessionCase):
    def test_messages_both_ways(self) -> None:
        life = self.begin(kubevirt(LINE), KUBEVIRT)
        self.assertEqual(LINE, life.hears(12), "it came behind the response")
        life.talks()
        life.browser.message(b"x" * 300_000)
        self.assertEqual(b"x" * 300_000, life.hears(300_000))
        life.console.close()
        life.ends(EndReason.TARGET_CLOSED, 1000)
        assert KUBEVIRT.target.token is not None
        self.assertNotIn(KUBEVIRT.target.token, self.log_text())
        self.assertNotIn(b"bearer", bytes(life.browser.wire))

    def test_without_a_token(self) -> None:
        life = self.begin(kubevirt(), grant(path=PATH))
        life.talks()

    def test_what_a_browser_says_meanwhile_is_passed_on(self) -> None:
        life = self.begin(kubevirt(), KUBEVIRT)
        life.browser.message(b"early")
        self.assertEqual(b"early", life.hears(5))

    def test_refusals(self) -> None:
        for script, reason, code in (
            (kubevirt(status=HTTPStatus.UNAUTHORIZED), EndReason.TARGET_AUTH_FAILED, 4016),
            (kubevirt(status=HTTPStatus.FORBIDDEN), EndReason.TARGET_AUTH_FAILED, 4016),
            (kubevirt(status=HTTPStatus.NOT_FOUND), EndReason.TARGET_PROTOCOL_ERROR, 4017),
            (kubevirt(Sec_WebSocket_Protocol="binary"), EndReason.TARGET_PROTOCOL_ERROR, 4017),
            (rfb(1), EndReason.TARGET_TLS_FAILED, 4010),
        ):
            life = self.begin(script, KUBEVIRT, limit=0 if code == 4010 else None, leaves=True)
            life.ends(reason, code)

    def test_a_console_that_says_nothing_and_goes(self) -> None:
        """Even where certificates of clients are asked for, as Kubernetes does: ours was taken."""
        clients = Authority("Client CA")
        certificate, key = clients.issue("gateway", purposes=CLIENT).save(self.directory, "client")
        self.make(certificate=certificate, key=key)
        life = self.begin(kubevirt(), KUBEVIRT, server=server_side(leaf(), wants=clients))
        self.pump(lambda: life.session.relay.target)
        life.console.close()
        life.ends(EndReason.TARGET_CLOSED, 1000)


class SpiceTests(SecuredSessionCase):
    def test_the_client_speaks_first(self) -> None:
        life = self.begin(spice)
        life.browser.message(b"REDQ\2\0\0\0")
        self.assertEqual(b"REDQ\2\0\0\0", life.hears(8))
        self.assertEqual(0, self.clock.seconds())
        life.talks()

    def test_nobody_speaks_for_a_while(self) -> None:
        life = self.begin(spice)
        self.settle()
        self.clock.advance(SILENCE)
        life.talks()

    def test_an_early_word_is_not_lost(self) -> None:
        life = self.begin(spice)
        life.browser.message(b"RED")
        self.settle()
        life.browser.message(b"Q")
        self.settle()
        self.clock.advance(SILENCE)
        self.assertEqual(b"REDQ", life.hears(4))


class RefusalTests(SecuredSessionCase):
    def test_close_codes(self) -> None:
        own = Authority("Client CA")
        for server, reason, code in (
            (server_side(authority().issue("other.example.com")), EndReason.TARGET_WRONG_NAME, 4012),
            (server_side(Authority().issue(NAME)), EndReason.TARGET_UNTRUSTED, 4011),
            (server_side(Authority.self_signed(NAME)), EndReason.TARGET_UNTRUSTED, 4011),
            (server_side(authority().issue(NAME, end=NOW - DAY / 2)), EndReason.TARGET_EXPIRED, 4013),
            (server_side(leaf(), wants=own), EndReason.TARGET_REJECTED_US, 4014),
            (server_side(leaf(), SSL.TLS1_2_VERSION, wants=own), EndReason.TARGET_REJECTED_US, 4014),
        ):
            for script, to in ((vencrypt(), INSIDE_RFB), (kubevirt(), KUBEVIRT), (spice, AT_ONCE)):
                life = self.begin(script, to, server=server)
                line = life.ends(reason, code, "issuer CN=" if code != 4014 else "client-certificate")
                self.assertEqual((0, 0), (line["to_target"], line["to_client"]))
                self.assertEqual(b"", bytes(life.browser.received))
                self.assertNotIn(b"CN=", bytes(life.browser.wire))

    def test_a_late_refusal_of_what_a_client_said(self) -> None:
        """Under TLS 1.3 a SPICE client may have been heard by a target that does not take the gateway."""
        server = server_side(leaf(), wants=Authority("Client CA"))
        life = self.begin(spice, INSIDE_RFB, server=server)
        life.browser.message(b"REDQ")
        life.ends(EndReason.TARGET_REJECTED_US, 4014, "none is set for this target")

    def test_never_downgraded(self) -> None:
        self.begin(rfb(1), INSIDE_RFB).ends(EndReason.TARGET_INSECURE, 4015)
        self.begin(says(b"SSH-2.0-x\r\n"), INSIDE_RFB).ends(EndReason.TARGET_INSECURE, 4015)
        self.begin(says(b"SSH-2.0-x\r\n"), AT_ONCE).ends(EndReason.TARGET_TLS_FAILED, 4010)

    def test_broken_and_lost(self) -> None:
        self.begin(says(b"RFB hello!!!"), INSIDE_RFB).ends(EndReason.TARGET_PROTOCOL_ERROR, 4017)
        self.begin(says(), INSIDE_RFB, limit=0, leaves=True).ends(EndReason.TARGET_LOST, 4006)
        self.begin(vencrypt(), INSIDE_RFB, limit=100, leaves=True).ends(EndReason.TARGET_TLS_FAILED, 4010)

    def test_stalled(self) -> None:
        for script, to in ((vencrypt(), INSIDE_RFB), (kubevirt(), KUBEVIRT), (spice, AT_ONCE)):
            for limit in (7, 100, 600):
                life = self.begin(script, to, limit=limit)
                self.settle()
                self.clock.advance(HANDSHAKE_TIMEOUT)
                life.ends(EndReason.TARGET_HANDSHAKE_TIMEOUT, 4018)


class LogTests(SecuredSessionCase):
    def test_one_line_with_what_was_agreed(self) -> None:
        for script, to, agreed in (
            (vencrypt(), INSIDE_RFB, "RFB X509_NONE, TLSv1.3"),
            (spice, AT_ONCE, "TLS, TLSv1.3"),
            (kubevirt(), KUBEVIRT, "WebSocket, TLSv1.3"),
        ):
            self.events.clear()
            life = self.begin(script, to)
            if to is INSIDE_RFB:
                life.is_let_in()
            life.talks()
            lines = [formatEvent(event) for event in self.events if "security" in event]
            self.assertEqual(
                [f"target secured id={life.session.id} target={NAME}:5900 security='{agreed}'"], lines
            )
            life.session.end(EndReason.SHUTDOWN)
            life.ends(EndReason.SHUTDOWN, 1001)

    def test_none_where_nothing_was_to_be_secured(self) -> None:
        life = self.begin(echo, grant())
        life.talks()
        self.assertEqual([], [event for event in self.events if "security" in event])

    def test_certificates_are_remembered(self) -> None:
        life = self.begin(spice, AT_ONCE)
        life.talks()
        ((name, certificate),) = self.securer.seen.items()
        self.assertEqual((f"{NAME}:5900", leaf().fingerprint), (name, certificate.fingerprint))
        assert isinstance(life.console, End)
