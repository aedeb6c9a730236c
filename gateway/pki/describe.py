"""What certificates, requests and CA directories say, for people and programs."""

from __future__ import annotations

import datetime
from itertools import islice
from pathlib import Path
from typing import Final

import attrs
from cryptography import x509
from cryptography.x509 import Certificate

from gateway.pki.altnames import alt_names_text, names_of
from gateway.pki.armour import MAX_PEM
from gateway.pki.chains import days_left, fingerprint, parse_chain, signature_hash
from gateway.pki.database import MAX_SERIAL_FILE, Entry, Status, parse_serial, serial_text
from gateway.pki.errors import PkiError, printable
from gateway.pki.files import about, read_file
from gateway.pki.keys import key_text
from gateway.pki.register import SERIAL, Register
from gateway.pki.requests import load_request
from gateway.pki.subjects import subject_text
from gateway.pki.usage import purpose_names, usage_names

__all__ = [
    "CertificateView",
    "DirectoryView",
    "IssuedView",
    "RequestView",
    "describe_certificate",
    "describe_directory",
    "describe_file",
]

_MAX_FILES: Final = 10000
"""Certificates in a directory that are looked into for their names."""


@attrs.frozen
class CertificateView:
    """A certificate."""

    subject: str
    issuer: str
    serial: str
    names: list[str]
    begins: datetime.datetime
    ends: datetime.datetime
    days_left: float
    key: str
    signature: str
    usage: list[str]
    purposes: list[str]
    ca: bool
    sha256: str


@attrs.frozen
class RequestView:
    """A certification request."""

    subject: str
    names: list[str]
    key: str


@attrs.frozen
class IssuedView:
    """A certificate in a CA's database."""

    serial: str
    status: str
    """valid, expired or revoked."""
    ends: datetime.datetime
    days_left: float
    subject: str
    file: str | None
    """File in ``certs`` that holds it now."""


@attrs.frozen
class DirectoryView:
    """A CA."""

    ca: CertificateView
    next_serial: str
    encrypted: bool | None
    """Whether the CA's key is encrypted; None if it cannot be read."""
    issued: list[IssuedView]


def describe_file(path: Path, now: datetime.datetime) -> list[CertificateView] | RequestView:
    """What a file holds: a chain of certificates, or a request.

    :raises PkiError: it holds neither, or cannot be read.
    """
    data = read_file(path, MAX_PEM)
    with about(path):
        if b"CERTIFICATE REQUEST-----" in data:
            request = load_request(data)
            names = alt_names_text(request.names)
            return RequestView(_subject(request.subject), names, key_text(request.public_key))
        if b"PRIVATE KEY-----" in data and b"BEGIN CERTIFICATE-----" not in data:
            raise PkiError("a private key, which is not shown; name a certificate or a request")
        return [describe_certificate(each, now) for each in parse_chain(data)]


def describe_certificate(certificate: Certificate, now: datetime.datetime) -> CertificateView:
    """What a certificate says."""
    usage: list[str] = []
    purposes: list[str] = []
    ca = False
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.KeyUsage):
            usage = usage_names(value)
        elif isinstance(value, x509.ExtendedKeyUsage):
            purposes = purpose_names(value)
        elif isinstance(value, x509.BasicConstraints):
            ca = value.ca
    return CertificateView(
        _subject(certificate.subject),
        _subject(certificate.issuer),
        serial_text(certificate.serial_number),
        alt_names_text(names_of(certificate.extensions)),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        round(days_left(certificate, now), 2),
        key_text(certificate.public_key()),
        signature_hash(certificate) or "unknown",
        usage,
        purposes,
        ca,
        fingerprint(certificate),
    )


def describe_directory(directory: Path, now: datetime.datetime, *, ca_file: str = "ca") -> DirectoryView:
    """What a CA has signed, in the order of signing.

    :raises PkiError: there is no CA, or one of its files is damaged.
    """
    path = directory / f"{ca_file}.pem"
    data = read_file(path, MAX_PEM)
    with about(path):
        ca = parse_chain(data)[0]
    counter = directory / SERIAL
    data = read_file(counter, MAX_SERIAL_FILE)
    with about(counter):
        serial = parse_serial(data)
    files = _files(directory / "certs")
    issued = [_issued(entry, files.get(entry.serial), now) for entry in Register(directory).entries()]
    encrypted = _encrypted(directory / "private" / f"{ca_file}.pem")
    return DirectoryView(describe_certificate(ca, now), serial_text(serial), encrypted, issued)


def _issued(entry: Entry, file: str | None, now: datetime.datetime) -> IssuedView:
    left = (entry.expires - now).total_seconds() / 86400
    status = "valid"
    if entry.status is Status.REVOKED:
        status = "revoked"
    elif entry.status is Status.EXPIRED or left < 0:
        status = "expired"
    subject = printable(entry.subject)
    return IssuedView(serial_text(entry.serial), status, entry.expires, round(left, 2), subject, file)


def _files(directory: Path) -> dict[int, str]:
    """Serial numbers of the certificates in use, and their files; what cannot be read is left out."""
    found = {}
    try:
        paths = sorted(islice(directory.glob("*.cer"), _MAX_FILES))
    except OSError:
        return {}
    for path in paths:
        try:
            found[parse_chain(read_file(path, MAX_PEM))[0].serial_number] = printable(path.name)
        except PkiError:
            continue
    return found


def _encrypted(path: Path) -> bool | None:
    try:
        return b"ENCRYPTED" in read_file(path, MAX_PEM)
    except PkiError:
        return None


def _subject(name: x509.Name) -> str:
    return printable(subject_text(name)) or "(empty)"
