"""Keys of the engine, read from PEM files (RFC 7468).

Text before and after a PEM block, such as a human-readable dump of the
certificate, is ignored.  Where a file holds several blocks, the first counts.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

__all__ = ["KeyFileError", "load_certificate", "load_signing_key", "load_verification_key"]

MAX_FILE = 262144
"""Largest file read, in bytes."""
MIN_BITS = 2048
"""Smallest RSA modulus accepted, in bits."""

_CERTIFICATE = frozenset({"CERTIFICATE"})
_PUBLIC = frozenset({"PUBLIC KEY", "RSA PUBLIC KEY"})
_PRIVATE = frozenset({"PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"})
_BEGIN = re.compile(rb"-----BEGIN ([A-Z ]{1,40})-----")


class KeyFileError(Exception):
    """A key file cannot be used.  ``str()`` is one line that names the file and the remedy."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        name = str(self.path)
        return f"{name if name.isprintable() else ascii(name)}: {self.problem}"


def load_verification_key(path: Path) -> RSAPublicKey:
    """Public key that tickets are verified with.

    :param path: PEM certificate or PEM public key.
    :raises KeyFileError: missing, unreadable, too large, no such block in it,
        damaged, not RSA, or fewer than 2048 bits.
    """
    label, block = _read_block(path, _CERTIFICATE | _PUBLIC, "a PEM certificate or public key")
    if label in _CERTIFICATE:
        return _public_key(_certificate(block, path), path)
    try:
        key: object = load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if key is None:
        raise KeyFileError(path, "the PEM public key is damaged or of an unknown kind; copy it again")
    return _checked_public(key, path)


def load_certificate(path: Path) -> x509.Certificate:
    """Certificate of an RSA key.

    :raises KeyFileError: as for :func:`load_verification_key`.
    """
    _, block = _read_block(path, _CERTIFICATE, "a PEM certificate")
    certificate = _certificate(block, path)
    _public_key(certificate, path)
    return certificate


def load_signing_key(path: Path) -> RSAPrivateKey:
    """Private key that tickets are signed with.

    :param path: PEM private key (PKCS #8 or PKCS #1), not encrypted.
    :raises KeyFileError: as for :func:`load_verification_key`, or encrypted.
    """
    _, block = _read_block(path, _PRIVATE, "a PEM private key")
    problem = "the PEM private key is damaged or of an unknown kind; copy it again"
    key: object = None
    try:
        key = load_pem_private_key(block, password=None)
    except TypeError:
        problem = "the private key is encrypted; write it without passphrase ('openssl pkey -in IN -out OUT')"
    except (ValueError, UnsupportedAlgorithm):
        pass
    if key is None:
        raise KeyFileError(path, problem)
    if not isinstance(key, RSAPrivateKey):
        raise KeyFileError(path, "not an RSA key; tickets are signed with RSA only")
    _check_size(key.key_size, path)
    return key


def _read_block(path: Path, labels: frozenset[str], wanted: str) -> tuple[str, bytes]:
    content = _read(path)
    for begin in _BEGIN.finditer(content):
        label = begin[1].decode("ascii")
        if label in labels:
            end = b"-----END " + begin[1] + b"-----"
            position = content.find(end, begin.end())
            if position < 0:
                raise KeyFileError(path, f"the PEM block '{label}' has no end; copy it again")
            return label, content[begin.start() : position] + end + b"\n"
    raise KeyFileError(path, f"no {wanted.removeprefix('a ')} in it; the file must hold {wanted}")


def _read(path: Path) -> bytes:
    try:
        # Not blocking, so that a named pipe does not hang us before it is found out.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise KeyFileError(path, "not a regular file; name a PEM file")
            content = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise KeyFileError(path, "no such file; check the name") from None
    except PermissionError:
        raise KeyFileError(path, "permission denied; let this user read it") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the name is not a file name"
        raise KeyFileError(path, f"cannot be read ({reason}); name a PEM file") from None
    if len(content) > MAX_FILE:
        raise KeyFileError(path, f"larger than {MAX_FILE} bytes; name a file with the PEM block alone")
    return content


def _certificate(block: bytes, path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(block)
    except ValueError:
        raise KeyFileError(path, "the PEM certificate is damaged; copy it again") from None


def _public_key(certificate: x509.Certificate, path: Path) -> RSAPublicKey:
    try:
        key: object = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None
    return _checked_public(key, path)


def _checked_public(key: object, path: Path) -> RSAPublicKey:
    if not isinstance(key, RSAPublicKey):
        raise KeyFileError(path, "not an RSA key; name the certificate of the engine that signs the tickets")
    _check_size(key.key_size, path)
    return key


def _check_size(bits: int, path: Path) -> None:
    if bits < MIN_BITS:
        raise KeyFileError(
            path, f"the RSA key has {bits} bits; at least {MIN_BITS} are needed, renew the certificate"
        )
