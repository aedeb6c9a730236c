"""What a host has of keys and certificates already, and why that may not be enough."""

from __future__ import annotations

import datetime
from typing import Final

import attrs
from cryptography.x509 import Certificate
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname

from gateway.pki import PkiError, PrivateKey, days_left, load_key, parse_chain, same_key
from gateway.setup import places
from gateway.setup.enrolling.enrolment import Judge, Wishes
from gateway.setup.errors import SetupError
from gateway.setup.host.system import System

__all__ = ["RENEW_DAYS", "Held", "examine"]

RENEW_DAYS: Final = 60.0
"""A certificate that has no more days left is renewed."""


@attrs.frozen
class Held:
    """What the host has."""

    key: PrivateKey | None = attrs.field(repr=False)
    key_pem: bytes | None = attrs.field(repr=False)
    chain: tuple[Certificate, ...]
    chain_pem: bytes | None = attrs.field(repr=False)
    engine: bytes | None = attrs.field(repr=False)
    ca: bytes | None = attrs.field(repr=False)
    reason: str
    """Why a certificate must be enrolled; empty if it need not."""


def examine(system: System, fqdn: str, now: datetime.datetime, wishes: Wishes) -> Held:
    """Read what is there.

    :raises SetupError: the key is there and is of no use, so that nothing can be said of the rest.
    """
    key_data = None if wishes.new_key else system.read(places.KEY)
    key = None
    if key_data is not None:
        try:
            key = load_key(key_data)
        except PkiError as error:
            raise SetupError(
                f"{places.KEY}: {error}; move it away, or have a new key made (--new-key)"
            ) from None
    ca = system.read(places.CA_CERTIFICATE)
    data = system.read(places.CERTIFICATE)
    chain: tuple[Certificate, ...] = ()
    reason = ""
    if key is None:
        reason = "there is no key" if not wishes.new_key else "the key is to be a new one"
    elif data is None:
        reason = "there is none"
    elif wishes.renew:
        reason = "it is to be renewed"
    else:
        try:
            chain = parse_chain(data)
            reason = _lack(chain, key, ca, fqdn, now)
        except PkiError as error:
            reason = f"that in {places.CERTIFICATE} will not do: {error}"
    return Held(key, key_data, chain, data, system.read(places.ENGINE_CERTIFICATE), ca, reason)


def _lack(
    chain: tuple[Certificate, ...], key: PrivateKey, ca: bytes | None, fqdn: str, now: datetime.datetime
) -> str:
    """Why a certificate that is there has to be replaced; empty if it need not.

    :raises PkiError: it is of no use, or the CA is not.
    """
    if ca is not None:
        Judge(key, fqdn, lambda: now, lambda _: parse_chain(ca)).judge(chain)
    elif not same_key(chain[0].public_key(), key.public_key()):
        return f"that in {places.CERTIFICATE} is for another key"
    elif not _is_for(chain[0], fqdn):
        # Who issued it is judged as soon as the CA is here.
        return f"that in {places.CERTIFICATE} is not for {fqdn}"
    left = days_left(chain[0], now)
    return f"that in {places.CERTIFICATE} ends in {left:.0f} days" if left <= RENEW_DAYS else ""


def _is_for(certificate: Certificate, fqdn: str) -> bool:
    try:
        verify_certificate_hostname(certificate, fqdn)
    except (VerificationError, CertificateError, ValueError):
        return False
    return True
