"""Checks of the files that the settings name: how long certificates last, and who may change what."""

from __future__ import annotations

import datetime
import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs
from cryptography import x509
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.abstract import isIPAddress, isIPv6Address

from gateway.doctor.finding import Finding, fail, ok, warn
from gateway.net import load_certificates
from gateway.settings import Problem, Settings, Verification
from gateway.targets.certificates import names_of, names_text
from gateway.targets.rules import SecurityRules
from gateway.tickets import KeyFileError
from gateway.tickets.keys import load_certificate

__all__ = ["SOON", "check_certificates", "check_engine", "check_front", "check_permissions", "lasting"]

SOON: Final = datetime.timedelta(days=30)
"""A certificate that does not last longer is worth a warning."""


def check_front(settings: Settings, now: datetime.datetime, names: Sequence[str] = ()) -> Iterator[Finding]:
    """What browsers are shown: dates, names, chain.

    :param names: under which browsers reach the gateway.
    """
    if not settings.listen.tls or settings.tls.certificate is None:
        return
    problems: list[Problem] = []
    chain = load_certificates(settings.tls.certificate, "tls.certificate", problems)
    if not chain:
        return  # check_files has said it
    yield lasting("certificate", "the gateway's certificate", chain[0], now)
    yield from _check_names(chain[0], names)
    yield from _check_chain(chain, now)


def _check_names(certificate: x509.Certificate, names: Sequence[str]) -> Iterator[Finding]:
    try:
        known = names_of(certificate)
    except Exception:
        known = ()
    remedy = "enrol a certificate whose subjectAltName has the names that browsers use"
    if not known:
        yield fail("names", "the gateway's certificate has no name that browsers look at", remedy)
        return
    wrong = [name for name in names if not _is_for(certificate, name)]
    for name in wrong:
        text = f"the gateway's certificate is not for {name!r}, only for {names_text(known)}"
        yield fail("names", text, remedy)
    if not wrong:
        yield ok("names", f"the gateway's certificate is for {names_text(known)}")


def _is_for(certificate: x509.Certificate, name: str) -> bool:
    address = isIPAddress(name) or isIPv6Address(name)
    verify = verify_certificate_ip_address if address else verify_certificate_hostname
    try:
        verify(certificate, name)
    except (VerificationError, CertificateError, ValueError):
        return False
    return True


def _check_chain(chain: Sequence[x509.Certificate], now: datetime.datetime) -> Iterator[Finding]:
    remedy = "put the issuer of each certificate behind it in tls.certificate; the root may be left out"
    for lower, upper in itertools.pairwise(chain):
        if not _issued(lower, upper):
            yield warn(
                "chain", "tls.certificate has a certificate that did not issue the one before it", remedy
            )
            return
    for issuer in chain[1:]:
        finding = lasting("chain", "an issuer in tls.certificate", issuer, now)
        if finding.remedy:
            yield finding
            return
    if _issued(chain[-1], chain[-1]) and len(chain) == 1:
        text = (
            "the gateway's certificate is self-signed: browsers refuse it until each of them was told not to"
        )
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


def check_engine(settings: Settings, now: datetime.datetime) -> Iterator[Finding]:
    """The certificate that tickets are verified with; its dates bind nobody, but they tell something."""
    if settings.tickets.certificate is None:
        return
    try:
        certificate = load_certificate(settings.tickets.certificate)
    except KeyFileError:
        return  # a public key, or check_files has said it
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        yield warn(
            "engine",
            f"the engine's certificate begins on {begin:%Y-%m-%d %H:%M} UTC: this host's clock is wrong",
            "correct this host's clock; until then tickets are refused as not valid yet",
        )
    elif now > end:
        yield warn(
            "engine",
            f"the engine's certificate expired on {end:%Y-%m-%d %H:%M} UTC, so that it was probably renewed",
            "copy the present one from the engine to tickets.certificate",
        )
    else:
        finding = lasting("engine", "the engine's certificate", certificate, now)
        remedy = "when the engine gets a new one, copy that to tickets.certificate and restart the gateway"
        yield attrs.evolve(finding, remedy=remedy) if finding.remedy else finding


def check_certificates(settings: Settings, now: datetime.datetime) -> Iterator[Finding]:
    """Authorities and client certificates on the way to targets, and those of the control API."""
    seen: set[tuple[str, Path]] = set()
    for rule in SecurityRules(settings):
        table = rule.name if rule.name == "security" else f"rules.{rule.name}"
        files = [("ca", rule.ca)] if rule.verify is not Verification.FINGERPRINT else []
        for key, path in (*files, ("certificate", rule.certificate)):
            if path is not None and (key, path) not in seen:
                seen.add((key, path))
                yield from _check_file(f"{table}.{key}", path, now, every=key == "ca")
    control = settings.control
    if control.certificate is not None:
        yield from _check_file("control.certificate", control.certificate, now, every=False)
    if control.client_ca is not None:
        yield from _check_file("control.client_ca", control.client_ca, now, every=True)


def _check_file(setting: str, path: Path, now: datetime.datetime, *, every: bool) -> Iterator[Finding]:
    chain = load_certificates(path, setting, [])
    if not chain:
        return  # check_files has said it
    name = "targets" if not setting.startswith("control") else "control"
    findings = [lasting(name, setting, each, now) for each in (chain if every else chain[:1])]
    bad = [finding for finding in findings if finding.remedy]
    # A file of authorities may well have one in it that nobody needs any more.
    yield from bad[:3] or findings[:1]


def lasting(name: str, what: str, certificate: x509.Certificate, now: datetime.datetime) -> Finding:
    """How long a certificate lasts.

    :param name: of the check.
    :param what: what the certificate is, for the text.
    """
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        return fail(name, f"{what} expired on {end:%Y-%m-%d %H:%M} UTC", "renew it, or correct the clock")
    if now < begin:
        text = f"{what} is not valid before {begin:%Y-%m-%d %H:%M} UTC"
        return fail(name, text, "correct this host's clock, or issue it again")
    text = f"{what} is valid until {end:%Y-%m-%d %H:%M} UTC ({_days(end - now)})"
    return warn(name, text, "renew it") if end - now < SOON else ok(name, text)


def _days(left: datetime.timedelta) -> str:
    return f"{left.days} days" if left.days >= 2 else f"{left.total_seconds() / 3600:.0f} hours"


def check_permissions(settings: Settings) -> Iterator[Finding]:
    """Who may change what the gateway trusts, and whether it can write what it has to."""
    bad = [*_check_trusted(settings), *_check_written(settings)]
    yield from bad or [
        ok("permissions", "the files of the settings are safe from others, and can be written")
    ]


def _check_trusted(settings: Settings) -> Iterator[Finding]:
    control, tls = settings.control, settings.tls
    trusted = {
        "tls.certificate": tls.certificate,
        "tls.key": tls.key,
        "tickets.certificate": settings.tickets.certificate,
        "control.tokens": control.tokens,
        "control.key": control.key,
        "control.client_ca": control.client_ca,
        "uses.file": settings.uses.file,
        "audit.file": settings.audit.file,
    }
    for rule in SecurityRules(settings):
        table = rule.name if rule.name == "security" else f"rules.{rule.name}"
        trusted |= {f"{table}.{key}": getattr(rule, key) for key in ("ca", "certificate", "key", "secrets")}
    seen: set[Path] = set()
    for setting, path in trusted.items():
        for each in (path, path.parent) if path is not None else ():
            if each not in seen:
                seen.add(each)
                yield from _check_writers(setting, each)


def _check_writers(setting: str, path: Path) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # said by others, or not there yet
    # In a directory with the sticky bit, such as /tmp, others can add files and not replace any.
    if mode & stat.S_IWOTH and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        text = f"{setting}: every user may change {path} (mode {stat.S_IMODE(mode):04o})"
        yield fail("permissions", text, f"chmod o-w {path}")


def _check_written(settings: Settings) -> Iterator[Finding]:
    # SQLite makes files beside its own.
    written = {"log.file": (settings.log.file, False), "audit.file": (settings.audit.file, False)}
    written["uses.file"] = (settings.uses.file, True)
    for setting, (path, beside) in written.items():
        if path is None:
            continue
        if not path.parent.is_dir():
            text = f"{setting}: the directory {path.parent} does not exist"
            yield fail("permissions", text, "make it, or correct the path")
            continue
        needed = [path] if path.exists() else [path.parent]
        if beside and path.parent not in needed:
            needed.append(path.parent)
        for each in needed:
            if not os.access(each, os.W_OK):
                text = f"{setting}: this user may not write {each}"
                yield fail("permissions", text, "let the service's user write there")
