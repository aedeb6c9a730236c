"""Anything in any order: whatever happens, a session ends once, in bounded time, and leaves nothing."""

from __future__ import annotations

import random
from typing import Any

from websockets.frames import Frame, Opcode

from gateway.reasons import EndReason
from gateway.relay import Heartbeat
from gateway.relay.frames import MAX_HEADER
from gateway.relay.legs import BUFFER_SIZE
from tests.unit.relay.wires import CLOSE_TIMEOUT, End, RelayCase, Session


class ChaosTests(RelayCase):
    target_header = 0
    """Most bytes that framing adds to what is pending for the target."""

    def options(self, chance: random.Random) -> dict[str, Any]:
        return {
            "tls": chance.random() < 0.4,
            "tcp": chance.random() < 0.7,
            "small": chance.random() < 0.5,
            "unsent": b"\x82\x01u" if chance.random() < 0.3 else b"",
            "early": chance.choice(
                [b"", Frame(Opcode.BINARY, b"early").serialize(mask=True), b"\x82\x85", b"\x88"]
            ),
            "joined": False,
        }

    def make(self, chance: random.Random) -> Session:
        return Session(self, **self.options(chance))

    def live(self, seed: int) -> None:
        chance = random.Random(seed)
        session = self.make(chance)
        heartbeat = Heartbeat(self.clock, 30)
        heartbeat.start()
        heartbeat.add(session.client, lambda: session.relay.end(EndReason.CLIENT_TIMEOUT))
        joined = False
        for _ in range(chance.randrange(1, 25)):
            if not joined and not session.ending and chance.random() < 0.5:
                joined = True
                session.relay.join(session.target)
            self.act(session, chance)
            for _ in range(chance.randrange(6)):
                self.turn()
            self.check(session)
        heartbeat.stop()
        session.relay.end(EndReason.SHUTDOWN)
        if not joined:
            session.target.abort()
        for _ in range(14):
            self.settle()
            self.check(session)
            self.clock.advance(CLOSE_TIMEOUT)
        self.assertEqual(1, len(session.ending), seed)
        self.assertEqual(session.ending, session.ended)
        self.assertEqual((0, []), (len(self.poller), self.timers()))
        for end in self.ends:
            end.close()
        self.ends.clear()
        self.sockets.clear()

    def check(self, session: Session) -> None:
        self.assertLessEqual(len(session.client.pending or b""), BUFFER_SIZE + MAX_HEADER)
        self.assertLessEqual(len(session.target.pending or b""), BUFFER_SIZE + self.target_header)
        self.assertLessEqual(len(session.ended), len(session.ending))
        self.assertLessEqual(len(session.ending), 1)

    def say(self, console: End, data: bytes, chance: random.Random) -> None:
        """Have the console send something."""
        console.send(data)

    def act(self, session: Session, chance: random.Random) -> None:
        browser, console = session.browser, session.console
        side: End = chance.choice([browser, console])
        alive = side.sock.fileno() >= 0
        match chance.randrange(16):
            case 0 | 1 | 2:
                browser.frame(Opcode.BINARY, chance.randbytes(chance.choice([0, 1, 500, 90_000, 400_000])))
            case 3 | 4 | 5:
                self.say(console, chance.randbytes(chance.choice([1, 500, 90_000, 400_000])), chance)
            case 6 | 7 | 8:
                side.stalled = not side.stalled
            case 9:
                browser.frame(chance.choice([Opcode.PING, Opcode.PONG]), b"p")
            case 10:
                browser.frame(
                    Opcode.CLOSE, chance.choice([b"", b"\x03\xe8", b"\x03\xe8ok", b"\x03", b"\x03\xe8\xff"])
                )
            case 11:
                side.send(chance.randbytes(20))
            case 12 if alive:
                if chance.random() < 0.5:
                    side.finish_sending()
                else:
                    side.close()
            case 13 if alive and chance.random() < 0.5:
                side.abort()
            case 14:
                self.clock.advance(chance.choice([0.1, 5, 20]))
            case 15 if chance.random() < 0.3:
                reason = chance.choice(
                    [EndReason.SHUTDOWN, EndReason.CLIENT_TIMEOUT, EndReason.TARGET_TIMEOUT]
                )
                session.relay.end(reason)
            case _:
                side.polite = not side.polite

    def test_anything_in_any_order(self) -> None:
        for seed in range(150):
            self.live(seed)
        self.assertEqual([], self.flushLoggedErrors())
