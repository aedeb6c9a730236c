"""One HTTP request of setup (RFC 9110, RFC 9112), with every size, wait and redirect bounded.

The standard library's :mod:`http.client` on a socket of ours, so that the
whole exchange has one deadline and a peer that says a byte at a time cannot
stretch it.  Proxies of the environment (``https_proxy`` and the like) are not
used: what is fetched here decides whom the gateway trusts, and the engine and
this host are neighbours that must reach each other anyway.
"""

from __future__ import annotations

import enum
import http.client
import socket
import ssl
import time
import urllib.parse
from collections.abc import Mapping
from typing import Final

import attrs

from gateway.pki.errors import printable
from gateway.setup.errors import SetupError
from gateway.timed import TimedSocket, seconds_until

__all__ = ["Fault", "FetchError", "Page", "fetch", "trusting", "unverified"]

MAX_REDIRECTS: Final = 3
_MAX_ADDRESSES: Final = 8
_PIECE: Final = 16384
_MAX_HEAD: Final = 131072
"""Bytes that an answer may have on top of its content."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Fault(enum.Enum):
    """Why there is no page."""

    UNREACHABLE = "unreachable"
    """No connection, or it broke or stalled; another try may do."""
    UNTRUSTED = "untrusted"
    """The server's certificate was not verified."""
    NO_TLS = "no-tls"
    """TLS failed for another reason."""
    ANSWER = "answer"
    """What came is no answer, or not one that is followed."""


class FetchError(SetupError):
    """There is no page.

    :param fault: why.
    """

    def __init__(self, text: str, fault: Fault) -> None:
        super().__init__(text)
        self.fault = fault


@attrs.frozen
class Page:
    """An answer, whatever its status."""

    url: str
    """Where it came from in the end."""
    status: int
    content_type: str
    body: bytes = attrs.field(repr=False)
    fields: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """Header fields, names in lower case."""


def trusting(authorities: bytes | None, *, system: bool = True) -> ssl.SSLContext:
    """TLS that verifies a server's chain and name.

    :param authorities: PEM certificates of authorities.
    :param system: whether the authorities that this host knows are trusted as well.
    :raises SetupError: the authorities cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # What is trusted is where a chain may end, also when it is no root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        if system:
            context.load_default_certs()
        if authorities is not None:
            context.load_verify_locations(cadata=authorities.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError, OSError) as error:
        raise SetupError(f"The CA certificate cannot be used: {printable(str(error))}") from None
    return context


def unverified() -> ssl.SSLContext:
    """TLS with whoever answers: only for what is verified by its fingerprint afterwards."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def fetch(
    url: str,
    *,
    context: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
    address: str | None = None,
    limit: int = 65536,
    timeout: float = 15.0,
    redirects: int = MAX_REDIRECTS,
) -> Page:
    """Ask for a page.  A redirect is followed on the same host, and never from HTTPS to HTTP.

    :param url: ``http`` or ``https``.
    :param context: how HTTPS is verified; :func:`trusting` the system's authorities by default.
    :param headers: more header fields; they never appear in an error.
    :param address: where to connect to, if not to the URL's host.
    :param limit: most bytes of content.
    :param timeout: time for all of it, in seconds.
    :param redirects: most redirects that are followed.
    :raises FetchError: there is no answer, or it is none that can be used.
    """
    end = time.monotonic() + timeout
    begin = _split(url)
    for _turn in range(redirects + 1):
        parts = _split(url)
        if parts.hostname != begin.hostname or (begin.scheme == "https" and parts.scheme != "https"):
            raise FetchError(
                f"{printable(begin.geturl())} sends elsewhere, to {printable(url)}", Fault.ANSWER
            )
        page = _Exchange(parts, address or parts.hostname or "", end, limit).run(context, headers or {})
        if page.status not in _REDIRECTS or not redirects:
            return page
        url = urllib.parse.urljoin(url, page.fields.get("location", ""))
    raise FetchError(f"{printable(begin.geturl())} redirects more than {redirects} times", Fault.ANSWER)


def _split(url: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url or "@" in parts.netloc:
        raise FetchError(f"{printable(url)} is no URL that can be asked", Fault.ANSWER)
    return parts


class _Exchange:
    """One request and its answer on a connection of its own."""

    def __init__(self, parts: urllib.parse.SplitResult, address: str, end: float, limit: int) -> None:
        self._parts = parts
        self._address = address
        self._end = end
        self._limit = limit
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._read = 0

    def run(self, context: ssl.SSLContext | None, headers: Mapping[str, str]) -> Page:
        """Do it.

        :raises FetchError: it did not work.
        """
        problem: tuple[str, Fault]
        try:
            return self._run(context, headers)
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message or "it does not verify"
            problem = (f"its certificate is not trusted: {printable(reason)}", Fault.UNTRUSTED)
        except TimeoutError:
            problem = ("no answer in time", Fault.UNREACHABLE)
        except ssl.SSLEOFError:
            problem = ("the connection was closed during TLS", Fault.UNREACHABLE)
        except ssl.SSLError as error:
            problem = (f"TLS failed: {printable(error.reason or 'no reason given')}", Fault.NO_TLS)
        except socket.gaierror:
            problem = ("the name has no address", Fault.UNREACHABLE)
        except (OSError, http.client.IncompleteRead, http.client.RemoteDisconnected) as error:
            # Without the exception's own text where it could quote what was sent or received.
            text = error.strerror if isinstance(error, OSError) and error.strerror else "connection lost"
            problem = (printable(text).lower(), Fault.UNREACHABLE)
        except _TooMuchError:
            problem = (f"more than {self._limit} bytes came", Fault.ANSWER)
        except (http.client.HTTPException, ValueError):
            problem = ("what came is no HTTP answer", Fault.ANSWER)
        # Outside of the handlers: no exception that knows the request, with its credentials, goes along.
        text, fault = problem
        raise FetchError(f"{printable(self._parts.geturl())}: {text}", fault)

    def _run(self, context: ssl.SSLContext | None, headers: Mapping[str, str]) -> Page:
        sock = self._connect(context)
        try:
            connection = http.client.HTTPConnection(self._parts.hostname or "", self._port)
            connection.sock = TimedSocket(sock, self.left, _PIECE, self.count)
            connection.auto_open = 0
            target = self._parts.path or "/"
            if self._parts.query:
                target += f"?{self._parts.query}"
            fields = {"Host": self._parts.netloc, "User-Agent": "console-gateway", "Connection": "close"}
            connection.request("GET", target, None, {**fields, **headers})
            response = connection.getresponse()
            body = response.read(self._limit + 1)
            if len(body) > self._limit:
                raise _TooMuchError
            if response.length:
                raise http.client.IncompleteRead(b"")
            return Page(
                self._parts.geturl(),
                response.status,
                response.headers.get_content_type(),
                body,
                {name.lower(): value for name, value in response.headers.items()},
            )
        finally:
            sock.close()

    def _connect(self, context: ssl.SSLContext | None) -> socket.socket:
        sock = self._reached()
        if self._parts.scheme != "https":
            return sock
        try:
            sock.settimeout(self.left())
            return (context or trusting(None)).wrap_socket(sock, server_hostname=self._parts.hostname)
        except BaseException:
            sock.close()
            raise

    def _reached(self) -> socket.socket:
        """A connection to one of the addresses; each gets its share of the time that is left."""
        found = socket.getaddrinfo(self._address, self._port, type=socket.SOCK_STREAM)[:_MAX_ADDRESSES]
        for number, (*kind, _, address) in enumerate(found):
            sock = socket.socket(*kind)
            try:
                sock.settimeout(self.left() / (len(found) - number))
                sock.connect(address)
                return sock
            except OSError:
                sock.close()
                if number == len(found) - 1:
                    raise
        raise TimeoutError

    def left(self) -> float:
        """Seconds that are left.

        :raises TimeoutError: none.
        """
        return seconds_until(self._end)

    def count(self, received: int) -> None:
        """Note bytes that came.

        :raises _TooMuchError: more than any answer of this size has.
        """
        self._read += received
        if self._read > self._limit + _MAX_HEAD:
            raise _TooMuchError


class _TooMuchError(Exception):
    """The answer is larger than it may be."""
