"""What certificates must be to be of use here: those of the engine's CA, and the one that tickets need."""

from __future__ import annotations

import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import Certificate

from gateway.pki import PkiError, days_left, parse_chain
from gateway.pki.chains import is_authority
from gateway.pki.errors import printable
from gateway.pki.subjects import subject_text
from gateway.setup.asking.interview import Interview
from gateway.setup.errors import SetupError
from gateway.setup.places import PKI

__all__ = ["check_engine_certificate", "parse_authorities", "parse_certificates"]

_MIN_BITS: Final = 2048


def parse_certificates(pem: bytes, what: str) -> tuple[Certificate, ...]:
    """The certificates of a PEM text.

    :param what: where it is from, for messages.
    :raises SetupError: there is none, or one is damaged.
    """
    try:
        return parse_chain(pem)
    except PkiError as error:
        raise SetupError(f"{what}: {error}") from None


def parse_authorities(pem: bytes, what: str) -> tuple[Certificate, ...]:
    """The same for a text that somebody names as that of the engine's CA.

    :raises SetupError: likewise, or one of them is the certificate of something else.
    """
    found = parse_certificates(pem, what)
    for each in found:
        if not is_authority(each):
            subject = printable(subject_text(each.subject))
            raise SetupError(
                f"{what}: the certificate of '{subject}' is not that of a CA; name a file with the "
                f"certificate of the engine's CA alone ({PKI}/ca.pem on the engine's host)"
            )
    return found


def check_engine_certificate(interview: Interview, certificate: Certificate, now: datetime.datetime) -> None:
    """Whether tickets can be verified with it.  Its dates do not matter for that; they are worth a warning.

    :raises SetupError: its key is none for tickets.
    """
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        raise SetupError("the engine's certificate has no RSA key, and tickets are signed with RSA")
    if key.key_size < _MIN_BITS:
        raise SetupError(
            f"the engine's key has {key.key_size} bits, which is too weak; have the engine make a new one"
        )
    left = days_left(certificate, now)
    if left < 0:
        interview.warning(
            f"The engine's certificate expired {-left:.0f} days ago; tickets are verified with it nonetheless"
        )
    elif certificate.not_valid_before_utc > now:
        interview.warning("The engine's certificate is not valid yet; compare the clocks of both hosts")
