"""Key files, good and bad."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from twisted.trial.unittest import SynchronousTestCase

from gateway.tickets import KeyFileError, load_certificate, load_signing_key, load_verification_key
from tests.unit.tickets import samples


class KeyFiles(SynchronousTestCase):
    def setUp(self) -> None:
        self.key = samples.engine_key()
        self.public = self.key.public_key()
        self.certificate = samples.certificate_of(self.key)
        self.certificate_pem = self.certificate.public_bytes(Encoding.PEM)
        self.path = Path(self.mktemp())

    def write(self, content: bytes) -> Path:
        self.path.write_bytes(content)
        return self.path

    def problem(self, load: Callable[[Path], object], part: str, content: bytes | None = None) -> None:
        if content is not None:
            self.write(content)
        with pytest.raises(KeyFileError) as caught:
            load(self.path)
        text = str(caught.value)
        assert text.startswith(f"{self.path}: ")
        assert part in text
        assert text.isprintable()

    def test_certificate(self) -> None:
        assert load_verification_key(self.write(self.certificate_pem)) == self.public
        assert load_certificate(self.path) == self.certificate

    def test_text_around_the_certificate(self) -> None:
        dump = b"Certificate:\r\n    Data: -----x-----\n  \xe9\xff\n-----BEGIN NOTHING-----\n"
        assert load_verification_key(self.write(dump + self.certificate_pem + b"the end\n")) == self.public

    def test_first_of_several(self) -> None:
        other = samples.certificate_of(samples.other_key()).public_bytes(Encoding.PEM)
        assert load_verification_key(self.write(self.certificate_pem + other)) == self.public
        private_first = samples.pem_of(samples.other_key()) + self.certificate_pem
        assert load_verification_key(self.write(private_first)) == self.public

    def test_lines_of_76_and_carriage_returns(self) -> None:
        assert load_verification_key(self.write(self.certificate_pem.replace(b"\n", b"\r\n"))) == self.public

    def test_public_key(self) -> None:
        for form in (PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1):
            assert (
                load_verification_key(self.write(self.public.public_bytes(Encoding.PEM, form))) == self.public
            )

    def test_signing_key(self) -> None:
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            pem = self.key.private_bytes(Encoding.PEM, form, NoEncryption())
            assert load_signing_key(self.write(self.certificate_pem + pem)).public_key() == self.public

    def test_missing(self) -> None:
        for load in (load_verification_key, load_certificate, load_signing_key):
            self.problem(load, "no such file")

    def test_not_a_regular_file(self) -> None:
        os.mkfifo(self.path)
        self.problem(load_verification_key, "not a regular file")
        self.path.unlink()
        self.path.mkdir()
        self.problem(load_verification_key, "name a PEM file")

    def test_unreadable(self) -> None:
        def denied(*_: object) -> int:
            raise PermissionError(13, "Permission denied")

        self.write(self.certificate_pem)
        self.patch(os, "open", denied)
        self.problem(load_verification_key, "permission denied")

    def test_too_large(self) -> None:
        self.problem(load_verification_key, "larger than", bytes(300000) + self.certificate_pem)

    def test_no_block(self) -> None:
        for content in (b"", b"hello", self.certificate_pem.replace(b"BEGIN", b"BEGAN")):
            self.problem(load_verification_key, "no PEM certificate or public key", content)
        self.problem(load_verification_key, "no PEM certificate or public key", samples.pem_of(self.key))
        self.problem(load_certificate, "no PEM certificate", samples.public_pem_of(self.key))
        self.problem(load_signing_key, "no PEM private key", self.certificate_pem)

    def test_unfinished_blocks(self) -> None:
        begin = b"-----BEGIN CERTIFICATE-----\n"
        self.problem(load_verification_key, "no end", self.certificate_pem[:-30])
        self.problem(load_verification_key, "no end", begin * 9000)
        self.problem(load_verification_key, "damaged", begin * 2 + self.certificate_pem)
        self.problem(load_signing_key, "no PEM private key", begin * 9000)

    def test_damaged(self) -> None:
        lines = self.certificate_pem.splitlines(keepends=True)
        self.problem(load_verification_key, "damaged", b"".join(lines[:3] + lines[4:]))
        public = samples.public_pem_of(self.key).splitlines(keepends=True)
        self.problem(load_verification_key, "damaged", b"".join(public[:2] + public[3:]))
        private = samples.pem_of(self.key).splitlines(keepends=True)
        self.problem(load_signing_key, "damaged", b"".join(private[:2] + private[3:]))

    def test_not_rsa(self) -> None:
        curve = ec.generate_private_key(ec.SECP256R1())
        certificate = samples.certificate_of(curve).public_bytes(Encoding.PEM)
        self.problem(load_verification_key, "not an RSA key", certificate)
        self.problem(load_certificate, "not an RSA key", certificate)
        self.problem(load_signing_key, "not an RSA key", samples.pem_of(curve))

    def test_small_key(self) -> None:
        small = rsa.generate_private_key(65537, 1024)
        self.problem(load_verification_key, "1024 bits", samples.public_pem_of(small))
        self.problem(load_signing_key, "1024 bits", samples.pem_of(small))

    def test_encrypted_key(self) -> None:
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            pem = self.key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))
            self.problem(load_signing_key, "encrypted", pem)

    def test_odd_names(self) -> None:
        for name in ("a\nb", "a\0b", "x" * 5000):
            with pytest.raises(KeyFileError) as caught:
                load_verification_key(Path(name))
            assert str(caught.value).isprintable()
