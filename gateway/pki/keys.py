"""Private keys: RSA and ECDSA, in PKCS #8 (RFC 5958), encrypted or not."""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from gateway.pki.armour import first_block
from gateway.pki.errors import PasswordNeeded, PkiError

__all__ = [
    "MAX_BITS",
    "MIN_BITS",
    "KeyKind",
    "PrivateKey",
    "PublicKey",
    "generate_key",
    "key_pem",
    "key_text",
    "load_key",
    "same_key",
    "strong_key",
]

PrivateKey: TypeAlias = RSAPrivateKey | EllipticCurvePrivateKey
PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey

MIN_BITS: Final = 2048
"""Smallest RSA modulus, in bits."""
MAX_BITS: Final = 8192
"""Largest RSA modulus: beyond it, verification costs whoever does it too much."""

_MAX_EXPONENT_BITS: Final = 64
"""As OpenSSL has it for large keys.  With a free choice of the exponent, anybody can make a key that an
existing signature verifies with, and pass for the CA that signed."""
_LABELS: Final = frozenset({"PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"})
_WHAT: Final = "the private key"
_ENCRYPTED_OF_OLD: Final = b"Proc-Type: 4,ENCRYPTED"


class KeyKind(enum.Enum):
    """Kinds of keys."""

    RSA = "rsa"
    EC = "ec"
    """ECDSA on P-256."""


def generate_key(kind: KeyKind = KeyKind.RSA, bits: int = 2048) -> PrivateKey:
    """Make a key.

    :param bits: size of an RSA modulus, 2048 to 8192; for ECDSA it is without effect.
    :raises PkiError: the size is out of range.
    """
    if kind is KeyKind.EC:
        return generate_ec(SECP256R1())
    if not MIN_BITS <= bits <= MAX_BITS:
        raise PkiError(f"an RSA key has {MIN_BITS} to {MAX_BITS} bits, not {bits}; choose 2048, 3072 or 4096")
    return generate_rsa(public_exponent=65537, key_size=bits)


def key_pem(key: PrivateKey, password: bytes | None = None) -> bytes:
    """A key as PEM, PKCS #8, encrypted if there is a password.

    :raises PkiError: the password is empty or too long.
    """
    protection: KeySerializationEncryption = NoEncryption()
    if password is not None:
        if not 0 < len(password) <= 1023:
            raise PkiError("a password has 1 to 1023 bytes; choose another")
        protection = BestAvailableEncryption(password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


def load_key(data: bytes, password: bytes | None = None) -> PrivateKey:
    """Read a key from PEM; text and other blocks around it are ignored.

    :param password: for an encrypted key; without effect on one that is not.
    :raises PasswordNeeded: the key is encrypted and the password is missing or wrong.
    :raises PkiError: there is no key, it is damaged, of another kind, or too small.
    """
    found = first_block(data, _LABELS, _WHAT)
    if found is None:
        raise PkiError("there is no PEM private key; it begins with -----BEGIN PRIVATE KEY-----")
    label, content = found
    old = _ENCRYPTED_OF_OLD in data
    encrypted = old or label == "ENCRYPTED PRIVATE KEY"
    if encrypted and not password:
        raise PasswordNeeded("the private key is encrypted; give its password")
    key: object = None
    try:
        if old:
            key = load_pem_private_key(data, password)
        else:
            key = load_der_private_key(content, password if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if encrypted:
            raise PasswordNeeded("the password does not open the private key; try another") from None
    if key is None:
        raise PkiError("the private key is damaged or of an unknown kind; copy it again")
    if not isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey):
        raise PkiError("the private key is neither RSA nor ECDSA; make one with 'pki request'")
    if weakness := strong_key(key.public_key()):
        raise PkiError(f"the private key is {weakness}; make one with 'pki request'")
    return key


def strong_key(key: object) -> str | None:
    """What makes a public key unfit for use, or None: RSA of 2048 bits or more, P-256 and P-384 are fit."""
    if isinstance(key, RSAPublicKey):
        if key.key_size < MIN_BITS:
            return f"RSA with {key.key_size} bits, fewer than {MIN_BITS}"
        if key.key_size > MAX_BITS:
            return f"RSA with {key.key_size} bits, more than {MAX_BITS}"
        # Below this, RSA was broken through careless padding more than once (NIST SP 800-56B, 6.2).
        if key.public_numbers().e < 65537:
            return "RSA with a small exponent"
        if key.public_numbers().e.bit_length() > _MAX_EXPONENT_BITS:
            return f"RSA with an exponent of more than {_MAX_EXPONENT_BITS} bits"
        return None
    if isinstance(key, EllipticCurvePublicKey):
        if isinstance(key.curve, SECP256R1 | SECP384R1):
            return None
        return f"on the curve {key.curve.name}, neither P-256 nor P-384"
    return "neither RSA nor ECDSA"


def key_text(key: object) -> str:
    """A public key in a few words."""
    if isinstance(key, RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, EllipticCurvePublicKey):
        return f"ECDSA {key.curve.name}"
    return "of an unknown kind"


def same_key(one: object, other: object) -> bool:
    """Whether two public keys are one."""
    return isinstance(one, PublicKey) and isinstance(other, PublicKey) and _spki(one) == _spki(other)


def _spki(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
