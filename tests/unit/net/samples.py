"""Server identities for the tests of TLS, good and bad."""

from __future__ import annotations

import datetime
import functools
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | dsa.DSAPrivateKey


@functools.cache
def key(number: int = 0) -> ec.EllipticCurvePrivateKey:
    """One of a few EC keys."""
    return ec.generate_private_key(ec.SECP256R1())


def certificate(
    subject: Key,
    name: str = "gateway.example.com",
    *,
    issuer: tuple[str, Key] | None = None,
    begin: datetime.datetime = NOW - DAY,
    end: datetime.datetime = NOW + DAY,
    ca: bool = False,
) -> x509.Certificate:
    issuer_name, issuer_key = issuer or (name, subject)
    assert not isinstance(issuer_key, dsa.DSAPrivateKey)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer_name))
        .public_key(subject.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def pem(*items: x509.Certificate | Key, password: bytes | None = None) -> bytes:
    """Certificates and private keys as one PEM text."""
    encryption: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
    return b"".join(
        item.public_bytes(Encoding.PEM)
        if isinstance(item, x509.Certificate)
        else item.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        for item in items
    )


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
