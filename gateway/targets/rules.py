"""Which security a target gets: ``[security]`` and the ``[rules.NAME]``, compiled once.

Rules are matched against the host as it stands in the ticket, not against what
it resolves to: a rule says what the engine's name for a target means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from gateway.settings import (
    PasswordMode,
    PortSet,
    SecuritySettings,
    Settings,
    TargetIndex,
    TargetSecurity,
    Verification,
    normalise_host,
    parse_fingerprint,
    parse_ports,
    parse_target,
    resolve_rule,
)

__all__ = ["SecurityRule", "SecurityRules"]


@attrs.frozen(eq=False)
class SecurityRule:
    """What is in force for some targets; compared by identity, so that it can key what is made of it."""

    name: str
    """For logs: the rule's name, or ``security`` where none matches."""
    mode: TargetSecurity
    verify: Verification
    ca: Path | None
    """PEM file of the only trusted authorities; ``None`` means the system's."""
    fingerprints: frozenset[bytes]
    """SHA-256 digests of 32 bytes."""
    server_names: Mapping[str, str]
    """Expected names by host, both normalised."""
    certificate: Path | None
    key: Path | None
    """``None`` where it is in the file of :attr:`certificate`."""
    anonymous: bool
    password: PasswordMode
    secrets: Path | None

    def server_name(self, host: str) -> str:
        """The normalised name or address that the certificate of *host* must be for.

        :param host: as it stands in the ticket.
        :raises ValueError: when it is neither a name nor an address.
        """
        host = normalise_host(host)
        return self.server_names.get(host, host)


class SecurityRules:
    """The rules in file order, and what holds where none matches.  Iterating yields each once."""

    def __init__(self, settings: Settings) -> None:
        """:raises ValueError: when *settings* were not checked, and have mistakes."""
        self.default = _compile("security", settings.security)
        self._rules = tuple(
            _compile(name, resolve_rule(settings.security, rule)) for name, rule in settings.rules.items()
        )
        self._index: TargetIndex[tuple[SecurityRule, PortSet | None]] = TargetIndex()
        for compiled, rule in zip(self._rules, settings.rules.values(), strict=True):
            ports = parse_ports(rule.ports) if rule.ports else None
            for target in rule.targets:
                self._index.add(parse_target(target), (compiled, ports))

    def __iter__(self) -> Iterator[SecurityRule]:
        yield self.default
        yield from self._rules

    def for_target(self, host: str, port: int) -> SecurityRule:
        """The first rule that matches, otherwise ``[security]`` itself.

        :param host: as it stands in the ticket.
        :param port: likewise.
        :raises ValueError: when *host* is neither a name nor an address.
        """
        for _, (rule, ports) in self._index.matches(host, port):
            if ports is None or port in ports:
                return rule
        return self.default


def _compile(name: str, security: SecuritySettings) -> SecurityRule:
    names = security.server_names.items()
    return SecurityRule(
        name=name,
        mode=security.mode,
        verify=security.verify,
        ca=security.ca,
        fingerprints=frozenset(map(parse_fingerprint, security.fingerprints)),
        server_names={normalise_host(host): normalise_host(name) for host, name in names},
        certificate=security.certificate,
        key=security.key,
        anonymous=security.anonymous,
        password=security.password,
        secrets=security.secrets,
    )
