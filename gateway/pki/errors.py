"""What can go wrong with keys and certificates, in words for whoever runs it."""

from __future__ import annotations

import enum

__all__ = ["CertificateFault", "CertificateRejected", "PasswordNeeded", "PkiError", "printable"]

_MAX_SHOWN = 200


class PkiError(Exception):
    """Something could not be read, made or signed, and nothing was changed.

    ``str()`` is one line that says what is wrong and what to do; it never holds a secret.
    """


class PasswordNeeded(PkiError):
    """A key is encrypted, and the password was missing or wrong."""


class CertificateFault(enum.Enum):
    """What is wrong with a certificate that arrived."""

    KEY_MISMATCH = "key-mismatch"
    UNKNOWN_AUTHORITY = "unknown-authority"
    WRONG_NAME = "wrong-name"
    NOT_YET_VALID = "not-yet-valid"
    EXPIRED = "expired"
    NOT_FOR_SERVERS = "not-for-servers"
    WEAK = "weak"


class CertificateRejected(PkiError):
    """A certificate will not do."""

    def __init__(self, fault: CertificateFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
        """Which of the checks failed."""


def printable(text: str, limit: int = _MAX_SHOWN) -> str:
    """Text from a file or a peer for a message: one line, no commands to a terminal, not too long."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
