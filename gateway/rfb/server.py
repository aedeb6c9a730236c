"""The server's side of RFB without I/O (RFC 6143, sections 7.1 to 7.6).

It begins with a :class:`gateway.rfb.BrowserHandshake`; see
:mod:`gateway.rfb.wire` for how to drive it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias

from gateway.rfb.auth import CHALLENGE_SIZE, vnc_response_matches
from gateway.rfb.errors import RfbError
from gateway.rfb.face import BrowserHandshake, FaceReady, Response
from gateway.rfb.messages import (
    ClientCutText,
    ClientEvent,
    ClientMessage,
    ClientReady,
    Encoding,
    FramebufferUpdateRequest,
    KeyEvent,
    PointerEvent,
    Rectangle,
    ServerMessage,
    SetEncodings,
    SetPixelFormat,
)
from gateway.rfb.pixels import PixelFormat
from gateway.rfb.versions import Version
from gateway.rfb.wire import Conversation, Reading, Wire, encode_text

__all__ = ["MAX_CUT_TEXT", "MAX_ENCODINGS", "RfbServer"]

MAX_CUT_TEXT = 65536
"""Longest text taken from a client's clipboard, in bytes."""
MAX_ENCODINGS = 512
"""Most encodings taken in one message."""

_Parsing: TypeAlias = Generator[ClientEvent | None, None, None]


class RfbServer(Conversation[ClientEvent]):
    """One client's connection, seen from the server.

    :param width: of the screen, in pixels.
    :param height: of the screen, in pixels.
    :param name: of the desktop, shown in the client's title.
    :param password: for VNC authentication; ``None`` lets everybody in.
    :param random_bytes: source of unpredictable bytes for challenges, such as :func:`os.urandom`.
    :param pixel_format: the server's own, used until the client asks for another.
    """

    def __init__(
        self,
        width: int,
        height: int,
        name: str,
        password: str | bytes | None,
        random_bytes: Callable[[int], bytes],
        pixel_format: PixelFormat | None = None,
    ) -> None:
        wire = Wire()
        self._face = BrowserHandshake(password is not None, wire)
        super().__init__(wire)
        self._width = width
        self._height = height
        self._name = name.encode()
        self._password = password
        self._random_bytes = random_bytes
        self.pixel_format = pixel_format or PixelFormat()
        """What pixels must look like now."""

    def send_update(self, rectangles: Sequence[tuple[Rectangle, bytes]]) -> None:
        """Queue a FramebufferUpdate (section 7.6.1).

        :param rectangles: each with its pixels, row by row in :attr:`pixel_format` (Raw, section 7.7.1).
        """
        self._wire.write(struct.pack(">BxH", ServerMessage.FRAMEBUFFER_UPDATE, len(rectangles)))
        for area, pixels in rectangles:
            header = struct.pack(">HHHHi", area.x, area.y, area.width, area.height, Encoding.RAW)
            self._wire.write(header, pixels)

    def send_cut_text(self, text: bytes) -> None:
        """Queue a ServerCutText (section 7.6.4): text for the client's clipboard, Latin-1."""
        self._wire.write(struct.pack(">B3xI", ServerMessage.SERVER_CUT_TEXT, len(text)), text)

    def _talk(self) -> _Parsing:
        version = yield from self._secure()
        (shared,) = yield from self._wire.read(1)
        self._wire.write(
            struct.pack(">HH", self._width, self._height),
            self.pixel_format.encode(),
            encode_text(self._name),
        )
        yield ClientReady(version, bool(shared))
        while True:
            (kind,) = yield from self._wire.read(1)
            yield from self._message(kind)

    def _secure(self) -> Reading[Version]:
        """Let the client in, or not; the handshake reads from and writes to the same wire."""
        challenge = b""
        while True:
            match self._face.next_event():
                case None:
                    yield None
                case FaceReady(version) if self._password is None:
                    self._face.send_result(True)
                    return version
                case FaceReady(version):
                    challenge = self._random_bytes(CHALLENGE_SIZE)
                    self._face.send_challenge(challenge)
                case Response(response) if self._password is not None:
                    ok = vnc_response_matches(challenge, self._password, response)
                    self._face.send_result(ok, "Authentication failed")
                    if not ok:
                        raise RfbError("Authentication failed")
                    return version

    def _message(self, kind: int) -> _Parsing:
        """One message of the session, its type already read (section 7.5)."""
        match kind:
            case ClientMessage.SET_PIXEL_FORMAT:
                data = yield from self._wire.read(3 + PixelFormat.SIZE)
                self.pixel_format = PixelFormat.decode(data[3:])
                yield SetPixelFormat(self.pixel_format)
            case ClientMessage.SET_ENCODINGS:
                (count,) = struct.unpack(">xH", (yield from self._wire.read(3)))
                if count > MAX_ENCODINGS:
                    raise RfbError(f"SetEncodings with {count} encodings, more than {MAX_ENCODINGS}")
                yield SetEncodings(struct.unpack(f">{count}i", (yield from self._wire.read(4 * count))))
            case ClientMessage.FRAMEBUFFER_UPDATE_REQUEST:
                incremental, *area = struct.unpack(">BHHHH", (yield from self._wire.read(9)))
                yield FramebufferUpdateRequest(bool(incremental), Rectangle(*area))
            case ClientMessage.KEY_EVENT:
                down, keysym = struct.unpack(">B2xI", (yield from self._wire.read(7)))
                yield KeyEvent(bool(down), keysym)
            case ClientMessage.POINTER_EVENT:
                yield PointerEvent(*struct.unpack(">BHH", (yield from self._wire.read(5))))
            case ClientMessage.CLIENT_CUT_TEXT:
                (length,) = struct.unpack(">3xI", (yield from self._wire.read(7)))
                if length > MAX_CUT_TEXT:
                    raise RfbError(f"ClientCutText of {length} bytes, more than {MAX_CUT_TEXT}")
                yield ClientCutText((yield from self._wire.read(length)))
            case _:
                raise RfbError(f"unknown message type {kind}")
