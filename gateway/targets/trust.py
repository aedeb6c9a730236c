"""Verified TLS towards console servers: contexts, names and pinned certificates.

Chains are OpenSSL's business (RFC 5280), names are service-identity's (RFC
6125; IP addresses as in RFC 9110, section 4.3.5, and a certificate's common
name counts for nothing).  A caller takes :meth:`TargetTls.connection`, does
the handshake, and calls :meth:`TargetTls.finish` before any application byte.
"""

from __future__ import annotations

import datetime
import hmac
import socket
from pathlib import Path
from typing import Final

from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.abstract import isIPAddress, isIPv6Address

from gateway.net import base_context, load_certificates, load_pair, present_identity
from gateway.settings import (
    Problem,
    SettingsError,
    TlsSettings,
    Verification,
    normalise_host,
    one_line,
)
from gateway.targets.certificates import PeerCertificate, names_of, names_text
from gateway.targets.checks import (
    TlsCheck,
    TlsCheckFailed,
    open_connection,
    read_peer,
    record_course,
    record_verdict,
)
from gateway.targets.rules import SecurityRule

__all__ = ["TargetTls", "anonymous_context"]

_CIPHERS: Final = TlsSettings().ciphers.encode("ascii")
"""For TLS 1.2: forward secrecy and authenticated encryption, as for clients by default."""
_ANONYMOUS_CIPHERS: Final = b"aNULL+AESGCM:aNULL+AES:!eNULL:@SECLEVEL=0"
"""At every higher security level OpenSSL leaves anonymous key exchange out."""


class TargetTls:
    """How the targets of one security rule are verified, and what they are shown."""

    def __init__(self, rule: SecurityRule, *, now: datetime.datetime | None = None) -> None:
        """Read every file that the rule names.

        :param rule: with verification by fingerprint, its authorities are not even read.
        :param now: the time at which a client certificate has to be valid; defaults to the present.
        :raises SettingsError: with every problem found.
        """
        self.verification = rule.verify
        self._pins = rule.fingerprints
        self._context = _client_context(_CIPHERS)
        problems: list[Problem] = []
        table = rule.name if rule.name == "security" else f"rules.{rule.name}"
        if rule.verify is Verification.FINGERPRINT:
            # The handshake still proves that the server has the key of the certificate it shows.
            self._context.set_verify(SSL.VERIFY_NONE)
        else:
            _trust(self._context, rule.ca, f"{table}.ca", problems)
            self._context.set_verify(SSL.VERIFY_PEER, record_verdict)
        if rule.certificate is not None:
            try:
                identity = load_pair(rule.certificate, rule.key, table, now=now)
                present_identity(self._context, identity, rule.certificate, f"{table}.certificate")
            except SettingsError as error:
                problems.extend(error.problems)
        if problems:
            raise SettingsError(problems)

    def connection(self, sock: socket.socket, name: str | None) -> SSL.Connection:
        """Bind TLS to a connected socket, ready for the handshake.

        :param name: the host name or address that the certificate has to be for.  A host name is told to
            the server (RFC 6066, section 3) whatever is verified.
        :raises ValueError: when it is neither, or is needed and missing.
        """
        host = self._host(name)
        connection = open_connection(self._context, sock)
        if host is not None and not _is_address(host):
            connection.set_tlsext_host_name(host.encode("ascii"))
        return connection

    def finish(self, connection: SSL.Connection, name: str | None) -> PeerCertificate:
        """Check what OpenSSL does not, once the handshake is complete.

        :param connection: from :meth:`connection`.
        :param name: the same as there.
        :raises TlsCheckFailed: when the certificate is not good enough.
        :raises ValueError: as :meth:`connection` does.
        """
        host = self._host(name)
        shown = connection.get_peer_certificate()
        if shown is None:
            raise TlsCheckFailed(TlsCheck.NO_CERTIFICATE)
        peer = read_peer(shown)
        if peer is None:
            raise TlsCheckFailed(TlsCheck.BAD_CERTIFICATE, "it cannot be read")
        if self.verification is Verification.FINGERPRINT:
            digest = bytes.fromhex(peer.fingerprint)
            if not any(hmac.compare_digest(digest, pin) for pin in self._pins):
                raise TlsCheckFailed(TlsCheck.WRONG_FINGERPRINT, certificate=peer)
        elif self.verification is Verification.NAME and host is not None:
            _check_name(connection, host, shown.to_cryptography(), peer)
        return peer

    def _host(self, name: str | None) -> str | None:
        if name is not None:
            return normalise_host(name)
        if self.verification is Verification.NAME:
            raise ValueError("a name is needed to verify a certificate")
        return None


def anonymous_context() -> SSL.Context:
    """The context for servers without a certificate (RFC 5246, section 7.4.3; VeNCrypt's TLS subtypes).

    It keeps out who listens, but not who takes the server's place, and is
    therefore only for targets whose rule allows it.  TLS 1.2, because newer
    versions have no such key exchange, and no cipher that authenticates, so
    that no certificate is ever taken for a verified one.  Connections are made
    by :func:`gateway.targets.checks.open_connection`.

    :raises SettingsError: when this host's OpenSSL offers no anonymous cipher (a FIPS policy, for example).
    """
    try:
        context = _client_context(_ANONYMOUS_CIPHERS)
    except SSL.Error:
        problem = Problem(
            Path("settings"),
            "security.anonymous",
            "needs anonymous ciphers, and this host's OpenSSL offers none",
            "set it to false, and give the targets certificates",
        )
        raise SettingsError([problem]) from None
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    return context


def _client_context(ciphers: bytes) -> SSL.Context:
    context = base_context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(ciphers)
    context.set_info_callback(record_course)
    return context


def _trust(context: SSL.Context, ca: Path | None, setting: str, problems: list[Problem]) -> None:
    """Whom to believe: the authorities of the file, or those of the system."""
    if ca is None:
        context.set_default_verify_paths()
        return
    store = context.get_cert_store()
    assert store is not None, "every context has one"
    # Whatever the file has is trusted, an intermediate authority as well, without the root above it.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    for certificate in load_certificates(ca, setting, problems):
        try:
            store.add_cert(crypto.X509.from_cryptography(certificate))
        except crypto.Error:
            text, remedy = "holds a certificate that OpenSSL refuses", "remove or replace it"
            problems.append(Problem(ca, setting, text, remedy))


def _check_name(
    connection: SSL.Connection, host: str, certificate: x509.Certificate, peer: PeerCertificate
) -> None:
    expected = f"expected {host}"
    try:
        names = names_of(certificate)
        expected = f"expected {host}, and it is for {names_text(names)}"
        if not names:
            raise TlsCheckFailed(TlsCheck.WRONG_NAME, expected, peer)
        (verify_ip_address if _is_address(host) else verify_hostname)(connection, host)
    except TlsCheckFailed:
        raise
    except VerificationError:
        raise TlsCheckFailed(TlsCheck.WRONG_NAME, expected, peer) from None
    except CertificateError as error:
        # Such as an address in the clothes of a DNS name.
        raise TlsCheckFailed(TlsCheck.BAD_CERTIFICATE, one_line(str(error)[:200]), peer) from None
    except Exception:
        # As above: there is an exception for every way to be wrong, and all of them mean no.
        raise TlsCheckFailed(TlsCheck.BAD_CERTIFICATE, "its names cannot be read", peer) from None


def _is_address(host: str) -> bool:
    return isIPAddress(host) or isIPv6Address(host)
