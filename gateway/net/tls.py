"""TLS contexts, and the certificates and keys they are made from.

Everything that can be wrong with the files is found here, before a port is
bound, and said as a :class:`~gateway.settings.Problem` that names the setting.
"""

from __future__ import annotations

import datetime
import os
import re
import stat
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from OpenSSL import SSL

from gateway.settings import Problem, SettingsError, TlsSettings, TlsVersion

__all__ = [
    "ServerIdentity",
    "base_context",
    "load_certificates",
    "load_identity",
    "load_pair",
    "present_identity",
    "server_context",
]

_MAX_PEM: Final = 1 << 20
_KEY_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.+?-----END \1-----", re.DOTALL)
_VERSIONS: Final = {TlsVersion.TLS_1_2: SSL.TLS1_2_VERSION, TlsVersion.TLS_1_3: SSL.TLS1_3_VERSION}

ServerKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class ServerIdentity:
    """A certificate chain and the key that fits its first certificate."""

    def __init__(self, chain: list[x509.Certificate], key: ServerKey) -> None:
        self.chain = chain
        self.key = key

    @property
    def not_after(self) -> datetime.datetime:
        """When the server certificate expires, UTC."""
        return self.chain[0].not_valid_after_utc


def load_identity(tls: TlsSettings, *, now: datetime.datetime | None = None) -> ServerIdentity:
    """Read and check the server's certificate chain and private key.

    :param now: the time to check validity at; defaults to the present.
    :raises SettingsError: with every problem found: file missing, unreadable
        or not PEM, key encrypted or open to others, key not matching the
        certificate, certificate expired or not valid yet.
    """
    return load_pair(tls.certificate, tls.key, "tls", now=now)


def load_pair(
    certificate: Path | None, key: Path | None, table: str, *, now: datetime.datetime | None = None
) -> ServerIdentity:
    """As :func:`load_identity`, from the settings ``certificate`` and ``key`` of any table.

    :param key: ``None`` when the certificate's file holds the key as well.
    :param table: the settings' common prefix in messages, such as ``tls``.
    """
    problems: list[Problem] = []
    setting = f"{table}.certificate"
    if certificate is None:
        raise SettingsError([_problem(None, setting, "is not set", "name the PEM file of the certificate")])
    chain = load_certificates(certificate, setting, problems)
    key_path, key_setting = (key, f"{table}.key") if key else (certificate, setting)
    # One file that holds both and is no good is one problem.
    loaded = _load_key(key_path, key_setting, f"{table}.key", problems) if chain or key else None
    if chain:
        _check_dates(certificate, setting, chain[0], now or datetime.datetime.now(datetime.UTC), problems)
        if loaded is not None and not _belongs(loaded, chain[0]):
            problems.append(
                _problem(
                    key_path,
                    key_setting,
                    f"this key does not belong to the first certificate in {certificate}",
                    "name the key that it was issued for, and put the client or server certificate first",
                )
            )
    if problems or not chain or loaded is None:
        raise SettingsError(problems)
    return ServerIdentity(chain, loaded)


def base_context(method: int) -> SSL.Context:
    """What both directions have in common: no compression, no renegotiation, no cache, little memory.

    :param method: ``SSL.TLS_SERVER_METHOD`` or ``SSL.TLS_CLIENT_METHOD``.
    """
    context = SSL.Context(method)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    # Tickets keep resumption state at the client; a cache here would only cost memory.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return context


def present_identity(context: SSL.Context, identity: ServerIdentity, file: Path, setting: str) -> None:
    """Have the context show this certificate and its chain.

    :param file: where it came from, and
    :param setting: by which setting, for the message.
    :raises SettingsError: when OpenSSL refuses the certificate or key.
    """
    try:
        context.use_certificate(identity.chain[0])
        for issuer in identity.chain[1:]:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(identity.key)
        context.check_privatekey()
    except SSL.Error as error:
        # Such as a key that is too short for OpenSSL's security level.
        reasons = "; ".join(item[-1] for item in error.args[0]) or "no reason given"
        problem = _problem(file, setting, f"OpenSSL refuses it ({reasons})", "enrol a new certificate")
        raise SettingsError([problem]) from None


def server_context(
    tls: TlsSettings, identity: ServerIdentity, setting: str = "tls.certificate"
) -> SSL.Context:
    """The context that every TLS listener shares.

    TLS 1.2 at least, no compression, no renegotiation, stateless session
    tickets (RFC 5077, RFC 8446 section 4.6.1) so that reconnecting is cheap.

    :param setting: the one that names the certificate, for messages.
    :raises SettingsError: when the cipher list names no usable cipher, or OpenSSL refuses the certificate.
    """
    context = base_context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(_VERSIONS[tls.min_version])
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_SINGLE_ECDH_USE)
    try:
        context.set_cipher_list(tls.ciphers.encode("ascii"))
    except (SSL.Error, UnicodeEncodeError):
        problem = _problem(
            None, "tls.ciphers", "names no cipher that OpenSSL knows", "use OpenSSL's cipher list syntax"
        )
        raise SettingsError([problem]) from None
    present_identity(context, identity, tls.certificate or Path("settings"), setting)
    return context


def load_certificates(path: Path, setting: str, problems: list[Problem]) -> list[x509.Certificate]:
    """Every certificate of a PEM file; none, and one more problem, when that is not to be had.

    :param setting: the setting that names the file.
    """
    content = _read(path, setting, problems)
    if content is None:
        return []
    try:
        return x509.load_pem_x509_certificates(content[0])
    except ValueError:
        problems.append(
            _problem(path, setting, "holds no readable PEM certificate", "name a PEM certificate file")
        )
        return []


def _problem(file: Path | None, key: str, text: str, remedy: str) -> Problem:
    return Problem(file or Path("settings"), key, text, remedy)


def _read(path: Path, setting: str, problems: list[Problem]) -> tuple[bytes, int] | None:
    """The file's content and permission bits."""
    try:
        # Not blocking, because opening a FIFO would otherwise wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            mode = os.fstat(descriptor).st_mode
            data = stream.read(_MAX_PEM + 1) if stat.S_ISREG(mode) else None
    except FileNotFoundError:
        problems.append(_problem(path, setting, "the file does not exist", "create it or correct the path"))
    except OSError as error:
        problems.append(
            _problem(path, setting, f"cannot be read ({error.strerror})", "let the service's user read it")
        )
    else:
        if data is None:
            problems.append(_problem(path, setting, "is not a regular file", "name a PEM file"))
        elif len(data) > _MAX_PEM:
            problems.append(_problem(path, setting, "is larger than 1 MiB", "name a PEM file"))
        else:
            return data, stat.S_IMODE(mode)
    return None


def _load_key(path: Path, setting: str, key_setting: str, problems: list[Problem]) -> ServerKey | None:
    content = _read(path, setting, problems)
    if content is None:
        return None
    data, mode = content
    if mode & 0o007:
        problems.append(
            _problem(
                path, setting, f"the private key is open to every user (mode {mode:04o})", f"chmod o= {path}"
            )
        )
    block = _KEY_BLOCK.search(data)
    if block is None:
        problems.append(
            _problem(
                path, setting, "holds no PEM private key", f"name the PEM file of the key under {key_setting}"
            )
        )
        return None
    try:
        key = load_pem_private_key(block.group(0), password=None)
    except TypeError:
        problems.append(
            _problem(
                path,
                setting,
                "the private key is encrypted",
                "store it decrypted, readable by the service alone",
            )
        )
        return None
    except Exception:
        # The parser's own message could quote key material.
        problems.append(_problem(path, setting, "the private key cannot be read", "name an intact PEM key"))
        return None
    if not isinstance(key, ServerKey):
        problems.append(_problem(path, setting, "is not an RSA, EC or Ed25519 key", "enrol such a key"))
        return None
    return key


def _check_dates(
    path: Path,
    setting: str,
    certificate: x509.Certificate,
    now: datetime.datetime,
    problems: list[Problem],
) -> None:
    if now > certificate.not_valid_after_utc:
        text = f"the certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        problems.append(_problem(path, setting, text, "renew it, or correct this host's clock"))
    elif now < certificate.not_valid_before_utc:
        text = f"the certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        problems.append(_problem(path, setting, text, "correct this host's clock, or issue it again"))


def _belongs(key: ServerKey, certificate: x509.Certificate) -> bool:
    try:
        return _spki(key.public_key()) == _spki(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        # The certificate's key is of a kind that no ServerKey is.
        return False


def _spki(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
