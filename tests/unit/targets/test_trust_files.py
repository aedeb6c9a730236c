"""Files that a security rule names: what is wrong with them is said before any target is dialled."""

from __future__ import annotations

import os
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

from gateway.settings import RuleSettings, Settings, SettingsError, Verification
from gateway.targets import trust
from gateway.targets.rules import SecurityRules
from gateway.targets.trust import TargetTls, anonymous_context
from tests.support.pki import CLIENT
from tests.unit.net.samples import DAY, NOW, pem, write
from tests.unit.targets.tls import TlsCase, rule


class FilesTests(TlsCase):
    def problem(self, *words: str, **values: Any) -> str:
        """The only problem of a rule with these values."""
        error = self.assertRaises(SettingsError, TargetTls, rule(**{"ca": self.ca, **values}))
        self.assertEqual(len(error.problems), 1, str(error))
        for word in words:
            self.assertIn(word, str(error))
        self.assertTrue(str(error).isprintable())
        self.assertNotIn("PRIVATE", str(error))
        return str(error)

    def test_authorities(self) -> None:
        missing = self.directory / "missing.pem"
        self.problem("security.ca", str(missing), "does not exist", ca=missing)
        empty = write(self.directory / "empty.pem", b"")
        key = write(self.directory / "key.pem", pem(self.authority.key))
        broken = write(
            self.directory / "broken.pem", pem(self.authority.certificate).replace(b"MII", b"MIX", 1)
        )
        half = write(self.directory / "half.pem", self.ca.read_bytes() + broken.read_bytes())
        for path in (empty, key, broken, half):
            self.problem("security.ca", str(path), "PEM certificate", ca=path)
        self.problem("larger than 1 MiB", ca=write(self.directory / "large.pem", bytes((1 << 20) + 1)))

    def test_not_a_regular_file(self) -> None:
        fifo = self.directory / "fifo"
        os.mkfifo(fifo)
        for path in (self.directory, fifo):
            self.problem("security.ca", ca=path)

    def test_same_authority_twice(self) -> None:
        TargetTls(rule(ca=write(self.directory / "twice.pem", self.ca.read_bytes() * 2)))

    def test_client_certificate(self) -> None:
        good = self.authority.issue("gateway", purposes=CLIENT)
        certificate, key = good.save(self.directory, "good")
        _, other = self.authority.issue("other", purposes=CLIENT).save(self.directory, "other")
        TargetTls(rule(ca=self.ca, certificate=certificate, key=key))
        missing = self.directory / "missing.pem"
        self.problem("security.certificate", "does not exist", certificate=missing, key=key)
        self.problem("security.key", "does not exist", certificate=certificate, key=missing)
        self.problem("security.key", "does not belong", certificate=certificate, key=other)
        certificate.chmod(0o600)
        self.problem("security.certificate", "under security.key", certificate=certificate)
        key.chmod(0o644)
        self.problem("security.key", "open to every user", "0644", certificate=certificate, key=key)

    def test_client_certificate_out_of_date(self) -> None:
        old = self.authority.issue("gateway", purposes=CLIENT, begin=NOW - 3 * DAY, end=NOW - 2 * DAY)
        certificate, key = old.save(self.directory, "old")
        self.problem("security.certificate", "expired", certificate=certificate, key=key)

    def test_client_certificate_too_weak(self) -> None:
        weak = self.authority.issue("gateway", key=rsa.generate_private_key(65537, 1024))
        certificate, key = weak.save(self.directory, "weak")
        self.problem("security.certificate", "OpenSSL refuses", "too small", certificate=certificate, key=key)

    def test_every_problem_at_once(self) -> None:
        missing = self.directory / "missing.pem"
        values = {"ca": missing, "certificate": missing, "key": missing}
        error = self.assertRaises(SettingsError, TargetTls, rule(**values))
        self.assertEqual(
            [problem.key for problem in error.problems],
            ["security.ca", "security.certificate", "security.key"],
        )

    def test_rule_is_named(self) -> None:
        missing = self.directory / "missing.pem"
        settings = Settings(rules={"hosts": RuleSettings(targets=("*.example.com",), ca=missing)})
        named = list(SecurityRules(settings))[1]
        error = self.assertRaises(SettingsError, TargetTls, named)
        self.assertIn("rules.hosts.ca", str(error))

    def test_fingerprints_need_no_authorities(self) -> None:
        TargetTls(
            rule(
                verify=Verification.FINGERPRINT,
                fingerprints=("ab" * 32,),
                ca=self.directory / "missing.pem",
            )
        )


class CiphersTests(TlsCase):
    def test_no_anonymous_ciphers(self) -> None:
        """As on a host whose policy has none."""
        self.patch(trust, "_ANONYMOUS_CIPHERS", b"NONE-SUCH")
        error = self.assertRaises(SettingsError, anonymous_context)
        self.assertIn("security.anonymous", str(error))
        self.assertIn("offers none", str(error))

    def test_anonymous_version(self) -> None:
        near, _ = self.pair()
        connection = SSL.Connection(anonymous_context(), near)
        ciphers = [name for name in connection.get_cipher_list() if not name.startswith("TLS_")]
        self.assertTrue(ciphers)
        self.assertTrue(all(name.startswith(("ADH-AES", "AECDH-AES")) for name in ciphers), ciphers)
