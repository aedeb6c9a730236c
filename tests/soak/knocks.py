"""What clients do that are not in a session (yet), and what the gateway must do then."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import time
from typing import Final

import attrs

from tests.soak.behaviours import Behaviour, Client
from tests.soak.console import PATIENCE, Console, Stopped, abort
from tests.support.http import read_answer, read_rest, upgrade

__all__ = ["KNOCKS", "PER_CLIENT", "PING_INTERVAL", "TIME_LIMIT"]

PER_CLIENT: Final = 24
"""``limits.sessions_per_client`` of the gateway."""
PING_INTERVAL: Final = 3.0
"""``relay.ping_interval`` of the gateway, in seconds."""
TIME_LIMIT: Final = 3.0
"""``front.head_timeout`` and ``front.handshake_timeout`` of the gateway, in seconds."""

_crowds = itertools.count()


def half_handshake(client: Client) -> None:
    """Begin TLS and never finish it, or say something else."""
    chance = client.chance
    outgoing = ssl.MemoryBIO()
    hello = client.door.context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    whole = outgoing.read()
    part = whole[: chance.randrange(len(whole))]
    data = chance.choice((b"", part, whole, chance.randbytes(300), b"GET / HTTP/1.1\r\n"))
    with client.door.knock() as sock:
        sock.sendall(data)
        match chance.randrange(3):
            case 0:
                abort(sock)
            case 1:
                begun = time.monotonic()
                read_rest(sock)
                took = time.monotonic() - begun
                assert took < TIME_LIMIT + PATIENCE / 2, f"still open after {took:.0f} s"


def slow_head(client: Client) -> None:
    """A request that comes byte by byte: in time, too late, or never."""
    chance = client.chance
    request = client.request(client.ticket("echo"))
    with client.door.enter(tls=chance.random() < 0.7) as sock:
        in_time = chance.random() < 0.4
        end = time.monotonic() + (TIME_LIMIT / 3 if in_time else 2 * TIME_LIMIT)
        at = 0
        with contextlib.suppress(OSError):
            while time.monotonic() < end:
                sock.sendall(request[at : at + 1])
                at += 1
                time.sleep(0.1)
                if client.door.stop.is_set():
                    raise Stopped
                if chance.random() < 0.01:
                    return
            if in_time:
                sock.sendall(request[at:])
        # A machine that is very busy may be late with the rest of the head.
        status = read_answer(sock)[0].status
        assert status in ((101, 408) if in_time else (408,)), f"answered {status}"


def be_refused(client: Client) -> None:
    """Ask for what nobody gets."""
    chance = client.chance
    installation = client.installation
    port = client.stage.ports["echo"]
    good = client.ticket("echo")
    place = chance.randrange(len(good))
    broken = good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :]
    request, statuses = chance.choice(
        (
            (upgrade("/" + installation.ticket(port, key=client.stranger)), (401,)),
            # A character of what is not signed may be one that does not matter.
            (upgrade("/" + broken), (401, 404, 101)),
            (upgrade("/" + installation.ticket(port, begin=-900, lifetime=60)), (403,)),
            (upgrade("/" + installation.ticket(port, begin=900, lifetime=60)), (403,)),
            (upgrade("/nothing/here"), (404,)),
            (upgrade("/" + good, method="POST"), (405,)),
            (upgrade("/" + good, {"Sec-WebSocket-Protocol": "chat"}), (400,)),
            (upgrade("/" + good, {"Sec-WebSocket-Version": "7"}), (426, 400)),
            (upgrade("/" + good, {"Origin": "https://elsewhere.example"}), (403,)),
            (upgrade("/" + good, {"X-Long": "x" * 40_000}), (431,)),
            (b"GET / HTTP/9.9\r\n\r\n", (400,)),
            (b"GET /\r\nHost: x\r\n\r\n", (400,)),
        )
    )
    status = client.door.ask(request, tls=chance.random() < 0.7).status
    assert status in statuses, f"answered {status} instead of {statuses}"


def browse(client: Client) -> None:
    """Pages on a connection that is kept, and at its end perhaps a session, as reverse proxies do it."""
    chance = client.chance
    pages = (("/", 200), ("/console/icon.svg", 200), ("/nothing", 404), ("/" + client.ticket("echo"), 426))
    with client.door.enter(tls=chance.random() < 0.8) as sock:
        rest = b""
        for _ in range(chance.randint(1, 5)):
            asked = [chance.choice(pages) for _ in range(chance.choice((1, 1, 3)))]
            sock.sendall(b"".join(_page(path) for path, _ in asked))
            for path, expected in asked:
                answer, rest = read_answer(sock, rest)
                assert answer.status == expected, f"{path[:20]}: {answer.status}, not {expected}"
            if chance.random() < 0.3:
                time.sleep(chance.uniform(0, 0.3))
        if chance.random() < 0.4:
            sock.sendall(client.request(client.ticket("echo")))
            answer, rest = read_answer(sock, rest)
            assert answer.status == 101, f"answered {answer.status}"
            console = Console(sock, rest, client.door.stop)
            data = chance.randbytes(chance.randrange(1, 50_000))
            console.send(data)
            assert console.expect(len(data)) == data, "the echo differs"
        elif chance.random() < 0.3:
            abort(sock)


def knock_and_go(client: Client) -> None:
    """Connect, and say little or nothing."""
    chance = client.chance
    with client.door.enter(tls=chance.random() < 0.7) as sock:
        sock.sendall(client.request(client.ticket("echo"))[: chance.choice((0, 1, 50, 1000))] or b"G")
        if chance.random() < 0.5:
            abort(sock)


def crowd(client: Client) -> None:
    """More sessions from one address than it may have."""
    number = next(_crowds)
    address = f"127.{64 + number // 62500 % 64}.{number // 250 % 250}.{number % 250 + 1}"
    door = attrs.evolve(client.door, address=address)
    requests = [client.request(client.ticket("stall")) for _ in range(PER_CLIENT + 2)]
    statuses = []
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        for request in requests:
            sock: socket.socket = stack.enter_context(door.enter(tls=False))
            sock.sendall(request)
            statuses.append(read_answer(sock)[0].status)
    # None of them answers a ping: on a machine that is very busy the first are cut off before the last comes.
    if time.monotonic() - begun < PING_INTERVAL:
        assert statuses == [101] * PER_CLIENT + [429] * 2, statuses


def _page(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: gateway.example.com\r\n\r\n".encode("ascii")


KNOCKS: Final[dict[Behaviour, int]] = {
    half_handshake: 5,
    slow_head: 3,
    be_refused: 10,
    browse: 8,
    knock_and_go: 3,
    crowd: 1,
}
"""Behaviours outside of sessions, and how often each is shown in relation to the others."""
