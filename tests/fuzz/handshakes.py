"""Fuzz target: RFB's handshakes (RFC 6143, section 7.1), with console servers and with browsers.

Whatever a peer says, only the errors that are promised are raised, little is
waited for at once, the outcome does not depend on how the stream is cut, and
nothing is downgraded or given away that a server has no right to.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from typing import Any, Final
from unittest import mock

import attrs

from gateway.rfb import (
    MAX_WANTED,
    BrowserHandshake,
    Challenge,
    Conversation,
    Credentials,
    FaceReady,
    Ready,
    Requirement,
    Response,
    RfbError,
    StartTls,
    TargetHandshake,
)
from gateway.rfb.scram import ScramClient
from tests.fuzz.source import Source
from tests.unit.rfb.samples import CHALLENGE, FAILED, LINE, OK, offer, text
from tests.unit.rfb.scram_server import ScramServer, counted

__all__ = ["SEEDS", "fuzz"]

_PASSWORD: Final = "pencil"
_CREDENTIALS: Final = Credentials("user", _PASSWORD)
_REQUIREMENTS: Final = [
    Requirement(tls, anonymous, credentials, browser)
    for tls in (True, False)
    for anonymous in (False, True)
    for credentials in (_CREDENTIALS, None)
    for browser in (False, True)
]
_MAX_ERROR: Final = 1000
_MAX_SENT: Final = 4096


def _scram() -> bytes:
    """SASL's part of a server that knows the password, for a nonce of zeros."""
    client = ScramClient(_CREDENTIALS, base64.b64encode(bytes(24)))
    server = ScramServer.of(_PASSWORD.encode())
    first = client.first_message()
    challenge = server.first(first)
    final = server.final(first, client.final_message(challenge))
    return text(b"SCRAM-SHA-256") + counted(challenge) + b"\0" + counted(final) + b"\1" + OK


_VENCRYPT: Final = LINE + b"\2\x13\x01\0\2"
_TALKS: Final = [
    (LINE + b"\1\1" + OK, b""),
    (LINE + b"\2\1\2" + CHALLENGE + FAILED + text(b"No"), b""),
    (LINE + b"\0" + text(b"Busy"), b""),
    (b"RFB 003.007\n\1\2" + CHALLENGE + FAILED, b""),
    (b"RFB 003.003\n\0\0\0\2" + CHALLENGE + OK, b""),
    (LINE + b"\1\x14" + _scram(), b""),
    *(
        (_VENCRYPT + offer(subtype, 99) + b"\1", inside)
        for subtype, inside in (
            *((subtype, OK) for subtype in (257, 260)),
            *((subtype, CHALLENGE + OK) for subtype in (258, 261)),
            (262, FAILED + text(b"Who?")),
            (263, _scram()),
        )
    ),
]
"""What servers say, in the clear and then inside TLS."""

_BROWSERS: Final = (LINE + b"\1\1", LINE + b"\2" + bytes(16) + b"\1", b"RFB 003.003\n" + bytes(17))

SEEDS = (
    *(
        bytes((0, 1, number, requirement)) + b"\x01\x05\x00\x00\x00\x01" * 2
        for number in range(len(_TALKS))
        for requirement in (0, 1, 6, 8)
    ),
    b"\x00\x00\x00\x00\x0d" + LINE + b"\x01\x13\x00\x02",
    *(bytes((1, 1, number)) + b"\x02\x07" for number in range(len(_BROWSERS))),
    b"\x01\x00\x00" + LINE + b"\x01",
)


def fuzz(data: bytes) -> None:
    """Say what ``data`` is, or makes of something good, to one of the handshakes, in several cuts.

    :raises AssertionError: when a promise is not kept; whatever else is raised is a defect as well.
    """
    source = Source(data)
    (_browser if source.byte() & 1 else _target)(source)


# -- RFB, towards the console server -------------------------------------------------------


@attrs.define
class _Talk:
    """A conversation with whoever is fed into it, and what came of it."""

    conversation: Conversation[Any]
    turn: Callable[[Any], None]
    """Does the driver's part."""
    events: list[object] = attrs.field(factory=list)
    sent: bytes = b""
    error: RfbError | None = None
    over: bool = False

    def feed(self, piece: bytes) -> None:
        self.conversation.receive_data(piece)
        self.settle()

    def settle(self) -> None:
        conversation = self.conversation
        try:
            while (event := conversation.next_event()) is not None:
                self.sent += conversation.data_to_send()
                self.events.append(event)
                self.turn(event)
                self.over = isinstance(event, Ready)
        except RfbError as error:
            self._failed(error)
        self.sent += conversation.data_to_send()
        assert len(self.sent) <= _MAX_SENT, "says too much"
        assert conversation.wanted <= MAX_WANTED, "wants too much"

    def read(self, stream: bytes) -> bytes:
        """Read exactly what is wanted until that is nothing, or nothing is left; returns the rest."""
        while stream and not self.error and (size := self.conversation.wanted):
            self.feed(stream[:size])
            stream = stream[size:]
        return stream

    def outcome(self) -> tuple[str, bytes, str]:
        return repr(self.events), self.sent, repr(self.error)

    def _failed(self, error: RfbError) -> None:
        message = str(error)
        assert message.isprintable(), "an error in several lines"
        assert 0 < len(message) <= _MAX_ERROR, "an error of no useful length"
        assert self.error is None or repr(self.error) == repr(error), "another error than before"
        assert self.conversation.wanted == 0, "wants something after an error"
        self.error = error


class _Target(_Talk):
    def __init__(self, requirement: Requirement) -> None:
        handshake = TargetHandshake(requirement)
        super().__init__(handshake, self._do)
        self._handshake = handshake
        self.outside: bytes | None = None
        """What was sent before TLS, once there is TLS."""
        self.settle()

    def _do(self, event: object) -> None:
        if isinstance(event, StartTls):
            assert self.outside is None, "TLS inside TLS"
            self.outside = self.sent
            self._handshake.tls_started()
        elif isinstance(event, Challenge):
            self._handshake.answer(bytes(16))

    def play(self, outside: bytes, inside: bytes, size: int | None) -> None:
        """Feed both streams as a driver does, which begins with the second when TLS stands.

        :param size: of pieces; ``None`` for exactly what is wanted.
        """
        for stream in (outside, inside):
            secure = self.outside is not None
            while stream and not self.error and self.conversation.wanted:
                length = self.conversation.wanted if size is None else min(size, self.conversation.wanted)
                self.feed(stream[:length])
                stream = stream[length:]
                if not secure and self.outside is not None:
                    break


def _target(source: Source) -> None:
    edited = source.byte() & 1
    outside, inside = source.pick(_TALKS)
    requirement = source.pick(_REQUIREMENTS)
    if edited:
        outside, inside = source.edited(outside), source.edited(inside) if source.byte() & 1 else inside
    else:
        size = source.byte()
        outside, inside = source.take(size), source.rest()
    with mock.patch.object(secrets, "token_bytes", bytes):
        wanted, bytewise, glued = (_Target(requirement) for _ in range(3))
        wanted.play(outside, inside, None)
        bytewise.play(outside, inside, 1)
        assert bytewise.outcome() == wanted.outcome(), "the outcome depends on the cut"
        glued.feed(outside + inside)
        assert glued.outside is None or glued.error or not inside, (
            "what was said in the clear counts inside TLS"
        )
    for talk in (wanted, glued):
        _judge(talk, requirement, outside + inside)
        talk.conversation.receive_eof()  # type: ignore[attr-defined]
        talk.settle()
        assert talk.over or talk.error, "the end of the connection goes unnoticed"


def _judge(talk: _Target, requirement: Requirement, said: bytes) -> None:
    """Nothing was downgraded, and nothing given away."""
    starts = [event for event in talk.events if isinstance(event, StartTls)]
    verified = bool(starts) and not starts[0].anonymous
    assert requirement.anonymous or not starts or verified, "anonymous TLS that was not allowed"
    if requirement.tls:
        assert starts or not talk.over, "content without TLS"
        assert starts or not any(isinstance(event, Challenge) for event in talk.events), "asked without TLS"
    asked = any(isinstance(event, Challenge) for event in talk.events)
    assert requirement.browser_answers or not asked, "the browser is asked, and should not be"
    password = _PASSWORD.encode()
    if talk.outside is not None:
        assert password not in talk.outside, "the password in the clear"
    if not verified:
        assert password not in talk.sent, "the password for anybody"
    if password not in said:
        assert _PASSWORD not in repr(talk.error) + repr(talk.events), "the password in an error"


# -- RFB, towards the browser --------------------------------------------------------------


class _Browser(_Talk):
    def __init__(self, *, authenticate: bool, ok: bool) -> None:
        handshake = BrowserHandshake(authenticate=authenticate)
        super().__init__(handshake, self._do)
        self._handshake = handshake
        self._asks = authenticate
        self._ok = ok
        self.settle()

    def _do(self, event: object) -> None:
        if isinstance(event, FaceReady) and self._asks:
            self._handshake.send_challenge(CHALLENGE)
        elif isinstance(event, FaceReady | Response):
            self._handshake.send_result(self._ok, "No")


def _browser(source: Source) -> None:
    how = source.byte()
    authenticate, ok = bool(how & 2), bool(how & 4)
    sample = source.pick(_BROWSERS)
    stream = source.edited(sample) if how & 1 else source.rest()
    wanted, whole, bytewise = (_Browser(authenticate=authenticate, ok=ok) for _ in range(3))
    left = wanted.read(stream)
    whole.feed(stream)
    for at in range(len(stream)):
        bytewise.feed(stream[at : at + 1])
    assert wanted.outcome() == whole.outcome() == bytewise.outcome(), "the outcome depends on the cut"
    if wanted.error is None:
        unused = whole.conversation.unused_data
        assert unused == bytewise.conversation.unused_data, "what is left depends on the cut"
        assert unused == wanted.conversation.unused_data + left, "bytes for the target are lost"
