"""Checks of certificates and permissions: each both ways."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from gateway.doctor.files import check_certificates, check_engine, check_permissions
from gateway.doctor.finding import Finding, Level
from gateway.doctor.front import check_front
from gateway.pki import parse_subject
from gateway.pki.profile import self_signed
from gateway.settings import (
    AuditSettings,
    CertificateSettings,
    ControlSettings,
    LogSettings,
    RuleSettings,
    SecuritySettings,
    Settings,
    TicketSettings,
    TlsSettings,
    UseSettings,
    Verification,
)
from tests.support.pki import CLIENT, Authority, Leaf
from tests.unit.net.samples import DAY, NOW, pem, write

YEAR = 365 * DAY


class FilesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.directory.chmod(0o700)
        self.ca = Authority("Doctor CA", begin=NOW - DAY, end=NOW + YEAR)

    def settings(self, **parts: Any) -> Settings:
        return attrs.evolve(Settings(), **parts)

    def by_name(self, findings: Iterable[Finding], name: str) -> list[Finding]:
        return [finding for finding in findings if finding.name == name]

    def assert_found(self, findings: Iterable[Finding], name: str, level: Level, *parts: str) -> None:
        found = self.by_name(findings, name)
        self.assertEqual([each.level for each in found], [level], found)
        for part in parts:
            self.assertIn(part, f"{found[0].detail} {found[0].remedy}")


class FrontTests(FilesTestCase):
    def front(self, *chain: x509.Certificate, names: tuple[str, ...] = ()) -> list[Finding]:
        path = write(self.directory / "tls.pem", pem(*chain), 0o644)
        return list(check_front(self.settings(tls=TlsSettings(certificate=path)), NOW, names))

    def leaf(self, *names: str, **what: Any) -> x509.Certificate:
        return self.ca.issue(*(names or ("gw.example.com",)), **{"end": NOW + YEAR, **what}).certificate

    def test_all_well(self) -> None:
        found = self.front(self.leaf(), names=("gw.example.com",))
        self.assertEqual({each.level for each in found}, {Level.OK}, found)
        self.assertEqual([each.name for each in found], ["certificate", "names", "chain"])
        self.assert_found(found, "certificate", Level.OK, "365 days")

    def test_dates(self) -> None:
        self.assert_found(self.front(self.leaf(end=NOW + 31 * DAY)), "certificate", Level.OK, "31 days")
        self.assert_found(
            self.front(self.leaf(end=NOW + 29 * DAY)), "certificate", Level.WARN, "29 days", "renew"
        )
        self.assert_found(self.front(self.leaf(end=NOW + DAY)), "certificate", Level.WARN, "24 hours")
        expired = self.leaf(begin=NOW - 3 * DAY, end=NOW - DAY)
        self.assert_found(self.front(expired), "certificate", Level.FAIL, "expired", "renew")
        self.assert_found(self.front(self.leaf(begin=NOW + DAY)), "certificate", Level.FAIL, "clock")

    def test_names(self) -> None:
        leaf = self.leaf("gw.example.com", "*.dmz.example.com", "192.0.2.1", "2001:db8::1")
        good = ("gw.example.com", "a.dmz.example.com", "192.0.2.1", "2001:db8::1")
        self.assert_found(self.front(leaf, names=good), "names", Level.OK)
        for name in ("example.com", "a.b.dmz.example.com", "192.0.2.2", "2001:db8::2"):
            found = self.front(leaf, names=(*good, name))
            self.assert_found(found, "names", Level.FAIL, repr(name), "gw.example.com", "subjectAltName")

    def test_no_names(self) -> None:
        leaf = self.ca.issue("gw.example.com", sans=[], end=NOW + YEAR).certificate
        self.assert_found(self.front(leaf), "names", Level.FAIL, "no name")

    def test_chain(self) -> None:
        middle = Authority("Middle", issuer=self.ca, end=NOW + YEAR)
        leaf = middle.issue("gw.example.com", end=NOW + YEAR)
        good = self.front(*leaf.chain)
        self.assert_found(good, "chain", Level.OK, "2 certificate")
        wrong = self.front(leaf.certificate, self.ca.certificate)
        self.assert_found(wrong, "chain", Level.WARN, "did not issue", "behind it")
        old = Authority("Old", issuer=self.ca, end=NOW + 2 * DAY)
        self.assert_found(
            self.front(*old.issue("x", end=NOW + YEAR).chain), "chain", Level.WARN, "issuer", "renew"
        )

    def test_self_signed(self) -> None:
        leaf = Authority.self_signed("gw.example.com").certificate
        self.assert_found(self.front(leaf), "chain", Level.WARN, "self-signed", "authority")

    def several(self, *leaves: Leaf, listed: tuple[str, ...] = ()) -> Settings:
        """A gateway that shows the first, and the others by name."""
        paths = [leaf.save(self.directory, str(index)) for index, leaf in enumerate(leaves)]
        others = {f"n{index}": CertificateSettings(*each, listed) for index, each in enumerate(paths[1:], 1)}
        return self.settings(tls=TlsSettings(*paths[0]), certificates=others)

    def test_several(self) -> None:
        first = self.ca.issue("gw.example.com", end=NOW + YEAR)
        good = self.several(first, self.ca.issue("a.example.com", "*.example.org", end=NOW + YEAR))
        found = list(check_front(good, NOW, ("gw.example.com", "a.example.com", "b.example.org")))
        self.assertEqual({each.level for each in found}, {Level.OK}, found)
        self.assertIn("1 more, each for the names", found[-1].detail)
        self.assert_found(
            check_front(good, NOW, ("a.b.example.org",)), "names", Level.FAIL, "'a.b.example.org'"
        )
        old = self.several(first, self.ca.issue("a.example.com", end=NOW + DAY))
        found = self.by_name(check_front(old, NOW), "certificate")
        self.assertEqual([each.level for each in found], [Level.OK, Level.WARN])
        self.assertIn("the certificate of certificates.n1 is valid until", found[1].detail)

    def test_several_with_names_of_others(self) -> None:
        """Chosen for a name that browsers would refuse it for."""
        leaves = [self.ca.issue(name, end=NOW + YEAR) for name in ("gw.example.com", "a.example.com")]
        listed = self.several(*leaves, listed=("gw.example.com", "a.example.com"))
        found = [each for each in check_front(listed, NOW) if each.level is not Level.OK]
        self.assert_found(found, "names", Level.FAIL, "certificates.n1 is not for 'gw.example.com'")
        found = self.by_name(check_front(listed, NOW, ("gw.example.com",)), "names")
        self.assertEqual([each.level for each in found], [Level.FAIL, Level.FAIL])

    def test_nothing_to_look_at(self) -> None:
        self.assertEqual(list(check_front(self.settings(), NOW)), [])
        missing = self.settings(tls=TlsSettings(certificate=self.directory / "missing.pem"))
        self.assertEqual(list(check_front(missing, NOW)), [])


class EngineTests(FilesTestCase):
    key = rsa.generate_private_key(65537, 2048)

    def engine(self, begin: datetime.datetime, end: datetime.datetime) -> list[Finding]:
        leaf = self.ca.issue("engine", key=self.key, begin=begin, end=end)
        path = write(self.directory / "engine.pem", pem(leaf.certificate))
        return list(check_engine(self.settings(tickets=TicketSettings(certificate=path)), NOW))

    def test_dates(self) -> None:
        self.assert_found(self.engine(NOW - DAY, NOW + YEAR), "engine", Level.OK, "365 days")
        self.assert_found(self.engine(NOW - DAY, NOW + DAY), "engine", Level.WARN, "24 hours", "copy that")
        self.assert_found(self.engine(NOW - 2 * DAY, NOW - DAY), "engine", Level.WARN, "expired", "copy")
        self.assert_found(self.engine(NOW + DAY, NOW + YEAR), "engine", Level.WARN, "clock is wrong")

    def test_others(self) -> None:
        paths = []
        for name, end in (("engine", NOW + YEAR), ("next", NOW + DAY)):
            leaf = self.ca.issue(name, key=self.key, end=end)
            paths.append(write(self.directory / f"{name}.pem", pem(leaf.certificate)))
        settings = self.settings(tickets=TicketSettings(certificate=paths[0], also=(paths[1],)))
        found = list(check_engine(settings, NOW))
        self.assertEqual([each.level for each in found], [Level.OK, Level.WARN])
        self.assertIn("next.pem is valid until", found[1].detail)
        self.assertIn("to tickets.also and reload", found[1].remedy)

    def test_an_authority_signs_no_tickets(self) -> None:
        name = parse_subject("/O=Example/CN=engine.example.com.12345")
        certificate = self_signed(name, self.key, begin=NOW - DAY, end=NOW + YEAR)
        path = write(self.directory / "ca.pem", pem(certificate))
        found = list(check_engine(self.settings(tickets=TicketSettings(certificate=path)), NOW))
        self.assert_found(found, "engine", Level.WARN, "that of an authority", "the engine's own certificate")

    def test_a_key_has_no_dates(self) -> None:
        data = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        path = write(self.directory / "engine.pem", data)
        self.assertEqual(list(check_engine(self.settings(tickets=TicketSettings(certificate=path)), NOW)), [])
        self.assertEqual(list(check_engine(self.settings(), NOW)), [])


class TargetCertificateTests(FilesTestCase):
    def test_none(self) -> None:
        self.assertEqual(list(check_certificates(self.settings(), NOW)), [])

    def test_authorities(self) -> None:
        old = Authority("Old CA", begin=NOW - 3 * DAY, end=NOW - DAY)
        path = write(self.directory / "ca.pem", pem(self.ca.certificate))
        settings = self.settings(security=SecuritySettings(ca=path))
        self.assert_found(check_certificates(settings, NOW), "targets", Level.OK, "security.ca", "365 days")
        write(path, pem(self.ca.certificate, old.certificate))
        self.assert_found(check_certificates(settings, NOW), "targets", Level.FAIL, "security.ca", "expired")
        pinned = self.settings(
            security=SecuritySettings(ca=path, verify=Verification.FINGERPRINT, fingerprints=("00" * 32,))
        )
        self.assertEqual(list(check_certificates(pinned, NOW)), [])

    def test_client_certificate_of_a_rule(self) -> None:
        leaf = self.ca.issue("gateway", purposes=CLIENT, end=NOW + 5 * DAY)
        certificate, key = leaf.save(self.directory, "client")
        rule = RuleSettings(targets=("*.example.com",), certificate=certificate, key=key)
        found = check_certificates(self.settings(rules={"lab": rule}), NOW)
        self.assert_found(found, "targets", Level.WARN, "rules.lab.certificate", "5 days")

    def test_control(self) -> None:
        certificate, key = self.ca.issue("gw", end=NOW - DAY / 2).save(self.directory, "control")
        ca = self.ca.save(self.directory, "clients")
        control = ControlSettings(certificate=certificate, key=key, client_ca=ca)
        found = list(check_certificates(self.settings(control=control), NOW))
        self.assertEqual([each.level for each in found], [Level.FAIL, Level.OK])
        self.assertIn("control.client_ca", found[1].detail)


class PermissionTests(FilesTestCase):
    def test_safe(self) -> None:
        path = write(self.directory / "engine.pem", b"x", 0o644)
        settings = self.settings(
            tickets=TicketSettings(certificate=path),
            uses=UseSettings(file=self.directory / "uses.db"),
            audit=AuditSettings(file=self.directory / "audit.jsonl"),
            log=LogSettings(file=self.directory / "log"),
        )
        self.assert_found(check_permissions(settings), "permissions", Level.OK)

    def test_others_may_change_a_file(self) -> None:
        for setting, settings in (
            ("tickets.certificate", lambda path: {"tickets": TicketSettings(certificate=path)}),
            ("tls.key", lambda path: {"tls": TlsSettings(key=path)}),
            ("tickets.also[1]", lambda path: {"tickets": TicketSettings(also=(Path("/x/y"), path))}),
            ("certificates.a.key", lambda path: {"certificates": {"a": CertificateSettings(key=path)}}),
            ("control.tokens", lambda path: {"control": ControlSettings(tokens=path)}),
            ("uses.file", lambda path: {"uses": UseSettings(file=path)}),
            ("audit.file", lambda path: {"audit": AuditSettings(file=path)}),
            ("security.secrets", lambda path: {"security": SecuritySettings(secrets=path)}),
        ):
            path = write(self.directory / "file", b"x", 0o646)
            found = check_permissions(self.settings(**settings(path)))
            self.assert_found(found, "permissions", Level.FAIL, setting, "0646", f"chmod o-w {path}")

    def test_others_may_change_the_directory(self) -> None:
        path = write(self.directory / "file", b"x")
        settings = self.settings(tickets=TicketSettings(certificate=path))
        self.directory.chmod(0o777)
        self.assert_found(check_permissions(settings), "permissions", Level.FAIL, str(self.directory))
        self.directory.chmod(0o1777)
        self.assert_found(check_permissions(settings), "permissions", Level.OK)

    def test_no_directory(self) -> None:
        settings = self.settings(audit=AuditSettings(file=self.directory / "missing" / "audit.jsonl"))
        self.assert_found(check_permissions(settings), "permissions", Level.FAIL, "audit.file", "make it")

    def test_not_writable(self) -> None:
        asked: list[Path] = []

        def access(path: Path, mode: int) -> bool:
            asked.append(path)
            return False

        self.patch(__import__("os"), "access", access)
        path = write(self.directory / "uses.db", b"x")
        found = list(check_permissions(self.settings(uses=UseSettings(file=path))))
        # SQLite makes files beside it.
        self.assertEqual(asked, [path, self.directory])
        self.assertEqual([each.level for each in found], [Level.FAIL] * 2)
