"""RFB, the protocol of VNC, without I/O (RFC 6143)."""

from gateway.rfb.auth import CHALLENGE_SIZE, vnc_response, vnc_response_matches
from gateway.rfb.client import Challenge, Ready, StartTls, TargetEvent, TargetHandshake
from gateway.rfb.errors import (
    AuthenticationFailed,
    InsecureTarget,
    NeedsCredentials,
    RfbError,
    ServerRefused,
)
from gateway.rfb.face import BrowserEvent, BrowserHandshake, FaceReady, Response
from gateway.rfb.input import RfbInput
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
from gateway.rfb.requirement import Credentials, Requirement
from gateway.rfb.scram import MAX_ITERATIONS, MIN_ITERATIONS, ScramClient
from gateway.rfb.security import Method, SecurityType, VencryptSubtype
from gateway.rfb.server import MAX_CUT_TEXT, MAX_ENCODINGS, RfbServer
from gateway.rfb.versions import Version
from gateway.rfb.wire import MAX_WANTED, Conversation

__all__ = [
    "CHALLENGE_SIZE",
    "MAX_CUT_TEXT",
    "MAX_ENCODINGS",
    "MAX_ITERATIONS",
    "MAX_WANTED",
    "MIN_ITERATIONS",
    "AuthenticationFailed",
    "BrowserEvent",
    "BrowserHandshake",
    "Challenge",
    "ClientCutText",
    "ClientEvent",
    "ClientMessage",
    "ClientReady",
    "Conversation",
    "Credentials",
    "Encoding",
    "FaceReady",
    "FramebufferUpdateRequest",
    "InsecureTarget",
    "KeyEvent",
    "Method",
    "NeedsCredentials",
    "PixelFormat",
    "PointerEvent",
    "Ready",
    "Rectangle",
    "Requirement",
    "Response",
    "RfbError",
    "RfbInput",
    "RfbServer",
    "ScramClient",
    "SecurityType",
    "ServerMessage",
    "ServerRefused",
    "SetEncodings",
    "SetPixelFormat",
    "StartTls",
    "TargetEvent",
    "TargetHandshake",
    "VencryptSubtype",
    "Version",
    "vnc_response",
    "vnc_response_matches",
]
