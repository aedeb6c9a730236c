"""What operators have in their hands: the control API, metrics, the audit."""

from __future__ import annotations

import enum
from pathlib import Path

import attrs

from gateway.settings.fields import setting

__all__ = ["AuditSettings", "ControlSettings", "MetricsSettings", "Role"]


class Role(enum.Enum):
    """What a caller of the control API may do."""

    READ = "read"
    """See everything."""
    OPERATE = "operate"
    """End sessions, and stop and resume admission, as well."""


@attrs.frozen
class ControlSettings:
    """The control API and the dashboard."""

    listen: tuple[str, ...] = setting(
        (),
        "Endpoints served without TLS: 'unix:PATH:mode=660', whose permissions say who may connect. Empty "
        "means control.sock in the directory that systemd made for the service (RuntimeDirectory=), and "
        "nothing where there is none. A 'tcp:' endpoint must have a loopback address and needs a token.",
    )
    tls: tuple[str, ...] = setting(
        (), "Endpoints served over TLS, in the forms of listen.tls; callers need a token or a certificate."
    )
    unix_role: Role = setting(
        Role.OPERATE, "What those may do who can connect to a Unix socket: 'read' or 'operate'."
    )
    tokens: Path | None = setting(
        None,
        "File of bearer tokens, one line each, written by 'console-gateway token': a name, a role and the "
        "SHA-256 of the token. It must not be writable by others.",
    )
    certificate: Path | None = setting(
        None, "PEM file with the certificate for control.tls; without it, tls.certificate."
    )
    key: Path | None = setting(None, "PEM file with its private key; without it, as for tls.key.")
    client_ca: Path | None = setting(
        None, "PEM file with the authorities whose client certificates are accepted as control.clients says."
    )
    clients: dict[str, str] = setting(
        {},
        "Common names of client certificates and their roles, such as { 'ops' = 'operate' }; others have "
        "none.",
    )
    hosts: tuple[str, ...] = setting(
        (),
        "Names under which browsers reach the API, besides localhost and loopback addresses. A request with "
        "another Host is refused, so that no foreign page can speak to it.",
    )


@attrs.frozen
class MetricsSettings:
    """Metrics for Prometheus."""

    listen: tuple[str, ...] = setting(
        (),
        "Endpoints that serve /metrics, /healthz and /readyz without TLS to whoever can connect. The control "
        "API serves the same to its callers.",
    )


@attrs.frozen
class AuditSettings:
    """The record of who was on which console."""

    file: Path | None = setting(
        None, "Append JSON lines to this file, which is made with mode 640. SIGUSR1 opens it anew."
    )
    journal: bool = setting(False, "Write to journald, with a field for each item.")
    syslog: bool = setting(False, "Write to the local syslog socket (RFC 5424).")
    required: bool = setting(
        False, "Refuse new sessions while the audit cannot be written. Without it, the failure is logged."
    )
