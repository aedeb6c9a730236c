"""The hand-over: a connection leaves Autobahn and Twisted and becomes a session's channel.

This is the one module that knows what Autobahn keeps inside; its tests pin
the behaviour it relies on.
"""

from __future__ import annotations

from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol

from gateway.net import Channel, Stream

__all__ = ["hand_over", "shared_options"]


def shared_options(factory: WebSocketServerFactory) -> dict[str, Any]:
    """Class attributes that spare a protocol of ``factory`` the copying of its options.

    Autobahn copies every option to each new protocol and formats the list for
    a debug line that is made whether or not anybody logs it: a seventh of what
    a connection costs.  A class that has the options itself has none to copy.
    """
    options = {name: getattr(factory, name) for name in WebSocketServerProtocol.CONFIG_ATTRS}
    # A plain function would become a method of the class.
    shared = {name: staticmethod(value) if callable(value) else value for name, value in options.items()}
    return {**shared, "CONFIG_ATTRS": ()}


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
