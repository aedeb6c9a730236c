"""The gateway's side of RFB towards a browser, up to the end of security (RFC 6143, section 7.1).

Exactly one security type is offered.  The same handshake is the beginning of
:class:`gateway.rfb.RfbServer`.  See :mod:`gateway.rfb.wire` for how to drive
it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias

import attrs

from gateway.rfb.auth import CHALLENGE_SIZE
from gateway.rfb.errors import RfbError
from gateway.rfb.security import SecurityType
from gateway.rfb.versions import VERSION_SIZE, Version, client_version
from gateway.rfb.wire import Conversation, Reading, Wire, encode_text

__all__ = ["BrowserEvent", "BrowserHandshake", "FaceReady", "Response"]

_OK, _FAILED = b"\0\0\0\0", b"\0\0\0\1"


@attrs.frozen
class FaceReady:
    """The security type is agreed on; it is the driver's turn.

    Call :meth:`BrowserHandshake.send_challenge`, or without authentication
    :meth:`BrowserHandshake.send_result`.
    """

    version: Version


@attrs.frozen
class Response:
    """The answer to the challenge; then call :meth:`BrowserHandshake.send_result`."""

    response: bytes = attrs.field(repr=False)


BrowserEvent: TypeAlias = FaceReady | Response
"""Anything :meth:`BrowserHandshake.next_event` can return."""


class BrowserHandshake(Conversation[BrowserEvent]):
    """One client's connection.

    :param authenticate: whether to offer VNC authentication, or None.
    :param wire: shared with the conversation that this one begins; its own by default.
    """

    def __init__(self, authenticate: bool, wire: Wire | None = None) -> None:
        super().__init__(wire)
        self._kind = SecurityType.VNC_AUTHENTICATION if authenticate else SecurityType.NONE
        self._version: Version | None = None
        self._failure: str | None = None
        self._wire.write(Version.V3_8.value)

    def fail(self, reason: str) -> None:
        """Offer no security type, but the reason why not.

        When the client's version is known, :meth:`next_event` queues that and raises :class:`RfbError`.

        :param reason: fit for the user's eyes.
        :raises RuntimeError: the security type has been offered already.
        """
        if self._version is not None:
            raise RuntimeError("fail() is not expected now")
        self._failure = reason

    def send_challenge(self, challenge: bytes) -> None:
        """Queue a challenge of 16 bytes.

        :raises ValueError: the challenge has another length.
        :raises RuntimeError: it is not the time for one.
        """
        if len(challenge) != CHALLENGE_SIZE:
            raise ValueError(f"a VNC challenge has {CHALLENGE_SIZE} bytes, not {len(challenge)}")
        self._answered("send_challenge")
        self._wire.write(challenge)

    def send_result(self, ok: bool, reason: str = "") -> None:
        """Queue the SecurityResult as the client's version has it (section 7.1.3), and be done.

        Before 3.8, there is no reason in it, and none at all after security type None.

        :param reason: of a failure, fit for the user's eyes.
        :raises RuntimeError: it is not the time for a result.
        """
        self._answered("send_result")
        if self._kind is SecurityType.NONE and self._version is not Version.V3_8:
            return
        self._wire.write(_OK if ok else _FAILED)
        if not ok and self._version is Version.V3_8:
            self._wire.write(encode_text(reason.encode("utf-8", "replace")))

    def _talk(self) -> Generator[BrowserEvent | None, None, None]:
        self._version = version = client_version((yield from self._wire.read(VERSION_SIZE)))
        if self._failure is not None:
            self._offer_nothing(version, self._failure)
        yield from self._offer(version)
        if self._kind is SecurityType.VNC_AUTHENTICATION:
            yield from self._ask(FaceReady(version), "send_challenge")
            response = yield from self._wire.read(CHALLENGE_SIZE)
            yield from self._ask(Response(response), "send_result")
        else:
            yield from self._ask(FaceReady(version), "send_result")

    def _offer_nothing(self, version: Version, reason: str) -> None:
        """Section 7.1.2, and appendix A for 3.3."""
        nothing = 4 if version is Version.V3_3 else 1
        self._wire.write(bytes(nothing), encode_text(reason.encode("utf-8", "replace")))
        raise RfbError(reason)

    def _offer(self, version: Version) -> Reading[None]:
        if version is Version.V3_3:
            # The server alone decides (appendix A).
            self._wire.write(self._kind.to_bytes(4, "big"))
            return
        self._wire.write(bytes((1, self._kind)))
        (chosen,) = yield from self._wire.read(1)
        if chosen != self._kind:
            reason = "Security type was not offered"
            self._wire.write(_FAILED)
            if version is Version.V3_8:
                self._wire.write(encode_text(reason.encode()))
            raise RfbError(reason)
