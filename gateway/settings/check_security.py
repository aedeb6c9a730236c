"""What the types cannot say of ``[security]`` and ``[rules.NAME]``: each alone, and all together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from gateway.settings.model import Settings
from gateway.settings.patterns import TargetPattern, parse_fingerprint, parse_target
from gateway.settings.problems import BadValueError
from gateway.settings.security import (
    RuleSettings,
    SecuritySettings,
    TargetSecurity,
    Verification,
    resolve_rule,
)
from gateway.settings.text import dotted, shown
from gateway.settings.values import PortSet, normalise_host, parse_ports

__all__ = ["check_security"]

_MAX_RULES: Final = 1000
_NAME: Final = re.compile(r"[a-z0-9-]{1,64}")

_Found = Iterator[tuple[str, str, str]]


def check_security(settings: Settings) -> _Found:
    """Every problem of the two, as key, text and remedy."""
    rules = settings.rules
    if len(rules) > _MAX_RULES:
        yield "rules", f"more than {_MAX_RULES} rules", "give those that say the same one list of targets"
        return
    resolved = {name: resolve_rule(settings.security, rule) for name, rule in rules.items()}
    yield from _values("security", settings.security)
    yield from _together("security", settings.security, settings.security, resolved.values())
    yield from _times(settings.security, resolved.values())
    seen: dict[TargetPattern, dict[PortSet, str]] = {}
    for name, rule in rules.items():
        place = dotted(("rules", name))
        if not _NAME.fullmatch(name):
            yield place, "is no name of a rule", "use 1 to 64 lower-case letters, digits and hyphens"
        elif name == "security":
            yield place, "has the name that logs use where no rule matches", "choose another"
        yield from _values(place, rule)
        yield from _together(place, rule, resolved[name], ())
        yield from _targets(place, rule, seen)


def _values(place: str, table: SecuritySettings | RuleSettings) -> _Found:
    yield from _each(f"{place}.fingerprints", parse_fingerprint, table.fingerprints or ())
    key = f"{place}.server_names"
    names = table.server_names or {}
    yield from _each(key, normalise_host, names)
    yield from _each(key, normalise_host, names.values())
    seen: set[str] = set()
    for name in names:
        try:
            host = normalise_host(name)
        except ValueError:
            continue
        if host in seen:
            yield key, f"{shown(name)} is listed twice in different spellings", "keep one of them"
        seen.add(host)


def _each(key: str, reader: Callable[[str], Any], items: Iterable[str]) -> _Found:
    for item in items:
        try:
            reader(item)
        except BadValueError as error:
            yield key, error.text, error.remedy


def _together(
    place: str,
    own: SecuritySettings | RuleSettings,
    resolved: SecuritySettings,
    heirs: Iterable[SecuritySettings],
) -> _Found:
    """Keys that need each other.

    :param heirs: what else is made of the values of *own*.
    """
    if own.key is not None and own.certificate is None:
        yield f"{place}.certificate", "is not set, but key is", "name the certificate of this key"
    pinned = Verification.FINGERPRINT
    says_so = own.verify is not None or own.fingerprints is not None
    if says_so and resolved.verify is pinned and not resolved.fingerprints:
        remedy = "list the fingerprints of the certificates to accept"
        yield f"{place}.fingerprints", "is empty, but verify is 'fingerprint'", remedy
    if own.fingerprints and all(each.verify is not pinned for each in (resolved, *heirs)):
        text = f"is '{resolved.verify.value}', which looks at no fingerprints, but some are listed"
        yield f"{place}.verify", text, "write verify = 'fingerprint', or remove fingerprints"


def _times(security: SecuritySettings, resolved: Iterable[SecuritySettings]) -> _Found:
    waiting = (TargetSecurity.TICKET, TargetSecurity.AUTO)
    if security.silence >= security.handshake_timeout and any(
        each.mode in waiting for each in (security, *resolved)
    ):
        text = "is over before security.silence is: no target that waits for TLS would be reached"
        yield "security.handshake_timeout", text, "make it longer than security.silence"


def _targets(place: str, rule: RuleSettings, seen: dict[TargetPattern, dict[PortSet, str]]) -> _Found:
    key = f"{place}.targets"
    if not rule.targets:
        yield key, "is empty", "list the targets that the rule is for"
    wrong = list(_each(f"{place}.ports", lambda item: parse_ports([item]), rule.ports))
    yield from wrong
    ports = PortSet() if wrong else parse_ports(rule.ports)
    for item in rule.targets:
        try:
            pattern = parse_target(item)
        except BadValueError as error:
            yield key, error.text, error.remedy
            continue
        if pattern.port is not None and ports.ranges and pattern.port not in ports:
            yield (
                key,
                f"{shown(item)} has a port that is not in ports",
                "add the port there, or remove it here",
            )
        earlier = seen.setdefault(pattern, {})
        # Ports that merely overlap may be meant: one rule is an exception of the other.
        other = earlier.get(PortSet()) or earlier.get(ports)
        if other is not None:
            before = "this rule" if other == place else other
            yield key, f"{shown(item)} is already in {before}, which comes first", "keep one of them"
        elif not wrong:
            earlier[ports] = place
