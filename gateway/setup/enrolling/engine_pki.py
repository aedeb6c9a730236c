"""The engine's CA certificate and the certificate that its tickets are verified with.

Both come from the engine's ``pki-resource`` servlet.  Who gets to replace
them on the way signs tickets, so nothing is taken unverified: over HTTPS, the
engine's certificate is verified by the CA (given, here already, or brought
along with the gateway's certificate) or by the authorities that this host
trusts; the CA itself is also believed when it has issued the gateway's own
certificate, which came by another way.  In all other cases somebody has to
confirm a fingerprint.

Where people sign, the engine is asked before they are (:meth:`EnginePki.prepare`),
so that nobody has a certificate signed for a key that is lost because the
engine does not answer.  What it said then is believed no sooner.
"""

from __future__ import annotations

import datetime
import http
import urllib.parse
from collections.abc import Sequence
from typing import Final

import attrs
from cryptography.x509 import Certificate

from gateway.pki import chain_pem, fingerprint
from gateway.pki.keys import strong_key
from gateway.setup.asking.interview import Interview
from gateway.setup.enrolling.enrolment import Wanted, retried
from gateway.setup.enrolling.fetch import Fault, FetchError, Page, fetch, trusting, unverified
from gateway.setup.enrolling.fingerprints import Shown, confirm, same_certificate_fingerprint
from gateway.setup.enrolling.suitable import (
    check_engine_certificate,
    parse_authorities,
    parse_certificates,
)
from gateway.setup.enrolling.tools import Tools
from gateway.setup.errors import AnswerError, SetupError
from gateway.setup.places import ENGINE_CERTIFICATE, PKI

__all__ = ["EnginePki"]

_PATH: Final = "/ovirt-engine/services/pki-resource"
_LIMIT: Final = 65536
_CA: Final = ("ca-certificate", "X509-PEM-CA")
_ENGINE: Final = ("engine-certificate", "X509-PEM")


class _RetryError(SetupError):
    """The engine does not answer as it should, but may do so soon."""


@attrs.frozen
class _Download:
    certificates: tuple[Certificate, ...]
    doubt: str = ""
    """Why nobody vouches for it; empty if it was verified."""
    trusted: tuple[Certificate, ...] = ()
    """The CAs that it might have been verified by."""


class EnginePki:
    """What the engine says about itself, fetched when it is needed.

    :param given: PEM of the CA that the user names; it goes before everything else.
    :param held: PEM of the CA that this host has.
    """

    def __init__(
        self,
        interview: Interview,
        wanted: Wanted,
        tools: Tools,
        now: datetime.datetime,
        *,
        given: bytes | None = None,
        held: bytes | None = None,
    ) -> None:
        self._interview = interview
        self._wanted = wanted
        self._tools = tools
        self._now = now
        self._download: _Download | None = None
        self._engine: _Download | None = None
        """The engine's certificate, if it was fetched before it was needed."""
        self._patient = True
        self._trusted: tuple[Certificate, ...] = ()
        if given is not None:
            self._trusted = parse_authorities(given, "the CA of --engine-ca")
        elif held is not None:
            self._trusted = parse_certificates(held, "the CA certificate of this host")

    def prepare(self, *, engine: bool, renew: bool = False) -> None:
        """See what the engine says, before anybody is sent to have a certificate signed.

        What nobody vouches for yet is not asked about here: the certificate may come with what does.

        :param engine: whether the engine's certificate will be needed.
        :param renew: whether that is so even if the host has it.
        :raises SetupError: it will be, and cannot be had, or is of no use.
        """
        pki = self._tools.remote_pki
        if engine:
            try:
                self._engine = self._fetch(_ENGINE)
            except SetupError as error:
                raise SetupError(f"{error}{self._remedy(renew)}") from None
            check_engine_certificate(self._interview, self._engine.certificates[0], self._now)
        if not self._trusted:
            try:
                self._offered()
            except SetupError as error:
                # A chain that has its root does without.
                self._patient = False
                self._interview.warning(
                    f"The CA certificate of the engine cannot be had: {error}. Put that of the CA "
                    f"({pki}/ca.pem on the engine's host) behind this host's own, or name its file by "
                    "--engine-ca"
                )

    def _remedy(self, renew: bool) -> str:
        """What helps where the engine does not give its certificate."""
        if not self._wanted.engine:
            return ""
        pki, there = self._tools.remote_pki, self._wanted.engine
        text = f". Nothing was requested yet: see that this host reaches {there} by HTTPS or HTTP, or "
        text += "leave out --renew and " if renew else ""
        text += f"copy {pki}/certs/engine.cer from there to {ENGINE_CERTIFICATE}"
        return text if self._trusted else f"{text}, and name the file of its CA ({pki}/ca.pem) by --engine-ca"

    def authorities(self, chain: Sequence[Certificate]) -> tuple[Certificate, ...]:
        """The CAs that may have issued a certificate which somebody brought.

        They are those that are trusted already; else the root that is in the chain; else the CA that the
        engine gives out, which is not trusted by this alone: see :meth:`settle`.

        :raises AnswerError: the engine gives out none.
        """
        if self._trusted:
            return self._trusted
        roots = tuple(each for each in chain[1:] if _self_signed(each))
        if roots:
            return roots
        try:
            return self._offered().certificates
        except SetupError as error:
            # Whoever asks has a certificate at hand, which must not be lost for this.
            self._patient = False
            raise AnswerError(
                f"who issued it cannot be told ({error}); put the CA's certificate behind it, or let this "
                "host reach the engine, and try again"
            ) from None

    def settle(self, chain: Sequence[Certificate]) -> None:
        """Trust the CA that a certificate was verified with; it came by a way of its own.

        :param chain: what :meth:`authorities` was asked with.
        """
        self._trusted = _issuers(chain, self.authorities(chain))
        if self._download is not None and self._download.doubt:
            self._interview.info(
                f"The CA certificate that {self._wanted.engine} gives out has issued this certificate, so it "
                "is believed"
            )

    def ca(self, chain: Sequence[Certificate] = ()) -> bytes:
        """PEM of the CA.

        :param chain: the gateway's certificate: the CA that issued it is believed.
        :raises SetupError: it cannot be had, or nobody vouches for it.
        """
        if not self._trusted:
            offered = self._offered()
            # Only what is vouched for: what somebody added on the way must not be trusted along with it.
            trusted = _issuers(chain, offered.certificates) if offered.doubt else offered.certificates[:1]
            if not trusted:
                trusted = offered.certificates[:1]
                self._interview.warning(offered.doubt)
                self._confirm(trusted[0], "ca", "CA certificate", "OVESETUP_ENGINE_CA_FINGERPRINT")
            self._trusted = trusted
        return chain_pem(self._trusted)

    def engine_certificate(self) -> bytes:
        """PEM of the certificate whose key signs tickets.

        :raises SetupError: it cannot be had, nobody vouches for it, or it is of no use.
        """
        found = self._verified() if self._engine is not None else self._fetch(_ENGINE)
        certificate = found.certificates[0]
        if self._engine is None or certificate != self._engine.certificates[0]:
            check_engine_certificate(self._interview, certificate, self._now)
        if found.doubt:
            self._interview.warning(found.doubt)
            name = "OVESETUP_ENGINE_CERTIFICATE_FINGERPRINT"
            self._confirm(certificate, "certs/engine", "certificate", name)
        return chain_pem((certificate,))

    def _verified(self) -> _Download:
        """What is here, or the same fetched again where what has come to be trusted since may verify it."""
        assert self._engine is not None
        if not self._engine.doubt or self._engine.trusted == self._trusted:
            return self._engine
        try:
            return self._fetch(_ENGINE)
        except SetupError:
            # What is here is not lost for it, but nobody vouches for it either.
            return self._engine

    def _offered(self) -> _Download:
        if self._download is None:
            self._download = self._fetch(_CA, patient=self._patient)
        return self._download

    def _fetch(self, resource: tuple[str, str], *, patient: bool = True) -> _Download:
        """Over verified HTTPS; if that is impossible, without verification."""
        if not self._wanted.engine:
            raise SetupError(
                f"there is no engine that gives out its {resource[0]}; put it into {PKI} yourself"
            )
        trusted = chain_pem(self._trusted) if self._trusted else None
        try:
            found = self._get("https", resource, trusted, patient=patient)
            return _Download(found, trusted=self._trusted)
        except FetchError as error:
            failure = error
        if failure.fault is Fault.UNTRUSTED:
            found = self._get("https", resource, None, verify=False, patient=patient)
            return _Download(found, str(failure), self._trusted)
        if failure.fault is Fault.ANSWER:
            raise failure
        try:
            found = self._get("http", resource, None, patient=False)
        except SetupError:
            # What went wrong with HTTPS is what has to be mended.
            raise failure from None
        return _Download(found, f"{failure}; plain HTTP is used", self._trusted)

    def _get(
        self,
        scheme: str,
        resource: tuple[str, str],
        trusted: bytes | None,
        *,
        verify: bool = True,
        patient: bool = True,
    ) -> tuple[Certificate, ...]:
        name, form = resource
        tools = self._tools
        port = tools.https_port if scheme == "https" else tools.http_port
        place = self._wanted.engine if port in {80, 443} else f"{self._wanted.engine}:{port}"
        query = urllib.parse.urlencode({"resource": name, "format": form})
        url = f"{scheme}://{place}{_PATH}?{query}"
        context = None
        if scheme == "https":
            context = trusting(trusted) if verify else unverified()

        def attempt() -> Page:
            page = fetch(
                url, context=context, address=tools.engine_address, limit=_LIMIT, timeout=tools.timeout
            )
            if page.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
                raise _RetryError(f"{url}: HTTP status {page.status}; look at the engine")
            if page.status != http.HTTPStatus.OK:
                raise SetupError(f"{url}: HTTP status {page.status}; is {self._wanted.engine} the engine?")
            if not page.body.strip():
                raise _RetryError(f"{url}: an empty answer; look at the engine")
            return page

        page = retried(tools, attempt, self._again) if patient else attempt()
        return parse_certificates(page.body, f"what {url} gives")

    def _again(self, error: SetupError) -> bool:
        transient = isinstance(error, _RetryError) or (
            isinstance(error, FetchError) and error.fault is Fault.UNREACHABLE
        )
        if transient:
            self._interview.info(f"{error}; trying again")
        return transient

    def _confirm(self, certificate: Certificate, file: str, what: str, question: str) -> None:
        actual = fingerprint(certificate)
        suffix = "pem" if file == "ca" else "cer"
        shown = Shown(
            question,
            f"the {what} of {self._wanted.engine}",
            "on the engine's host, this shows it:\n"
            f"  openssl x509 -noout -fingerprint -sha256 -in {self._tools.remote_pki}/{file}.{suffix}",
            (actual,),
        )
        confirm(
            self._interview,
            shown,
            lambda answer: True if same_certificate_fingerprint(answer, actual) else None,
            best=True,
        )


def _self_signed(certificate: Certificate) -> bool:
    return _issued(certificate, certificate)


def _issuers(chain: Sequence[Certificate], candidates: Sequence[Certificate]) -> tuple[Certificate, ...]:
    """Those that signed one of the chain other than themselves.

    Weak keys do not count: for an existing signature, others can make one that it verifies with.
    """
    return tuple(
        candidate
        for candidate in candidates
        if strong_key(candidate.public_key()) is None
        and any(each != candidate and _issued(each, candidate) for each in chain)
    )


def _issued(certificate: Certificate, issuer: Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:
        # For every way to be wrong there is an error, and all of them mean no.
        return False
    return True
