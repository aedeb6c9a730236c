"""What one client address may do wrong, and how often, before it is turned away unheard."""

from __future__ import annotations

import attrs

from gateway.settings.fields import setting

__all__ = ["AbuseSettings"]


@attrs.frozen
class AbuseSettings:
    """What one client address may do wrong.

    Each address has two buckets of tokens, which begin full: one for tickets that were not signed by the
    engine, one for connections that come to nothing. Whoever has emptied one is turned away until a token is
    back in it.
    """

    failed_tickets: int = setting(
        20,
        "Tickets in a row that may fail from one address: malformed ones, and ones with a wrong signature. "
        "Expired and used tickets are genuine and do not count. Then every ticket from there, good or bad, "
        "is answered with 429 and not looked at. 0 turns it off.",
        low=0,
        high=1000000,
    )
    failed_tickets_rate: float = setting(
        0.2, "How many more may fail as time goes by.", unit="per second", low=0.001, high=100000
    )
    handshakes: int = setting(
        300,
        "Connections in a row from one address that come to nothing: no session, no page, no genuine ticket. "
        "Each counts from the moment it is accepted until it has come to something. Then connections from "
        "there are closed before TLS begins. 0 turns it off.",
        low=0,
        high=1000000,
    )
    handshakes_rate: float = setting(
        20.0, "How many more may come to nothing as time goes by.", unit="per second", low=0.001, high=100000
    )
    handshakes_per_client: int = setting(
        256,
        "Connections of one address at once that have not come to something yet. Raise it together with "
        "limits.sessions_per_client: all sessions of an office may come back at the same moment. Pages count "
        "no more, but no address has more than half of limits.handshakes.",
        low=1,
        high=1000000,
    )
    ipv6_prefix: int = setting(
        64,
        "Leading bits by which IPv6 addresses are those of one client, here and for "
        "limits.sessions_per_client. Link-local addresses count whole.",
        unit="bits",
        low=16,
        high=128,
    )
    addresses: int = setting(
        100000,
        "Addresses remembered for each of the two buckets, some 350 bytes each. Full buckets are forgotten "
        "at once; beyond this number the fuller ones are forgotten first, so that no flood from many "
        "addresses locks out anybody.",
        low=100,
        high=10000000,
    )
    exempt: tuple[str, ...] = setting(
        ("127.0.0.0/8", "::1/128"),
        "Networks that none of this is held against, such as those of balancers and of reverse proxies whose "
        "clients cannot be told apart. Unix sockets and proxies.networks are exempt in any case; the clients "
        "for which these speak are not.",
    )
