"""Whatever happens, nothing of a ticket is written anywhere."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.integration.case import InstallationTestCase, Table, eventually
from tests.support.http import read_answer, read_rest, upgrade
from tests.support.process import GatewayProcess
from tests.support.targets import TargetServer, closed_port, echo

WINDOW = 24
"""Characters of a secret that may not stand together; shorter ones would match by chance."""
KUBEVIRT = "/apis/subresources.kubevirt.io/v1/namespaces/x/virtualmachineinstances/y/vnc"
TOKEN = "secret-token-of-the-bearer-0123456789"


def windows(text: str) -> set[str]:
    return {text[start : start + WINDOW] for start in range(len(text) - WINDOW + 1)}


def secrets_of(ticket: str) -> Iterator[str]:
    """Every form in which a ticket, or what makes it valid, could be written."""
    yield ticket
    yield urllib.parse.quote(ticket, safe="")
    yield ticket.translate(str.maketrans("+/", "-_"))
    try:
        raw = base64.b64decode(ticket, validate=True)
        fields = json.loads(raw)
    except ValueError:
        return
    yield raw.decode("ascii")
    yield repr(fields)
    yield json.dumps(fields["data"])
    yield urllib.parse.unquote(fields["data"])
    signature = base64.b64decode(fields["v2_signature"])
    yield from (
        fields["v2_signature"],
        signature.hex(),
        repr(signature),
        str(int.from_bytes(signature, "big")),
    )
    salt = base64.b64decode(fields["salt"])
    # Too short for a window; padded so that it is one of its own.
    yield from (fields["salt"], salt.hex())


class SecretsTests(InstallationTestCase):
    def test_text(self) -> None:
        self.check(log={"level": "debug"})

    def test_json(self) -> None:
        self.check(log={"level": "debug", "format": "json"})

    def test_file(self) -> None:
        path = self.installation.directory / "gateway.log"
        self.check(path, log={"level": "debug", "file": str(path)})

    def check(self, log_file: Path | None = None, **changes: Table) -> None:
        changes["limits"] = {"sessions_per_client": 2}
        changes["pages"] = {"enabled": True}
        changes["front"] = {"origins": ["https://engine.example.com"], "head_timeout": 0.5}
        settings = self.settings_file(**changes)
        with GatewayProcess(settings, chatty=True) as gateway, TargetServer(echo) as target:
            tickets = list(self.use(_plain_port(gateway, log_file), target.port))
            time.sleep(0.6)
            self.assertEqual(gateway.stop(), 0)
            written = gateway.output + (log_file.read_text() if log_file else "")
        # It was talkative, about the right things.
        for word in ("session started", "session ended", "request refused", "expired", "client-limit"):
            self.assertIn(word, written)
        self.assertGreater(len(tickets), 15)
        seen = windows(written)
        for ticket in tickets:
            for secret in secrets_of(ticket):
                if len(secret) < WINDOW:
                    self.assertNotIn(secret, written)
                else:
                    self.assertEqual(windows(secret) & seen, set())
        self.assertEqual(windows(TOKEN) & seen, set())

    def use(self, port: int, target: int) -> Iterator[str]:
        """Make all kinds of use of all kinds of tickets; yields each ticket that was shown."""
        ticket = self.installation.ticket
        good = ticket(target)
        stranger = rsa.generate_private_key(65537, 2048)
        key = "=" + good[5:20] + "======"

        def send(data: bytes, *, wait: bool = True) -> None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as sock:
                sock.sendall(data)
                if wait:
                    sock.settimeout(0.2)
                    read_rest(sock)

        # Sessions, and targets that are none.
        for shown in (
            good,
            ticket(closed_port()),
            ticket(5900, "192.0.2.1"),
            ticket(5900, "none.invalid"),
            ticket(target, tls=True),
            ticket(443, path=KUBEVIRT, token=TOKEN),
        ):
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                sock.sendall(upgrade("/" + shown) + b"\x82\x85\0\0\0\0hello")
                answer, _ = read_answer(sock)
                assert answer.status == 101, answer
                sock.sendall(b"\x88\x82\0\0\0\0\x03\xe8")
                read_rest(sock)
            yield shown
        # Too many sessions.
        held = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(3)]
        for sock in held:
            sock.sendall(upgrade("/" + good))
            read_answer(sock)
        for sock in held:
            sock.close()
        time.sleep(0.2)
        # Tickets that do not hold.
        for shown in (
            good[:-12] + "AAAAAAAAAAA=",
            good[:-40],
            good[1:],
            "A" * 17000,
            ticket(target, key=stranger),
            ticket(target, begin=-300, lifetime=60),
            ticket(target, begin=300),
            ticket(target, lifetime=7200),
            urllib.parse.quote(good, safe=""),
        ):
            send(upgrade("/" + shown))
            send(f"GET /{shown} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            yield shown
        # Requests that are wrong around a ticket that is right.
        for request in (
            upgrade("/" + good, {"Sec-WebSocket-Key": key}),
            upgrade("/" + good, {"Sec-WebSocket-Version": "7"}),
            upgrade("/" + good, {"Host": None}),
            upgrade("/" + good, {"Connection": good}),
            upgrade("/" + good, {"Host": good[:200]}),
            upgrade("/" + good, [("Origin", "https://evil.example")]),
            upgrade("/" + good, [("Origin", "https://" + good[:60])]),
            upgrade("/" + good, [("Sec-WebSocket-Protocol", "base64")]),
            upgrade("/" + good, [("Sec-WebSocket-Protocol", good[:100])]),
            upgrade("/" + good, [("Sec-WebSocket-Extensions", "permessage-deflate; " + good[:100])]),
            upgrade("/" + good, [("Referer", "https://x/" + good), ("Cookie", "t=" + good)]),
            upgrade("/" + good, method="POST"),
            upgrade("/" + good, method=good[:20]),
            upgrade("/" + good + "?token=" + good),
            upgrade("/?ticket=" + good),
            upgrade("/" + good + "#" + good[:100]),
            upgrade("//" + good),
            upgrade("/console/" + good),
            upgrade("http://x/" + good),
            upgrade("/" + good).replace(b"HTTP/1.1", b"HTTP/1.0"),
            upgrade("/" + good).replace(b"\r\n", b"\n"),
            upgrade("/" + good + "\0"),
            upgrade("/" + good + " x"),
            upgrade("/" + good, [("Content-Length", "5")]) + good.encode(),
            b"GET /console/" + good.encode() + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET /console/?ticket=" + good.encode() + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET /console/x.js HTTP/1.1\r\nHost: x\r\nReferer: /"
            + good.encode()
            + b"\r\nConnection: close\r\n\r\n",
            b"POST /"
            + good.encode()
            + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n"
            + bytes(70000),
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + good[:30].encode() + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + upgrade("/" + good[:-12] + "AAAAAAAAAAA="),
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /" + good.encode() + b" HTTP/1.1\r\nHost: x\r\nX\r\n\r\n",
            b"GET /" + good.encode() * 40 + b" HTTP/1.1\r\n\r\n",
            good.encode() + b"\r\n\r\n",
            b"GET /" + good.encode(),
        ):
            send(request)
            send(request, wait=False)
        yield good


def _plain_port(gateway: GatewayProcess, log_file: Path | None) -> int:
    if log_file is None:
        return gateway.plain_port
    eventually(lambda: log_file.exists() and "listens on" in log_file.read_text(), 15)
    return int(log_file.read_text().split(" (plain)")[0].rpartition(":")[2])
