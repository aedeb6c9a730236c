"""From the text of a ticket to a grant, or a refusal.

The signature is RSASSA-PSS (RFC 8017, section 8.1) with SHA-256, MGF1 with
SHA-256 and the longest salt that the key allows; nothing else is accepted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, calculate_max_pss_salt_length
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.settings.model import TicketSettings
from gateway.tickets.envelope import Envelope, open_envelope
from gateway.tickets.faults import TicketFault, TicketRefused
from gateway.tickets.grant import Grant
from gateway.tickets.payload import parse_payload

__all__ = ["TicketDecoder", "check_time"]

_SHA256 = SHA256()


@attrs.frozen
class _Verifier:
    """A key and what is computed once for it."""

    key: RSAPublicKey
    size: int
    padding: PSS

    @classmethod
    def of(cls, key: RSAPublicKey) -> _Verifier:
        # The length is given as a number: the library's MAX_LENGTH accepts any length when it verifies.
        padding = PSS(MGF1(_SHA256), calculate_max_pss_salt_length(key, _SHA256))
        return cls(key, (key.key_size + 7) // 8, padding)

    def accepts(self, envelope: Envelope) -> bool:
        try:
            self.key.verify(envelope.signature, envelope.message, self.padding, _SHA256)
        except InvalidSignature:
            return False
        return True


class TicketDecoder:
    """Turns tickets into grants.

    :param keys: the engine's public key; several while one follows another.
        A ticket is genuine if any of them signed it.
    :param settings: size, clock skew and lifetime allowed.
    :param now: the clock, in seconds since the epoch.
    :raises ValueError: no key at all.
    """

    def __init__(
        self, keys: Sequence[RSAPublicKey], settings: TicketSettings, now: Callable[[], float] = time.time
    ) -> None:
        if not keys:
            raise ValueError("at least one verification key is needed")
        self._verifiers = tuple(_Verifier.of(key) for key in keys)
        self._settings = settings
        self._now = now

    def decode(self, path: str) -> Grant:
        """Grant that a ticket gives at this moment.

        Cheap tests come first; time and contents are looked at only when the
        signature has been verified.

        :param path: the raw request path after its leading slash, without query.
        :raises TicketRefused: for whatever reason; nothing else is raised.
        """
        envelope = open_envelope(path, self._settings.max_size)
        self._verify(envelope)
        check_time(envelope, self._settings, self._now())
        try:
            payload = parse_payload(envelope.data)
        except TicketRefused as refused:
            raise TicketRefused(refused.fault, envelope.id) from None
        return Grant(
            target=payload.target,
            valid_from=envelope.valid_from,
            valid_to=envelope.valid_to,
            id=envelope.id,
            subject=payload.subject,
            attach=payload.attach,
        )

    def _verify(self, envelope: Envelope) -> None:
        fitting = [verifier for verifier in self._verifiers if verifier.size == len(envelope.signature)]
        if not fitting:
            raise TicketRefused(TicketFault.SIGNATURE_SIZE, envelope.id)
        if not any(verifier.accepts(envelope) for verifier in fitting):
            raise TicketRefused(TicketFault.SIGNATURE_MISMATCH, envelope.id)


def check_time(envelope: Envelope, settings: TicketSettings, now: float) -> None:
    """Judge validity and lifetime; the clocks may differ by the skew, either way.

    :param now: seconds since the epoch.
    :raises TicketRefused: too early, too late, too long, or ended before begun.
    """
    begin, end = envelope.valid_from.timestamp(), envelope.valid_to.timestamp()
    fault: TicketFault | None = None
    if end < begin:  # also keeps the two dates from changing places, see .envelope
        fault = TicketFault.LIFETIME_NEGATIVE
    elif now > end + settings.skew:
        fault = TicketFault.EXPIRED
    elif now < begin - settings.skew:
        fault = TicketFault.NOT_YET_VALID
    elif end - begin > settings.max_lifetime:
        fault = TicketFault.LIFETIME_TOO_LONG
    if fault is not None:
        raise TicketRefused(fault, envelope.id)
