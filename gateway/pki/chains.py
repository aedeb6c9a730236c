"""Certificates as they come and go: PEM chains, fingerprints, dates."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate
from cryptography.x509.oid import NameOID

from gateway.pki.armour import UNREADABLE, blocks
from gateway.pki.errors import PkiError
from gateway.pki.mistaken import Form, form_of
from gateway.pki.subjects import subject_text

__all__ = [
    "MAX_CHAIN",
    "chain_pem",
    "days_left",
    "dn_prefix",
    "fingerprint",
    "is_authority",
    "parse_chain",
    "signature_hash",
]

MAX_CHAIN: Final = 32
"""Most certificates in one file."""

_LABELS: Final = frozenset({"CERTIFICATE", "X509 CERTIFICATE"})
_WHAT: Final = "the certificate"
_BEGINNING: Final = "it begins with -----BEGIN CERTIFICATE-----"
_REMEDIES: Final = {
    Form.EMPTY: _BEGINNING,
    Form.REQUEST: "have it signed, and give the certificate that comes of it",
    Form.REQUEST_DER: "have it signed, and give the certificate that comes of it",
    Form.PRIVATE_KEY: "keep it to yourself, and give the certificate",
    Form.PUBLIC_KEY: "give the certificate",
    Form.PKCS7: "convert it with 'openssl pkcs7 -print_certs'",
    Form.PKCS7_DER: "convert it with 'openssl pkcs7 -inform DER -print_certs'",
    Form.PKCS12: "convert it with 'openssl pkcs12 -nokeys'",
    Form.CERTIFICATE_DER: "convert it with 'openssl x509 -inform DER'",
    Form.OTHER_DER: "if it is a certificate, convert it with 'openssl x509 -inform DER'",
}
_DAY: Final = 86400.0
_PARTS: Final = ("subject", "issuer", "not_valid_before_utc", "not_valid_after_utc", "extensions")


def parse_chain(data: bytes) -> tuple[Certificate, ...]:
    """All certificates of a PEM text, at least one, in order.

    Text around them, carriage returns and trailing blanks do not matter.

    :raises PkiError: there is none, there are too many, or one is damaged.
    """
    found: list[Certificate] = []
    for _label, content in blocks(data, _LABELS, _WHAT):
        if len(found) == MAX_CHAIN:
            raise PkiError(f"there are more than {MAX_CHAIN} certificates; give only those of the chain")
        found.append(_sound(content, len(found) + 1))
    if not found:
        form = form_of(data)
        hint = f"{form.value}; {_REMEDIES[form]}" if form in _REMEDIES else _BEGINNING
        raise PkiError(f"there is no PEM certificate: {hint}")
    return tuple(found)


def chain_pem(certificates: Iterable[Certificate]) -> bytes:
    """Certificates as PEM, in their order."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def fingerprint(certificate: Certificate) -> str:
    """SHA-256 of a certificate as openssl prints it: ``AB:CD:...``."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def days_left(certificate: Certificate, now: datetime.datetime) -> float:
    """Days until a certificate expires; negative if it has.

    :param now: with its time zone.
    """
    return (certificate.not_valid_after_utc - now).total_seconds() / _DAY


def is_authority(certificate: Certificate) -> bool:
    """Whether this is the certificate of a CA: it says so, or it is of version 1, which cannot say it."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return certificate.version is x509.Version.v1


def signature_hash(certificate: Certificate) -> str | None:
    """The hash that a certificate is signed with, ``SHA256``; None if it is not known, or has no name."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UNREADABLE:
        return None
    return algorithm.name.upper() if algorithm is not None else None


def dn_prefix(ca: Certificate) -> str:
    """What subjects that a CA signs begin with: ``/C=US/O=Example Inc.``; empty if it does not say.

    As oVirt does, this goes by the issuer in the CA's authority key identifier (RFC 5280, 4.2.1.1), up to
    the common name.
    """
    try:
        identifier = ca.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return ""
    for name in identifier.authority_cert_issuer or ():
        if isinstance(name, x509.DirectoryName):
            before: list[x509.NameAttribute[Any]] = []
            for attribute in name.value:
                if attribute.oid == NameOID.COMMON_NAME:
                    break
                before.append(attribute)
            return subject_text(x509.Name(before))
    return ""


def _sound(content: bytes, number: int) -> Certificate:
    """A certificate whose parts can all be read: the library looks at most of them only when asked."""
    try:
        certificate = x509.load_der_x509_certificate(content)
        for part in _PARTS:
            getattr(certificate, part)
        certificate.public_key()
        if certificate.serial_number > 0:
            return certificate
    except UNREADABLE:
        pass
    raise PkiError(f"certificate number {number} is damaged or of an unknown kind; copy it again")
