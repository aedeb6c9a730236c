"""Whether the gateway that was set up works: a TLS connection to its port, as a browser makes one.

Verified against the CA, for the host's name; then a request without a ticket
for a page, and one for a WebSocket (RFC 6455, section 4.1), which the gateway
has to refuse.  What it should answer is in ``docs/codes.md``.
"""

from __future__ import annotations

import base64
import contextlib
import http
import os
import ssl
from collections.abc import Callable
from typing import Final

import attrs

from gateway.setup.enrolling.fetch import Fault, FetchError, Page, fetch, trusting
from gateway.setup.errors import SetupError

__all__ = ["Check", "probe"]

_LIMIT: Final = 65536
_LOOPBACK: Final = ("127.0.0.1", "::1")
_REFUSALS: Final = frozenset(
    {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN, http.HTTPStatus.NOT_FOUND}
)


@attrs.frozen
class Check:
    """What one part of the probe found."""

    name: str
    """``connection``, ``certificate``, ``page`` or ``websocket``."""
    passed: bool
    text: str
    """For the user, as a line."""


def probe(
    fqdn: str,
    port: int,
    ca: bytes | None,
    *,
    address: str | None = None,
    timeout: float = 10.0,
    attempts: int = 1,
    pause: Callable[[float], None] = lambda _: None,
) -> tuple[Check, ...]:
    """Try the gateway's port.

    :param ca: PEM of the CA that must have issued its certificate; the authorities that this host trusts
        will do as well.
    :param address: where to connect to instead of what ``fqdn`` resolves to.
    :param timeout: time for each of the three connections, in seconds.
    :param attempts: how often to try the first one, for a service that is just starting.
    :param pause: waits between them, given seconds.
    :returns: checks in order, up to one after which there is nothing more to try.
    """
    try:
        context = trusting(ca)
    except SetupError as error:
        return (Check("certificate", False, str(error)),)
    ask = _Asker(fqdn, port, context, address, timeout)
    try:
        page, connection = _reach(ask, port, attempts, pause)
    except FetchError as error:
        return (_first_failure(error, port),)
    checks = [
        connection,
        Check("certificate", True, f"Its certificate is valid for {fqdn}"),
        _judge_page(page),
    ]
    if not checks[-1].passed:
        return tuple(checks)
    try:
        checks.append(_judge_upgrade(ask.upgrade()))
    except FetchError as error:
        checks.append(Check("websocket", False, f"A WebSocket without a ticket got no answer: {error}"))
    return tuple(checks)


class _Asker:
    """Makes requests of the gateway."""

    def __init__(
        self, fqdn: str, port: int, context: ssl.SSLContext, address: str | None, timeout: float
    ) -> None:
        self._url = f"https://{fqdn}:{port}/"
        self._context = context
        self._timeout = timeout
        self.fqdn = fqdn
        self.address = address

    def patiently(self, attempts: int, pause: Callable[[float], None]) -> Page:
        """The page, as soon as the port answers."""
        for _number in range(attempts - 1):
            try:
                return self._fetch({})
            except FetchError as error:
                if error.fault is not Fault.UNREACHABLE:
                    raise
            pause(1.0)
        return self._fetch({})

    def upgrade(self) -> Page:
        """The answer to a WebSocket without a ticket."""
        return self._fetch(
            {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode("ascii"),
                "Sec-WebSocket-Protocol": "binary",
            }
        )

    def _fetch(self, headers: dict[str, str]) -> Page:
        return fetch(
            self._url,
            context=self._context,
            headers=headers,
            address=self.address,
            limit=_LIMIT,
            timeout=self._timeout,
            redirects=0,
        )


def _reach(ask: _Asker, port: int, attempts: int, pause: Callable[[float], None]) -> tuple[Page, Check]:
    """The page; where the name does not lead to it, by the loopback address."""
    try:
        page = ask.patiently(attempts, pause)
    except FetchError as error:
        if error.fault is not Fault.UNREACHABLE or ask.address is not None:
            raise
        failure = error
    else:
        return page, Check("connection", True, f"Port {port} of {ask.address or ask.fqdn} answers")
    for ask.address in _LOOPBACK:
        with contextlib.suppress(FetchError):
            page = ask.patiently(1, pause)
            break
    else:
        raise failure
    text = f"Port {port} answers here, but not by the host's name; look at DNS and firewall: {failure}"
    return page, Check("connection", False, text)


def _first_failure(error: FetchError, port: int) -> Check:
    if error.fault is Fault.UNTRUSTED:
        return Check("certificate", False, str(error))
    if error.fault is Fault.NO_TLS:
        return Check("certificate", False, f"Port {port} does not speak TLS as it should: {error}")
    if error.fault is Fault.ANSWER:
        return Check("page", False, f"Something else than a gateway answers: {error}")
    return Check("connection", False, f"Port {port} is not reached: {error}")


def _judge_page(page: Page) -> Check:
    if page.status == http.HTTPStatus.OK:
        return Check("page", True, "Pages are served")
    if page.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        return Check("page", False, f"The gateway answers with HTTP status {page.status}; look into its log")
    # What is at / is up to whoever embeds the gateway.
    return Check("page", True, f"HTTP is answered (status {page.status} without a page at /)")


def _judge_upgrade(page: Page) -> Check:
    if page.status in _REFUSALS:
        return Check("websocket", True, "A WebSocket without a ticket is refused")
    if page.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
        return Check("websocket", False, "A WebSocket without a ticket is let in: this is no console gateway")
    return Check(
        "websocket", False, f"A WebSocket without a ticket gets HTTP status {page.status}; look into the log"
    )
