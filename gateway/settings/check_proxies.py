"""What the types cannot say of ``[proxies]``: whom it trusts, and whether anybody can get through."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.settings.endpoints import TcpEndpoint, UnixEndpoint, parse_endpoint
from gateway.settings.model import Settings
from gateway.settings.problems import BadValueError
from gateway.settings.proxies import ForwardedHeader
from gateway.settings.text import shown
from gateway.settings.values import parse_network

__all__ = ["check_proxies"]

_Found = Iterator[tuple[str, str, str]]


def check_proxies(settings: Settings) -> _Found:
    """Every problem of it, as key, text and remedy."""
    yield from _networks(settings)
    yield from _listeners(settings)
    proxies = settings.proxies
    if proxies.forwarded is not ForwardedHeader.NONE and not proxies.networks and not proxies.unix:
        yield (
            "proxies.forwarded",
            f"is '{proxies.forwarded.value}', but no proxy is trusted to send it",
            "list the proxies under proxies.networks, or set proxies.unix",
        )


def _networks(settings: Settings) -> _Found:
    for item in settings.proxies.networks:
        try:
            network = parse_network(item)
        except BadValueError as error:
            yield "proxies.networks", error.text, error.remedy
        else:
            if not network.prefixlen:
                text = f"{shown(item)} is everybody, who could then claim any address"
                yield "proxies.networks", text, "list the networks of the proxies alone"


def _listeners(settings: Settings) -> _Found:
    proxies = settings.proxies
    own = {*settings.listen.tls, *settings.listen.plain}
    for item in proxies.listeners:
        if item not in own:
            remedy = "write it exactly as it stands there"
            yield "proxies.listeners", f"{shown(item)} is neither in listen.tls nor in listen.plain", remedy
            continue
        try:
            endpoint = parse_endpoint(item)
        except ValueError:
            continue  # said where every endpoint is read
        if isinstance(endpoint, TcpEndpoint) and not proxies.networks:
            text = f"is empty, but {shown(item)} is for trusted proxies only"
            yield "proxies.networks", text, "list the networks of the proxies"
        elif isinstance(endpoint, UnixEndpoint) and not proxies.unix:
            text = f"is false, but {shown(item)} is for trusted proxies only"
            yield "proxies.unix", text, "set it to true"
        elif not proxies.networks and not proxies.unix:
            # What systemd passes may be either.
            text = f"is empty, but {shown(item)} is for trusted proxies only"
            yield "proxies.networks", text, "list the networks of the proxies, or set proxies.unix"
