"""Checks of what listens, and of the gateway that runs already."""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs
from cryptography import x509

from gateway import __version__
from gateway.control.address import DEFAULT_SOCKET, UnixAddress
from gateway.control.client import ControlClient
from gateway.control.problems import ControlError
from gateway.doctor.finding import Finding, fail, ok, warn
from gateway.doctor.front import front_certificates
from gateway.settings import Settings, TcpEndpoint, UnixEndpoint, parse_endpoint

__all__ = ["Running", "check_control", "check_ports", "control_socket"]

_TIMEOUT: Final = 5.0
_MAX_ASKED: Final = 20
"""Certificates that a port is asked for."""
_MAX_TEXT: Final = 300
"""Characters of what a gateway says."""
_CREDENTIALS: Final = struct.Struct("3i")


@attrs.frozen
class Running:
    """A gateway that answers."""

    pid: int | None
    findings: tuple[Finding, ...]


def control_socket(settings: Settings) -> Path | None:
    """The Unix socket of the control API under these settings."""
    for text in settings.control.listen:
        endpoint = parse_endpoint(text)
        if isinstance(endpoint, UnixEndpoint):
            return Path(endpoint.path)
    return None if settings.control.listen else DEFAULT_SOCKET


def check_control(settings: Settings) -> Running:
    """Ask the gateway that runs with these settings, if one does."""
    path = control_socket(settings)
    if path is None:
        return Running(
            None, (ok("gateway", "the control API has no Unix socket to ask a running gateway by"),)
        )
    try:
        pid = _listener(path)
    except FileNotFoundError:
        return Running(None, (ok("gateway", f"no gateway to ask: {path} does not exist"),))
    except OSError as error:
        remedy = (
            f"start the gateway; if it runs, see who made {path} and whether it is that of control.listen"
        )
        if error.errno == errno.EACCES:
            remedy = "run this as root, or as a member of the group that the socket belongs to"
        return Running(None, (warn("gateway", f"{path}: {error.strerror or error}", remedy),))
    client = ControlClient(UnixAddress(path), _TIMEOUT)
    try:
        status = client.get("status").value
        health = client.get("health").value
    except ControlError as error:
        remedy = "look at the log of the gateway, and restart it"
        return Running(pid, (fail("gateway", f"it does not answer as it should: {error}", remedy),))
    admitting = status.get("admitting") is not False
    return Running(pid, (*_check_status(settings, status), *_check_health(health, admitting=admitting)))


def _listener(path: Path) -> int | None:
    """The process that listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_TIMEOUT)
        sock.connect(str(path))
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(credentials)[0]
    # It is that of systemd where that made the socket.
    return pid if pid > 1 else None


def _check_status(settings: Settings, status: Any) -> Iterator[Finding]:
    version, sessions = str(status.get("version"))[:_MAX_TEXT], status.get("sessions")
    total = sessions.get("total") if isinstance(sessions, dict) else None
    if version == __version__:
        yield ok("gateway", f"version {version} runs, with {total} session(s)")
    else:
        text = f"version {version} runs, and {__version__} is installed"
        yield warn("gateway", text, "restart the gateway when no session needs it")
    if status.get("admitting") is False:
        remedy = "console-gateway admission resume"
        yield warn("admission", "an operator has stopped admission: nobody gets in", remedy)
    shown = _moment(status.get("certificate_expires"))
    ends = [(each.chain[0].not_valid_after_utc, each.table) for each in front_certificates(settings)]
    if ends and shown is not None:
        end, table = min(ends)
        if abs(shown - end) > datetime.timedelta(seconds=1):
            text = (
                f"the running gateway shows a certificate that lasts until {shown:%Y-%m-%d %H:%M} UTC, "
                f"the one in {table}.certificate until {end:%Y-%m-%d %H:%M} UTC"
            )
            yield warn("renewal", text, "reload the gateway, so that it reads the file")
        else:
            yield ok("renewal", f"the running gateway shows the certificate of {table}.certificate")


def _moment(value: Any) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromtimestamp(value, datetime.UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _check_health(health: Any, *, admitting: bool) -> Iterator[Finding]:
    """What the gateway says of itself.

    :param admitting: whether operators let sessions in; that they do not was said already.
    """
    checks = health.get("checks")
    if not isinstance(checks, list):
        yield warn("health", "the running gateway does not say how it is", "look at its log")
        return
    bad = [each for each in checks if isinstance(each, dict) and not each.get("ok")]
    if not admitting:
        bad = [each for each in bad if each.get("name") != "admission"]
    # What is not well, but keeps nobody out, is a warning.
    level = fail if admitting and not health.get("ready", False) else warn
    for each in bad[:20]:
        text = f"{str(each.get('name'))[:_MAX_TEXT]}: {str(each.get('detail'))[:_MAX_TEXT]}"
        yield level("health", text, "look at the log of the gateway")
    if not bad:
        yield ok("health", "the running gateway says that all is well")


def check_ports(settings: Settings, *, runs: bool) -> Iterator[Finding]:
    """Whether the gateway could listen, or does.

    :param runs: whether a gateway answers under these settings, to which what is taken probably belongs.
    """
    groups = (
        ("listen.tls", settings.listen.tls),
        ("listen.plain", settings.listen.plain),
        ("control.listen", settings.control.listen),
        ("control.tls", settings.control.tls),
        ("metrics.listen", settings.metrics.listen),
    )
    for setting, texts in groups:
        for text in texts:
            endpoint = parse_endpoint(text)
            if isinstance(endpoint, TcpEndpoint):
                yield _check_tcp(settings, setting, endpoint, runs=runs)
            elif isinstance(endpoint, UnixEndpoint):
                yield _check_unix(setting, endpoint, runs=runs)
            else:
                yield ok("ports", f"{setting}: {text} comes from systemd and was not tried")


def _check_tcp(settings: Settings, setting: str, endpoint: TcpEndpoint, *, runs: bool) -> Finding:
    where = f"{setting}: {endpoint}"
    try:
        _try_bind(endpoint)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            remedies = {
                errno.EACCES: "use a port above 1023, or give the service CAP_NET_BIND_SERVICE",
                errno.EADDRNOTAVAIL: "name an address that this host has",
            }
            remedy = remedies.get(error.errno or 0, "correct the endpoint")
            return fail("ports", f"{where} cannot be had ({error.strerror})", remedy)
    else:
        if runs:
            text = f"{where} is free, although a gateway runs"
            return warn("ports", text, "restart the gateway, if this endpoint is new in the settings")
        return ok("ports", f"{where} is free")
    if setting == "listen.tls" and endpoint not in map(parse_endpoint, settings.proxies.listeners):
        return _check_shown(settings, where, endpoint)
    if runs:
        return ok("ports", f"{where} is taken, by the running gateway as it seems")
    text = f"{where} is taken, and no gateway answers on the control socket"
    return warn(
        "ports", text, f"unless it is the gateway, find out who has it (ss -ltnp 'sport = {endpoint.port}')"
    )


def _try_bind(endpoint: TcpEndpoint) -> None:
    family = socket.AF_INET if "." in endpoint.interface else socket.AF_INET6
    with contextlib.ExitStack() as stack:
        try:
            sock = stack.enter_context(socket.socket(family))
            if not endpoint.interface:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        except OSError:
            # A host without IPv6.
            sock = stack.enter_context(socket.socket())
            family = socket.AF_INET
        # As the gateway does; it is never listened on, so that no client can be caught.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        address, _, scope = endpoint.interface.partition("%")
        if family == socket.AF_INET6:
            sock.bind((address or "::", endpoint.port, 0, socket.if_nametoindex(scope) if scope else 0))
        else:
            sock.bind((address or "0.0.0.0", endpoint.port))  # noqa: S104


def _check_shown(settings: Settings, where: str, endpoint: TcpEndpoint) -> Finding:
    """A TLS port that is taken: by a gateway with our certificates?"""
    host = endpoint.interface or "localhost"
    whose = f"find out who has it (ss -ltnp 'sport = {endpoint.port}')"
    # Whoever asks for no name gets the first.
    asked: str | None = None
    for own in front_certificates(settings)[:_MAX_ASKED]:
        if own.table != "tls":
            if not own.names:
                continue
            asked = own.names[0].replace("*", "x")
        try:
            shown = _shown_certificate(host, endpoint.port, asked)
        except OSError:
            return fail("ports", f"{where} is taken by something that does not speak TLS", whose)
        if shown != own.chain[0]:
            text = f"{where} is served with another certificate than that of {own.table}.certificate"
            return warn("ports", text, f"if it is the gateway, reload it; otherwise {whose}")
    return ok("ports", f"{where} is served with the certificate of tls.certificate")


def _shown_certificate(host: str, port: int, name: str | None) -> x509.Certificate | None:
    """:param name: what to ask for by SNI."""
    context = ssl.create_default_context()
    context.check_hostname = False
    # Nothing is believed: the certificate is compared with our own, and no byte is sent.
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((host, port), _TIMEOUT) as sock,
        context.wrap_socket(sock, server_hostname=name) as tls,
    ):
        data = tls.getpeercert(binary_form=True)
    try:
        return x509.load_der_x509_certificate(data) if data else None
    except ValueError:
        return None


def _check_unix(setting: str, endpoint: UnixEndpoint, *, runs: bool) -> Finding:
    where = f"{setting}: {endpoint}"
    path = Path(endpoint.path)
    if not path.parent.is_dir():
        text = f"{where}: the directory does not exist"
        return fail(
            "ports", text, f"make {path.parent} (RuntimeDirectory= of the unit does), or correct the path"
        )
    if not os.path.lexists(path):
        if not os.access(path.parent, os.W_OK):
            text = f"{where}: this user may not make files there"
            return fail("ports", text, f"let the service's user write {path.parent}")
        return ok("ports", f"{where} is free")
    try:
        _listener(path)
    except ConnectionRefusedError:
        return ok("ports", f"{where} was left behind by a process that is gone, and will be replaced")
    except OSError as error:
        text = f"{where} is there and cannot be asked ({error.strerror or error})"
        return warn("ports", text, "remove it if it is no socket of the gateway, or run this as root")
    if runs:
        return ok("ports", f"{where} answers")
    text = f"{where} is taken, and no gateway answers on the control socket"
    return warn("ports", text, f"unless it is the gateway, find out who has it (ss -lxp src {path})")
