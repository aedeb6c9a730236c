"""Checks of the files that the settings name: how long certificates last, and who may change what."""

from __future__ import annotations

import datetime
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
from cryptography import x509

from gateway.doctor.finding import Finding, fail, ok, warn
from gateway.net import load_certificates
from gateway.settings import Settings, Verification
from gateway.targets.rules import SecurityRules
from gateway.tickets import KeyFileError
from gateway.tickets.keys import load_certificate

__all__ = ["SOON", "check_certificates", "check_engine", "check_permissions", "lasting"]

SOON: Final = datetime.timedelta(days=30)
"""A certificate that does not last longer is worth a warning."""


def check_engine(settings: Settings, now: datetime.datetime) -> Iterator[Finding]:
    """The certificates that tickets are verified with; their dates bind nobody, but they tell something."""
    tickets = settings.tickets
    if tickets.certificate is not None:
        yield from _check_engine("the engine's certificate", "tickets.certificate", tickets.certificate, now)
    for path in tickets.also:
        yield from _check_engine(f"the certificate {path}", "tickets.also", path, now)


def _check_engine(what: str, setting: str, path: Path, now: datetime.datetime) -> Iterator[Finding]:
    try:
        certificate = load_certificate(path)
    except KeyFileError:
        return  # a public key, or check_files has said it
    if _signs_certificates_only(certificate):
        yield warn(
            "engine",
            f"{what} is that of an authority, which signs certificates; tickets are signed by the engine",
            f"name the engine's own certificate in {setting}",
        )
        return
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        yield warn(
            "engine",
            f"{what} begins on {begin:%Y-%m-%d %H:%M} UTC: this host's clock is wrong",
            "correct this host's clock; until then tickets are refused as not valid yet",
        )
    elif now > end:
        yield warn(
            "engine",
            f"{what} expired on {end:%Y-%m-%d %H:%M} UTC, so that it was probably renewed",
            f"copy the present one from the engine to {setting}",
        )
    else:
        finding = lasting("engine", what, certificate, now)
        remedy = f"when the engine gets a new one, copy that to {setting} and reload the gateway"
        yield attrs.evolve(finding, remedy=remedy) if finding.remedy else finding


def _signs_certificates_only(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return usage.key_cert_sign and not usage.digital_signature


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
        **{f"tickets.also[{index}]": path for index, path in enumerate(settings.tickets.also)},
        "control.tokens": control.tokens,
        "control.key": control.key,
        "control.client_ca": control.client_ca,
        "uses.file": settings.uses.file,
        "audit.file": settings.audit.file,
    }
    for name, pair in settings.certificates.items():
        trusted |= {f"certificates.{name}.{key}": getattr(pair, key) for key in ("certificate", "key")}
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
