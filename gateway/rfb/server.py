"""The server's side of RFB without I/O (RFC 6143, sections 7.1 to 7.6).

Feed what the client sent to :meth:`RfbServer.receive_data`, take events from
:meth:`RfbServer.next_event` until it returns ``None``, and write what
:meth:`RfbServer.data_to_send` hands out.  After an :class:`RfbError`, write
that last time (the client is told why where the protocol has words for it)
and close.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias

from gateway.rfb.auth import CHALLENGE_SIZE, vnc_response_matches
from gateway.rfb.errors import RfbError
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
    SecurityType,
    ServerMessage,
    SetEncodings,
    SetPixelFormat,
    Version,
)
from gateway.rfb.pixels import PixelFormat

__all__ = ["MAX_CUT_TEXT", "MAX_ENCODINGS", "RfbServer"]

MAX_CUT_TEXT = 65536
"""Longest text taken from a client's clipboard, in bytes."""
MAX_ENCODINGS = 512
"""Most encodings taken in one message."""

_VERSION = re.compile(rb"RFB 003\.[0-9]{3}\n")

_Reading: TypeAlias = Generator[None, None, bytes]
_Parsing: TypeAlias = Generator[ClientEvent | None, None, None]


class RfbServer:
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
        self._width = width
        self._height = height
        self._name = name.encode()
        self._password = password
        self._random_bytes = random_bytes
        self.pixel_format = pixel_format or PixelFormat()
        """What pixels must look like now."""
        self._incoming = bytearray()
        self._outgoing: list[bytes] = [Version.V3_8.value]
        self._error: str | None = None
        self._parser = self._parse()

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the client, cut anywhere.  Drain :meth:`next_event` after each call."""
        if self._error is None:
            self._incoming += data

    def next_event(self) -> ClientEvent | None:
        """The next event, or ``None`` when more bytes are needed.

        :raises RfbError: the client broke the protocol or failed to authenticate; so does every later call.
        """
        if self._error is not None:
            raise RfbError(self._error)
        try:
            return next(self._parser)
        except RfbError as error:
            self._error = str(error)
            self._incoming.clear()
            raise

    def data_to_send(self) -> bytes:
        """Everything that waits to be written; each byte is handed out once."""
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        return data

    def send_update(self, rectangles: Sequence[tuple[Rectangle, bytes]]) -> None:
        """Queue a FramebufferUpdate (section 7.6.1).

        :param rectangles: each with its pixels, row by row in :attr:`pixel_format` (Raw, section 7.7.1).
        """
        self._outgoing.append(struct.pack(">BxH", ServerMessage.FRAMEBUFFER_UPDATE, len(rectangles)))
        for area, pixels in rectangles:
            header = struct.pack(">HHHHi", area.x, area.y, area.width, area.height, Encoding.RAW)
            self._outgoing += (header, pixels)

    def send_cut_text(self, text: bytes) -> None:
        """Queue a ServerCutText (section 7.6.4): text for the client's clipboard, Latin-1."""
        self._outgoing.append(struct.pack(">B3xI", ServerMessage.SERVER_CUT_TEXT, len(text)) + text)

    def _read(self, size: int) -> _Reading:
        """Wait for exactly ``size`` bytes."""
        while len(self._incoming) < size:
            yield None
        data = bytes(self._incoming[:size])
        del self._incoming[:size]
        return data

    def _parse(self) -> _Parsing:
        """The whole conversation, in order."""
        line = yield from self._read(len(Version.V3_8.value))
        version = _client_version(line)
        if version is Version.V3_3:
            yield from self._impose_security()
        else:
            yield from self._offer_security(version)
        (shared,) = yield from self._read(1)
        self._outgoing.append(
            struct.pack(">HH", self._width, self._height)
            + self.pixel_format.encode()
            + struct.pack(">I", len(self._name))
            + self._name
        )
        yield ClientReady(version, bool(shared))
        while True:
            (kind,) = yield from self._read(1)
            yield from self._message(kind)

    @property
    def _security_type(self) -> SecurityType:
        return SecurityType.NONE if self._password is None else SecurityType.VNC_AUTHENTICATION

    def _impose_security(self) -> _Parsing:
        """Version 3.3: the server alone decides (RFC 6143, appendix A)."""
        self._outgoing.append(struct.pack(">I", self._security_type))
        yield from self._authenticate(Version.V3_3)

    def _offer_security(self, version: Version) -> _Parsing:
        self._outgoing.append(bytes((1, self._security_type)))
        (chosen,) = yield from self._read(1)
        if chosen != self._security_type:
            self._refuse(version, "Security type was not offered")
        yield from self._authenticate(version)

    def _authenticate(self, version: Version) -> _Parsing:
        if self._password is not None:
            challenge = self._random_bytes(CHALLENGE_SIZE)
            self._outgoing.append(challenge)
            response = yield from self._read(CHALLENGE_SIZE)
            if not vnc_response_matches(challenge, self._password, response):
                self._refuse(version, "Authentication failed")
        elif version is not Version.V3_8:
            return  # Before 3.8, security type None has no result (section 7.2.1, appendix A).
        self._outgoing.append(struct.pack(">I", 0))

    def _refuse(self, version: Version, reason: str) -> None:
        """Queue a failed SecurityResult (section 7.1.3) and give up."""
        self._outgoing.append(struct.pack(">I", 1))
        if version is Version.V3_8:
            self._outgoing.append(struct.pack(">I", len(reason)) + reason.encode())
        raise RfbError(reason)

    def _message(self, kind: int) -> _Parsing:
        """One message of the session, its type already read (section 7.5)."""
        match kind:
            case ClientMessage.SET_PIXEL_FORMAT:
                data = yield from self._read(3 + PixelFormat.SIZE)
                self.pixel_format = PixelFormat.decode(data[3:])
                yield SetPixelFormat(self.pixel_format)
            case ClientMessage.SET_ENCODINGS:
                (count,) = struct.unpack(">xH", (yield from self._read(3)))
                if count > MAX_ENCODINGS:
                    raise RfbError(f"SetEncodings with {count} encodings, more than {MAX_ENCODINGS}")
                yield SetEncodings(struct.unpack(f">{count}i", (yield from self._read(4 * count))))
            case ClientMessage.FRAMEBUFFER_UPDATE_REQUEST:
                incremental, *area = struct.unpack(">BHHHH", (yield from self._read(9)))
                yield FramebufferUpdateRequest(bool(incremental), Rectangle(*area))
            case ClientMessage.KEY_EVENT:
                down, keysym = struct.unpack(">B2xI", (yield from self._read(7)))
                yield KeyEvent(bool(down), keysym)
            case ClientMessage.POINTER_EVENT:
                yield PointerEvent(*struct.unpack(">BHH", (yield from self._read(5))))
            case ClientMessage.CLIENT_CUT_TEXT:
                (length,) = struct.unpack(">3xI", (yield from self._read(7)))
                if length > MAX_CUT_TEXT:
                    raise RfbError(f"ClientCutText of {length} bytes, more than {MAX_CUT_TEXT}")
                yield ClientCutText((yield from self._read(length)))
            case _:
                raise RfbError(f"unknown message type {kind}")


def _client_version(line: bytes) -> Version:
    """Which version a client's answer stands for (section 7.1.1)."""
    if not _VERSION.fullmatch(line):
        raise RfbError("client does not speak RFB 3")
    try:
        return Version(line)
    except ValueError:
        # Numbers that were never published speak the oldest handshake.
        return Version.V3_3
