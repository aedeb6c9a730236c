"""Who stands between clients and the gateway, and is believed when it says who they are."""

from __future__ import annotations

import enum

import attrs

from gateway.settings.fields import setting

__all__ = ["ForwardedHeader", "ProxySettings"]


class ForwardedHeader(enum.Enum):
    """The header field in which a trusted proxy names its client."""

    NONE = "none"
    """None is looked at."""
    X_FORWARDED_FOR = "x-forwarded-for"
    """A list of addresses, to which every proxy adds its peer's."""
    FORWARDED = "forwarded"
    """The same with more to it (RFC 7239)."""


@attrs.frozen
class ProxySettings:
    """Proxies and balancers in front of the gateway.

    By default none is trusted, and a client is whoever connects.
    """

    networks: tuple[str, ...] = setting(
        (),
        "Networks of the proxies that are trusted: whoever connects from there can claim to be any client.",
    )
    unix: bool = setting(
        False, "Trust whoever connects to a Unix socket under listen.plain or listen.tls likewise."
    )
    listeners: tuple[str, ...] = setting(
        (),
        "Endpoints, exactly as under listen.tls or listen.plain, whose connections begin with a header of "
        "the PROXY protocol, version 1 or 2. Connections without one, and those of others than trusted "
        "proxies, are closed. The header must come within front.handshake_timeout.",
    )
    forwarded: ForwardedHeader = setting(
        ForwardedHeader.NONE,
        "The header field in which trusted proxies name the client: 'x-forwarded-for', 'forwarded' "
        "(RFC 7239), or 'none'. Its last address that is not a trusted proxy's counts. Others' fields are "
        "not looked at.",
    )
