"""Certificates by name: who is shown which, by real handshakes, and what can be wrong with them."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import ssl
import weakref
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from gateway.net import FrontIdentity, NameTable
from gateway.settings import CertificateSettings, Settings, SettingsError, TlsSettings, parse_server_name
from tests.support.pki import Authority
from tests.unit.net.samples import DAY, NOW, write

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
LABELS = st.text("abx", min_size=1, max_size=2)
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


class Client:
    """One connection of a client, over memory."""

    def __init__(
        self,
        identity: FrontIdentity,
        context: ssl.SSLContext,
        name: str | None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = SSL.Connection(identity.context, None)
        self.server.set_accept_state()
        self.client = context.wrap_bio(self._in, self._out, server_hostname=name, session=session)

    def shake(self) -> Client:
        done = set()
        for _ in range(20):
            for end, again in ((self.client, ssl.SSLWantReadError), (self.server, SSL.WantReadError)):
                with contextlib.suppress(again):
                    end.do_handshake()
                    done.add(again)
                self._pump()
            if len(done) == 2:
                # A ticket comes with the first data under TLS 1.3.
                self.server.send(b"hello")
                self._pump()
                assert self.client.read(5) == b"hello"
                return self
        raise AssertionError("the handshake does not end")

    def _pump(self) -> None:
        if data := self._out.read():
            self.server.bio_write(data)
        with contextlib.suppress(SSL.WantReadError):
            while True:
                self._in.write(self.server.bio_read(65536))

    @property
    def shown(self) -> str:
        """The common name of the certificate that this client knows its server by."""
        data = self.client.getpeercert(binary_form=True)
        assert data is not None
        subject = x509.load_der_x509_certificate(data).subject
        return str(subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def blind(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client that takes any certificate, to see which it gets."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class FrontTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.ca = Authority("CA")
        self.default = self.save("gw.example.com", stem="default")

    def save(self, *names: str, stem: str = "", **what: Any) -> tuple[Path, Path]:
        stem = stem or names[0].replace("*", "any")
        return self.ca.issue(*names, **what).save(self.directory, stem)

    def named(self, *names: str, listed: tuple[str, ...] = (), **what: Any) -> CertificateSettings:
        certificate, key = self.save(*names, **what)
        return CertificateSettings(certificate, key, listed)

    def settings(self, **tables: CertificateSettings) -> Settings:
        certificates = {name.replace("_", "-"): table for name, table in tables.items()}
        return Settings(tls=TlsSettings(*self.default), certificates=certificates)

    def identity(self, **tables: CertificateSettings) -> FrontIdentity:
        return FrontIdentity(self.settings(**tables))


class ChoiceTests(FrontTestCase):
    def assert_shown(self, identity: FrontIdentity, expected: dict[str | None, str]) -> None:
        for version in VERSIONS:
            for name, shown in expected.items():
                client = Client(identity, blind(version), name).shake()
                self.assertEqual(client.shown, shown, (version, name))

    def test_by_name(self) -> None:
        identity = self.identity(
            a=self.named("a.example.com", "b.example.com"),
            w=self.named("*.example.com"),
            bare=self.named("lab"),
        )
        self.assert_shown(
            identity,
            {
                None: "gw.example.com",
                "gw.example.com": "gw.example.com",
                "a.example.com": "a.example.com",
                "A.Example.COM": "a.example.com",
                "b.example.com": "a.example.com",
                "c.example.com": "*.example.com",
                "xn--bcher-kva.example.com": "*.example.com",
                "d.c.example.com": "gw.example.com",
                "example.com": "gw.example.com",
                "lab": "lab",
                "other": "gw.example.com",
            },
        )

    def test_what_clients_should_not_send(self) -> None:
        """A final dot, an address, bytes beyond ASCII, an empty label."""
        identity = self.identity(a=self.named("a.example.com"), w=self.named("*.example.org"))
        for name, shown in (
            (b"a.example.com.", "a.example.com"),
            (b"a.example.com..", "gw.example.com"),
            (b"192.0.2.1", "gw.example.com"),
            (b"\xfc.example.org", "gw.example.com"),
            (b".example.org", "gw.example.com"),
            (b"a" * 250, "gw.example.com"),
        ):
            client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
            client.set_tlsext_host_name(name)
            client.set_connect_state()
            server = SSL.Connection(identity.context, None)
            server.set_accept_state()
            shake(client, server)
            peer = client.get_peer_certificate(as_cryptography=True)
            assert peer is not None
            (found,) = peer.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
            self.assertEqual(found.value, shown, name)

    def test_clients_that_look(self) -> None:
        """Each name is good for a client that verifies, with the chain that belongs to it."""
        other = Authority("Between", issuer=Authority("Other root"))
        files = other.issue("other.example.com").save(self.directory, "other")
        identity = self.identity(o=CertificateSettings(*files))
        assert other.issuer is not None
        context = ssl.create_default_context(cafile=str(self.ca.save(self.directory, "ca")))
        context.load_verify_locations(str(other.issuer.save(self.directory, "root")))
        for name in ("gw.example.com", "other.example.com"):
            Client(identity, context, name).shake()

    def test_listed_names_take_the_place_of_the_certificates(self) -> None:
        identity = self.identity(a=self.named("a.example.com", "b.example.com", listed=("B.example.com.",)))
        self.assert_shown(identity, {"a.example.com": "gw.example.com", "b.example.com": "a.example.com"})

    def test_the_defaults_own_name_comes_before_an_asterisk(self) -> None:
        self.assert_shown(
            self.identity(w=self.named("*.example.com")),
            {"gw.example.com": "gw.example.com", "x.example.com": "*.example.com"},
        )

    def test_the_defaults_own_name_may_be_claimed(self) -> None:
        identity = self.identity(other=self.named("other", listed=("gw.example.com",)))
        self.assert_shown(identity, {"gw.example.com": "other", None: "gw.example.com"})

    def test_keys_of_other_kinds(self) -> None:
        """The default has an EC key; a client that wants RSA can have it under the other name only."""
        key = rsa.generate_private_key(65537, 2048)
        identity = self.identity(r=self.named("rsa.example.com", key=key))
        context = blind(ssl.TLSVersion.TLSv1_2)
        context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
        self.assertEqual(Client(identity, context, "rsa.example.com").shake().shown, "rsa.example.com")
        self.assertRaises(SSL.Error, Client(identity, context, "gw.example.com").shake)

    def test_what_is_shown_can_be_asked(self) -> None:
        late, soon = NOW + 9 * DAY, NOW + DAY / 2
        identity = self.identity(
            a=self.named("a.example.com", end=late), b=self.named("b.example.com", "192.0.2.1", end=soon)
        )
        self.assertEqual(
            [each.table for each in identity.certificates], ["tls", "certificates.a", "certificates.b"]
        )
        self.assertEqual([each.not_after for each in identity.certificates], [NOW + DAY, late, soon])
        self.assertEqual((identity.not_after, identity.soonest.table), (soon, "certificates.b"))
        self.assertEqual(identity.certificates[2].names, ("b.example.com",))
        leaf = x509.load_pem_x509_certificate((self.directory / "a.example.com.pem").read_bytes())
        fingerprint = leaf.fingerprint(hashes.SHA256()).hex()
        self.assertEqual(identity.shown_for("A.example.com").fingerprint, fingerprint)
        for name in (None, "gw.example.com", "x.example.com", "\u00fc.example.com", "\udc80"):
            self.assertEqual(identity.shown_for(name).table, "tls")


class ResumptionTests(FrontTestCase):
    def test_one_certificate(self) -> None:
        identity = self.identity()
        for version in VERSIONS:
            context = blind(version)
            session = Client(identity, context, "gw.example.com").shake().client.session
            again = Client(identity, context, "gw.example.com", session).shake()
            self.assertTrue(again.client.session_reused)

    def test_never_across_names(self) -> None:
        """Whatever was begun under whatever name, the next connection gets the certificate of its own."""
        identity = self.identity(a=self.named("a.example.com"), b=self.named("b.example.com"))
        names = (None, "gw.example.com", "a.example.com", "b.example.com", "x.example.com")
        for version in VERSIONS:
            context = blind(version)
            for first in names:
                session = Client(identity, context, first).shake().client.session
                for second in names:
                    client = Client(identity, context, second, session).shake()
                    self.assertFalse(client.client.session_reused, (version, first, second))
                    expected = second if second in ("a.example.com", "b.example.com") else "gw.example.com"
                    self.assertEqual(client.shown, expected)

    def test_never_across_renewals(self) -> None:
        """A session of the former certificate is not resumed with what came after it."""
        for tables in ({}, {"a": self.named("a.example.com")}):
            for version in VERSIONS:
                context = blind(version)
                session = Client(self.identity(), context, "gw.example.com").shake().client.session
                after = Client(self.identity(**tables), context, "gw.example.com", session).shake()
                self.assertFalse(after.client.session_reused)


class LifeTests(FrontTestCase):
    def test_alone_it_costs_nothing(self) -> None:
        """Without further certificates no callback is installed, and tickets are given."""
        identity = self.identity()
        self.patch(NameTable, "find", lambda *_: self.fail("looked for a name"))
        client = Client(identity, blind(), "gw.example.com").shake()
        self.assertTrue(client.client.session is not None and client.client.session.has_ticket)

    def test_handshakes_outlive_it(self) -> None:
        """It is replaced while a client is asked for a second ClientHello, which names the server again."""
        identity = self.identity(a=self.named("a.example.com"))
        # The client's first key share is for another group, so that it has to be asked again.
        identity.context.set_tmp_ecdh(ec.SECP521R1())
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        client.set_tlsext_host_name(b"a.example.com")
        client.set_connect_state()
        server = SSL.Connection(identity.context, None)
        server.set_accept_state()
        self.assertRaises(SSL.WantReadError, client.do_handshake)
        server.bio_write(client.bio_read(65536))
        self.assertRaises(SSL.WantReadError, server.do_handshake)
        # Nothing but a HelloRetryRequest, of which RFC 8446 fixes the random.
        self.assertIn(hashlib.sha256(b"HelloRetryRequest").digest(), answer := server.bio_read(65536))
        client.bio_write(answer)
        gone = weakref.ref(identity)
        del identity
        gc.collect()
        self.assertIsNone(gone())
        shake(client, server)
        peer = client.get_peer_certificate(as_cryptography=True)
        assert peer is not None
        self.assertIn("a.example.com", peer.subject.rfc4514_string())

    def test_it_goes_when_it_is_replaced(self) -> None:
        identity = self.identity(a=self.named("a.example.com"))
        Client(identity, blind(), "a.example.com").shake()
        contexts = [weakref.ref(identity.context)]
        del identity
        gc.collect()
        self.assertEqual([context() for context in contexts], [None])


class ProblemTests(FrontTestCase):
    def problems(self, settings: Settings) -> list[str]:
        error = self.assertRaises(SettingsError, FrontIdentity, settings)
        self.assertNotIn("PRIVATE", str(error))
        return str(error).splitlines()

    def assert_problem(self, settings: Settings, *parts: str) -> None:
        lines = self.problems(settings)
        self.assertEqual(len(lines), 1, lines)
        for part in parts:
            self.assertIn(part, lines[0])

    def test_files(self) -> None:
        good = self.named("a.example.com")
        other = self.named("b.example.com")
        missing = self.directory / "missing.pem"
        assert good.certificate is not None
        alone = write(self.directory / "alone.pem", good.certificate.read_bytes())
        for table, parts in (
            (CertificateSettings(), ("certificates.x.certificate", "is not set", "name the PEM file")),
            (
                CertificateSettings(missing, good.key),
                ("certificates.x.certificate", "does not exist", "missing"),
            ),
            (CertificateSettings(good.certificate, missing), ("certificates.x.key", "does not exist")),
            (CertificateSettings(alone), ("certificates.x", "no PEM private key", "certificates.x.key")),
            (CertificateSettings(good.certificate, other.key), ("certificates.x.key", "does not belong")),
            (
                self.named("old", begin=NOW - 3 * DAY, end=NOW - DAY),
                ("certificates.x.certificate", "expired"),
            ),
        ):
            self.assert_problem(self.settings(x=table), *parts)

    def test_one_file_for_both(self) -> None:
        table = self.named("a.example.com")
        assert table.certificate is not None
        assert table.key is not None
        both = write(self.directory / "both.pem", table.certificate.read_bytes() + table.key.read_bytes())
        self.assertEqual(self.identity(a=CertificateSettings(both)).certificates[1].names, ("a.example.com",))

    def test_weak_key(self) -> None:
        weak = self.named("a.example.com", key=rsa.generate_private_key(65537, 1024))
        self.assert_problem(self.settings(x=weak), "certificates.x.certificate", "too small")

    def test_names_claimed_twice(self) -> None:
        first = self.named("a.example.com", "b.example.com", stem="1")
        for other in (
            self.named("B.example.com", stem="2"),
            self.named("x", stem="3", listed=("b.EXAMPLE.com.",)),
        ):
            self.assert_problem(
                self.settings(first=first, other=other),
                "certificates.other.names",
                "'b.example.com' is claimed by certificates.first",
                "list under names",
            )
        wild = self.named("*.example.com", stem="4")
        self.assert_problem(self.settings(a=wild, b=self.named("*.example.com", stem="5")), "'*.example.com'")
        # One exact name below an asterisk is no conflict, nor is one name twice in one table.
        self.identity(a=wild, b=first, c=self.named("c", stem="6", listed=("c.org", "C.org")))

    def test_no_names(self) -> None:
        nobody = self.named("nobody", sans=[])
        self.assert_problem(self.settings(x=nobody), "certificates.x.names", "no DNS name", "list the names")
        address = self.named("192.0.2.1")
        self.assert_problem(self.settings(x=address), "certificates.x.names", "no DNS name")
        self.identity(x=CertificateSettings(nobody.certificate, nobody.key, ("a.example.com",)))

    def test_bad_names(self) -> None:
        """Of settings made in code, too; the loader says the same of those of a file."""
        for name in (
            "",
            "*",
            "*.*.example.com",
            "a*.example.com",
            "192.0.2.1",
            "[2001:db8::1]",
            "a b",
            "a:1",
        ):
            table = self.named("a.example.com", listed=(name,))
            self.assert_problem(self.settings(x=table), "certificates.x.names", "is not a DNS name")
        umlaut = self.named("a.example.com", listed=("b\u00fccher.example.com",))
        self.assert_problem(self.settings(x=umlaut), "xn--")

    def test_everything_at_once(self) -> None:
        settings = Settings(
            tls=TlsSettings(self.directory / "none.pem"),
            certificates={"a": CertificateSettings(), "b": self.named("b", sans=[])},
        )
        lines = self.problems(settings)
        for part in ("tls.certificate", "certificates.a.certificate", "certificates.b.names"):
            self.assertEqual(sum(part in line for line in lines), 1, lines)

    def test_what_concerns_all_is_told_once(self) -> None:
        settings = Settings(
            tls=TlsSettings(*self.default, ciphers="NONSENSE"),
            certificates={"a": self.named("a.example.com")},
        )
        self.assert_problem(settings, "tls.ciphers")


class NameTableTests(SynchronousTestCase):
    @given(
        st.lists(st.tuples(st.booleans(), HOSTS), max_size=8),
        st.tuples(st.lists(LABELS, max_size=2), HOSTS),
        st.booleans(),
        st.randoms(use_true_random=False),
    )
    def test_matches_as_certificates_do(
        self, claims: list[tuple[bool, str]], asked: tuple[list[str], str], dot: bool, random: Any
    ) -> None:
        table: NameTable[str] = NameTable()
        patterns = [parse_server_name(f"*.{host}" if below else host) for below, host in claims]
        for pattern in patterns:
            table.claim(pattern, pattern)
        # As likely as not below one that is claimed.
        base = random.choice([asked[1], *(host for _, host in claims)])
        name = ".".join((*asked[0], base))
        sent = "".join(random.choice((each.upper(), each)) for each in name) + "." * dot
        found = table.find(sent.encode())
        label, _, parent = name.partition(".")
        if name in patterns:
            self.assertEqual(found, name)
        elif parent and f"*.{parent}" in patterns:
            self.assertEqual(found, f"*.{parent}")
        else:
            self.assertIsNone(found, (label, parent))

    @given(st.binary(max_size=300))
    def test_takes_anything(self, name: bytes) -> None:
        table: NameTable[int] = NameTable()
        table.claim("*.example.com", 1)
        table.claim("example.com", 2)
        lower = name.lower().removesuffix(b".")
        expected = 2 if lower == b"example.com" else None
        self.assertEqual(table.find(name), expected)

    def test_the_first_claim_counts(self) -> None:
        table: NameTable[int] = NameTable()
        self.assertEqual([table.claim("a", 1), table.claim("a", 2), table.claim("*.a", 3)], [1, 1, 3])

    @given(st.text(max_size=30) | HOSTS.map(lambda host: f"*.{host}."))
    def test_names_have_one_spelling(self, text: str) -> None:
        try:
            name = parse_server_name(text)
        except ValueError:
            return
        self.assertEqual(parse_server_name(name.upper() + "."), name)
        self.assertEqual(name, text.lower().removesuffix("."))
        table: NameTable[int] = NameTable()
        table.claim(name, 1)
        self.assertEqual(table.find(name.replace("*", "x").encode()), 1)


def shake(*ends: SSL.Connection) -> None:
    """Complete the handshake of both, over memory."""
    for _ in range(6):
        for one, other in (ends, ends[::-1]):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65536))
