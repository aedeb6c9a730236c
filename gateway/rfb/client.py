"""The gateway's side of RFB towards a console server, up to the end of security (RFC 6143, section 7.1).

A :class:`TargetHandshake` leaves the connection right after the
SecurityResult: what follows is the client's ClientInit, and nothing of it has
been read or written.  See :mod:`gateway.rfb.wire` for how to drive it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias

import attrs

from gateway.rfb.auth import CHALLENGE_SIZE, vnc_response
from gateway.rfb.errors import AuthenticationFailed, NeedsCredentials, RfbError, ServerRefused
from gateway.rfb.plain import encode_plain
from gateway.rfb.requirement import Credentials, Requirement
from gateway.rfb.sasl import agree_mechanism, authenticate_scram
from gateway.rfb.security import Method, SecurityType, VencryptSubtype
from gateway.rfb.vencrypt import agree_vencrypt
from gateway.rfb.versions import VERSION_SIZE, Version, server_version
from gateway.rfb.wire import MAX_WANTED, Conversation, Reading, printable

__all__ = ["Challenge", "Ready", "StartTls", "TargetEvent", "TargetHandshake"]

_IMPOSABLE = (SecurityType.NONE, SecurityType.VNC_AUTHENTICATION)
_OK, _FAILED, _TOO_MANY = 0, 1, 2


@attrs.frozen
class StartTls:
    """Run TLS as a client now, then call :meth:`TargetHandshake.tls_started`."""

    anonymous: bool
    """Whether the server will show no certificate; otherwise it must be verified."""


@attrs.frozen
class Challenge:
    """The server's challenge, for the browser; then call :meth:`TargetHandshake.answer`."""

    challenge: bytes = attrs.field(repr=False)


@attrs.frozen
class Ready:
    """Security is over and the server content; ClientInit is next."""

    version: Version


TargetEvent: TypeAlias = StartTls | Challenge | Ready
"""Anything :meth:`TargetHandshake.next_event` can return."""

_Talking: TypeAlias = Generator[TargetEvent | None, None, None]


class TargetHandshake(Conversation[TargetEvent]):
    """One connection to a console server.

    Besides :class:`RfbError` for broken grammar, it ends with :class:`InsecureTarget`,
    :class:`NeedsCredentials`, :class:`ServerRefused` or :class:`AuthenticationFailed`.

    :param requirement: what the server must offer, and what it may be answered.
    """

    def __init__(self, requirement: Requirement) -> None:
        super().__init__()
        self._requirement = requirement
        self._response = b""
        self._judged = False
        self._over = False
        self.chosen: SecurityType | VencryptSubtype | None = None
        """The security agreed on, as soon as it is; for logs."""

    def tls_started(self) -> None:
        """TLS stands, and its certificate is verified unless :class:`StartTls` said otherwise.

        From now on the bytes taken and handed out are those inside TLS.

        :raises RuntimeError: TLS is not expected now.
        """
        self._answered("tls_started")
        if self._wire.unread:
            self._break(_plaintext_error())

    def answer(self, response: bytes) -> None:
        """Answer the challenge.

        :param response: the browser's 16 bytes.
        :raises ValueError: the response has another length.
        :raises RuntimeError: no challenge waits for an answer.
        """
        if len(response) != CHALLENGE_SIZE:
            raise ValueError(f"a VNC response has {CHALLENGE_SIZE} bytes, not {len(response)}")
        self._answered("answer")
        self._response = response

    def receive_eof(self) -> None:
        """The server closed the connection: unless the handshake was over, an error follows.

        A server that hangs up on an answer has refused it, so that is :class:`AuthenticationFailed`: some say
        nothing else to a wrong password.
        """
        if self._error is not None or self._over:
            return
        if self._judged:
            self._break(AuthenticationFailed("Server closed the connection instead of accepting the answer"))
        else:
            self._break(RfbError("server closed the connection during the handshake"))

    def _talk(self) -> _Talking:
        version = server_version((yield from self._wire.read(VERSION_SIZE)))
        self._wire.write(version.value)
        self.chosen = kind = yield from self._choose_type(version)
        if kind is SecurityType.VENCRYPT:
            self.chosen = subtype = yield from agree_vencrypt(self._wire, self._requirement)
            if self._wire.unread:
                raise _plaintext_error()
            yield from self._ask(StartTls(subtype.anonymous), "tls_started")
            yield from self._authenticate(subtype.method)
        elif kind.method is not None:
            yield from self._authenticate(kind.method)
        if kind is not SecurityType.NONE or version is Version.V3_8:
            yield from self._read_result(version)
        self._over = True
        yield Ready(version)

    def _choose_type(self, version: Version) -> Reading[SecurityType]:
        """Section 7.1.2, and appendix A for 3.3, where the server alone decides."""
        if version is Version.V3_3:
            offered = [(yield from self._wire.read_u32())]
            refused = offered == [SecurityType.INVALID]
        else:
            (count,) = yield from self._wire.read(1)
            offered = list((yield from self._wire.read(count)))
            refused = not offered
        if refused:
            raise ServerRefused((yield from self._read_reason()) or "No reason given")
        kind = self._requirement.choose_type(offered)
        if version is not Version.V3_3:
            self._wire.write(bytes((kind,)))
        elif kind not in _IMPOSABLE:
            raise RfbError(f"server imposes {kind.name}, which RFB 3.3 has not")
        return kind

    def _authenticate(self, method: Method) -> _Talking:
        """The method, inside TLS or not; a choice of it has made sure that there is something to answer."""
        match method:
            case Method.VNC:
                yield from self._authenticate_vnc()
            case Method.PLAIN:
                self._wire.write(encode_plain(self._credentials))
                self._judged = True
            case Method.SASL:
                yield from agree_mechanism(self._wire)
                self._judged = True
                yield from authenticate_scram(self._wire, self._credentials)

    def _authenticate_vnc(self) -> _Talking:
        """Section 7.2.2."""
        challenge = yield from self._wire.read(CHALLENGE_SIZE)
        if self._requirement.browser_answers:
            yield from self._ask(Challenge(challenge), "answer")
        else:
            try:
                self._response = vnc_response(challenge, self._credentials.password)
            except ValueError:
                raise NeedsCredentials(
                    "the password has characters that VNC authentication cannot carry"
                ) from None
        self._wire.write(self._response)
        self._judged = True

    @property
    def _credentials(self) -> Credentials:
        if self._requirement.credentials is None:
            raise NeedsCredentials("there are no credentials to answer with")
        return self._requirement.credentials

    def _read_result(self, version: Version) -> Reading[None]:
        """Section 7.1.3."""
        status = yield from self._wire.read_u32()
        if status == _OK:
            return
        if status not in (_FAILED, _TOO_MANY):
            raise RfbError(f"unknown SecurityResult {status}")
        self._judged = True
        reason = (yield from self._read_reason()) if version is Version.V3_8 else ""
        raise AuthenticationFailed(reason or "Authentication failed")

    def _read_reason(self) -> Reading[str]:
        """A server's words, unless they are ours: what it was sent must not reach a log this way."""
        reason = yield from self._wire.read_text(MAX_WANTED, "reason")
        if self._requirement.credentials is not None:
            password = self._requirement.credentials.password
            for encoding in ("utf-8", "latin-1"):
                if password and password.encode(encoding, "replace") in reason:
                    return "Reason withheld"
        return printable(reason)


def _plaintext_error() -> RfbError:
    """Whoever can write between the peers would speak with TLS's authority."""
    return RfbError("server sent plaintext where TLS must begin")
