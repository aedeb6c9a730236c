"""A gateway and a console server that do a TLS handshake, both in steps that never block."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from gateway.net import ChannelError, TlsChannel
from gateway.settings import SecuritySettings, Settings
from gateway.targets.certificates import PeerCertificate
from gateway.targets.checks import TlsCheck, TlsCheckFailed, explain, late_refusal, open_connection
from gateway.targets.rules import SecurityRule, SecurityRules
from gateway.targets.trust import TargetTls
from tests.support.pki import Authority, Leaf

NAME = "host1.example.com"
VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)
PATIENCE = 40
"""Steps that either side may take."""


def rule(**values: Any) -> SecurityRule:
    return SecurityRules(Settings(security=SecuritySettings(**values))).default


def server_side(
    leaf: Leaf,
    version: int = SSL.TLS1_3_VERSION,
    *,
    wants: Authority | None = None,
    names_authorities: bool = True,
) -> SSL.Context:
    """A console server's context, of one TLS version.

    :param wants: whose client certificates are accepted; without it, none is asked for.
    :param names_authorities: tell clients who that is.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    # What is shown may be as weak as the test wants.
    context.set_cipher_list(b"ALL:!aNULL:@SECLEVEL=0")
    context.use_certificate(leaf.certificate)
    for issuer in leaf.chain[1:]:
        context.add_extra_chain_cert(issuer)
    context.use_privatekey(leaf.key)
    if wants is not None:
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(wants.certificate))
        if names_authorities:
            context.add_client_ca(wants.certificate)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *args: bool(args[4]))
    return context


@attrs.define
class Meeting:
    """Both sides, joined by a socket pair."""

    near: TlsChannel
    tls: SSL.Connection
    """The gateway's side."""
    far: socket.socket
    server: SSL.Connection | None
    """The console server's; ``None`` for one that is played by the test."""

    def shake(self) -> None:
        """Drive both sides until the gateway's handshake is complete, and the server's as far as it goes.

        :raises ChannelError: when the gateway's fails.
        """
        done = False
        for _ in range(PATIENCE):
            done = done or self.near.handshake()
            self.serve()
        if not done:
            raise AssertionError("the handshake does not end")

    def serve(self) -> None:
        """One step of the server."""
        if self.server is not None:
            with contextlib.suppress(SSL.Error):
                self.server.do_handshake()

    def read(self) -> int:
        """What the gateway reads first: a count, 0 at the end, or less than that for nothing yet."""
        return self.near.recv_into(memoryview(bytearray(16384)))

    def close(self) -> None:
        self.near.close()
        self.far.close()


class TlsCase(SynchronousTestCase):
    """Handshakes of a :class:`TargetTls` with servers."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.authority = Authority()
        self.ca = self.authority.save(self.directory, "ca")

    def verifying(self, **values: Any) -> TargetTls:
        """As the settings say; the test's authority is the trusted one by default."""
        return TargetTls(rule(**{"ca": self.ca, **values}))

    def pair(self) -> tuple[socket.socket, socket.socket]:
        near, far = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
            self.addCleanup(sock.close)
        return near, far

    def meet(
        self, server: SSL.Context | None, tls: TargetTls | SSL.Context, name: str | None = NAME
    ) -> Meeting:
        """Connect both, with nothing said yet."""
        near, far = self.pair()
        connection = tls.connection(near, name) if isinstance(tls, TargetTls) else open_connection(tls, near)
        other = None
        if server is not None:
            other = SSL.Connection(server, far)
            other.set_accept_state()
        return Meeting(TlsChannel(near, connection), connection, far, other)

    def accepted(
        self, leaf: Leaf, tls: TargetTls, name: str | None = NAME, version: int = SSL.TLS1_3_VERSION
    ) -> PeerCertificate:
        """Have a handshake succeed, and data pass."""
        meeting = self.meet(server_side(leaf, version), tls, name)
        meeting.shake()
        peer = tls.finish(meeting.tls, name)
        assert meeting.server is not None
        meeting.server.send(b"RFB")
        self.assertEqual(meeting.read(), 3)
        self.assertIsNone(late_refusal(meeting.tls))
        self.assertEqual(peer.fingerprint, leaf.fingerprint)
        return peer

    def refused(
        self, check: TlsCheck, leaf: Leaf, tls: TargetTls, name: str | None = NAME, **server: Any
    ) -> TlsCheckFailed:
        """Have the check fail, under each version of TLS."""
        failed = None
        for version in VERSIONS:
            meeting = self.meet(server_side(leaf, version, **server), tls, name)
            try:
                meeting.shake()
            except ChannelError as error:
                failed = explain(meeting.tls, error)
            else:
                failed = self.assertRaises(TlsCheckFailed, tls.finish, meeting.tls, name)
            self.assertIs(failed.check, check, failed)
            self.assert_loggable(failed)
        assert failed is not None
        return failed

    def assert_loggable(self, failed: TlsCheckFailed) -> None:
        text = str(failed)
        self.assertTrue(text.startswith(failed.check.label))
        self.assertTrue(text.isprintable(), repr(text))
        self.assertLess(len(text), 1500)

    def assert_shows(self, failed: TlsCheckFailed, certificate: x509.Certificate) -> None:
        """That the log line says which certificate it is about."""
        text = str(failed)
        self.assertIn(certificate.subject.rfc4514_string(), text)
        self.assertIn(certificate.issuer.rfc4514_string(), text)
        self.assertIn(f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M}", text)
        self.assertIn(f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M}", text)
