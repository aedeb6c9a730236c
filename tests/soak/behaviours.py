"""What clients in sessions do to a gateway, good and bad, and what it must do then.

Each behaviour is one visit.  It raises ``AssertionError`` when the gateway
did something else than it should.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Final

import attrs
from cryptography.hazmat.primitives.asymmetric import rsa
from websockets.frames import Frame, Opcode

from tests.soak.console import Console, Door, abort
from tests.soak.targets import DIGEST_HEADER, PATTERN, UNIX_HOST, UNIX_PORT, Stage
from tests.support.http import upgrade
from tests.support.pki import Installation

__all__ = ["MAX_MESSAGE", "SESSIONS", "Behaviour", "Client"]

MAX_MESSAGE: Final = 1 << 20
"""``relay.max_message`` of the gateway."""

_CODES: Final = (1000, 1001, 1011, 3000, 4999)
_FLOODS: Final = {"pattern": PATTERN, "trickle": PATTERN, "flood": bytes(len(PATTERN))}
"""Targets that send without end, and what they send again and again."""


@attrs.frozen
class Client:
    """One client: its way in, its tickets, its whims."""

    door: Door
    installation: Installation
    stage: Stage
    stranger: rsa.RSAPrivateKey
    """A key whose tickets must not be accepted."""
    chance: random.Random

    def ticket(self, target: str, *, tls: bool = False) -> str:
        """A good ticket for a server of the stage, or for a host that no ticket should lead to."""
        if target == "unix":
            return self.installation.ticket(UNIX_PORT, UNIX_HOST)
        port = self.stage.ports.get(target)
        return (
            self.installation.ticket(5900, target)
            if port is None
            else self.installation.ticket(port, tls=tls)
        )

    def request(self, ticket: str) -> bytes:
        """An upgrade request."""
        more = [("Sec-WebSocket-Protocol", "binary")] if self.chance.random() < 0.5 else []
        if self.chance.random() < 0.3:
            more.append(("User-Agent", "x" * self.chance.randrange(2000)))
        return upgrade("/" + ticket, more)

    def session(self, target: str, *, early: bytes = b"", tls: bool = False) -> Console:
        """A session with a server of the stage.

        :param early: bytes sent with the request.
        """
        request = self.request(self.ticket(target, tls=tls))
        return self.door.open(request + early, tls=self.chance.random() < 0.8)


Behaviour = Callable[[Client], None]


def talk(client: Client) -> None:
    """Random data there and back, in every size, fragmented or not, with pings between."""
    chance = client.chance
    target = chance.choice(("echo", "echo", "unix", "slow"))
    largest = 20_000 if target == "slow" else 300_000
    early = chance.randbytes(chance.randrange(300)) if chance.random() < 0.3 else b""
    frame = Frame(Opcode.BINARY, early).serialize(mask=True) if early else b""
    with client.session(target, early=frame) as console:
        assert console.expect(len(early)) == early
        for _ in range(chance.randint(1, 6)):
            data = chance.randbytes(
                chance.choice((0, 1, 125, 126, 65536, chance.randrange(largest))) % largest
            )
            console.send(data, pieces=chance.choice((1, 1, 2, 7)))
            if chance.random() < 0.3:
                console.ping(b"between")
            if chance.random() < 0.2:
                console.rest(chance.uniform(0, 0.3))
            assert console.expect(len(data)) == data, "the echo differs"
        _leave(console, chance)


def watch(client: Client) -> None:
    """Take a flood, checking every byte, with pauses in which the gateway has to hold it back."""
    chance = client.chance
    target = chance.choice(tuple(_FLOODS))
    expected = _FLOODS[target]
    with client.session(target) as console:
        at = 0
        for _ in range(chance.randint(1, 60)):
            data = console.expect(chance.randint(1, len(expected)))
            assert data == (expected[at:] + expected)[: len(data)], "the flood differs"
            at = (at + len(data)) % len(expected)
            if chance.random() < 0.05:
                console.rest(chance.uniform(0, 1.5))
        _leave(console, chance)


def upload(client: Client) -> None:
    """Send much at once to a server that says what it got, and then closes."""
    chance = client.chance
    data = chance.randbytes(chance.randrange(3_000_000))
    with client.session("digest") as console:
        console.send(len(data).to_bytes(DIGEST_HEADER, "big"))
        at = 0
        while at < len(data):
            size = chance.choice((1000, 65_536, MAX_MESSAGE))
            console.send(data[at : at + size], pieces=chance.choice((1, 3)))
            at += size
        assert console.expect(32) == hashlib.sha256(data).digest(), "the server got something else"
        code = console.end()
        assert code == 1000, f"closed with {code}"


def type_away(client: Client) -> None:
    """Hundreds of tiny messages, as fast as they go."""
    chance = client.chance
    with client.session(chance.choice(("echo", "unix"))) as console:
        data = chance.randbytes(chance.randrange(100, 4000))
        at = 0
        while at < len(data):
            size = chance.randint(1, 20)
            console.send(data[at : at + size])
            at += size
        assert console.expect(len(data)) == data, "the echo differs"
        _leave(console, chance)


def ping_flood(client: Client) -> None:
    """Thousands of pings; the last of them is answered, whatever became of the others."""
    chance = client.chance
    with client.session(chance.choice(("stall", "echo", "trickle"))) as console:
        count = chance.randint(100, 4000)
        for number in range(count):
            console.ping(str(number).encode("ascii"))
        if chance.random() < 0.5:
            console.rest(chance.uniform(0, 0.5))
        last = str(count - 1).encode("ascii")
        console.until(lambda: console.pongs[-1:] == [last])
        assert len(console.pongs) <= count
        _leave(console, chance)


def violate(client: Client) -> None:
    """Break the protocol, and be told so."""
    chance = client.chance
    broken, code = chance.choice(
        (
            (Frame(Opcode.TEXT, b"text").serialize(mask=True), 1003),
            (Frame(Opcode.BINARY, b"bare").serialize(mask=False), 1002),
            (Frame(Opcode.CONT, b"of nothing").serialize(mask=True), 1002),
            (b"\xff" + chance.randbytes(200), 1002),
            (b"\x82\xff" + (MAX_MESSAGE + 1).to_bytes(8, "big") + bytes(4), 1009),
            (b"\x88\x81keys\x03", 1002),
            (b"\x88\x83\0\0\0\0\x03\xe8\xff", 1007),
        )
    )
    target = chance.choice(("echo", "stall", "pattern", "hole"))
    with client.session(target) as console:
        if chance.random() < 0.5:
            console.send(chance.randbytes(chance.randrange(50_000)))
        console.say(broken)
        if chance.random() < 0.3:
            console.say(chance.randbytes(100_000))
        if target == "hole":
            # Nothing is read before the server is there, and what is wrong is not seen.
            code = 4002
        got = console.end()
        assert got == code, f"{target}: closed with {got} instead of {code}"


def vanish(client: Client) -> None:
    """Be gone with a reset in the middle of everything."""
    chance = client.chance
    with client.session(chance.choice((*_FLOODS, "echo", "stall", "slow", "hole"))) as console:
        console.send(chance.randbytes(chance.randrange(200_000)))
        console.rest(chance.uniform(0, 0.5), read=chance.random() < 0.5)
        abort(console.sock)


def stall(client: Client) -> None:
    """Read nothing of a flood; then go on, say goodbye, or be gone."""
    chance = client.chance
    with client.session(chance.choice(tuple(_FLOODS))) as console:
        console.rest(chance.uniform(0.2, 1.5))
        if chance.random() < 0.5:
            console.expect(200_000)
        _leave(console, chance)


def fall_silent(client: Client) -> None:
    """Answer no ping, and be cut off."""
    with client.session(client.chance.choice(("stall", "echo"))) as console:
        console.mute = True
        code = console.end()
        assert code is None, f"closed with {code}"


def miss(client: Client) -> None:
    """Ask for a server that is not there, not allowed, or soon gone."""
    chance = client.chance
    target, tls, code = chance.choice(
        (
            ("closed", False, 4001),
            ("hole", False, 4002),
            ("192.0.2.1", False, 4004),
            ("echo", True, 4010),
            ("reset", False, 4006),
            ("closing", False, 1000),
        )
    )
    with client.session(target, tls=tls) as console:
        if chance.random() < 0.2:
            # The server may be first with its end.
            _leave(console, chance, code)
            return
        if target == "reset":
            console.send(b"x")
        got = console.end()
        assert got == code, f"{target}: closed with {got} instead of {code}"
        received = bytes(console.received)
        assert received == (b"bye" if target == "closing" else b""), received[:40]


def _leave(console: Console, chance: random.Random, *others: int) -> None:
    """Close in order, in a hurry, or not at all.

    :param others: close codes that may come instead of the client's own.
    """
    match chance.randrange(6):
        case 0:
            abort(console.sock)
        case 1:
            # The end of the connection without a word.
            console.sock.close()
        case 2:
            console.close()
            console.flush()
        case 3:
            console.close()
            code = console.end()
            assert code in (1005, *others), f"closed with {code} instead of no code"
        case _:
            said = chance.choice(_CODES)
            console.close(said.to_bytes(2, "big") + b"bye")
            code = console.end()
            assert code in (said, *others), f"closed with {code} instead of {said}"


SESSIONS: Final[dict[Behaviour, int]] = {
    talk: 20,
    watch: 12,
    upload: 8,
    type_away: 8,
    ping_flood: 4,
    violate: 10,
    vanish: 10,
    stall: 6,
    fall_silent: 1,
    miss: 6,
}
"""Behaviours in sessions, and how often each is shown in relation to the others."""
