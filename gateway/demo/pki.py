"""A throw-away certificate authority for one run of the demo."""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["DemoPki", "make_pki"]

_LIFETIME = datetime.timedelta(days=7)


@attrs.frozen
class DemoPki:
    """What the demo needs: a CA to trust, a server identity, and an engine that signs tickets."""

    ca_file: Path
    certificate_file: Path
    key_file: Path
    engine_certificate: x509.Certificate
    engine_key: rsa.RSAPrivateKey


def make_pki(directory: Path, names: list[str], *, now: datetime.datetime | None = None) -> DemoPki:
    """Make a CA, a server certificate for ``names`` and a ticket signer, and write what is read from files.

    :param directory: where ``ca.pem``, ``server.pem`` and ``server.key`` go.
    :param names: host names and IP addresses of the server, the first one most prominent.
    :param now: start of validity; defaults to the present.
    """
    begin = (now or datetime.datetime.now(datetime.UTC)) - datetime.timedelta(minutes=5)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("Console Gateway demo CA")
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key(), begin)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    server_key = ec.generate_private_key(ec.SECP256R1())
    server = (
        _builder(_name(names[0]), ca_name, server_key.public_key(), begin)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_san(name) for name in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    engine_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    engine_name = _name("Console Gateway demo engine")
    engine = _builder(engine_name, engine_name, engine_key.public_key(), begin).sign(
        engine_key, hashes.SHA256()
    )
    pki = DemoPki(
        directory / "ca.pem", directory / "server.pem", directory / "server.key", engine, engine_key
    )
    _write(pki.ca_file, ca.public_bytes(Encoding.PEM), 0o644)
    _write(pki.certificate_file, server.public_bytes(Encoding.PEM), 0o644)
    key = server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(pki.key_file, key, 0o600)
    return pki


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    begin: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _san(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as stream:
        stream.write(data)
