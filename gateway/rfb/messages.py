"""What an RFB client says (RFC 6143, sections 7.3.1 and 7.5), as values."""

from __future__ import annotations

import enum
from typing import TypeAlias

import attrs

from gateway.rfb.pixels import PixelFormat
from gateway.rfb.versions import Version

__all__ = [
    "ClientCutText",
    "ClientEvent",
    "ClientMessage",
    "ClientReady",
    "Encoding",
    "FramebufferUpdateRequest",
    "KeyEvent",
    "PointerEvent",
    "Rectangle",
    "ServerMessage",
    "SetEncodings",
    "SetPixelFormat",
]


class ClientMessage(enum.IntEnum):
    """Types of the messages from clients."""

    SET_PIXEL_FORMAT = 0
    SET_ENCODINGS = 2
    FRAMEBUFFER_UPDATE_REQUEST = 3
    KEY_EVENT = 4
    POINTER_EVENT = 5
    CLIENT_CUT_TEXT = 6


class ServerMessage(enum.IntEnum):
    """Types of the messages from servers."""

    FRAMEBUFFER_UPDATE = 0
    SET_COLOUR_MAP_ENTRIES = 1
    BELL = 2
    SERVER_CUT_TEXT = 3


class Encoding(enum.IntEnum):
    """Encodings of rectangles that this package writes (RFC 6143, section 7.7)."""

    RAW = 0


@attrs.frozen
class Rectangle:
    """An area of the screen, in pixels from its upper left corner."""

    x: int
    y: int
    width: int
    height: int


@attrs.frozen
class ClientReady:
    """The handshake is over; the session begins."""

    version: Version
    shared: bool
    """Whether other clients may stay connected."""


@attrs.frozen
class SetPixelFormat:
    """The client wants this format from the next update on."""

    format: PixelFormat


@attrs.frozen
class SetEncodings:
    """The encodings the client can read, best first; negative ones announce abilities."""

    encodings: tuple[int, ...]


@attrs.frozen
class FramebufferUpdateRequest:
    """The client wants the area: all of it, or (incremental) what changed in it."""

    incremental: bool
    area: Rectangle
    """As sent: it may reach beyond the screen."""


@attrs.frozen
class KeyEvent:
    """A key went down or up."""

    down: bool
    keysym: int
    """X Window System keysym."""


@attrs.frozen
class PointerEvent:
    """The pointer is here, with these buttons down."""

    buttons: int
    """Bit 0 is the left button, 1 the middle, 2 the right, 3 and 4 the wheel."""
    x: int
    y: int


@attrs.frozen
class ClientCutText:
    """The client has new text to paste."""

    text: bytes = attrs.field(repr=False)
    """Latin-1 by the letter of the RFC.  Often a password, so never in a ``repr``."""


ClientEvent: TypeAlias = (
    ClientReady
    | SetPixelFormat
    | SetEncodings
    | FramebufferUpdateRequest
    | KeyEvent
    | PointerEvent
    | ClientCutText
)
"""Anything :meth:`gateway.rfb.RfbServer.next_event` can return."""
