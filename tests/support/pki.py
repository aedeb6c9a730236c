"""Keys, certificates and tickets of a test installation, in a directory; and authorities, good and bad."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterable
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.demo.pki import DemoPki, make_pki
from gateway.settings import Attach
from gateway.tickets import Target, encode_ticket
from tests.unit.net.samples import DAY, NOW, pem, write

__all__ = ["CLIENT", "SERVER", "Authority", "Installation", "Leaf", "distinguished", "host_names", "install"]

SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)


@attrs.frozen
class Installation:
    """A gateway's files, and the engine that signs its tickets."""

    directory: Path
    pki: DemoPki
    engine_file: Path
    """The engine's certificate, as ``tickets.certificate`` names it."""

    def ticket(
        self,
        port: int,
        host: str = "127.0.0.1",
        *,
        begin: float = -5,
        lifetime: int = 120,
        key: rsa.RSAPrivateKey | None = None,
        tls: bool = False,
        path: str | None = None,
        token: str | None = None,
        server_name: str | None = None,
        subject: str | None = None,
        attach: Attach | None = None,
    ) -> str:
        """A ticket, genuine unless told otherwise.

        :param begin: start of validity, in seconds from now.
        :param lifetime: length of validity, in seconds.
        :param key: another engine's key.
        """
        return encode_ticket(
            key or self.pki.engine_key,
            Target(host, port, tls, path, token, None, server_name),
            certificate=self.pki.engine_certificate,
            valid_from=datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=begin),
            lifetime=datetime.timedelta(seconds=lifetime),
            subject=subject,
            attach=attach,
        )

    def client_context(self) -> ssl.SSLContext:
        """What a browser that trusts the CA uses."""
        return ssl.create_default_context(cafile=str(self.pki.ca_file))

    def settings(self) -> dict[str, dict[str, object]]:
        """Tables of a settings file: free ports on loopback, every loopback target allowed.

        A ticket may be used without end, because most tests use one many times.
        """
        return {
            "listen": {"tls": ["tcp:0:interface=127.0.0.1"], "plain": ["tcp:0:interface=127.0.0.1"]},
            "tls": {"certificate": str(self.pki.certificate_file), "key": str(self.pki.key_file)},
            "tickets": {"certificate": str(self.engine_file)},
            "targets": {"networks": ["127.0.0.0/8", "10.0.0.0/8"], "ports": ["1-65535"]},
            "uses": {"vnc": "unlimited", "spice": "unlimited", "serial": "unlimited"},
            "relay": {"close_timeout": 1.0},
        }


def install(directory: Path) -> Installation:
    """Make the files of an installation in ``directory``."""
    pki = make_pki(directory, ["localhost", "127.0.0.1", "::1"])
    engine_file = directory / "engine.pem"
    engine_file.write_bytes(pki.engine_certificate.public_bytes(Encoding.PEM))
    return Installation(directory, pki, engine_file)


@attrs.frozen
class Leaf:
    """A certificate with what comes along in a handshake: its key, and the authorities up to the root's."""

    chain: tuple[x509.Certificate, ...]
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

    @property
    def certificate(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def save(self, directory: Path, stem: str) -> tuple[Path, Path]:
        """Write ``STEM.pem`` and ``STEM.key`` and return their paths."""
        return (
            write(directory / f"{stem}.pem", pem(*self.chain), 0o644),
            write(directory / f"{stem}.key", pem(self.key)),
        )


class Authority:
    """A certificate authority, which issues whatever it is told to."""

    def __init__(
        self,
        name: str = "Test CA",
        *,
        issuer: Authority | None = None,
        begin: datetime.datetime = NOW - DAY,
        end: datetime.datetime = NOW + DAY,
    ) -> None:
        """:param issuer: what makes this an intermediate authority; a root otherwise."""
        self.issuer = issuer
        self.name = distinguished(name)
        self.key = ec.generate_private_key(ec.SECP256R1())
        above = issuer or self
        self.certificate = (
            _builder(self.name, above.name, self.key.public_key(), begin, end)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(above.key, hashes.SHA256())
        )

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """This and what is above it, without the root."""
        return (self.certificate, *self.issuer.chain) if self.issuer else ()

    def save(self, directory: Path, stem: str) -> Path:
        """Write ``STEM.pem`` and return its path."""
        return write(directory / f"{stem}.pem", pem(self.certificate), 0o644)

    def issue(
        self,
        *names: str,
        subject: x509.Name | None = None,
        sans: Iterable[x509.GeneralName] | None = None,
        begin: datetime.datetime = NOW - DAY,
        end: datetime.datetime = NOW + DAY,
        purposes: Iterable[x509.ObjectIdentifier] = SERVER,
        marked: bool = True,
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
    ) -> Leaf:
        """A certificate for hosts or, with :data:`CLIENT` as its purpose, for a client.

        :param names: DNS names and addresses for the subjectAltName; without any, there is none.
        :param subject: the first name as its common name by default.
        :param sans: alternative names of any kind, instead of *names*.
        :param purposes: extended key usages; without any, there is no such extension.
        :param marked: say by which key of the issuer it was signed, as most authorities do.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = _builder(
            distinguished(names[0] if names else "nobody") if subject is None else subject,
            self.name,
            key.public_key(),
            begin,
            end,
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        if marked:
            above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
            builder = builder.add_extension(above, critical=False)
        alternatives = list(host_names(names) if sans is None else sans)
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        if listed := list(purposes):
            builder = builder.add_extension(x509.ExtendedKeyUsage(listed), critical=False)
        return Leaf((builder.sign(self.key, hashes.SHA256()), *self.chain), key)

    @classmethod
    def self_signed(cls, name: str) -> Leaf:
        """A server that is its own authority."""
        authority = cls(name)
        certificate = (
            _builder(authority.name, authority.name, authority.key.public_key(), NOW - DAY, NOW + DAY)
            .add_extension(x509.SubjectAlternativeName(host_names([name])), critical=False)
            .sign(authority.key, hashes.SHA256())
        )
        return Leaf((certificate,), authority.key)


def distinguished(name: str, **more: str) -> x509.Name:
    """A common name, with values of other attributes by their names in :class:`NameOID`."""
    attributes = [x509.NameAttribute(getattr(NameOID, key), value) for key, value in more.items()]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def host_names(names: Iterable[str]) -> list[x509.GeneralName]:
    """DNS names and IP addresses as alternative names."""
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    begin: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
