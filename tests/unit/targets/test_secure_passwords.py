"""The gateway answers the password itself; and consoles of KubeVirt, which take a token."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from websockets.frames import Opcode

from gateway.reasons import EndReason
from gateway.rfb import vnc_response
from gateway.settings import PasswordMode, RuleSettings, TargetSecurity
from tests.support.pki import Authority
from tests.unit.relay.remotes import unmasked
from tests.unit.rfb.samples import (
    CHALLENGE,
    FAILED,
    LINE,
    LINE_3_3,
    LINE_3_7,
    OK,
    PASSWORD,
    RESPONSE,
    TLS_NONE,
    TLS_VNC,
    X509_VNC,
    text,
)
from tests.unit.targets.consoles import Script, echo, kubevirt, rfb, says, spice, vencrypt
from tests.unit.targets.securing import AT_ONCE, KUBEVIRT, PATH, SILENCE, HandFace, SecuringCase, grant
from tests.unit.targets.tls import NAME, server_side

PLAIN_TYPES: tuple[tuple[Script, str], ...] = (
    (rfb(1), "RFB NONE"),
    (rfb(2), "RFB VNC_AUTHENTICATION"),
    (rfb(2, 1), "RFB VNC_AUTHENTICATION"),
    (rfb(2, line=LINE_3_7), "RFB VNC_AUTHENTICATION"),
    (rfb(2, line=LINE_3_3), "RFB VNC_AUTHENTICATION"),
)


class GatewayTests(SecuringCase):
    def secrets(self, password: str = PASSWORD) -> Path:
        path = self.directory / "secrets.toml"
        path.write_text(f'["{NAME}"]\npassword = "{password}"\n')
        os.chmod(path, 0o600)
        return path

    def make(self, rules: Any = None, **security: Any) -> None:
        super().make(rules, **{"password": PasswordMode.GATEWAY, **security})

    def unasked(self, face: HandFace) -> None:
        """The browser was let in without having been asked for anything, or told what the target said."""
        self.assertTrue(face.begun)
        self.assertEqual(([], 1, []), (face.challenges, face.admitted, face.judged))

    def test_password_of_the_grant(self) -> None:
        for script, to, security in (
            (vencrypt(X509_VNC), grant(tls=True, password=PASSWORD), "RFB X509_VNC, TLSv1.3"),
            (vencrypt(), grant(tls=True, password=PASSWORD), "RFB X509_NONE, TLSv1.3"),
            *((script, grant(password=PASSWORD), security) for script, security in PLAIN_TYPES),
        ):
            attempt = self.attempt(script, to=to)
            secured = attempt.succeed()
            self.assertEqual(security, secured.security)
            self.unasked(attempt.face)
            self.assert_talks(secured)

    def test_password_of_the_secrets_file(self) -> None:
        self.make(secrets=self.secrets())
        for script, to in ((vencrypt(X509_VNC), grant(tls=True)), (rfb(2), grant())):
            attempt = self.attempt(script, to=to)
            self.assert_talks(attempt.succeed())
            self.unasked(attempt.face)

    def test_the_grant_comes_first(self) -> None:
        self.make(secrets=self.secrets("of the file"))
        for password in (PASSWORD, "other", None):
            console = vencrypt(X509_VNC, answer=vnc_response(CHALLENGE, password or "of the file"))
            self.assert_talks(self.attempt(console, to=grant(tls=True, password=password)).succeed())

    def test_no_password(self) -> None:
        self.make(secrets=self.secrets())
        for script, to in (
            (vencrypt(X509_VNC), grant("192.0.2.1", tls=True, server_name=NAME)),
            (rfb(2), grant("192.0.2.1")),
        ):
            attempt = self.attempt(script, to=to)
            attempt.fail(EndReason.TARGET_AUTH_FAILED, "there is no password to answer with")
            self.assertEqual(0, attempt.face.admitted)

    def test_wrong_password(self) -> None:
        """What the target thinks of the gateway is nothing for the browser."""
        for rude in (False, True):
            for script, to in (
                (vencrypt(X509_VNC, rude=rude), grant(tls=True, password="wrong")),
                (rfb(2, rude=rude), grant(password="wrong")),
            ):
                attempt = self.attempt(script, to=to)
                attempt.fail(EndReason.TARGET_AUTH_FAILED)
                self.assertEqual((0, []), (attempt.face.admitted, attempt.face.judged))

    def test_a_password_that_cannot_be_used(self) -> None:
        attempt = self.attempt(rfb(2), to=grant(password="\u20ac uro"))
        self.assertNotIn("\u20ac", attempt.fail(EndReason.TARGET_AUTH_FAILED, "cannot carry"))

    def test_a_target_that_tells_the_password(self) -> None:
        script = says(LINE, b"\1\2", CHALLENGE, FAILED, text(b"No, not " + PASSWORD.encode()))
        attempt = self.attempt(script, to=grant(password=PASSWORD))
        self.assertNotIn(PASSWORD, attempt.fail(EndReason.TARGET_AUTH_FAILED, "withheld"))

    def test_others_than_rfb_are_relayed_as_they_are(self) -> None:
        """Nothing is read of what they say, and the browser stays unheard."""
        for greeting in (b"login: ", b"R", b"RF_", b"", None):
            script = echo if greeting is None else says(greeting)
            attempt = self.attempt(script, to=grant(password=PASSWORD))
            if not greeting or greeting == b"R":
                self.settle()
                self.clock.advance(SILENCE)
            if greeting == b"R":
                self.assertEqual([], attempt.outcome, "it may yet become RFB")
                attempt.console.send(b"FB 003.008\n\1\1\0\0\0\0")
                self.assertEqual("RFB NONE", attempt.succeed().security)
                self.drop(attempt.channel)
                continue
            secured = attempt.succeed()
            self.assertEqual(("plain", None), (secured.security, secured.explain_end()))
            self.assertEqual((False, 0), (attempt.face.begun, attempt.face.admitted))
            if greeting:
                view = memoryview(bytearray(100))
                self.assertEqual(len(greeting), secured.channel.recv_into(view))
            elif greeting is None:
                self.assert_talks(secured)
            self.drop(secured.channel)

    def test_a_plain_target_that_leaves_at_once(self) -> None:
        """The relay finds out, and says so."""
        secured = self.attempt(says(), to=grant(), limit=0, leaves=True).succeed()
        self.assertEqual("plain", secured.security)
        self.drop(secured.channel)


class KubeVirtTests(SecuringCase):
    def test_with_a_token(self) -> None:
        attempt = self.attempt(kubevirt(), to=KUBEVIRT)
        secured = attempt.succeed()
        self.assertEqual((True, b""), (secured.websocket, secured.early))
        self.assertEqual("WebSocket, TLSv1.3", secured.security)
        request = attempt.console.request
        assert request is not None
        self.assertEqual((PATH, f"{NAME}:5900"), (request.path, request.headers["Host"]))
        assert KUBEVIRT.target.token is not None
        token = base64.urlsafe_b64encode(KUBEVIRT.target.token.encode()).rstrip(b"=").decode()
        self.assertEqual(
            f"base64url.bearer.authorization.k8s.io.{token}, plain.kubevirt.io",
            request.headers["Sec-WebSocket-Protocol"],
        )
        self.assertNotIn("Origin", request.headers)
        self.assertEqual((False, 0), (attempt.face.begun, attempt.face.admitted))
        self.assertNotIn(KUBEVIRT.target.token, self.log_text())
        self.assertNotIn(token, self.log_text())
        self.drop(secured.channel)

    def test_without_a_token(self) -> None:
        attempt = self.attempt(kubevirt(), to=grant(path=PATH))
        secured = attempt.succeed()
        assert attempt.console.request is not None
        self.assertEqual("plain.kubevirt.io", attempt.console.request.headers["Sec-WebSocket-Protocol"])
        self.drop(secured.channel)

    def test_frames_behind_the_response(self) -> None:
        secured = self.attempt(kubevirt(LINE), to=KUBEVIRT).succeed()
        self.assertEqual(unmasked(Opcode.BINARY, LINE), secured.early)
        self.drop(secured.channel)

    def test_the_path_says_what_it_is(self) -> None:
        """Whatever else the ticket or a rule says, and whoever answers passwords."""
        for mode in TargetSecurity:
            for password in PasswordMode:
                self.make(mode=mode, password=password)
                for ticket in ({}, {"tls": True}, {"security": TargetSecurity.VENCRYPT}):
                    secured = self.attempt(kubevirt(), to=grant(path=PATH, **ticket)).succeed()
                    self.assertTrue(secured.websocket)
                    self.drop(secured.channel)

    def test_the_request_is_written_whatever_fits(self) -> None:
        """A long token, and a server that takes its time to read it."""
        to = grant(path=PATH, token="x" * 6000)
        attempt = self.attempt(kubevirt(), to=to, small=True)
        attempt.console.read_size = 100
        secured = attempt.succeed()
        assert attempt.console.request is not None
        self.assertGreater(len(attempt.console.request.headers["Sec-WebSocket-Protocol"]), 8000)
        self.drop(secured.channel)


class AnonymousTests(SecuringCase):
    """VeNCrypt's subtypes without certificates, for those that a rule allows them."""

    def server(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(b"aNULL:@SECLEVEL=0")
        return context

    def test_allowed(self) -> None:
        self.make(rules={"old": RuleSettings(targets=(NAME,), anonymous=True)})
        for subtype, name in ((TLS_NONE, "TLS_NONE"), (TLS_VNC, "TLS_VNC")):
            attempt = self.attempt(vencrypt(subtype), face=HandFace(RESPONSE), server=self.server())
            secured = attempt.succeed()
            self.assertEqual(f"RFB {name}, TLSv1.2", secured.security)
            self.assertNotIn(OK, bytes(attempt.console.wire))
            self.assert_talks(secured)
        self.assertEqual(0, len(self.securer.seen))

    def test_refused(self) -> None:
        """Elsewhere, and with certificates where none are expected."""
        self.make(rules={"old": RuleSettings(targets=(NAME,), anonymous=True)})
        for subtype in (TLS_NONE, TLS_VNC):
            attempt = self.attempt(
                vencrypt(subtype), to=grant("other.example.com", tls=True), server=self.server()
            )
            attempt.fail(EndReason.TARGET_INSECURE, "only TLS with certificates may be used")
            self.attempt(vencrypt(subtype)).fail(EndReason.TARGET_TLS_FAILED)

    def test_certificates_are_no_less_verified_there(self) -> None:
        self.make(anonymous=True)
        rogue = server_side(Authority().issue(NAME))
        self.attempt(vencrypt(), server=rogue).fail(EndReason.TARGET_UNTRUSTED)
        self.attempt(vencrypt(), server=self.server()).fail(EndReason.TARGET_TLS_FAILED)
        self.attempt(spice, to=AT_ONCE, server=self.server()).fail(EndReason.TARGET_TLS_FAILED)
        self.attempt(rfb(1)).fail(EndReason.TARGET_INSECURE, "TLS by VeNCrypt is required")
