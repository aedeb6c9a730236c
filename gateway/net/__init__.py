"""Sockets and TLS: channels, listening ports, the transport of the opening handshake."""

from __future__ import annotations

from gateway.net.channel import BLOCKED, RECORD_SIZE, Channel, ChannelError, SocketChannel, TlsChannel, tune
from gateway.net.clients import NetworkSet, client_key
from gateway.net.complaints import Complaints
from gateway.net.front_identity import FrontIdentity, NameTable, ShownCertificate, certificate_names
from gateway.net.inheritance import SOCKETS, InheritanceError, Inherited, describe_sockets, inherited
from gateway.net.listen import Acceptor, BindError, Listener, address_text, open_listener
from gateway.net.listeners import ListenerSet
from gateway.net.notify import notify
from gateway.net.polled import PolledReactor
from gateway.net.poller import Poller
from gateway.net.proxied import Announced, NotAnnounced, TrustedProxies, client_text
from gateway.net.proxy_protocol import (
    LOCAL_HEADER,
    MAX_PROXY_HEADER,
    BadProxyHeader,
    ProxyDecoder,
    ProxyHeader,
    encode_proxy_header,
    ip_address,
)
from gateway.net.reactor import ConsoleReactor
from gateway.net.reactor import install as install_reactor
from gateway.net.reception import Arrival, Doorkeeper, Reception, Visit
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
    "LOCAL_HEADER",
    "MAX_PROXY_HEADER",
    "RECORD_SIZE",
    "SOCKETS",
    "Acceptor",
    "Announced",
    "Arrival",
    "BadProxyHeader",
    "BindError",
    "Channel",
    "ChannelError",
    "Complaints",
    "ConsoleReactor",
    "Doorkeeper",
    "FrontIdentity",
    "InheritanceError",
    "Inherited",
    "Listener",
    "ListenerSet",
    "NameTable",
    "NetworkSet",
    "NotAnnounced",
    "PolledReactor",
    "Poller",
    "ProxyDecoder",
    "ProxyHeader",
    "Reception",
    "ServerIdentity",
    "ShownCertificate",
    "SocketChannel",
    "Stream",
    "TlsChannel",
    "TrustedProxies",
    "Visit",
    "address_text",
    "base_context",
    "certificate_names",
    "client_key",
    "client_text",
    "describe_sockets",
    "encode_proxy_header",
    "inherited",
    "install_reactor",
    "ip_address",
    "load_certificates",
    "load_identity",
    "load_pair",
    "notify",
    "open_listener",
    "present_identity",
    "server_context",
    "tune",
]
