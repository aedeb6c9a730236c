"""Checks of what browsers are shown: how long each certificate lasts, for which names it is, its chain."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs
from cryptography import x509
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.abstract import isIPAddress, isIPv6Address

from gateway.doctor.files import lasting
from gateway.doctor.finding import Finding, Level, fail, ok, warn
from gateway.net import NameTable, certificate_names, load_certificates
from gateway.settings import Settings, parse_server_name
from gateway.targets.certificates import names_of, names_text

__all__ = ["FrontCertificate", "check_front", "front_certificates"]

_MAX_TOLD: Final = 20


@attrs.frozen
class FrontCertificate:
    """A certificate that browsers may be shown, as it is in its file."""

    table: str
    """``tls``, or ``certificates.NAME``."""
    chain: tuple[x509.Certificate, ...]
    names: tuple[str, ...]
    """What it is chosen by."""

    @property
    def what(self) -> str:
        """It, for a text."""
        return "the gateway's certificate" if self.table == "tls" else f"the certificate of {self.table}"


def front_certificates(settings: Settings) -> list[FrontCertificate]:
    """Those that can be read, that of ``tls`` first; none where clients are served without TLS."""
    if not settings.listen.tls:
        return []
    places: list[tuple[str, Path | None, tuple[str, ...]]] = [("tls", settings.tls.certificate, ())]
    for name, table in settings.certificates.items():
        places.append((f"certificates.{name}", table.certificate, table.names))
    found = []
    for place, path, listed in places:
        chain = load_certificates(path, f"{place}.certificate", []) if path is not None else []
        if chain:
            found.append(FrontCertificate(place, tuple(chain), _names(chain[0], listed)))
    return found


def _names(certificate: x509.Certificate, listed: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(map(parse_server_name, listed)) if listed else certificate_names(certificate)
    except ValueError:
        return ()


def check_front(settings: Settings, now: datetime.datetime, names: Sequence[str] = ()) -> Iterator[Finding]:
    """What browsers are shown: dates, names, chain.

    :param names: under which browsers reach the gateway.
    """
    certificates = front_certificates(settings)
    if not certificates or certificates[0].table != "tls":
        return  # check_files has said it
    default, *others = certificates
    table: NameTable[FrontCertificate] = NameTable()
    for each in (*others, default):
        for name in each.names:
            table.claim(name, each)
    yield lasting("certificate", default.what, default.chain[0], now)
    yield from _check_names(default, [(name, table.find(name.encode()) or default) for name in names])
    yield from _check_chain(default, now)
    if others:
        yield from _check_others(others, now)


def _check_others(others: Sequence[FrontCertificate], now: datetime.datetime) -> Iterator[Finding]:
    """Those chosen by name: what is wrong with them, or one line for all."""
    bad = []
    for each in others:
        findings = [lasting("certificate", each.what, each.chain[0], now)]
        # A name with an asterisk is for whatever stands in its place.
        asked = [(name.replace("*", "x"), each) for name in each.names]
        findings += _check_names(each, asked)
        findings += _check_chain(each, now)
        bad += [finding for finding in findings if finding.level is not Level.OK]
    yield from bad[:_MAX_TOLD]
    if not bad:
        yield ok("certificate", f"{len(others)} more, each for the names that it is chosen by")


def _check_names(
    default: FrontCertificate, asked: Sequence[tuple[str, FrontCertificate]]
) -> Iterator[Finding]:
    """:param asked: names, and what is shown to those who ask for them."""
    remedy = "enrol a certificate whose subjectAltName has the names that browsers use"
    if not _known(default):
        yield fail("names", f"{default.what} has no name that browsers look at", remedy)
        return
    wrong = [(name, shown) for name, shown in asked if not _is_for(shown.chain[0], name)]
    for name, shown in wrong[:_MAX_TOLD]:
        yield fail("names", f"{shown.what} is not for {name!r}, only for {names_text(_known(shown))}", remedy)
    if not wrong:
        yield ok("names", f"{default.what} is for {names_text(_known(default))}")


def _known(shown: FrontCertificate) -> tuple[str, ...]:
    try:
        return names_of(shown.chain[0])
    except Exception:
        return ()


def _is_for(certificate: x509.Certificate, name: str) -> bool:
    address = isIPAddress(name) or isIPv6Address(name)
    verify = verify_certificate_ip_address if address else verify_certificate_hostname
    try:
        verify(certificate, name)
    except (VerificationError, CertificateError, ValueError):
        return False
    return True


def _check_chain(shown: FrontCertificate, now: datetime.datetime) -> Iterator[Finding]:
    setting, chain = f"{shown.table}.certificate", shown.chain
    remedy = f"put the issuer of each certificate behind it in {setting}; the root may be left out"
    for lower, upper in itertools.pairwise(chain):
        if not _issued(lower, upper):
            yield warn("chain", f"{setting} has a certificate that did not issue the one before it", remedy)
            return
    for issuer in chain[1:]:
        finding = lasting("chain", f"an issuer in {setting}", issuer, now)
        if finding.remedy:
            yield finding
            return
    if _issued(chain[-1], chain[-1]) and len(chain) == 1:
        text = f"{shown.what} is self-signed: browsers refuse it until each of them was told not to"
        yield warn("chain", text, "use a certificate of an authority that the browsers trust")
    else:
        yield ok("chain", f"{len(chain)} certificate(s) in order")


def _issued(lower: x509.Certificate, upper: x509.Certificate) -> bool:
    try:
        lower.verify_directly_issued_by(upper)
    except Exception:
        # For every way to be wrong there is an error, and all of them mean no.
        return False
    return True
