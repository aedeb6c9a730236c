"""Where a control API is, and what its callers show for themselves."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import stat
import urllib.parse
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from gateway.control.problems import ControlError, words
from gateway.settings import one_line

__all__ = [
    "DEFAULT_SOCKET",
    "Address",
    "UnixAddress",
    "WebAddress",
    "parse_url",
    "read_token",
    "tls_context",
]

DEFAULT_SOCKET: Final = Path("/run/console-gateway/control.sock")

_MAX_TOKEN_FILE: Final = 4096
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]{1,1024}=*")
_HOST: Final = re.compile(r"[A-Za-z0-9_.-]{1,253}")


@attrs.frozen
class UnixAddress:
    """A control API on a Unix socket, whose permissions say who may connect."""

    path: Path = DEFAULT_SOCKET

    def __str__(self) -> str:
        return one_line(str(self.path))


@attrs.frozen
class WebAddress:
    """A control API on TCP."""

    host: str
    port: int
    tls: bool = True
    """Without TLS only on this machine."""
    token: str | None = attrs.field(default=None, repr=False)
    """Bearer token (RFC 6750)."""
    ca: Path | None = None
    """PEM file with the authorities to trust, in place of the system's."""
    certificate: Path | None = None
    """PEM file with a client certificate."""
    key: Path | None = None
    """PEM file with its key, where that is not in the same file."""

    @property
    def authority(self) -> str:
        """As in a URL and in the ``Host`` header."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}"


Address: TypeAlias = UnixAddress | WebAddress
"""Where a control API is."""


def parse_url(text: str) -> WebAddress:
    """The address in ``https://HOST[:PORT]``, or ``http://`` for a loopback address.

    :raises ValueError: it is none; the text says why.
    """
    try:
        parts = urllib.parse.urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("it is not a URL") from None
    if parts.scheme not in ("https", "http"):
        raise ValueError("it must begin with https://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("it must not contain a user or a password; give a token by --token-file")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("it must end with the port; there is nothing to choose behind it")
    if not _is_address(host) and not _HOST.fullmatch(host):
        raise ValueError("it has no host")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("without TLS only loopback addresses are allowed; use https://")
    return WebAddress(host, port or (443 if parts.scheme == "https" else 80), tls=parts.scheme == "https")


def read_token(path: Path) -> str:
    """The bearer token that is alone in a file.

    :raises ControlError: the file cannot be read, has something else in it, or is everybody's to read.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_TOKEN_FILE + 1)
    except OSError as error:
        raise ControlError(f"{path}: {error.strerror or 'cannot be read'}") from None
    if stat.S_ISREG(mode) and mode & stat.S_IROTH:
        raise ControlError(f"{path}: everybody can read this token", f"Run: chmod o= {path}")
    token = content.decode("ascii", "replace").strip()
    if len(content) > _MAX_TOKEN_FILE or not _TOKEN.fullmatch(token):
        raise ControlError(
            f"{path}: there is no token in it",
            "It must have one line, what 'console-gateway token' showed when it made the token.",
        )
    return token


def tls_context(address: WebAddress) -> ssl.SSLContext:
    """What to trust at an address, and what to show there.

    :raises ControlError: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=address.ca)
    except (OSError, ValueError) as error:
        raise ControlError(f"{address.ca}: {words(error)}", "Name a PEM file with --ca.") from None
    if address.certificate is not None:
        files = f"{address.certificate}" + (f" and {address.key}" if address.key else "")
        try:
            # A key that is encrypted is refused, never asked about.
            context.load_cert_chain(address.certificate, address.key, password="")
        except (OSError, ValueError) as error:
            raise ControlError(
                f"{files}: {words(error)}",
                "Name PEM files with the certificate (--cert) and its key, not encrypted (--key).",
            ) from None
    return context


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
