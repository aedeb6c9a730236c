"""What the types cannot say of ``[control]``: who could use an endpoint, and who should not."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any, Final

from gateway.settings.control import ControlSettings, Role
from gateway.settings.endpoints import TcpEndpoint, parse_endpoint
from gateway.settings.model import Settings
from gateway.settings.text import shown

__all__ = ["check_control", "is_loopback"]

_LONGEST_NAME: Final = 64
"""Of a common name in a certificate, in characters (RFC 5280, appendix A.1)."""

_Found = Iterator[tuple[str, str, str]]


def check_control(settings: Settings) -> _Found:
    """Every problem of it, as key, text and remedy."""
    control = settings.control
    tcp = list(_tcp(control))
    for item, endpoint in tcp:
        if not is_loopback((endpoint.interface, endpoint.port)):
            yield (
                "control.listen",
                f"{shown(item)} is without TLS and can be reached from other hosts",
                "add ':interface=127.0.0.1', or move it to control.tls",
            )
    if tcp and control.tokens is None:
        text = "is not set, but control.listen has a 'tcp:' endpoint, which nobody could use"
        yield "control.tokens", text, "name a file of tokens, or use a 'unix:' endpoint"
    if control.tls:
        yield from _tls(settings)
    if control.key is not None and control.certificate is None:
        yield "control.certificate", "is not set, but control.key is", "name the certificate of this key"
    yield from _clients(control)


def is_loopback(address: Any) -> bool:
    """Whether a socket with this address can be reached from this host alone: on loopback, or no TCP."""
    if not isinstance(address, tuple):
        return True
    try:
        return ipaddress.ip_address(address[0]).is_loopback
    except ValueError:
        return False


def _tcp(control: ControlSettings) -> Iterator[tuple[str, TcpEndpoint]]:
    for item in control.listen:
        try:
            endpoint = parse_endpoint(item)
        except ValueError:
            continue  # said where every endpoint is read
        if isinstance(endpoint, TcpEndpoint):
            yield item, endpoint


def _tls(settings: Settings) -> _Found:
    control = settings.control
    if control.certificate is None and settings.tls.certificate is None:
        yield (
            "control.certificate",
            "is not set, nor is tls.certificate, but control.tls has endpoints",
            "name the PEM file of the server certificate",
        )
    if control.tokens is None and not (control.client_ca and control.clients):
        text = "is not set, nor are control.client_ca and control.clients: nobody could use control.tls"
        yield "control.tokens", text, "name a file of tokens, or give client certificates their roles"


def _clients(control: ControlSettings) -> _Found:
    if control.clients and control.client_ca is None:
        yield "control.client_ca", "is not set, but control.clients is", "name the authority that issued them"
    roles = {role.value for role in Role}
    for name, role in control.clients.items():
        if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
            text = f"{shown(name)} is no common name of a certificate"
            yield "control.clients", text, f"use 1 to {_LONGEST_NAME} printable characters"
        if role not in roles:
            yield "control.clients", f"{shown(role)} is no role", "use 'read' or 'operate'"
