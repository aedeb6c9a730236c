"""Fuzz target: a console server that speaks WebSocket (RFC 6455), from its answer to our request on.

Only refusals are raised, the outcome does not depend on how the stream is cut,
and what is accepted of its frames is what an independent client reads.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Final

from websockets.frames import Frame
from websockets.frames import Opcode as TheirOpcode
from websockets.protocol import Protocol, Side

from gateway.relay import HEADROOM, ServerFrameDecoder
from gateway.relay.frames import FrameReader
from gateway.targets.upgrade import ClientUpgrade, UpgradeError, bearer_subprotocols
from tests.fuzz.frames import cut, written
from tests.fuzz.source import Source

__all__ = ["SEEDS", "fuzz"]

_TOKEN: Final = "the-bearer-token"
_PATH: Final = "/apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/b/vnc"
_ACCEPTED: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n"
    b"Sec-WebSocket-Protocol: plain.kubevirt.io\r\n\r\n\x82\x03RFB"
)
"""The answer to a key of zeros, and a first frame."""
_MAX_ERROR: Final = 1000
_MAX_KEPT: Final = 125 + 9
"""Of a frame: a control payload, and the part of a header that is not enough to know more."""
_MAX_WIRE: Final = 100_000

SEEDS = (
    b"\x00\x01\x02\x10\x20\x00\x00\x01",
    b"\x00\x00\x00" + _ACCEPTED,
    b"\x00\x00\x02\x00\x10\x00\xa0" + _ACCEPTED.replace(b"Switching Protocols", b""),
    b"\x00\x00\x00HTTP/1.1 403 Forbidden\r\n\r\n",
    b"\x01\x00\x00\x82\x03RFB\x89\x04ping\x02\x01a\x80\x01b\x88\x02\x03\xe8",
    b"\x01\x01\x01" + bytes(range(64)),
)


def fuzz(data: bytes) -> None:
    """Answer the request, or go on behind a good answer, with what ``data`` is or describes, in several cuts.

    :raises AssertionError: when a promise is not kept; whatever else is raised is a defect as well.
    """
    source = Source(data)
    (_frames if source.byte() & 1 else _upgrade)(source)


def _upgrade(source: Source) -> None:
    edited = source.byte() & 1
    places = [source.number(65535) for _ in range(source.byte() % 8)]
    wire = source.edited(_ACCEPTED, edits=10) if edited else source.rest()
    whole = _answered([wire])
    assert whole == _answered(cut(wire, places)), "the outcome depends on the cut"
    assert whole == _answered(wire[at : at + 1] for at in range(len(wire))), "the outcome depends on the cut"


def _answered(pieces: Iterable[bytes]) -> tuple[object, ...]:
    """What comes of an answer: the agreement with what is left behind it, or the error."""
    upgrade = ClientUpgrade("api.example", 6443, _PATH, bearer_subprotocols(_TOKEN), bytes)
    request = upgrade.data_to_send()
    assert upgrade.data_to_send() == b"", "the token twice"
    behind = b""
    try:
        for piece in pieces:
            if upgrade.done:
                behind += piece
            elif piece:
                assert upgrade.wanted > 0
                upgrade.receive_data(piece)
    except UpgradeError as error:
        message = str(error)
        assert message.isprintable(), "an error in several lines"
        assert len(message) <= _MAX_ERROR
        assert base64.b64encode(_TOKEN.encode()).rstrip(b"=").decode() not in message + repr(upgrade)
        return type(error), message, error.status
    if upgrade.done:
        assert upgrade.subprotocol in ("plain.kubevirt.io", None)
        assert request.count(b"\r\n\r\n") == 1
    return upgrade.done, upgrade.subprotocol, upgrade.unused_data + behind


def _frames(source: Source) -> None:
    places = [source.number(65535) for _ in range(source.byte() % 8)]
    wire = (written(source, masked=False) if source.byte() & 1 else source.rest())[:_MAX_WIRE]
    whole = _decoded([wire])
    assert whole == _decoded(cut(wire, places)), "the outcome depends on the cut"
    if len(wire) <= 2000:
        assert whole == _decoded(wire[at : at + 1] for at in range(len(wire))), "as above, byte by byte"
    payload, _, ended, code, error = whole
    theirs = Protocol(Side.CLIENT, max_size=None)
    theirs.receive_data(wire)
    if theirs.parser_exc is not None:
        assert ended, f"refused elsewhere: {theirs.parser_exc}"
    elif error is None:
        frames = [event for event in theirs.events_received() if isinstance(event, Frame)]
        data = b"".join(f.data for f in frames if f.opcode in (TheirOpcode.BINARY, TheirOpcode.CONT))
        # They give a frame away when all of it is there.
        assert payload.startswith(data), "payload differs"
        assert ended == (theirs.close_rcvd is not None), "only one saw the end"
        if theirs.close_rcvd is not None:
            assert code == (None if theirs.close_rcvd.code == 1005 else theirs.close_rcvd.code)


def _decoded(pieces: Iterable[bytes]) -> tuple[bytes, bytes | None, bool, int | None, str | None]:
    """Payload, last ping, whether the server left, its code, and what was wrong."""
    decoder = ServerFrameDecoder()
    payload = b""
    ping: bytes | None = None
    for piece in pieces:
        # Exactly the room that is promised to be enough, before bytes that must stay as they are.
        room = memoryview(bytearray(bytes(HEADROOM) + piece + b"####"))
        stop = HEADROOM + len(piece)
        begin, end = decoder.feed(room, HEADROOM, stop)
        assert HEADROOM <= begin <= end <= stop, "payload outside of what was fed"
        assert bytes(room[stop:]) == b"####", "written behind what was fed"
        payload += room[begin:end]
        # A buffer that is used again: nothing may be kept of it but copies.
        room[:] = bytes(len(room))
        ping, decoder.ping = decoder.ping if decoder.ping is not None else ping, None
        values = (getattr(decoder, name) for name in FrameReader.__slots__)
        kept = sum(len(value) for value in values if isinstance(value, bytes))
        assert decoder.ended or kept <= _MAX_KEPT, f"{kept} bytes kept"
    error = decoder.error
    return payload, ping, decoder.ended, decoder.close_code, None if error is None else str(error)
