"""What client addresses did lately, and whether they are heard.

Two kinds of abuse are counted by address, each in buckets of tokens: tickets
that the engine never signed, and connections that come to nothing.  Everything
here is decided before anything expensive is done: before TLS, before a
signature is verified.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gateway.front.buckets import Buckets
from gateway.net.clients import NetworkSet, client_key
from gateway.net.complaints import Complaints
from gateway.net.proxied import NotAnnounced
from gateway.settings import AbuseSettings, LimitSettings

__all__ = ["Closing", "Visit", "Watch"]


class Closing(enum.Enum):
    """Why a connection was closed when it was accepted: ``(label, setting)``."""

    FULL = ("full", "limits.handshakes")
    """Too many connections of everybody are not sessions."""
    CLIENT_SHARE = ("client-share", "half of limits.handshakes")
    """One address has half of what everybody may have."""
    CLIENT_WAITING = ("client-waiting", "abuse.handshakes_per_client")
    """Too many connections of one address have come to nothing yet."""
    CLIENT_RATE = ("client-rate", "abuse.handshakes")
    """Too many connections of one address came to nothing."""

    def __init__(self, label: str, setting: str) -> None:
        self.label = label
        self.setting = setting


class Watch:
    """Counts what addresses do, in bounded memory.

    :ivar closed: connections closed when they were accepted, so far, by the label of the reason.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, settings: AbuseSettings, limits: LimitSettings) -> None:
        self._clock = clock
        self._complaints = Complaints(clock)
        self._tickets: Buckets | None = None
        self._connections: Buckets | None = None
        self._waiting: Counter[bytes] = Counter()
        self._open: Counter[bytes] = Counter()
        self.closed = {why.label: 0 for why in (*Closing, *NotAnnounced)}
        self.change(settings, limits)

    def change(self, settings: AbuseSettings, limits: LimitSettings) -> None:
        """Go by other settings from now on; what addresses did is remembered."""
        self._settings = settings
        self._share = max(1, limits.handshakes // 2)
        self._exempt = NetworkSet(settings.exempt)
        self._key = client_key(settings.ipv6_prefix)
        self._tickets = self._changed(self._tickets, settings.failed_tickets, settings.failed_tickets_rate)
        self._connections = self._changed(self._connections, settings.handshakes, settings.handshakes_rate)

    @property
    def remembered(self) -> Mapping[str, int]:
        """Addresses that are remembered, by what for."""
        return {
            "failed-tickets": 0 if self._tickets is None else len(self._tickets),
            "handshakes": 0 if self._connections is None else len(self._connections),
        }

    # -- connections --------------------------------------------------------------------

    def enter(self, client: str) -> Visit | None:
        """Take note of a new connection; ``None`` when it is to be closed.

        :param client: its address, or ``unix``.
        """
        key = self._key_of(client)
        if key is None:
            return Visit(self, None, None)
        closing = None
        if self._open[key] >= self._share:
            closing = Closing.CLIENT_SHARE
        elif self._waiting[key] >= self._settings.handshakes_per_client:
            closing = Closing.CLIENT_WAITING
        elif self._connections is not None and not self._connections.take(key):
            closing = Closing.CLIENT_RATE
        if closing is not None:
            self._close(client, key, closing)
            return None
        self._open[key] += 1
        self._waiting[key] += 1
        return Visit(self, key, self._connections)

    def full(self, client: str) -> None:
        """Count a connection that was closed because everybody together has too many."""
        self.closed[Closing.FULL.label] += 1

    def unannounced(self, client: str, why: NotAnnounced, detail: str) -> None:
        """Count a connection that was closed because no trusted proxy said whose it is."""
        self.closed[why.label] += 1
        kept_back = self._complaints.worth(f"{why.label} {self._key(client).hex()}")
        if kept_back is not None:
            self.log.warn(
                "connection closed client={client} reason={reason}: {text}{detail}{more}",
                client=client,
                reason=why.label,
                text=why.text,
                detail=f" ({detail})" if detail else "",
                more=f"; {kept_back} lines like this were left out" if kept_back else "",
            )

    # -- tickets ------------------------------------------------------------------------

    def patience(self, client: str) -> float:
        """Seconds until a ticket from an address is looked at again; 0 when it is."""
        key = self._key_of(client)
        return 0.0 if key is None or self._tickets is None else self._tickets.wait(key)

    def ticket_failed(self, client: str) -> None:
        """Take note of a ticket that the engine did not sign."""
        key = self._key_of(client)
        if key is not None and self._tickets is not None:
            self._tickets.take(key)

    def worth_a_line(self, client: str) -> bool:
        """Whether the log is to hear again that tickets from an address are not looked at."""
        return self._complaints.worth(f"tickets {self._key(client).hex()}") is not None

    # -- helpers ------------------------------------------------------------------------

    def _close(self, client: str, key: bytes, closing: Closing) -> None:
        self.closed[closing.label] += 1
        kept_back = self._complaints.worth(f"{closing.label} {key.hex()}")
        if kept_back is not None:
            self.log.warn(
                "connection closed client={client} reason={reason}: {setting} is reached{more}",
                client=client,
                reason=closing.label,
                setting=closing.setting,
                more=f"; {kept_back} lines like this were left out" if kept_back else "",
            )

    def _key_of(self, client: str) -> bytes | None:
        """What an address is counted by; ``None`` where nothing is held against it."""
        # Who is behind a Unix socket is for its permissions to say.
        return None if client == "unix" or client in self._exempt else self._key(client)

    def _changed(self, buckets: Buckets | None, burst: int, rate: float) -> Buckets | None:
        if not burst:
            return None
        if buckets is None:
            return Buckets(self._clock, burst, rate, self._settings.addresses)
        buckets.change(burst, rate, self._settings.addresses)
        return buckets

    def _stop_waiting(self, key: bytes) -> None:
        _count_down(self._waiting, key)

    def _leave(self, key: bytes) -> None:
        _count_down(self._open, key)


class Visit:
    """A connection that was let in, until it ends or is a session."""

    __slots__ = ("_buckets", "_key", "_proven", "_watch")

    def __init__(self, watch: Watch, key: bytes | None, buckets: Buckets | None) -> None:
        """:param buckets: where a token was taken for it."""
        self._watch = watch
        self._key = key
        self._buckets = buckets
        self._proven = False

    def prove(self) -> None:
        """It has come to something, and is not counted against its address any more; idempotent."""
        if self._key is None or self._proven:
            return
        self._proven = True
        self._watch._stop_waiting(self._key)
        if self._buckets is not None:
            self._buckets.give_back(self._key)

    def end(self) -> None:
        """It is over, or a session; idempotent."""
        key, self._key = self._key, None
        if key is not None:
            if not self._proven:
                self._watch._stop_waiting(key)
            self._watch._leave(key)


def _count_down(counter: Counter[bytes], key: bytes) -> None:
    counter[key] -= 1
    if not counter[key]:
        # Addresses that left must not pile up.
        del counter[key]
