"""From the text of a ticket to a grant, or a refusal.

The signature is RSASSA-PSS (RFC 8017, section 8.1) with SHA-256, MGF1 with
SHA-256 and the longest salt that the key allows; nothing else is accepted.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.logger import Logger

from gateway.settings.model import TicketSettings
from gateway.tickets.engine import EngineKeys
from gateway.tickets.envelope import Envelope, open_envelope
from gateway.tickets.faults import TicketFault, TicketRefused
from gateway.tickets.grant import Grant
from gateway.tickets.payload import parse_payload

__all__ = ["TicketDecoder", "check_time"]


class TicketDecoder:
    """Turns tickets into grants.

    :param keys: the engine's; a ticket is genuine if any that is accepted at this moment has signed it.
    :param settings: size, clock skew and lifetime allowed.
    :param now: the clock, in seconds since the epoch.
    """

    log = Logger()

    def __init__(
        self, keys: EngineKeys, settings: TicketSettings, now: Callable[[], float] = time.time
    ) -> None:
        self._keys = keys
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
        signature = envelope.signature
        fitting = [key for key in self._keys.accepted() if key.size == len(signature)]
        if not fitting:
            raise TicketRefused(TicketFault.SIGNATURE_SIZE, envelope.id)
        signer = next((key for key in fitting if key.accepts(signature, envelope.message)), None)
        if signer is None:
            raise TicketRefused(TicketFault.SIGNATURE_MISMATCH, envelope.id)
        left = self._keys.former().get(signer)
        if left is not None:
            self.log.debug(
                "ticket {ticket} is signed with the engine's former key {key}, "
                "accepted for {left:.0f} seconds more",
                ticket=envelope.id,
                key=signer.fingerprint[:16],
                left=left,
            )


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
