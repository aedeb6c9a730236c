"""Real handshakes of real clients with the listeners' context, over a socket pair in memory BIOs."""

from __future__ import annotations

import contextlib
import ssl
import warnings
from pathlib import Path

import attrs
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from gateway.net import load_identity, server_context
from gateway.settings import TlsSettings, TlsVersion
from tests.unit.net.samples import certificate, key, pem, write

NAME = "gateway.example.com"


class Wire:
    """A client and a server joined by memory, both pumped by hand."""

    def __init__(
        self, server: SSL.Context, client: ssl.SSLContext, session: ssl.SSLSession | None = None
    ) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = SSL.Connection(server, None)
        self.server.set_accept_state()
        self.client = client.wrap_bio(self._in, self._out, server_hostname=NAME, session=session)

    def shake(self) -> None:
        """Complete the handshake of both.

        :raises ssl.SSLError: when the client gives up.
        :raises SSL.Error: when the server does.
        """
        done: set[str] = set()
        for _ in range(20):
            try:
                self.client.do_handshake()
                done.add("client")
            except ssl.SSLWantReadError:
                pass
            self.pump()
            try:
                self.server.do_handshake()
                done.add("server")
            except SSL.WantReadError:
                pass
            self.pump()
            if len(done) == 2:
                return
        raise AssertionError("the handshake does not end")

    def pump(self) -> None:
        if data := self._out.read():
            self.server.bio_write(data)
        try:
            while True:
                self._in.write(self.server.bio_read(65536))
        except SSL.WantReadError:
            pass

    def round_trip(self) -> None:
        self.client.write(b"question")
        self.pump()
        assert self.server.recv(100) == b"question"
        self.server.send(b"answer")
        self.pump()
        assert self.client.read(100) == b"answer"


class HandshakeTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        root = certificate(key(2), "root", ca=True)
        middle = certificate(key(1), "middle", issuer=("root", key(2)), ca=True)
        server = certificate(key(), NAME, issuer=("middle", key(1)))
        self.ca = pem(root).decode()
        self.tls = TlsSettings(certificate=write(directory / "all.pem", pem(server, middle, key())))
        self.context = self.context_of(self.tls)

    def context_of(self, tls: TlsSettings) -> SSL.Context:
        return server_context(tls, load_identity(tls))

    def client(self, version: ssl.TLSVersion | None = None, ciphers: str | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.ca)
        if ciphers:
            context.set_ciphers(ciphers)
        if version is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.minimum_version = context.maximum_version = version
        return context

    def test_versions(self) -> None:
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            wire = Wire(self.context, self.client(version))
            wire.shake()
            self.assertEqual(wire.client.version(), name)
            self.assertIsNone(wire.client.compression())
            wire.round_trip()

    def test_chain_is_complete(self) -> None:
        """The client knows the root only, so the certificate between must come with the server's."""
        wire = Wire(self.context, self.client())
        wire.shake()
        chain = wire.server.get_certificate()
        self.assertIsNotNone(chain)
        peer = wire.client.getpeercert()
        assert peer is not None
        self.assertIn((("commonName", NAME),), peer["subject"])

    def test_old_versions_are_refused(self) -> None:
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            # At the default level this client would not even try.
            wire = Wire(self.context, self.client(version, "DEFAULT:@SECLEVEL=0"))
            error = self.assertRaises(SSL.Error, wire.shake)
            self.assertIn("unsupported protocol", str(error))

    def test_minimum(self) -> None:
        strict = self.context_of(attrs.evolve(self.tls, min_version=TlsVersion.TLS_1_3))
        wire = Wire(strict, self.client(ssl.TLSVersion.TLSv1_2))
        self.assertRaises(SSL.Error, wire.shake)
        Wire(strict, self.client()).shake()

    def test_ciphers(self) -> None:
        narrow = self.context_of(attrs.evolve(self.tls, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384"))
        wire = Wire(narrow, self.client(ssl.TLSVersion.TLSv1_2))
        wire.shake()
        cipher = wire.client.cipher()
        assert cipher is not None
        self.assertEqual(cipher[0], "ECDHE-ECDSA-AES256-GCM-SHA384")
        # Neither CBC nor static key exchange is to be had by default.
        wire = Wire(self.context, self.client(ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA:AES128-SHA"))
        self.assertRaises(SSL.Error, wire.shake)

    def test_renegotiation_is_refused(self) -> None:
        client = SSL.Context(SSL.TLS_CLIENT_METHOD)
        client.set_max_proto_version(SSL.TLS1_2_VERSION)
        ends = [SSL.Connection(client, None), SSL.Connection(self.context, None)]
        ends[0].set_connect_state()
        ends[1].set_accept_state()
        _pump(ends)
        ends[0].renegotiate()
        self.assertRaises(SSL.WantReadError, ends[0].do_handshake)
        ends[1].bio_write(ends[0].bio_read(65536))
        self.assertRaises(SSL.WantReadError, ends[1].recv, 1)
        ends[0].bio_write(ends[1].bio_read(65536))
        error = self.assertRaises(SSL.Error, ends[0].do_handshake)
        self.assertIn("no renegotiation", str(error))
        self.assertEqual(ends[1].total_renegotiations(), 0)

    def test_resumption(self) -> None:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = self.client(version)
            first = Wire(self.context, client)
            first.shake()
            first.round_trip()
            session = first.client.session
            assert session is not None
            self.assertTrue(session.has_ticket)
            second = Wire(self.context, client, session)
            second.shake()
            second.round_trip()
            self.assertTrue(second.client.session_reused, version)


def _pump(ends: list[SSL.Connection]) -> None:
    for _ in range(6):
        for one, other in (ends, ends[::-1]):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65536))
