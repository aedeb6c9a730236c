"""Keys, certification requests, certificates, and a small certificate authority.

Files and names are those of oVirt's engine, whose own tools, and ``openssl ca``, may take turns with this.
"""

from __future__ import annotations

from gateway.pki.altnames import is_address, parse_alt_names
from gateway.pki.authority import Authority
from gateway.pki.chains import chain_pem, days_left, dn_prefix, fingerprint, parse_chain
from gateway.pki.check import check_certificate
from gateway.pki.errors import CertificateFault, CertificateRejected, PasswordNeeded, PkiError
from gateway.pki.files import read_file, write_private, write_public
from gateway.pki.keys import KeyKind, PrivateKey, PublicKey, generate_key, key_pem, load_key, same_key
from gateway.pki.requests import Request, load_request, make_request
from gateway.pki.subjects import parse_subject, subject_text

__all__ = [
    "Authority",
    "CertificateFault",
    "CertificateRejected",
    "KeyKind",
    "PasswordNeeded",
    "PkiError",
    "PrivateKey",
    "PublicKey",
    "Request",
    "chain_pem",
    "check_certificate",
    "days_left",
    "dn_prefix",
    "fingerprint",
    "generate_key",
    "is_address",
    "key_pem",
    "load_key",
    "load_request",
    "make_request",
    "parse_alt_names",
    "parse_chain",
    "parse_subject",
    "read_file",
    "same_key",
    "subject_text",
    "write_private",
    "write_public",
]
