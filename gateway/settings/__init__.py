"""What an operator may set: the model, its loader and checks, and the readers of its values."""

from __future__ import annotations

from gateway.settings.abuse import AbuseSettings
from gateway.settings.certificates import CertificateSettings, parse_server_name
from gateway.settings.check import check_settings
from gateway.settings.control import AuditSettings, ControlSettings, MetricsSettings, Role
from gateway.settings.drain import DrainSettings
from gateway.settings.endpoints import (
    Endpoint,
    SystemdEndpoint,
    TcpEndpoint,
    UnixEndpoint,
    endpoints_overlap,
    parse_endpoint,
    parse_socket_path,
)
from gateway.settings.loader import examine_settings, load_settings
from gateway.settings.model import (
    FrontSettings,
    LimitSettings,
    ListenSettings,
    LogFormat,
    LogLevel,
    LogSettings,
    PageSettings,
    RelaySettings,
    Settings,
    TargetSettings,
    TicketSettings,
    TlsSettings,
    TlsVersion,
)
from gateway.settings.ovirt import OvirtConfiguration, examine_ovirt
from gateway.settings.patterns import TargetIndex, TargetPattern, parse_fingerprint, parse_target
from gateway.settings.problems import BadValueError, Problem, SettingsError
from gateway.settings.proxies import ForwardedHeader, ProxySettings
from gateway.settings.security import (
    PasswordMode,
    RuleSettings,
    SecuritySettings,
    TargetSecurity,
    Verification,
    resolve_rule,
)
from gateway.settings.sessions import Attach, SessionSettings, Use, UseSettings
from gateway.settings.text import dotted, one_line, shown
from gateway.settings.tomlfile import read_toml
from gateway.settings.values import (
    NamePattern,
    Network,
    PortSet,
    normalise_host,
    parse_name_pattern,
    parse_network,
    parse_origin,
    parse_ports,
    parse_socket_key,
)

__all__ = [
    "AbuseSettings",
    "Attach",
    "AuditSettings",
    "BadValueError",
    "CertificateSettings",
    "ControlSettings",
    "DrainSettings",
    "Endpoint",
    "ForwardedHeader",
    "FrontSettings",
    "LimitSettings",
    "ListenSettings",
    "LogFormat",
    "LogLevel",
    "LogSettings",
    "MetricsSettings",
    "NamePattern",
    "Network",
    "OvirtConfiguration",
    "PageSettings",
    "PasswordMode",
    "PortSet",
    "Problem",
    "ProxySettings",
    "RelaySettings",
    "Role",
    "RuleSettings",
    "SecuritySettings",
    "SessionSettings",
    "Settings",
    "SettingsError",
    "SystemdEndpoint",
    "TargetIndex",
    "TargetPattern",
    "TargetSecurity",
    "TargetSettings",
    "TcpEndpoint",
    "TicketSettings",
    "TlsSettings",
    "TlsVersion",
    "UnixEndpoint",
    "Use",
    "UseSettings",
    "Verification",
    "check_settings",
    "dotted",
    "endpoints_overlap",
    "examine_ovirt",
    "examine_settings",
    "load_settings",
    "normalise_host",
    "one_line",
    "parse_endpoint",
    "parse_fingerprint",
    "parse_name_pattern",
    "parse_network",
    "parse_origin",
    "parse_ports",
    "parse_server_name",
    "parse_socket_key",
    "parse_socket_path",
    "parse_target",
    "read_toml",
    "resolve_rule",
    "shown",
]
