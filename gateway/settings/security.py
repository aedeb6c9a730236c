"""How the leg to a target is secured, and who answers its password: in general, and by rule.

The rules are compiled and matched in :mod:`gateway.targets`.
"""

from __future__ import annotations

import enum
from pathlib import Path

import attrs

from gateway.settings.fields import inherited, setting

__all__ = [
    "PasswordMode",
    "RuleSettings",
    "SecuritySettings",
    "TargetSecurity",
    "Verification",
    "resolve_rule",
]


class TargetSecurity(enum.Enum):
    """Whether and how a target is secured."""

    TICKET = "ticket"
    """As the ticket says: as AUTO when it asks for security, otherwise plain."""
    AUTO = "auto"
    """Always: VeNCrypt with a server that speaks RFB first, TLS at once with one that is silent."""
    VENCRYPT = "vencrypt"
    """Always, inside RFB."""
    TLS = "tls"
    """Always, from the first byte."""


class Verification(enum.Enum):
    """What makes a target's certificate good."""

    NAME = "name"
    """A trusted authority issued it, for the host of the ticket."""
    CHAIN = "chain"
    """A trusted authority issued it, for whatever name."""
    FINGERPRINT = "fingerprint"
    """It is one of those listed."""


class PasswordMode(enum.Enum):
    """Who answers when a target asks for a password."""

    BROWSER = "browser"
    """The user, through the browser."""
    GATEWAY = "gateway"
    """The gateway; the browser is not asked."""


@attrs.frozen
class SecuritySettings:
    """How the connection to a target is secured and who answers its password, where no rule says otherwise.

    Nothing here makes a session plain whose ticket asks for security: it is secured, or it ends.
    """

    mode: TargetSecurity = setting(
        TargetSecurity.TICKET,
        "'ticket': 'ssl_target' of the ticket decides; true means as 'auto'. 'auto': always secured, with "
        "VeNCrypt where the target speaks RFB first, with TLS at once where it is silent. 'vencrypt': always "
        "secured, with VeNCrypt. 'tls': always secured, with TLS at once.",
    )
    verify: Verification = setting(
        Verification.NAME,
        "'name': the certificate comes from a trusted authority and is for the host of the ticket, or for "
        "the name that server_names has for it. 'chain': it comes from a trusted authority, for whatever "
        "name; any holder of such a certificate could take the place of the target, so each use is logged. "
        "'fingerprint': it is one of fingerprints, and authorities are not asked.",
    )
    ca: Path | None = setting(
        None,
        "PEM file with the authorities that are trusted, and no others. Without it, those of the system.",
    )
    fingerprints: tuple[str, ...] = setting(
        (),
        "SHA-256 fingerprints of the certificates that are accepted: 64 hexadecimal digits, with or without "
        "colons between pairs. Needed with verify = 'fingerprint', and not looked at otherwise.",
    )
    server_names: dict[str, str] = setting(
        {},
        "Where certificates are not for the host as it stands in the ticket: the name or address to expect "
        "instead, by that host, such as 'host7.example.com' for '192.0.2.7'.",
    )
    certificate: Path | None = setting(
        None, "PEM file with the certificate, and its chain, that the gateway shows to targets that want one."
    )
    key: Path | None = setting(
        None,
        "PEM file with the private key of that certificate, not encrypted, not accessible to others. "
        "Defaults to the certificate file, for one file that holds both.",
    )
    anonymous: bool = setting(
        False,
        "Accept VeNCrypt's 'TLS' subtypes, in which the target shows no certificate, where it offers none "
        "of the others. They keep out who listens, but not who takes the place of the target.",
    )
    password: PasswordMode = setting(
        PasswordMode.BROWSER,
        "'browser': the user is asked, and the browser answers the target's challenge. 'gateway': the "
        "gateway answers with the password of the grant or of the secrets file, which never reaches the "
        "browser; the browser is told that no password is needed.",
    )
    secrets: Path | None = setting(
        None,
        "TOML file with passwords of targets for password = 'gateway', not accessible to others.",
    )
    handshake_timeout: float = setting(
        10.0,
        "Time for each step of a target's handshakes; asking the user for a password begins a new one.",
        unit="seconds",
        low=0.1,
        high=300,
    )
    answer_timeout: float = setting(
        120.0,
        "Time for the user to type the password that a target asks for.",
        unit="seconds",
        low=1,
        high=3600,
    )
    silence: float = setting(
        1.5,
        "How long 'auto' waits for a target to speak before it is taken for one that waits for TLS.",
        unit="seconds",
        low=0.1,
        high=30,
    )


@attrs.frozen
class RuleSettings:
    """Security of some targets.

    There may be up to 1000 rules; the NAME of each, of lower-case letters, digits and hyphens, appears in
    the log. The first rule of the file that matches the host and port of the ticket is the one that counts.

    Every key that a rule does not have is inherited from '[security]', each by itself: a rule with its own
    fingerprints still needs verify = 'fingerprint' from there or here. A list or table of a rule takes the
    place of the inherited one and does not add to it. The one pair is certificate and key: a rule with its
    own certificate does not inherit the key. A path that is set under '[security]' cannot be unset in a
    rule; set it in the rules that need it instead.
    """

    targets: tuple[str, ...] = setting(
        (),
        "Targets that the rule is for, as they stand in the ticket, without resolving: host names, with "
        "'*.example.com' for all names below, addresses and networks, and 'host:port' (IPv6 in brackets). "
        "Needed.",
    )
    ports: tuple[str, ...] = setting(
        (), "Ports that the rule is for, as numbers and ranges. Empty means any."
    )
    mode: TargetSecurity | None = inherited(SecuritySettings, "mode")
    verify: Verification | None = inherited(SecuritySettings, "verify")
    ca: Path | None = inherited(SecuritySettings, "ca")
    fingerprints: tuple[str, ...] | None = inherited(SecuritySettings, "fingerprints")
    server_names: dict[str, str] | None = inherited(SecuritySettings, "server_names")
    certificate: Path | None = inherited(SecuritySettings, "certificate")
    key: Path | None = inherited(SecuritySettings, "key")
    anonymous: bool | None = inherited(SecuritySettings, "anonymous")
    password: PasswordMode | None = inherited(SecuritySettings, "password")
    secrets: Path | None = inherited(SecuritySettings, "secrets")


def resolve_rule(security: SecuritySettings, rule: RuleSettings) -> SecuritySettings:
    """What is in force for the targets of *rule*."""
    own = {
        field.name: getattr(rule, field.name)
        for field in attrs.fields(RuleSettings)
        if field.metadata.get("inherited") and getattr(rule, field.name) is not None
    }
    if "certificate" in own:
        own.setdefault("key", None)
    return attrs.evolve(security, **own)
