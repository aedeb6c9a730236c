"""Throw-away keys: server identities of both kinds, an engine that signs tickets, a console server's."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from benchmarks.vocabulary import Key
from gateway.tickets import Target, encode_ticket

__all__ = ["Keys", "make_keys"]

_Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_LIFETIME = datetime.timedelta(days=2)


@attrs.frozen
class Keys:
    """Files in one directory, and the engine's key."""

    directory: Path
    engine_key: rsa.RSAPrivateKey
    engine: x509.Certificate

    def certificate(self, key: Key) -> Path:
        return self.directory / f"{key.value}.crt"

    def private(self, key: Key) -> Path:
        return self.directory / f"{key.value}.key"

    def both(self, key: Key) -> Path:
        """Certificate and key in one file."""
        return self.directory / f"{key.value}.pem"

    @property
    def engine_file(self) -> Path:
        return self.directory / "engine.crt"

    @property
    def authority(self) -> Path:
        """The certificate of who issued the console server's."""
        return self.directory / "authority.crt"

    @property
    def console(self) -> tuple[Path, Path]:
        """Certificate and key of a console server on 127.0.0.1 that speaks TLS."""
        return self.directory / "console.crt", self.directory / "console.key"

    def ticket(self, port: int) -> str:
        """A ticket of its own for a target on 127.0.0.1."""
        return encode_ticket(
            self.engine_key,
            Target("127.0.0.1", port),
            certificate=self.engine,
            valid_from=datetime.datetime.now(datetime.UTC),
            lifetime=datetime.timedelta(minutes=30),
        )


def make_keys(directory: Path) -> Keys:
    """Generate everything into ``directory``."""
    for kind in Key:
        key = (
            rsa.generate_private_key(public_exponent=65537, key_size=2048)
            if kind is Key.RSA
            else ec.generate_private_key(ec.SECP256R1())
        )
        _save(directory, kind.value, _certificate("localhost", key), key)
    engine_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    keys = Keys(directory, engine_key, _certificate("engine", engine_key))
    keys.engine_file.write_bytes(keys.engine.public_bytes(Encoding.PEM))
    above = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("authority", above, authority=True)
    keys.authority.write_bytes(authority.public_bytes(Encoding.PEM))
    key = ec.generate_private_key(ec.SECP256R1())
    _save(directory, "console", _certificate("console", key, issuer=(authority, above)), key)
    return keys


def _save(directory: Path, stem: str, certificate: x509.Certificate, key: _Private) -> None:
    public = certificate.public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for suffix, data in (("crt", public), ("key", private), ("pem", public + private)):
        path = directory / f"{stem}.{suffix}"
        path.touch(mode=0o600)
        path.write_bytes(data)


def _certificate(
    name: str,
    key: _Private,
    *,
    authority: bool = False,
    issuer: tuple[x509.Certificate, _Private] | None = None,
) -> x509.Certificate:
    """A certificate for 127.0.0.1, issued by itself unless somebody else is given."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )
