"""Sockets and TLS: channels, listening ports, the transport of the opening handshake."""

from __future__ import annotations

from gateway.net.channel import BLOCKED, RECORD_SIZE, Channel, ChannelError, SocketChannel, TlsChannel, tune
from gateway.net.listen import Acceptor, BindError, Listener, address_text, open_listener
from gateway.net.listeners import ListenerSet
from gateway.net.notify import notify
from gateway.net.polled import PolledReactor
from gateway.net.poller import Poller
from gateway.net.reactor import ConsoleReactor
from gateway.net.reactor import install as install_reactor
from gateway.net.reception import Arrival, Reception
from gateway.net.stream import Stream
from gateway.net.tls import (
    ServerIdentity,
    base_context,
    load_certificates,
    load_identity,
    load_pair,
    present_identity,
    server_context,
)

__all__ = [
    "BLOCKED",
    "RECORD_SIZE",
    "Acceptor",
    "Arrival",
    "BindError",
    "Channel",
    "ChannelError",
    "ConsoleReactor",
    "Listener",
    "ListenerSet",
    "PolledReactor",
    "Poller",
    "Reception",
    "ServerIdentity",
    "SocketChannel",
    "Stream",
    "TlsChannel",
    "address_text",
    "base_context",
    "install_reactor",
    "load_certificates",
    "load_identity",
    "load_pair",
    "notify",
    "open_listener",
    "present_identity",
    "server_context",
    "tune",
]
