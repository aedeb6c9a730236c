from __future__ import annotations

import datetime
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, rsa
from twisted.trial.unittest import SynchronousTestCase

from gateway.net import load_identity, server_context
from gateway.settings import SettingsError, TlsSettings
from tests.unit.net.samples import DAY, NOW, certificate, key, pem, write

DUMP = b"Certificate:\n    Data:\n        Version: 3 (0x2)\n        -----not a block-----\n"


class IdentityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def file(self, name: str, data: bytes, mode: int = 0o600) -> Path:
        return write(self.directory / name, data, mode)

    def good(self) -> TlsSettings:
        return TlsSettings(
            certificate=self.file("c.pem", pem(certificate(key())), 0o644), key=self.file("k.pem", pem(key()))
        )

    def problems(self, settings: TlsSettings, now: datetime.datetime | None = None) -> list[str]:
        error = self.assertRaises(SettingsError, load_identity, settings, now=now)
        lines = str(error).splitlines()
        self.assertEqual(len(lines), len(set(lines)), "a problem is told once")
        self.assertEqual(len(lines), len(error.problems))
        self.assertNotIn("PRIVATE", str(error))
        return lines

    def problem(self, settings: TlsSettings, *words: str, now: datetime.datetime | None = None) -> str:
        lines = self.problems(settings, now)
        self.assertEqual(len(lines), 1, lines)
        for word in words:
            self.assertIn(word, lines[0])
        return lines[0]

    def test_good(self) -> None:
        identity = load_identity(self.good())
        self.assertEqual(len(identity.chain), 1)
        self.assertEqual(identity.not_after, NOW + DAY)

    def test_two_files_with_dumps(self) -> None:
        settings = TlsSettings(
            certificate=self.file("c.pem", DUMP + pem(certificate(key()))),
            key=self.file(
                "k.pem",
                b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
                + pem(key()),
            ),
        )
        self.assertEqual(len(load_identity(settings).chain), 1)

    def test_one_file_for_all(self) -> None:
        issuer = certificate(key(1), "CA", ca=True)
        server = certificate(key(), issuer=("CA", key(1)))
        for items in ((key(), server, issuer), (server, issuer, key()), (server, key(), issuer)):
            settings = TlsSettings(certificate=self.file("all.pem", DUMP + pem(*items)))
            self.assertEqual(load_identity(settings).chain, [server, issuer])

    def test_not_set(self) -> None:
        self.problem(TlsSettings(), "tls.certificate", "not set")

    def test_missing(self) -> None:
        good = self.good()
        assert good.key is not None
        missing = self.directory / "none.pem"
        self.problem(TlsSettings(certificate=missing, key=good.key), "tls.certificate", str(missing))
        self.problem(TlsSettings(certificate=good.certificate, key=missing), "tls.key", str(missing))
        self.problem(TlsSettings(certificate=missing), "tls.certificate", "does not exist")

    def test_not_a_regular_file(self) -> None:
        fifo = self.directory / "fifo"
        os.mkfifo(fifo)
        good = self.good()
        for path in (self.directory, fifo, Path("/dev/zero")):
            self.problem(TlsSettings(certificate=path, key=good.key), "tls.certificate")
            self.problem(TlsSettings(certificate=good.certificate, key=path), "tls.key")

    def test_too_large(self) -> None:
        good = self.good()
        large = self.file("large.pem", bytes(1 << 20) + b"x")
        self.problem(TlsSettings(certificate=large, key=good.key), "1 MiB")

    def test_no_certificate(self) -> None:
        good = self.good()
        broken = pem(certificate(key())).replace(b"MII", b"MIX", 1)
        for data in (b"", b"\xff\xfe", pem(key()), broken, pem(certificate(key()))[:-40]):
            path = self.file("x.pem", data)
            self.problem(TlsSettings(certificate=path, key=good.key), "tls.certificate", "PEM certificate")

    def test_key_does_not_match(self) -> None:
        good = self.good()
        other = self.file("other.pem", pem(key(1)))
        self.problem(TlsSettings(certificate=good.certificate, key=other), "tls.key", "does not belong")

    def test_chain_in_the_wrong_order(self) -> None:
        issuer = certificate(key(1), "CA", ca=True)
        server = certificate(key(), issuer=("CA", key(1)))
        settings = TlsSettings(certificate=self.file("all.pem", pem(issuer, server, key())))
        self.problem(settings, "server certificate first")

    def test_open_key(self) -> None:
        good = self.good()
        assert good.key is not None
        for mode in (0o604, 0o602, 0o601, 0o666):
            good.key.chmod(mode)
            self.problem(good, "open to every user", f"{mode:04o}", "chmod")
        good.key.chmod(0o640)
        load_identity(good)

    def test_encrypted_key(self) -> None:
        good = self.good()
        path = self.file("enc.pem", pem(key(), password=b"secret words"))
        self.problem(TlsSettings(certificate=good.certificate, key=path), "tls.key", "encrypted")

    def test_broken_key(self) -> None:
        good = self.good()
        broken = pem(key()).replace(b"MIG", b"MIX", 1)
        for data in (broken, b"-----BEGIN PRIVATE KEY-----\n\xff-----END PRIVATE KEY-----\n"):
            path = self.file("x.pem", data)
            self.problem(TlsSettings(certificate=good.certificate, key=path), "tls.key", "cannot be read")
        path = self.file("x.pem", pem(certificate(key())))
        self.problem(TlsSettings(certificate=good.certificate, key=path), "tls.key", "no PEM private key")

    def test_unfit_key(self) -> None:
        unfit = dsa.generate_private_key(1024)
        settings = TlsSettings(
            certificate=self.file("c.pem", pem(certificate(unfit, issuer=("CA", key(1))))),
            key=self.file("k.pem", pem(unfit)),
        )
        self.problem(settings, "tls.key", "not an RSA, EC or Ed25519 key")

    def test_dates(self) -> None:
        good = self.good()
        self.problem(good, "expired", now=NOW + 2 * DAY)
        self.problem(good, "not valid before", now=NOW - 2 * DAY)
        load_identity(good, now=NOW + DAY)

    def test_every_problem_at_once(self) -> None:
        good = self.good()
        other = self.file("other.pem", pem(key(1)), 0o644)
        lines = self.problems(TlsSettings(certificate=good.certificate, key=other), NOW + 2 * DAY)
        self.assertEqual(len(lines), 3, lines)

    def test_weak_key(self) -> None:
        """OpenSSL refuses what its security level forbids; the operator is told in one line."""
        weak = rsa.generate_private_key(65537, 1024)
        settings = TlsSettings(
            certificate=self.file("c.pem", pem(certificate(weak))), key=self.file("k.pem", pem(weak))
        )
        identity = load_identity(settings)
        error = self.assertRaises(SettingsError, server_context, settings, identity)
        self.assertIn("too small", str(error))
        self.assertIn(str(settings.certificate), str(error))

    def test_ed25519(self) -> None:
        subject = ed25519.Ed25519PrivateKey.generate()
        built = certificate(key(1), ca=True)
        self.assertIsNotNone(built)
        settings = TlsSettings(
            certificate=self.file("c.pem", pem(_ed25519_certificate(subject))),
            key=self.file("k.pem", pem(subject)),  # type: ignore[arg-type]
        )
        server_context(settings, load_identity(settings))

    def test_ciphers(self) -> None:
        settings = self.good()
        identity = load_identity(settings)
        for ciphers in ("", "NONSENSE", "ECDHE\u00e9", "!ALL", "a\0b"):
            bad = TlsSettings(certificate=settings.certificate, key=settings.key, ciphers=ciphers)
            error = self.assertRaises(SettingsError, server_context, bad, identity)
            self.assertIn("tls.ciphers", str(error))


def _ed25519_certificate(subject: ed25519.Ed25519PrivateKey):  # type: ignore[no-untyped-def]
    return certificate(subject, issuer=("CA", key(1)))  # type: ignore[arg-type]
