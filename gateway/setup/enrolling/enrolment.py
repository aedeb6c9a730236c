"""The vocabulary of enrolment, and what every certificate that arrives has to pass."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs
from cryptography.x509 import Certificate

from gateway.pki import (
    CertificateFault,
    CertificateRejected,
    PkiError,
    PrivateKey,
    chain_pem,
    check_certificate,
    parse_chain,
    same_key,
)
from gateway.pki.chains import is_authority
from gateway.pki.errors import printable
from gateway.pki.subjects import subject_text
from gateway.setup.enrolling.tools import Tools
from gateway.setup.errors import AnswerError, SetupError
from gateway.setup.host.plan import Step

__all__ = ["Credentials", "Judge", "Style", "Wanted", "Wishes", "retried"]

_T = TypeVar("_T")


class Style(enum.Enum):
    """How the certificate is obtained; the values are those of ``OVESETUP_CONFIG/remoteEngineSetupStyle``."""

    AUTO_SSH = "auto_ssh"
    MANUAL_FILES = "manual_files"
    MANUAL_INLINE = "manual_inline"
    OWN_CA = "own_ca"


@attrs.frozen
class Wanted:
    """For whom credentials are wanted."""

    fqdn: str
    """This host, as browsers know it."""
    engine: str
    """The engine's host; empty where there is none."""
    port: int
    """The gateway's port."""


@attrs.frozen
class Wishes:
    """What is to be made anew although it is there."""

    new_key: bool = False
    renew: bool = False
    """The certificate, with the same key; and what the engine gives is fetched again."""
    engine_ca: bytes | None = attrs.field(default=None, repr=False)
    """PEM of the CA that is trusted, from ``--engine-ca``."""


@attrs.frozen
class Credentials:
    """What the gateway identifies itself with, and whom it trusts."""

    key_pem: bytes = attrs.field(repr=False)
    certificate_pem: bytes = attrs.field(repr=False)
    engine_pem: bytes = attrs.field(repr=False)
    ca_pem: bytes | None = attrs.field(repr=False)
    fresh: frozenset[str]
    """Which are not what was there before: ``key``, ``certificate``, ``engine``, ``ca``."""
    style: Style | None = None
    """How the certificate came; ``None`` if it was there."""
    steps: tuple[Step, ...] = ()
    """What is to be done before files are written: a CA of our own, or an entry in its books."""
    summary: tuple[str, ...] = ()
    """What the user should be told in the end."""
    withdraw: Callable[[], None] = attrs.field(default=lambda: None, repr=False, eq=False)
    """Takes back what is on the host already, a request at a place of the user's; to be called if setup
    fails or is cancelled afterwards."""


class Judge:
    """Says whether a certificate is the one that was asked for.

    :param key: it must be for.
    :param fqdn: it must be for.
    :param now: tells the time, with its time zone, when a certificate arrives: that may be hours later.
    :param authorities: from a chain that arrived to the CAs that it may end at; it may refuse the chain
        with :exc:`AnswerError`.
    :param settle: called with a chain that will do.
    """

    def __init__(
        self,
        key: PrivateKey,
        fqdn: str,
        now: Callable[[], datetime.datetime],
        authorities: Callable[[Sequence[Certificate]], Sequence[Certificate]],
        settle: Callable[[Sequence[Certificate]], None] | None = None,
    ) -> None:
        self._key = key
        self._fqdn = fqdn
        self._now = now
        self._authorities = authorities
        self._settle = settle

    def accept(self, data: bytes) -> bytes:
        """The chain in order, without its root, as PEM.

        :param data: PEM, with whatever else is around it.
        :raises AnswerError: it will not do; the message says which check failed.
        """
        try:
            return chain_pem(self.judge(parse_chain(data)))
        except PkiError as error:
            raise AnswerError(str(error)) from None

    def judge(self, chain: Sequence[Certificate]) -> tuple[Certificate, ...]:
        """The same for certificates.

        :raises CertificateRejected: it will not do.
        """
        # The key first: there is no need to ask who issued a certificate that is none of ours.
        own = self._is_own(chain[0])
        if not own:
            self._explain(chain)
        authorities = self._authorities(chain) if own else ()
        path = check_certificate(
            chain,
            public_key=self._key.public_key(),
            authorities=authorities,
            name=self._fqdn,
            now=self._now(),
        )
        if self._settle is not None:
            self._settle(chain)
        return path

    def _is_own(self, certificate: Certificate) -> bool:
        return same_key(certificate.public_key(), self._key.public_key())

    def _explain(self, chain: Sequence[Certificate]) -> None:
        """Say what was done wrong if a CA's certificate is the first one.

        :raises CertificateRejected: that is so.
        """
        first = f"the certificate of '{printable(subject_text(chain[0].subject))}' is for another key"
        if any(self._is_own(each) for each in chain[1:]):
            problem = f"{first}; the certificate of this host comes first, those of its issuers behind it"
        elif is_authority(chain[0]):
            problem = f"{first}: it is that of a CA; bring the one that was signed for this host's request"
        else:
            return
        raise CertificateRejected(CertificateFault.KEY_MISMATCH, problem)


def retried(tools: Tools, attempt: Callable[[], _T], again: Callable[[SetupError], bool]) -> _T:
    """Do something until it works, with growing pauses, which an interrupt ends.

    :param again: whether another attempt makes sense after a failure.
    :raises SetupError: the last failure.
    """
    for delay in tools.delays():
        try:
            return attempt()
        except SetupError as error:
            if not again(error):
                raise
        tools.pause(delay)
    return attempt()
