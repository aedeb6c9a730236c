"""Everything an operator may set, with its default, unit and meaning.

The classes mirror the tables of the TOML file.  The ``doc`` of each field is
the single source for the configuration reference (``docs/configuration.md``)
and for the annotated example (``etc/console-gateway.toml``).
"""

from __future__ import annotations

import enum
from pathlib import Path

import attrs

from gateway.settings.abuse import AbuseSettings
from gateway.settings.certificates import CertificateSettings
from gateway.settings.control import AuditSettings, ControlSettings, MetricsSettings
from gateway.settings.drain import DrainSettings
from gateway.settings.fields import setting
from gateway.settings.proxies import ProxySettings
from gateway.settings.security import RuleSettings, SecuritySettings
from gateway.settings.sessions import SessionSettings, UseSettings

__all__ = [
    "FrontSettings",
    "LimitSettings",
    "ListenSettings",
    "LogFormat",
    "LogLevel",
    "LogSettings",
    "PageSettings",
    "RelaySettings",
    "Settings",
    "TargetSettings",
    "TicketSettings",
    "TlsSettings",
    "TlsVersion",
]


class TlsVersion(enum.Enum):
    """Lowest TLS version spoken with clients."""

    TLS_1_2 = "TLSv1.2"
    TLS_1_3 = "TLSv1.3"


class LogFormat(enum.Enum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(enum.Enum):
    """Lowest level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


@attrs.frozen
class ListenSettings:
    """Where clients connect."""

    tls: tuple[str, ...] = setting(
        ("tcp:6100",),
        "Listening endpoints served over TLS (wss://, https://). Forms: 'tcp:PORT', "
        "'tcp:PORT:interface=ADDRESS' (IPv6 in brackets), 'unix:PATH:mode=660', and "
        "'systemd:NAME' or 'systemd:INDEX' for sockets inherited from systemd. Without an interface, "
        "every IPv4 and IPv6 address of the host.",
    )
    plain: tuple[str, ...] = setting(
        (),
        "Listening endpoints served without TLS (ws://, http://), in the same forms. Meant for a Unix "
        "socket or loopback address behind a reverse proxy: the ticket travels in clear.",
    )


@attrs.frozen
class TlsSettings:
    """TLS towards clients."""

    certificate: Path | None = setting(
        None,
        "PEM file with the server certificate and its chain. A human-readable dump before a PEM block is "
        "ignored. Needed as soon as an endpoint under listen.tls exists.",
    )
    key: Path | None = setting(
        None,
        "PEM file with the private key, not encrypted, not accessible to others. Defaults to the "
        "certificate file, for one file that holds both.",
    )
    min_version: TlsVersion = setting(
        TlsVersion.TLS_1_2, "Lowest TLS version accepted: 'TLSv1.2' or 'TLSv1.3'."
    )
    ciphers: str = setting(
        "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL",
        "Cipher list for TLS 1.2 in OpenSSL's syntax. TLS 1.3 suites are always OpenSSL's own.",
    )


@attrs.frozen
class TicketSettings:
    """Who may sign tickets, and which are accepted."""

    certificate: Path | None = setting(
        None,
        "PEM file with the certificate (or public key) of the engine that signs the tickets. It is pinned: "
        "a certificate inside a ticket is never trusted.",
    )
    also: tuple[Path, ...] = setting(
        (),
        "PEM files with further certificates (or public keys) whose tickets are accepted, up to 8: the next "
        "one of the engine before it is in use, or those of other engines. One that is removed here is "
        "refused as soon as that is reloaded.",
    )
    overlap: float = setting(
        3600.0,
        "How long tickets of the former certificate are still accepted after a reload with another one "
        "under certificate. 0 refuses them at once.",
        unit="seconds",
        low=0,
        high=604800,
    )
    skew: float = setting(
        5.0, "Tolerated clock difference to the engine, either way.", unit="seconds", low=0, high=300
    )
    max_lifetime: float = setting(
        3600.0, "Longest validity a ticket may claim.", unit="seconds", low=1, high=86400
    )
    max_size: int = setting(
        16384, "Longest ticket, as it stands in the request path.", unit="characters", low=1024, high=65536
    )


@attrs.frozen
class FrontSettings:
    """The HTTP side of the listeners."""

    origins: tuple[str, ...] = setting(
        (),
        "Web origins whose pages may connect, such as 'https://engine.example.com'. Empty allows any: the "
        "ticket is the secret. Clients that send no Origin header are not browsers and are not held to it.",
    )
    head_size: int = setting(32768, "Largest request head.", unit="bytes", low=4096, high=262144)
    head_timeout: float = setting(10.0, "Time to send the request head.", unit="seconds", low=0.1, high=300)
    handshake_timeout: float = setting(
        10.0, "Time to finish the TLS handshake.", unit="seconds", low=0.1, high=300
    )


@attrs.frozen
class LimitSettings:
    """How much is admitted at once."""

    handshakes: int = setting(
        1000,
        "Connections that are not a session (yet): handshakes, requests, page loads.",
        low=1,
        high=1000000,
    )
    sessions: int = setting(5000, "Sessions in all.", low=1, high=1000000)
    sessions_per_client: int = setting(
        256,
        "Sessions from one client address. Raise it when many users share an address or come through a "
        "proxy.",
        low=1,
        high=1000000,
    )
    sessions_per_subject: int = setting(
        256, "Sessions of one subject, where tickets name them.", low=1, high=1000000
    )
    users_per_console: int = setting(
        64,
        "Tickets in use on one console. The connections of one ticket count once.",
        low=1,
        high=1000000,
    )


@attrs.frozen
class TargetSettings:
    """Where sessions may go, decided on the resolved address that is then dialled."""

    networks: tuple[str, ...] = setting(
        ("0.0.0.0/0", "::/0"),
        "Networks that may be dialled. Loopback, link-local, unspecified and multicast addresses are denied "
        "unless a network here lies wholly inside such a range ('127.0.0.1/32'). An IPv6 address that stands "
        "for an IPv4 one (NAT64, 6to4) must be allowed as both.",
    )
    names: tuple[str, ...] = setting(
        (),
        "Host names that may be dialled; '*.example.com' matches any name below. Empty allows any. Literal "
        "addresses are held to the networks alone.",
    )
    ports: tuple[str, ...] = setting(("5900-6923",), "Ports that may be dialled, as numbers and ranges.")
    sockets: dict[str, str] = setting(
        {},
        "Unix-socket targets: a ticket for exactly this 'host:port' is connected to this absolute path "
        "instead of being resolved.",
    )
    proxy_protocol: tuple[str, ...] = setting(
        (),
        "Targets that are told who the client is by a header of the PROXY protocol, version 2, before "
        "anything else, in the forms of a rule's targets. Others would take it for garbage.",
    )
    connect_timeout: float = setting(
        10.0, "Time to resolve and connect, over all addresses.", unit="seconds", low=0.1, high=300
    )


@attrs.frozen
class RelaySettings:
    """Established sessions."""

    ping_interval: float = setting(
        30.0,
        "A client that was silent this long is pinged; one that stays silent as long again is gone. "
        "0 turns it off.",
        unit="seconds",
        low=0,
        high=3600,
    )
    close_timeout: float = setting(
        5.0,
        "Time for the close handshake and for delivering what is left.",
        unit="seconds",
        low=0.1,
        high=300,
    )
    max_message: int = setting(
        16777216, "Largest WebSocket message from a client.", unit="bytes", low=1024, high=1073741824
    )


@attrs.frozen
class PageSettings:
    """Browser pages served on the same port as the consoles."""

    enabled: bool = setting(False, "Serve the console page under /console/.")


@attrs.frozen
class LogSettings:
    """What is logged, where and how."""

    format: LogFormat = setting(LogFormat.TEXT, "'text' for people, 'json' for one JSON object a line.")
    level: LogLevel = setting(LogLevel.INFO, "Lowest level written: 'debug', 'info', 'warn' or 'error'.")
    file: Path | None = setting(None, "Append to this file; without it, to standard error.")


@attrs.frozen
class Settings:
    """The whole configuration."""

    listen: ListenSettings = attrs.field(factory=ListenSettings)
    tls: TlsSettings = attrs.field(factory=TlsSettings)
    certificates: dict[str, CertificateSettings] = attrs.field(factory=dict)
    tickets: TicketSettings = attrs.field(factory=TicketSettings)
    front: FrontSettings = attrs.field(factory=FrontSettings)
    proxies: ProxySettings = attrs.field(factory=ProxySettings)
    limits: LimitSettings = attrs.field(factory=LimitSettings)
    abuse: AbuseSettings = attrs.field(factory=AbuseSettings)
    uses: UseSettings = attrs.field(factory=UseSettings)
    sessions: SessionSettings = attrs.field(factory=SessionSettings)
    targets: TargetSettings = attrs.field(factory=TargetSettings)
    security: SecuritySettings = attrs.field(factory=SecuritySettings)
    rules: dict[str, RuleSettings] = attrs.field(factory=dict)
    relay: RelaySettings = attrs.field(factory=RelaySettings)
    drain: DrainSettings = attrs.field(factory=DrainSettings)
    pages: PageSettings = attrs.field(factory=PageSettings)
    control: ControlSettings = attrs.field(factory=ControlSettings)
    metrics: MetricsSettings = attrs.field(factory=MetricsSettings)
    audit: AuditSettings = attrs.field(factory=AuditSettings)
    log: LogSettings = attrs.field(factory=LogSettings)
