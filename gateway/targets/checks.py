"""Which check failed when TLS with a console server did, found out from what OpenSSL let us see.

OpenSSL's own error says little (``certificate verify failed``), and nothing at
all where the server ends a connection because it wants a client certificate:
under TLS 1.3 that happens after our handshake is complete (RFC 8446, section
4.4.2.4), and some servers judge certificates only then, whatever the version.
So the course of each handshake is recorded by callbacks, as numbers.
"""

from __future__ import annotations

import contextlib
import enum
import socket
from typing import Final

import attrs
from OpenSSL import SSL, crypto

from gateway.net import ChannelError
from gateway.reasons import EndReason
from gateway.targets.certificates import PeerCertificate, describe

__all__ = [
    "TlsCheck",
    "TlsCheckFailed",
    "explain",
    "late_refusal",
    "open_connection",
    "read_peer",
    "record_course",
    "record_verdict",
]


class TlsCheck(enum.Enum):
    """What was wrong: ``(name in logs, reason of the session's end, text)``."""

    UNKNOWN_ISSUER = ("unknown-issuer", EndReason.TARGET_UNTRUSTED, "issued by no trusted authority")
    SELF_SIGNED = ("self-signed", EndReason.TARGET_UNTRUSTED, "the certificate is self-signed")
    EXPIRED = ("expired", EndReason.TARGET_EXPIRED, "the certificate has expired")
    NOT_YET_VALID = ("not-yet-valid", EndReason.TARGET_EXPIRED, "the certificate is not valid yet")
    WRONG_PURPOSE = ("wrong-purpose", EndReason.TARGET_UNTRUSTED, "the certificate is not for a server")
    WRONG_NAME = ("wrong-name", EndReason.TARGET_WRONG_NAME, "the certificate is for another name")
    WRONG_FINGERPRINT = (
        "wrong-fingerprint",
        EndReason.TARGET_UNTRUSTED,
        "the certificate is not pinned",
    )
    NO_CERTIFICATE = ("no-certificate", EndReason.TARGET_UNTRUSTED, "the server showed no certificate")
    BAD_CERTIFICATE = ("bad-certificate", EndReason.TARGET_UNTRUSTED, "the certificate is unusable")
    """Malformed, too weak, not issued correctly, or revoked."""
    CLIENT_CERTIFICATE = (
        "client-certificate",
        EndReason.TARGET_REJECTED_US,
        "the server does not accept the gateway as a client",
    )
    """It wants one, and the gateway has none for it, or showed one that the server does not take."""
    PROTOCOL = ("protocol", EndReason.TARGET_TLS_FAILED, "TLS failed")
    """The server does not speak TLS, shares no version or cipher, or breaks the protocol."""
    CLOSED = ("closed", EndReason.TARGET_TLS_FAILED, "the connection ended during the TLS handshake")

    def __init__(self, label: str, reason: EndReason, text: str) -> None:
        self.label = label
        self.reason = reason
        self.text = text


class TlsCheckFailed(Exception):
    """TLS with the target is not as it has to be; the text is one line for the log."""

    def __init__(self, check: TlsCheck, detail: str = "", certificate: PeerCertificate | None = None) -> None:
        """
        :param detail: what the check alone does not say, one line.
        :param certificate: the one at fault: the target's, an issuer's, or the gateway's own.
        """
        text = f"{check.label}: {check.text}"
        if detail:
            text += f" ({detail})"
        super().__init__(text if certificate is None else f"{text}; certificate: {certificate}")
        self.check = check
        self.certificate = certificate

    @property
    def reason(self) -> EndReason:
        """How the session ends."""
        return self.check.reason


class _Alert(enum.IntEnum):
    """Alert descriptions (RFC 8446, section 6; RFC 5246, section 7.2)."""

    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    BAD_RECORD_MAC = 20
    RECORD_OVERFLOW = 22
    HANDSHAKE_FAILURE = 40
    NO_CERTIFICATE = 41
    BAD_CERTIFICATE = 42
    UNSUPPORTED_CERTIFICATE = 43
    CERTIFICATE_REVOKED = 44
    CERTIFICATE_EXPIRED = 45
    CERTIFICATE_UNKNOWN = 46
    ILLEGAL_PARAMETER = 47
    UNKNOWN_CA = 48
    ACCESS_DENIED = 49
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51
    PROTOCOL_VERSION = 70
    INSUFFICIENT_SECURITY = 71
    INTERNAL_ERROR = 80
    USER_CANCELED = 90
    MISSING_EXTENSION = 109
    UNRECOGNIZED_NAME = 112
    CERTIFICATE_REQUIRED = 116
    NO_APPLICATION_PROTOCOL = 120


_ON_CERTIFICATES: Final = frozenset(
    {
        _Alert.NO_CERTIFICATE,
        _Alert.BAD_CERTIFICATE,
        _Alert.UNSUPPORTED_CERTIFICATE,
        _Alert.CERTIFICATE_REVOKED,
        _Alert.CERTIFICATE_EXPIRED,
        _Alert.CERTIFICATE_UNKNOWN,
        _Alert.UNKNOWN_CA,
        _Alert.CERTIFICATE_REQUIRED,
    }
)
"""Alerts that are about nothing else than the receiver's certificate."""
_IF_ASKED: Final = frozenset({_Alert.HANDSHAKE_FAILURE, _Alert.ACCESS_DENIED})
"""Alerts that are about it where the server asked for one: TLS 1.2 has no other for a missing certificate."""

_FATAL: Final = 2
_ASKED: Final = b"read server certificate request"

_CODES: Final = SSL.X509VerificationCodes
_CHECKS: Final = {
    _CODES.ERR_UNABLE_TO_GET_ISSUER_CERT: TlsCheck.UNKNOWN_ISSUER,
    _CODES.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: TlsCheck.UNKNOWN_ISSUER,
    _CODES.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: TlsCheck.UNKNOWN_ISSUER,
    # A chain that comes complete with its root, which nobody here knows.
    _CODES.ERR_SELF_SIGNED_CERT_IN_CHAIN: TlsCheck.UNKNOWN_ISSUER,
    _CODES.ERR_CERT_UNTRUSTED: TlsCheck.UNKNOWN_ISSUER,
    # Another authority of the same name, such as one made anew: more likely than a forgery.
    _CODES.ERR_CERT_SIGNATURE_FAILURE: TlsCheck.UNKNOWN_ISSUER,
    _CODES.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: TlsCheck.SELF_SIGNED,
    _CODES.ERR_CERT_HAS_EXPIRED: TlsCheck.EXPIRED,
    _CODES.ERR_CERT_NOT_YET_VALID: TlsCheck.NOT_YET_VALID,
    _CODES.ERR_INVALID_PURPOSE: TlsCheck.WRONG_PURPOSE,
}
_CODE_TEXTS: Final = {
    # Not among pyOpenSSL's names; the numbers are those of OpenSSL's x509_vfy.h.
    66: "key too weak",
    67: "key of an issuer too weak",
    68: "signed with too weak a digest",
    **{
        code: name.removeprefix("ERR_").lower().replace("_", " ")
        for name, code in vars(_CODES).items()
        if name.startswith("ERR_")
    },
}


@attrs.define
class _Course:
    """What was seen of one connection; it travels as the connection's application data."""

    failure: tuple[TlsCheck, str, PeerCertificate | None] | None = None
    """The first check that OpenSSL's verification failed."""
    asked: bool = False
    """The server asked for a client certificate."""
    received: int | None = None
    """The last fatal alert of the server."""
    sent: int | None = None
    """Our last fatal alert."""


def open_connection(context: SSL.Context, sock: socket.socket) -> SSL.Connection:
    """Bind TLS to a connected socket as a client, with a record of its course.

    :param context: one that has :func:`record_course` as its info callback.
    """
    connection = SSL.Connection(context, sock)
    connection.set_app_data(_Course())
    connection.set_connect_state()
    return connection


def record_verdict(
    connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, accepted: int
) -> bool:
    """The verify callback: leaves the verdict to OpenSSL, and notes why it is what it is."""
    course = connection.get_app_data()
    if not accepted and course.failure is None:
        check = _CHECKS.get(code, TlsCheck.BAD_CERTIFICATE)
        details = ["it is of an issuer"] if depth else []
        if check is TlsCheck.BAD_CERTIFICATE or code == _CODES.ERR_CERT_SIGNATURE_FAILURE:
            details.append(_CODE_TEXTS.get(code, f"X.509 error {code}"))
        course.failure = check, ", ".join(details), read_peer(certificate)
    return bool(accepted)


def record_course(connection: SSL.Connection, where: int, value: int) -> None:
    """The info callback: notes fatal alerts, and that the server asked for a client certificate."""
    course = connection.get_app_data()
    if where == SSL.SSL_CB_CONNECT_LOOP:
        # Called between the messages of the handshake, so that no state goes unseen.
        course.asked = course.asked or _ASKED in connection.get_state_string()
    elif value >> 8 == _FATAL:
        if where == SSL.SSL_CB_READ_ALERT:
            course.received = value & 0xFF
        elif where == SSL.SSL_CB_WRITE_ALERT:
            course.sent = value & 0xFF


def read_peer(certificate: crypto.X509) -> PeerCertificate | None:
    """Sum up a certificate from the network, unless it is beyond reading."""
    try:
        return describe(certificate.to_cryptography())
    except Exception:
        # Parsers have an exception for every way to be wrong, and none may get into OpenSSL's callbacks.
        return None


def explain(connection: SSL.Connection, error: ChannelError) -> TlsCheckFailed:
    """Why the handshake failed.

    :param connection: made by :func:`open_connection`.
    :param error: what :meth:`gateway.net.TlsChannel.handshake` raised.
    """
    course: _Course = connection.get_app_data()
    if course.failure is not None:
        return TlsCheckFailed(*course.failure)
    ended = isinstance(error.__cause__, SSL.SysCallError | SSL.ZeroReturnError)
    refusal = _refusal(connection, ended=ended)
    if refusal is not None:
        return refusal
    if course.received is not None:
        return TlsCheckFailed(TlsCheck.PROTOCOL, f"the server sent the alert {_alert_text(course.received)}")
    if course.sent in _ON_CERTIFICATES:
        return TlsCheckFailed(TlsCheck.BAD_CERTIFICATE, str(error))
    return TlsCheckFailed(TlsCheck.CLOSED if ended else TlsCheck.PROTOCOL, str(error))


def late_refusal(connection: SSL.Connection) -> TlsCheckFailed | None:
    """Whether it was for want of a client certificate that a target went away right after the handshake.

    To be asked when the connection ended, in whatever way, after a complete
    handshake and before the first application byte from the target.

    :param connection: made by :func:`open_connection`.
    :return: the failed check, always ``CLIENT_CERTIFICATE``; ``None`` when it was something else.
    """
    return _refusal(connection, ended=True)


def _refusal(connection: SSL.Connection, *, ended: bool) -> TlsCheckFailed | None:
    course: _Course = connection.get_app_data()
    if course.received is None:
        told = (
            "the server asked for a certificate and closed the connection" if course.asked and ended else ""
        )
    elif course.received in _ON_CERTIFICATES or (course.asked and course.received in _IF_ASKED):
        told = f"it sent the alert {_alert_text(course.received)}"
    else:
        told = ""
    if not told:
        return None
    own = connection.get_certificate(as_cryptography=True)
    if own is None:
        return TlsCheckFailed(TlsCheck.CLIENT_CERTIFICATE, f"{told}; none is set for this target")
    return TlsCheckFailed(TlsCheck.CLIENT_CERTIFICATE, f"{told}; ours was shown", describe(own))


def _alert_text(number: int) -> str:
    with contextlib.suppress(ValueError):
        return _Alert(number).name.lower()
    return str(number)
