"""Certificates of console servers: in words for one log line, and in dates for metrics."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gateway.settings import one_line, shown

__all__ = ["PeerCertificate", "SeenCertificates", "chain_only_text", "describe", "names_of", "names_text"]

_MAX_NAME: Final = 200
"""Longest distinguished name in a text, in characters."""
_MAX_NAMES: Final = 8
"""Most alternative names in a text."""


@attrs.frozen
class PeerCertificate:
    """What is kept of a certificate; every field is one line of bounded length, safe to log."""

    subject: str
    """As RFC 4514 writes it."""
    issuer: str
    not_before: datetime.datetime
    """UTC."""
    not_after: datetime.datetime
    """UTC."""
    fingerprint: str
    """SHA-256 of the whole certificate, 64 lower-case hexadecimal digits."""

    def __str__(self) -> str:
        return (
            f"subject {self.subject}, issuer {self.issuer}, "
            f"valid {self.not_before:%Y-%m-%d %H:%M} to {self.not_after:%Y-%m-%d %H:%M} UTC, "
            f"SHA-256 {self.fingerprint}"
        )


class SeenCertificates:
    """The certificates that targets showed last, those of the targets seen least recently forgotten first."""

    def __init__(self, limit: int = 4096) -> None:
        """:param limit: most targets remembered."""
        self._limit = limit
        self._seen: dict[str, PeerCertificate] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def record(self, target: str, certificate: PeerCertificate) -> None:
        """Remember what a target showed.

        :param target: its ``host:port``.
        """
        self._seen.pop(target, None)
        self._seen[target] = certificate
        if len(self._seen) > self._limit:
            del self._seen[next(iter(self._seen))]

    def items(self) -> tuple[tuple[str, PeerCertificate], ...]:
        """Every target and its certificate, the one seen least recently first."""
        return tuple(self._seen.items())

    def soonest(self) -> tuple[str, PeerCertificate] | None:
        """The target whose certificate expires first, or has been expired longest."""
        return min(self._seen.items(), key=lambda item: item[1].not_after, default=None)


def describe(certificate: x509.Certificate) -> PeerCertificate:
    """Sum up a certificate that may hold anything.

    :raises ValueError: when its dates cannot be read.
    """
    return PeerCertificate(
        _name_text(lambda: certificate.subject),
        _name_text(lambda: certificate.issuer),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        certificate.fingerprint(hashes.SHA256()).hex(),
    )


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The hosts that a certificate is for: its DNS names and IP addresses (RFC 6125), as they stand there.

    :raises ValueError: or another error of the parser, when they cannot be read.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress)))


def names_text(names: tuple[str, ...]) -> str:
    """Names from a certificate, in one line of bounded length."""
    if not names:
        return "no host (there is no subjectAltName for one)"
    text = ", ".join(map(shown, names[:_MAX_NAMES]))
    return text if len(names) <= _MAX_NAMES else f"{text} and {len(names) - _MAX_NAMES} more"


def chain_only_text(certificate: PeerCertificate) -> str:
    """What the log says each time that nobody looked at the name in a certificate."""
    return f"the target's certificate was not held to any name (verify is 'chain'): {certificate}"


def _name_text(read: Callable[[], x509.Name]) -> str:
    try:
        text = read().rfc4514_string()
    except ValueError:
        return "(unreadable)"
    # Escapes make it longer, by a factor that is bounded in turn.
    line = one_line(text[:_MAX_NAME])
    return f"{line[:_MAX_NAME]}..." if max(len(text), len(line)) > _MAX_NAME else line or "(empty)"
