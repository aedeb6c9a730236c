"""RFB, the protocol of VNC, without I/O (RFC 6143)."""

from gateway.rfb.auth import CHALLENGE_SIZE, vnc_response, vnc_response_matches
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
from gateway.rfb.server import MAX_CUT_TEXT, MAX_ENCODINGS, RfbServer

__all__ = [
    "CHALLENGE_SIZE",
    "MAX_CUT_TEXT",
    "MAX_ENCODINGS",
    "ClientCutText",
    "ClientEvent",
    "ClientMessage",
    "ClientReady",
    "Encoding",
    "FramebufferUpdateRequest",
    "KeyEvent",
    "PixelFormat",
    "PointerEvent",
    "Rectangle",
    "RfbError",
    "RfbServer",
    "SecurityType",
    "ServerMessage",
    "SetEncodings",
    "SetPixelFormat",
    "Version",
    "vnc_response",
    "vnc_response_matches",
]
