"""What a certificate may be used for: key usage and extended key usage (RFC 5280, 4.2.1.3 and 4.2.1.12).

The names are those of openssl's configuration.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.pki.errors import PkiError, printable
from gateway.pki.keys import PublicKey

__all__ = ["default_usage", "key_usage", "parse_key_usage", "parse_purposes", "purpose_names", "usage_names"]

_T = TypeVar("_T")

_MAX_TEXT: Final = 1024
_FIELDS: Final = {
    "digitalSignature": "digital_signature",
    "nonRepudiation": "content_commitment",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign",
    "cRLSign": "crl_sign",
    "encipherOnly": "encipher_only",
    "decipherOnly": "decipher_only",
}
_SYNONYMS: Final = {"contentCommitment": "nonRepudiation"}
_OF_A_CA: Final = frozenset({"keyCertSign", "cRLSign"})
_ONLY: Final = frozenset({"encipherOnly", "decipherOnly"})
_PURPOSES: Final = {
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "codeSigning": ExtendedKeyUsageOID.CODE_SIGNING,
    "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timeStamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "OCSPSigning": ExtendedKeyUsageOID.OCSP_SIGNING,
    "anyExtendedKeyUsage": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}
_PURPOSE_NAMES: Final = {oid: name for name, oid in _PURPOSES.items()}
_OID: Final = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]{0,18})){1,30}\Z")


def parse_key_usage(text: str) -> frozenset[str]:
    """Read a key usage: names separated by commas.

    :raises PkiError: a name is unknown, or for CAs only.
    """
    return frozenset(_items(text, "key usage", _usage))


def parse_purposes(text: str) -> tuple[ObjectIdentifier, ...]:
    """Read an extended key usage: names or dotted OIDs separated by commas.

    :raises PkiError: one is neither.
    """
    return tuple(_items(text, "extended key usage", _purpose))


def default_usage(key: PublicKey) -> frozenset[str]:
    """What a TLS server needs: RSA keys decipher as well in TLS 1.2's oldest suites, ECDSA keys only sign."""
    if isinstance(key, RSAPublicKey):
        return frozenset({"digitalSignature", "keyEncipherment"})
    return frozenset({"digitalSignature"})


def key_usage(names: Iterable[str]) -> x509.KeyUsage:
    """The extension for a set of names.

    :raises PkiError: the set makes no sense.
    """
    chosen = {_FIELDS[name] for name in names}
    try:
        return x509.KeyUsage(**{field: field in chosen for field in _FIELDS.values()})
    except ValueError:
        raise PkiError(
            "encipherOnly and decipherOnly qualify keyAgreement; add it to the key usage"
        ) from None


def usage_names(usage: x509.KeyUsage) -> list[str]:
    """Names of what is allowed."""
    # The library does not let one ask for these two without keyAgreement.
    asked = (name for name in _FIELDS if name not in _ONLY or usage.key_agreement)
    return [name for name in asked if getattr(usage, _FIELDS[name])]


def purpose_names(purposes: Iterable[ObjectIdentifier]) -> list[str]:
    """Names of what is allowed, dotted OIDs where there is none."""
    return [_PURPOSE_NAMES.get(oid, oid.dotted_string) for oid in purposes]


def _items(text: str, what: str, parse: Callable[[str], _T]) -> list[_T]:
    if len(text) > _MAX_TEXT:
        raise PkiError(f"the {what} has more than {_MAX_TEXT} characters; leave some out")
    return list(dict.fromkeys(parse(item.strip()) for item in text.split(",")))


def _usage(name: str) -> str:
    name = _SYNONYMS.get(name, name)
    if name in _OF_A_CA:
        raise PkiError(f"{name} is for CAs only; this CA signs none")
    if name not in _FIELDS:
        known = ", ".join(sorted(set(_FIELDS) - _OF_A_CA))
        raise PkiError(f"'{printable(name, 60)}' is not a key usage; there are {known}")
    return name


def _purpose(text: str) -> ObjectIdentifier:
    if text in _PURPOSES:
        return _PURPOSES[text]
    if _OID.match(text):
        try:
            return ObjectIdentifier(text)
        except ValueError:
            pass
    known = ", ".join(_PURPOSES)
    raise PkiError(f"'{printable(text, 60)}' is not an extended key usage; give a dotted OID or {known}")
