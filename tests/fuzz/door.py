"""Fuzz target: the door.  Any bytes of a client get an answer or none, and nothing is left of them.

The front is real, up to the session, which is only noted; its client is a
socket and its reactor the target.  How the bytes are cut makes no difference.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import re
import socket
from collections.abc import Iterator
from typing import Any, Final, cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from gateway.front import Front, Gate, Watch
from gateway.net import Channel
from gateway.sessions import Admission, Events, Uses
from gateway.settings import AbuseSettings, FrontSettings, LimitSettings, Use, UseSettings
from gateway.tickets import Grant, MemoryLedger, Target, TicketFault, TicketRefused
from tests.fuzz.source import Source
from tests.support.admission import make_registry
from tests.support.http import upgrade
from tests.support.reactor import HandReactor

__all__ = ["SEEDS", "fuzz"]

_GOOD: Final = "R29vZA" * 60
_BAD: Final = "QmFk" * 80
_EPOCH: Final = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
_GRANT: Final = Grant(Target("192.0.2.9", 5900), _EPOCH, _EPOCH, "ticket-id")
_PATIENCE: Final = 60
"""Seconds after which no client may be left: longer than every limit of the front."""
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3}) ")

_UPGRADE: Final = upgrade(
    "/" + _GOOD, [("Sec-WebSocket-Protocol", "binary"), ("Origin", "https://a.example")]
)
_BAD_UPGRADE: Final = upgrade("/" + _BAD)
_PAGE: Final = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
_POST: Final = (
    b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
)
_SAMPLES: Final = (
    _UPGRADE + b"\x82\x80abcd",
    _BAD_UPGRADE,
    _PAGE,
    _PAGE + _PAGE + _UPGRADE,
    _PAGE + _POST + _PAGE,
    _PAGE.replace(b"/ ", b"/" + _GOOD.encode("ascii") + b" "),
)

SEEDS = tuple(b"\x00\x00" + sample for sample in _SAMPLES) + tuple(
    bytes((1, 3, 0, 9, 0, 99, number)) + b"\x00\x00\x28\x02\x01\xff\xfe" for number in range(len(_SAMPLES))
)


def fuzz(data: bytes) -> None:
    """Send what ``data`` is or makes of a good request: in one piece, cut, and leaving behind it.

    :raises AssertionError: when a promise is not kept; whatever else is raised is a defect as well.
    """
    source = Source(data)
    how = source.byte()
    places = [source.number(65535) for _ in range(source.byte() % 8)]
    wire = source.edited(source.pick(_SAMPLES), edits=10) if how & 1 else source.rest()
    borders = sorted({0, *(place % (len(wire) + 1) for place in places), len(wire)})
    cut = [wire[begin:end] for begin, end in itertools.pairwise(borders)]
    whole = _Client().say([wire] if wire else [])
    # Pages are answered one by one, and a broken request can end the connection before the next is asked.
    assert _Client().say(cut)[:1] == whole[:1], "the answer depends on the cut"
    _Client().say(cut, leave=True)


class _Client:
    """One client at a front of its own."""

    def __init__(self) -> None:
        self._reactor = HandReactor()
        settings = FrontSettings(head_size=4096)
        self._registry = make_registry(self._reactor)
        self._sessions: list[tuple[Admission, Channel]] = []
        uses = Uses(MemoryLedger(now=_EPOCH.timestamp), UseSettings(vnc=Use.UNLIMITED))
        watch = Watch(self._reactor, AbuseSettings(), LimitSettings())
        gate = Gate(self._reactor, settings, _decode, self._registry, uses, Events(), watch)
        self._front = Front(
            self._reactor, settings, gate, self._start, max_handshakes=8, context=None, watch=watch
        )

    def say(self, pieces: list[bytes], *, leave: bool = False) -> list[int]:
        """Send the pieces, wait until nothing is left of the client; returns the statuses of the answers.

        :param leave: close the connection behind the last piece.
        """
        mine, theirs = socket.socketpair()
        with mine, theirs, _no_errors():
            mine.setblocking(False)
            self._front.begin()
            self._front.accept(theirs, None, tls=False)
            answer = b""
            for piece in pieces:
                with contextlib.suppress(BrokenPipeError):
                    mine.sendall(piece)
                answer += self._turn(mine)
            if leave:
                mine.close()
                self._turn(None)
            for _ in range(_PATIENCE):
                if not self._front._streams:
                    break
                self._reactor.advance(1)
                answer += self._turn(None if leave else mine)
            self._check()
            self._front.end()
            assert self._reactor.getDelayedCalls() == [], "a timer is left"
        return self._statuses(answer)

    def _check(self) -> None:
        assert not self._front._streams, "the client is still there"
        assert not self._reactor.readers | self._reactor.writers, "a descriptor is watched"
        for admission, channel in self._sessions:
            channel.close()
            admission.give_back()
        assert self._registry.taken == 0, "a place is taken"

    def _statuses(self, answer: bytes) -> list[int]:
        statuses = [int(status) for status in _STATUS.findall(answer)]
        assert answer == b"" or answer.startswith(b"HTTP/1."), answer[:80]
        # What a session answers is not ours: it begins behind the last 101.
        assert (101 in statuses) == bool(self._sessions), statuses
        assert 500 not in statuses, "a page broke"
        return statuses

    def _turn(self, mine: socket.socket | None) -> bytes:
        answer = b""
        for _ in range(4):
            self._reactor.serve()
            self._reactor.advance(0)
            if mine is not None:
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    answer += mine.recv(1 << 20)
        return answer

    def _start(self, admission: Admission, channel: Channel, **rest: Any) -> object:
        assert admission.grant is _GRANT
        self._sessions.append((admission, channel))
        return None


def _decode(path: str) -> Grant:
    """What ``TicketDecoder.decode`` does."""
    if path != _GOOD:
        raise TicketRefused(TicketFault.SIGNATURE_MISMATCH, "0123456789abcdef")
    return _GRANT


@contextlib.contextmanager
def _no_errors() -> Iterator[None]:
    """Nothing is logged as an error, and no ticket is logged at all."""
    events: list[Any] = []
    observer = cast("ILogObserver", events.append)
    globalLogPublisher.addObserver(observer)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observer)
    for event in events:
        _judge(event)


def _judge(event: LogEvent) -> None:
    failure = event.get("log_failure")
    assert failure is None, f"logged: {failure}"
    assert _GOOD[:40] not in str(event), "a ticket in the log"
