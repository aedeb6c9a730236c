from __future__ import annotations

import contextlib
import socket
from unittest.mock import patch

from twisted.web.resource import Resource

from gateway.reasons import Refusal
from tests.support.http import upgrade
from tests.unit.front.samples import BAD, GOOD, GRANT, FrontTestCase

PAGE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
COUNTED = b"GET /counted HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = upgrade("/" + GOOD)


class Large(Resource):
    isLeaf = True

    def render_GET(self, request: object) -> bytes:
        return bytes(4_000_000)


class Counted(Resource):
    isLeaf = True

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body
        self.count = 0

    def render_GET(self, request: object) -> bytes:
        self.count += 1
        return self.body


class Posted(Resource):
    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    def render_POST(self, request) -> bytes:  # type: ignore[no-untyped-def]
        self.bodies.append(request.content.read())
        return b"thanks"


class HeadTests(FrontTestCase):
    def test_upgrade(self) -> None:
        answer = self.ask(UPGRADE)
        self.assertTrue(answer.startswith(b"HTTP/1.1 101 "), answer)
        self.assertIn(b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", answer)
        self.assertNotIn(b"erver:", answer)
        (session,) = self.started
        self.assertEqual((session.grant, session.unsent, session.early), (GRANT, b"", b""))
        self.assertEqual(self.places(), 1)
        self.assert_empty()

    def test_in_single_bytes(self) -> None:
        self.assertIn(b" 101 ", self.ask(UPGRADE, piece=1))
        self.assertIn(b" 200 ", self.ask(PAGE, piece=1))

    def test_early_bytes(self) -> None:
        for early in (b"x", b"\r\n\r\n", UPGRADE, bytes(9000), b"\x85" * 50):
            for piece in (1 << 20, 1000):
                self.started.clear()
                client = self.connect()
                self.send(client, UPGRADE + early, piece=piece)
                self.assertIn(b" 101 ", self.received(client))
                (session,) = self.started
                buffer = bytearray(32768)
                count = session.channel.recv_into(memoryview(buffer))
                self.assertEqual(session.early + bytes(buffer[: max(count, 0)]), early)
                session.place.give_back()
                self.assert_empty()

    def test_bad_heads(self) -> None:
        for data in (
            b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
            b"GET / HTTP/1.1\nHost: x\n\n\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\0\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\r\n\r\n",
        ):
            self.refused(data, Refusal.MALFORMED)

    def test_too_large(self) -> None:
        field = b"X: " + b"y" * 4096
        self.refused(b"GET / HTTP/1.1\r\n" + field, Refusal.HEAD_TOO_LARGE)
        self.refused(b"GET / HTTP/1.1\r\n" + field + b"\r\n\r\n", Refusal.HEAD_TOO_LARGE)
        self.refused(b"y" * 5000, Refusal.HEAD_TOO_LARGE)

    def test_largest(self) -> None:
        frame = b"GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n"
        data = frame % (b"y" * (4096 - len(frame % b"")))
        self.assertEqual(len(data), 4096)
        self.assertIn(b" 200 ", self.ask(data))
        self.refused(data.replace(b"X: y", b"X: yy"), Refusal.HEAD_TOO_LARGE)

    def test_slow_head(self) -> None:
        client = self.connect()
        self.send(client, UPGRADE[:-1])
        self.reactor.advance(9.9)
        self.assertEqual(self.received(client), b"")
        self.reactor.advance(0.2)
        self.assertIn(b"HTTP/1.1 408 Request Timeout\r\n", self.received(client))
        self.send(client, UPGRADE[-1:])
        self.reactor.advance(1)
        self.assertEqual(self.started, [])
        self.assert_empty()

    def test_silence(self) -> None:
        """Who asks nothing gets no answer."""
        client = self.connect()
        self.reactor.advance(10)
        self.assertEqual(client.recv(100), b"")
        self.reactor.advance(1)
        self.assert_empty()

    def test_client_leaves(self) -> None:
        for data in (b"", b"GET /", UPGRADE[:-2]):
            self.assertEqual(self.ask(data), b"")
            self.assert_empty()


class RouteTests(FrontTestCase):
    def test_not_found(self) -> None:
        for path in ("/", "/x", "/console/", "/" + GOOD + "?a=b", "/" + GOOD + "#x", "/" + GOOD + ".", "*"):
            self.refused(upgrade(path), Refusal.NOT_FOUND)
        self.refused(upgrade("http://gateway.example.com/" + GOOD), Refusal.NOT_FOUND)

    def test_methods(self) -> None:
        for method in ("POST", "HEAD", "get", "CONNECT", "OPTIONS"):
            answer = self.refused(upgrade("/" + GOOD, method=method), Refusal.METHOD_NOT_ALLOWED)
            self.assertEqual(answer.header("Allow"), "GET, HEAD")

    def test_bodies(self) -> None:
        for field in (("Content-Length", "5"), ("Transfer-Encoding", "chunked"), ("Content-Length", "+0")):
            self.refused(upgrade("/" + GOOD, [field]) + b"hello", Refusal.MALFORMED)
        self.assertIn(b" 101 ", self.ask(upgrade("/" + GOOD, [("Content-Length", "0")])))

    def test_state_of_a_ticket(self) -> None:
        answer = self.ask(b"GET /" + GOOD.encode() + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        self.assertIn(b"HTTP/1.1 426 Upgrade Required\r\n", answer)
        answer = self.ask(b"GET /" + BAD.encode() + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        self.assertIn(b"HTTP/1.1 401 Unauthorized\r\n", answer)
        self.assertEqual(self.places(), 0)

    def test_pages(self) -> None:
        for line, status in (
            (b"GET / HTTP/1.1", 200),
            (b"HEAD / HTTP/1.1", 200),
            (b"GET /none HTTP/1.1", 404),
            (b"GET /../etc/passwd HTTP/1.1", 404),
            (b"POST / HTTP/1.1", 405),
            (b"DELETE / HTTP/1.1", 405),
            (b"GET / HTTP/1.0", 200),
        ):
            answer = self.ask(line + b"\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            self.assertIn(b" %d " % status, answer.partition(b"\r\n")[0])
            self.assertNotIn(b"erver:", answer)
            self.assertNotIn(b"wisted", answer)
            self.assert_empty()

    def test_smuggling_shapes_on_pages(self) -> None:
        for fields in (
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            b"Content-Length: 5\r\nContent-Length: 6\r\n",
            b"Content-Length: -1\r\n",
            b"Transfer-Encoding: xchunked\r\n",
        ):
            answer = self.ask(b"GET / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n0\r\n\r\n" + PAGE)
            self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), (fields, answer))
            self.assertEqual(answer.count(b"HTTP/1.1"), 1, "nothing behind it is served")
            self.assert_empty()


class PageConnectionTests(FrontTestCase):
    def test_keep_alive(self) -> None:
        client = self.connect()
        for _ in range(3):
            self.send(client, PAGE)
            self.assertIn(b" 200 ", self.received(client))
        self.reactor.advance(15)
        self.serve()
        self.assertEqual(client.recv(100), b"")
        self.reactor.advance(1)
        self.assert_empty()

    def test_one_request_after_another(self) -> None:
        """Requests that were sent at once are answered in order, one at a time, and all of them."""
        page = Counted(b"x" * 10)
        self.front.add_pages("counted", page)
        client, other = self.connect(), self.connect()
        client.sendall(COUNTED * 100)
        other.sendall(COUNTED)
        self.reactor.serve()
        self.assertLessEqual(page.count, 2)
        for _ in range(40):
            self.serve()
        self.assertEqual(page.count, 101)
        self.assertEqual(self.received(client).count(b" 200 "), 100)
        self.assertEqual(self.received(other).count(b" 200 "), 1)

    def test_in_any_pieces(self) -> None:
        for piece in (1, 7, 100):
            page = Counted(b"")
            self.front.add_pages("counted", page)
            client = self.connect()
            self.send(client, COUNTED * 10, piece=piece)
            for _ in range(4):
                self.serve()
            self.assertEqual(self.received(client).count(b" 200 "), 10)
            client.close()
            self.serve()

    def test_nobody_reads(self) -> None:
        """Of many requests, one is answered; then the client has its time to take the answer."""
        page = Counted(bytes(16_000_000))
        self.front.add_pages("counted", page)
        client = self.connect()
        for _ in range(20):
            self.send(client, COUNTED * 100)
        self.assertEqual(page.count, 1)
        (stream,) = self.front._streams
        self.assertLess(len(stream._out), 16_100_000)
        self.reactor.advance(14)
        self.serve()
        self.assertEqual(len(self.front._streams), 1)
        self.reactor.advance(1)
        self.serve()
        self.reactor.advance(30)
        self.assert_empty()
        self.assertEqual(page.count, 1)

    def test_late_readers(self) -> None:
        page = Counted(bytes(4_000_000))
        self.front.add_pages("counted", page)
        client = self.connect()
        self.send(client, COUNTED * 5)
        size = 0
        for _ in range(100):
            size += len(self.received(client))
            self.serve()
        self.assertEqual(page.count, 5)
        self.assertGreater(size, 20_000_000)

    def test_leaving_between_requests(self) -> None:
        page = Counted(b"")
        self.front.add_pages("counted", page)
        for data in (COUNTED * 3, COUNTED + b"G", COUNTED + b"\0\r\n\r\n" + COUNTED):
            client = self.connect()
            client.sendall(data)
            self.reactor.serve()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
            self.serve()
            self.reactor.advance(2)
            self.assert_empty()

    def test_upgrade_after_pages(self) -> None:
        for piece in (1 << 20, 1):
            self.started.clear()
            client = self.connect()
            self.send(client, PAGE)
            self.received(client)
            self.send(client, UPGRADE, piece=piece)
            self.assertIn(b" 101 ", self.received(client))
            (session,) = self.started
            self.assertEqual((session.early, self.places()), (b"", 1))
            session.place.give_back()
            self.assert_empty()

    def test_early_bytes_after_pages(self) -> None:
        client = self.connect()
        early = b"early\r\n\r\n" + UPGRADE
        self.send(client, PAGE + PAGE + UPGRADE + early)
        answer = self.received(client)
        self.assertEqual((answer.count(b" 200 OK"), answer.count(b" 101 ")), (2, 1))
        (session,) = self.started
        self.assertEqual(session.early, early)
        self.assert_empty()

    def test_refused_upgrade_after_pages(self) -> None:
        for request, status in (
            (upgrade("/" + BAD), 401),
            (upgrade("/none"), 404),
            (upgrade("/" + GOOD, {"Sec-WebSocket-Key": None}), 400),
            (upgrade("/" + GOOD, method="POST"), 405),
            (upgrade("/" + GOOD, [("Content-Length", "2")]) + b"hi", 400),
            (UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
            (upgrade("/" + GOOD, [("X", "a\x0bb")]), 400),
        ):
            client = self.connect()
            self.send(client, PAGE + request)
            answer = self.received(client)
            self.assertIn(b"HTTP/1.1 %d " % status, answer, request)
            self.assertEqual(client.recv(10), b"")
            client.close()
            self.serve()
            self.reactor.advance(20)
            self.assertEqual((self.started, self.places()), ([], 0))
            self.assert_empty()

    def test_client_leaves_before_the_late_upgrade_is_served(self) -> None:
        client = self.connect()
        client.sendall(PAGE + UPGRADE)
        self.reactor.serve()
        client.close()
        for stream in list(self.front._streams):
            stream.abortConnection()
        self.serve()
        self.assertEqual(self.started, [])
        self.assert_empty()

    def test_upgrade_fields_that_are_no_text(self) -> None:
        """Bytes that are no UTF-8, or white space in Latin-1 only, ask for no upgrade and break nothing."""
        for value in (b"\xff", b"\x85websocket", b"\xa0websocket", b"h2c\xa0, websocket\xa0"):
            request = PAGE.replace(b"\r\n\r\n", b"\r\nUpgrade: " + value + b"\r\n\r\n")
            for before in (b"", PAGE):
                answer = self.ask(before + request)
                self.assertEqual(answer.count(b"HTTP/1.1 200 "), answer.count(b"HTTP/1.1 "), value)
                self.assertEqual(answer.count(b"HTTP/1.1 "), (before + request).count(b"GET "), value)
        self.assertEqual((self.started, self.flushLoggedErrors()), ([], []))
        self.assert_empty()

    def test_slow_second_head(self) -> None:
        """A byte now and then gains no time."""
        client = self.connect()
        self.send(client, PAGE)
        self.received(client)
        for _ in range(16):
            self.reactor.advance(1)
            try:
                self.send(client, b"G")
            except ConnectionError:
                break
        self.reactor.advance(1)
        self.serve()
        self.assert_empty()

    def test_slow_body(self) -> None:
        client = self.connect()
        self.send(client, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(16):
            self.reactor.advance(1)
            try:
                self.send(client, b"x")
            except ConnectionError:
                break
        self.reactor.advance(1)
        self.serve()
        self.assert_empty()

    def test_large_bodies(self) -> None:
        """Nobody fills our disk."""
        page = Posted()
        self.front.add_pages("post", page)
        post = b"POST /post HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n"
        for fields, body in (
            (b"Content-Length: 100000000000", bytes(80000)),
            (b"Transfer-Encoding: chunked", (b"4000\r\n" + bytes(0x4000) + b"\r\n") * 5 + b"0\r\n\r\n"),
        ):
            answer = self.ask(post % fields + body)
            self.assertEqual(answer.count(b"HTTP/1.1"), 1)
            self.assertIn(b" 400 ", answer)
            self.reactor.advance(2)
            self.assert_empty()
        self.assertEqual(page.bodies, [])
        answer = self.ask(post % b"Content-Length: 65536" + bytes(65536))
        self.assertIn(b"thanks", answer)
        self.assertEqual(page.bodies, [bytes(65536)])

    def test_reader_that_stalls(self) -> None:
        """A client that takes no answer does not keep its place."""
        self.front.add_pages("large", Large())
        for connection in (b"close", b"keep-alive"):
            client = self.connect()
            request = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: %s\r\n\r\n" % connection
            self.send(client, request)
            self.assertEqual(len(self.front._streams), 1)
            for _ in range(60):
                self.reactor.advance(1)
                self.reactor.serve()
            self.assert_empty()

    def test_defect_in_a_page(self) -> None:
        class Broken(Resource):
            isLeaf = True

            def render_GET(self, request: object) -> bytes:
                raise RuntimeError("inner detail")

        self.front.add_pages("broken", Broken())
        answer = self.ask(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b" 500 ", answer)
        for secret in (b"inner", b"Traceback", b"erver:", b"wisted"):
            self.assertNotIn(secret, answer)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assert_empty()


class LimitTests(FrontTestCase):
    def test_full(self) -> None:
        observer = self.events()
        clients = [self.connect() for _ in range(8)]
        for _ in range(3):
            late = self.connect()
            self.assertEqual(late.recv(10), b"")
        warnings = [event for event in observer if "limits.handshakes" in str(event.get("log_format"))]
        self.assertEqual(len(warnings), 1, "said once")
        for client in clients:
            client.close()
        self.serve()
        self.assert_empty()
        self.assertIn(b" 101 ", self.ask(UPGRADE))

    def test_sessions_are_not_counted(self) -> None:
        for _ in range(20):
            self.assertIn(b" 101 ", self.ask(UPGRADE))
            self.started.pop().place.give_back()
        self.assert_empty()

    def test_end(self) -> None:
        clients = [self.connect() for _ in range(4)]
        self.send(clients[0], PAGE)
        self.send(clients[1], UPGRADE[:20])
        self.send(clients[2], PAGE + UPGRADE[:20])
        self.front.end()
        self.assert_empty()
        for client in clients:
            self.received(client)
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(client.recv(10), b"")
        self.front.begin()
        self.assertIn(b" 101 ", self.ask(UPGRADE))

    def test_reactor_that_is_out_of_memory(self) -> None:
        with patch.object(self.reactor, "addReader", side_effect=OSError(28, "No space left on device")):
            self.assertRaises(OSError, self.connect)
        self.assert_empty()

    def test_addresses(self) -> None:
        one, other = socket.socketpair()
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        self.front.accept(other, "", tls=False)
        self.send(one, UPGRADE)
        self.assertEqual(self.started[0].place.client, "unix")
