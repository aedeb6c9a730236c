"""A VNC viewer's part of RFB, byte by byte, over a gateway's WebSocket (RFC 6143)."""

from __future__ import annotations

import struct

from PIL import Image

from gateway.rfb import CHALLENGE_SIZE, vnc_response
from tests.support.client import WebSocketClient

__all__ = ["NONE", "VNC_AUTHENTICATION", "Denied", "Viewer"]

NONE, VNC_AUTHENTICATION = 1, 2
"""Security types that viewers in browsers know."""

_VERSION = b"RFB 003.008\n"
_RAW = 0
# 32 bits a pixel, red first.
_PIXEL_FORMAT = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 0, 8, 16)


class Denied(Exception):
    """The server does not let the viewer in; the text is the server's."""


class Viewer:
    """Looks at a screen through a WebSocket.

    :ivar types: the security types that were offered.
    :ivar size: of the screen, in pixels; known after :meth:`enter`, as is ``name``.
    """

    def __init__(self, client: WebSocketClient) -> None:
        self._client = client
        self._received = b""
        self.types: list[int] = []
        self.size = (0, 0)
        self.name = ""

    def enter(self, password: str | None = None) -> Viewer:
        """Do every handshake.

        :param password: for VNC authentication; without one, only None will do.
        :raises Denied: the server said no.
        :raises websockets.exceptions.ConnectionClosed: the session ended.
        """
        assert self._read(12) == _VERSION
        self._client.send(_VERSION)
        self.types = list(self._read(self._read(1)[0]))
        if not self.types:
            raise Denied(self._text())
        wanted = NONE if password is None else VNC_AUTHENTICATION
        assert wanted in self.types, self.types
        self._client.send(bytes([wanted]))
        if password is not None:
            self._client.send(vnc_response(self._read(CHALLENGE_SIZE), password))
        if self._number():
            raise Denied(self._text())
        self._client.send(b"\x01")
        width, height = struct.unpack(">HH", self._read(4))
        self.size = (width, height)
        self._read(16)
        self.name = self._text()
        return self

    def picture(self) -> Image.Image:
        """The whole screen as it is now."""
        send = self._client.send
        send(b"\x00\0\0\0" + _PIXEL_FORMAT)
        send(struct.pack(">BxHi", 2, 1, _RAW))
        send(struct.pack(">BBHHHH", 3, 0, 0, 0, *self.size))
        canvas = Image.new("RGB", self.size)
        missing = self.size[0] * self.size[1]
        while missing > 0:
            kind, rectangles = struct.unpack(">BxH", self._read(4))
            assert kind == 0, f"message {kind} instead of the screen"
            for _ in range(rectangles):
                x, y, width, height, encoding = struct.unpack(">HHHHi", self._read(12))
                assert encoding == _RAW
                pixels = self._read(width * height * 4)
                canvas.paste(Image.frombytes("RGBX", (width, height), pixels).convert("RGB"), (x, y))
                missing -= width * height
        return canvas

    def _number(self) -> int:
        number: int = struct.unpack(">I", self._read(4))[0]
        return number

    def _text(self) -> str:
        return self._read(self._number()).decode("utf-8")

    def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            self._received += self._client.recv()
        data, self._received = self._received[:size], self._received[size:]
        return data
