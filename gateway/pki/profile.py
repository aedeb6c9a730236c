"""What is in the certificates that a CA signs, and in its own (RFC 5280, section 4.2)."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import Final, TypedDict, Unpack

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import Certificate, GeneralName, Name, ObjectIdentifier
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from gateway.pki.altnames import alt_name, names_of, parse_alt_names
from gateway.pki.errors import PkiError, printable
from gateway.pki.keys import PrivateKey, PublicKey
from gateway.pki.requests import Request
from gateway.pki.subjects import common_name, parse_subject
from gateway.pki.usage import default_usage, key_usage, parse_key_usage, parse_purposes, usage_names

__all__ = ["Profile", "Terms", "issued", "planned", "renewed", "self_signed"]

_URL: Final = re.compile(r"http://[!-~]{1,500}\Z")
_SERVER: Final = (ExtendedKeyUsageOID.SERVER_AUTH,)
_SERVER_AND_CLIENT: Final = frozenset({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH})
_NO_NAME: Final = "there is no alternative name, and the common name is none; say --san=DNS:gw.example.com"


@attrs.frozen
class Profile:
    """A certificate to be: everything but number, dates and issuer."""

    subject: Name
    public_key: PublicKey = attrs.field(repr=False)
    names: tuple[GeneralName, ...]
    usage: frozenset[str]
    """Names of key usages."""
    purposes: tuple[ObjectIdentifier, ...] = _SERVER
    ca_url: str | None = None
    """Where clients may fetch the CA's certificate."""


class Terms(TypedDict, total=False):
    """What whoever signs a request may say; None stands for the default."""

    subject: str | None
    """Instead of the request's, as ``/C=US/O=Example/CN=gw.example.com``."""
    san: str | Sequence[str] | None
    """Alternative names; without them, the common name if it is one."""
    requested_names: bool
    """Take the DNS names and addresses that the request asks for as well."""
    ku: str | None
    """Key usages, instead of those that a TLS server needs."""
    eku: str | None
    """Extended key usages, names or OIDs, instead of serverAuth."""
    ca_url: str | None
    """Where clients may fetch the CA's certificate; without it nothing is said of that."""


def planned(request: Request, **terms: Unpack[Terms]) -> Profile:
    """What to sign for a request: its key, its subject for want of another, and nothing else unasked.

    :raises PkiError: a term is malformed, or a server would have no name.
    """
    subject, ku, eku = terms.get("subject"), terms.get("ku"), terms.get("eku")
    requested = request.names if terms.get("requested_names") else ()
    name = parse_subject(subject) if subject is not None else request.subject
    purposes = parse_purposes(eku) if eku is not None else _SERVER
    return Profile(
        name,
        request.public_key,
        _names(name, terms.get("san"), requested, purposes),
        parse_key_usage(ku) if ku is not None else default_usage(request.public_key),
        purposes,
        _url(terms.get("ca_url")),
    )


def renewed(old: Certificate, public_key: PublicKey, san: str | Sequence[str] | None) -> Profile:
    """What to sign in place of a certificate: the same again.

    A server's certificate that serves clients too, for no other reason than that oVirt's always do, becomes
    one for servers.

    :raises PkiError: an option is malformed, or a server would have no name.
    """
    purposes = _SERVER
    usage = default_usage(public_key)
    ca_url = None
    for extension in old.extensions:
        value = extension.value
        if isinstance(value, x509.ExtendedKeyUsage) and set(value) != _SERVER_AND_CLIENT:
            purposes = tuple(value)
        elif isinstance(value, x509.KeyUsage):
            usage = frozenset(usage_names(value))
        elif isinstance(value, x509.AuthorityInformationAccess):
            ca_url = next((str(each.access_location.value) for each in value if _is_ca_url(each)), None)
    names = _names(old.subject, san, names_of(old.extensions), purposes)
    return Profile(old.subject, public_key, names, usage, purposes, ca_url)


def issued(
    profile: Profile,
    *,
    ca: Certificate,
    ca_key: PrivateKey,
    serial: int,
    begin: datetime.datetime,
    end: datetime.datetime,
) -> Certificate:
    """Sign a certificate, with SHA-256."""
    builder = _builder(profile.subject, ca.subject, profile.public_key, serial, begin, end)
    builder = (
        builder.add_extension(_issuer_identifier(ca), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(profile.usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage(profile.purposes), critical=False)
    )
    if profile.names:
        # RFC 5280, 4.2.1.6: without a subject, this is what names the holder.
        critical = not list(profile.subject)
        builder = builder.add_extension(x509.SubjectAlternativeName(profile.names), critical=critical)
    if profile.ca_url is not None:
        location = x509.UniformResourceIdentifier(profile.ca_url)
        access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, location)
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def self_signed(
    subject: Name, key: PrivateKey, *, begin: datetime.datetime, end: datetime.datetime
) -> Certificate:
    """Make the certificate of a CA that signs no other CAs.

    Its authority key identifier names its issuer, itself, in full: oVirt learns from there what subjects
    begin with.
    """
    serial = x509.random_serial_number()
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer = x509.AuthorityKeyIdentifier(identifier.digest, [x509.DirectoryName(subject)], serial)
    return (
        _builder(subject, subject, key.public_key(), serial, begin, end)
        .add_extension(issuer, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(("keyCertSign", "cRLSign")), critical=True)
        .sign(key, hashes.SHA256())
    )


def _names(
    subject: Name,
    san: str | Sequence[str] | None,
    others: Sequence[GeneralName],
    purposes: Sequence[ObjectIdentifier],
) -> tuple[GeneralName, ...]:
    if san is not None:
        said = parse_alt_names([san] if isinstance(san, str) else san)
        return tuple(dict.fromkeys((*said, *others)))
    if others or ExtendedKeyUsageOID.SERVER_AUTH not in purposes:
        return tuple(others)
    common = common_name(subject)
    try:
        # Clients look at no common name any more (RFC 9525, section 2).
        return (alt_name(common or ""),)
    except PkiError:
        raise PkiError(_NO_NAME) from None


def _builder(
    subject: Name,
    issuer: Name,
    key: PublicKey,
    serial: int,
    begin: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _issuer_identifier(ca: Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        key = ca.public_key()
        assert isinstance(key, PublicKey)
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _url(text: str | None) -> str | None:
    if text is not None and not _URL.match(text):
        raise PkiError(f"'{printable(text, 80)}' is not a http:// URL (RFC 5280 wants no https here)")
    return text


def _is_ca_url(access: x509.AccessDescription) -> bool:
    return access.access_method == AuthorityInformationAccessOID.CA_ISSUERS and isinstance(
        access.access_location, x509.UniformResourceIdentifier
    )
