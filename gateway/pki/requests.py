"""Certification requests, PKCS #10 (RFC 2986)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.pki.altnames import AltName, names_of, parse_alt_names
from gateway.pki.armour import UNREADABLE, first_block
from gateway.pki.errors import PkiError
from gateway.pki.keys import PrivateKey, PublicKey, strong_key
from gateway.pki.mistaken import Form, form_of
from gateway.pki.subjects import parse_subject

__all__ = ["Request", "load_request", "make_request"]

_LABELS: Final = frozenset({"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"})
_WHAT: Final = "the certificate request"
_BEGINNING: Final = "it begins with -----BEGIN CERTIFICATE REQUEST-----"


@attrs.frozen
class Request:
    """A request whose holder has shown to have the key."""

    subject: x509.Name
    public_key: PublicKey
    names: tuple[AltName, ...]
    """DNS names and addresses that it asks for; whoever signs decides."""


def make_request(key: PrivateKey, subject: str = "/", names: Sequence[str] = ()) -> bytes:
    """Make a request, PEM, signed with SHA-256.

    :param subject: ``/C=US/O=Example/CN=x``; ``/`` is a single common name equal to that.
    :param names: alternative names, ``DNS:gw.example.com`` or ``IP:192.0.2.1``; those of oVirt have none.
    :raises PkiError: subject or names are malformed.
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(parse_subject(subject))
    if names:
        alternatives = x509.SubjectAlternativeName(parse_alt_names(names))
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def load_request(data: bytes) -> Request:
    """Read a request from PEM, and verify its signature.

    :raises PkiError: there is none, it is damaged, its signature is wrong, or its key is too weak.
    """
    found = first_block(data, _LABELS, _WHAT)
    if found is None:
        form = form_of(data)
        hint = f"{form.value}; {_BEGINNING}" if form is not None else _BEGINNING
        if form is Form.REQUEST_DER:
            hint = f"{form.value}; convert it with 'openssl req -inform DER'"
        raise PkiError(f"there is no PEM certificate request: {hint}")
    try:
        request = x509.load_der_x509_csr(found[1])
        signed = request.is_signature_valid
        subject, key = request.subject, request.public_key()
        asked = names_of(request.extensions)
    except UNREADABLE:
        raise PkiError("the certificate request is damaged; make it again, or copy all of it") from None
    if not signed:
        raise PkiError("the certificate request is not signed by its own key; make it again")
    if weakness := strong_key(key):
        raise PkiError(f"the key of the certificate request is {weakness}; make another key")
    assert isinstance(key, PublicKey)
    names = tuple(name for name in asked if isinstance(name, AltName))
    return Request(subject, key, names)
