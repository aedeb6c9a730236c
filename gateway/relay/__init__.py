"""The data path: legs, WebSocket framing, and the relay that joins two legs."""

from __future__ import annotations

from gateway.relay.framed import FramedLeg, WebSocketLeg
from gateway.relay.frames import FrameDecoder, FrameError
from gateway.relay.heartbeat import Heartbeat
from gateway.relay.legs import HEADROOM, Leg, Peer, RawLeg
from gateway.relay.masking import NATIVE
from gateway.relay.relay import Ending, Relay
from gateway.relay.remote import RemoteWebSocketLeg, ServerFrameDecoder

__all__ = [
    "HEADROOM",
    "NATIVE",
    "Ending",
    "FrameDecoder",
    "FrameError",
    "FramedLeg",
    "Heartbeat",
    "Leg",
    "Peer",
    "RawLeg",
    "Relay",
    "RemoteWebSocketLeg",
    "ServerFrameDecoder",
    "WebSocketLeg",
]
