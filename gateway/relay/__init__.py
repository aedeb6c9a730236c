"""The data path: legs, WebSocket framing, and the relay that joins two legs."""

from __future__ import annotations

from gateway.relay.frames import FrameDecoder, FrameError
from gateway.relay.heartbeat import Heartbeat
from gateway.relay.legs import Leg, RawLeg, WebSocketLeg
from gateway.relay.masking import NATIVE
from gateway.relay.relay import Ending, Relay

__all__ = [
    "NATIVE",
    "Ending",
    "FrameDecoder",
    "FrameError",
    "Heartbeat",
    "Leg",
    "RawLeg",
    "Relay",
    "WebSocketLeg",
]
