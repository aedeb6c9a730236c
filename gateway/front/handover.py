"""The hand-over: a connection leaves Autobahn and Twisted and becomes a session's channel.

This is the one module that knows what Autobahn keeps inside; its tests pin
the behaviour it relies on.
"""

from __future__ import annotations

from autobahn.twisted.websocket import WebSocketServerProtocol

from gateway.net import Channel, Stream

__all__ = ["hand_over"]


def hand_over(protocol: WebSocketServerProtocol) -> tuple[Channel, bytes, bytes]:
    """Take the connection out of a protocol whose opening handshake is complete.

    To be called from ``onOpen``.  Afterwards the protocol has no bytes to go
    on with, nothing refers to it, and it dies with its last stack frame: no
    cycle is left that would keep it until the garbage collector runs.

    :returns: the channel, the bytes of the answer that are not sent yet, and the bytes received behind
        the request.
    """
    stream = protocol.transport
    assert isinstance(stream, Stream)
    # What Autobahn has read but not parsed; it must find nothing when onOpen returns.
    early, protocol.data = bytes(protocol.data), b""
    protocol.transport = None
    channel, unsent = stream.detach()
    return channel, unsent, early
