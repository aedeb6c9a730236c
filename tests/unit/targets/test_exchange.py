"""A connection to a target while handshakes go on: waiting, reading no more than was asked for, giving up."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from OpenSSL import SSL
from twisted.internet import defer

from gateway.net import RECORD_SIZE, ChannelError, SocketChannel
from gateway.rfb import Ready, Requirement, RfbError, StartTls, TargetHandshake, Version
from gateway.targets.exchange import EndOfTarget, Exchange
from gateway.targets.trust import TargetTls
from tests.unit.rfb.samples import CHALLENGE, LINE, X509_VNC
from tests.unit.targets.consoles import Console, Script, says, spice, vencrypt
from tests.unit.targets.securing import SecuringCase, context
from tests.unit.targets.tls import NAME, rule


class ExchangeCase(SecuringCase):
    def connect(
        self, script: Script | None = None, *, small: bool = False, tcp: bool = False
    ) -> tuple[Exchange, Console]:
        near, far = self.wire(small=small, tcp=tcp)
        console = Console(far, script or says(), context())
        self.ends.append(console)
        return Exchange(self.poller, SocketChannel(near)), console

    def go(self, step: Coroutine[Any, Any, Any]) -> defer.Deferred[Any]:
        return defer.Deferred.fromCoroutine(step)

    def done(self, step: Coroutine[Any, Any, Any]) -> Any:
        result = self.go(step)
        self.pump(lambda: result.called)
        self.assertEqual(0, len(self.poller))
        return self.successResultOf(result)

    def failed(self, step: Coroutine[Any, Any, Any], kind: type[Exception]) -> Exception:
        result = self.go(step)
        self.pump(lambda: result.called)
        self.assertEqual(0, len(self.poller))
        error = self.failureResultOf(result, kind).value
        assert isinstance(error, kind)
        return error

    def connection(self, exchange: Exchange) -> SSL.Connection:
        return TargetTls(rule(ca=self.ca)).connection(exchange.sock, NAME)


class PlainTests(ExchangeCase):
    def test_read_no_more_than_asked_for(self) -> None:
        exchange, _ = self.connect(says(b"abcdef"))
        self.assertEqual(b"abcd", self.done(exchange.read(4)))
        self.assertEqual(b"ef", self.done(exchange.read(4)))

    def test_peek(self) -> None:
        exchange, console = self.connect()
        self.assertEqual(b"", exchange.peek(4))
        waiting = exchange.readable()
        self.settle()
        self.assertNoResult(waiting)
        console.send(b"RFB 003")
        self.pump(lambda: waiting.called)
        self.assertEqual((b"RFB ", b"RFB 003"), (exchange.peek(4), exchange.peek(100)))
        self.assertEqual(b"RFB 003", self.done(exchange.read(100)))

    def test_the_end(self) -> None:
        exchange, console = self.connect(says(b"x"))
        console.hang_up()
        self.assertEqual(b"x", self.done(exchange.read(4)))
        self.assertEqual(b"", self.done(exchange.read(4)))
        waiting = exchange.readable()
        self.pump(lambda: waiting.called)
        self.assertEqual(b"", exchange.peek(4))

    def test_a_lost_connection(self) -> None:
        exchange, console = self.connect(tcp=True)
        reading = self.go(exchange.read(4))
        console.abort()
        self.pump(lambda: reading.called)
        self.failureResultOf(reading, ConnectionError)
        exchange, console = self.connect(tcp=True)
        waiting = exchange.readable()
        console.abort()
        self.pump(lambda: waiting.called)
        self.assertRaises(ConnectionError, exchange.peek, 4)
        exchange, console = self.connect()
        console.close()
        self.failed(exchange.write(b"x" * 100), OSError)

    def test_write_waits_for_room(self) -> None:
        exchange, console = self.connect(small=True)
        console.stalled = True
        data = bytes(range(256)) * 4000
        writing = self.go(exchange.write(data))
        self.settle()
        self.assertNoResult(writing)
        console.stalled = False
        self.pump(lambda: writing.called and len(console.wire) == len(data))
        self.assertEqual(data, console.wire)
        self.done(exchange.write(b""))

    def test_cancelled(self) -> None:
        exchange, console = self.connect(small=True)
        console.stalled = True
        steps: tuple[Callable[[], defer.Deferred[Any]], ...] = (
            exchange.readable,
            lambda: self.go(exchange.read(1)),
            lambda: self.go(exchange.write(bytes(1 << 20))),
        )
        for step in steps:
            waiting = step()
            self.assertEqual(1, len(self.poller))
            waiting.cancel()
            self.failureResultOf(waiting, defer.CancelledError)
            self.assertEqual(0, len(self.poller))
        exchange.close()
        self.assertEqual(-1, exchange.channel.fileno())


class TlsTests(ExchangeCase):
    def test_everything_after_it_is_inside(self) -> None:
        exchange, console = self.connect(spice)
        self.assertEqual((None, False, False), (exchange.tls, exchange.shaken, exchange.heard))
        connection = self.connection(exchange)
        self.done(exchange.start_tls(connection))
        self.assertIs(connection, exchange.tls)
        self.assertEqual((True, False), (exchange.shaken, exchange.heard))
        self.done(exchange.write(b"secret"))
        self.assertEqual(b"secret", self.done(exchange.read(1)), "a record whole, whatever was asked for")
        self.assertTrue(exchange.heard)
        self.assertNotIn(b"secret", console.wire)
        console.close()
        self.assertEqual(b"", self.done(exchange.read(1)))

    def test_a_whole_record_fits(self) -> None:
        def script(console: Console) -> Any:
            console.start_tls()
            console.say(b"x" * RECORD_SIZE + b"yz")
            yield 1

        exchange, _ = self.connect(script)
        self.done(exchange.start_tls(self.connection(exchange)))
        self.assertEqual(b"x" * RECORD_SIZE, self.done(exchange.read(5)))
        self.assertEqual(b"yz", self.done(exchange.read(5)))

    def test_failure(self) -> None:
        exchange, _ = self.connect(says(b"SSH-2.0-x\r\n"))
        self.failed(exchange.start_tls(self.connection(exchange)), ChannelError)
        self.assertEqual((True, False), (exchange.tls is not None, exchange.shaken))

    def test_cancelled(self) -> None:
        exchange, _ = self.connect()
        shaking = self.go(exchange.start_tls(self.connection(exchange)))
        self.settle()
        shaking.cancel()
        self.failureResultOf(shaking, defer.CancelledError)
        self.assertEqual(0, len(self.poller))

    def test_a_long_write_against_a_slow_reader(self) -> None:
        exchange, console = self.connect(spice, small=True)
        self.done(exchange.start_tls(self.connection(exchange)))
        console.read_size = 1000
        heard: list[bytes] = []

        async def talk() -> None:
            await exchange.write(bytes(100_000))
            while sum(map(len, heard)) < 100_000:
                heard.append(await exchange.read(1))

        self.done(talk())
        self.assertEqual(bytes(100_000), b"".join(heard))


class ConversationTests(ExchangeCase):
    def handshake(self, **requirement: Any) -> TargetHandshake:
        return TargetHandshake(Requirement(**{"tls": False, **requirement}))

    def test_events_in_turn_and_nothing_read_beyond(self) -> None:
        exchange, console = self.connect(says(LINE, b"\1\1", b"\0\0\0\0", b"more"))
        handshake = self.handshake()
        self.assertEqual(Ready(Version.V3_8), self.done(exchange.talk(handshake)))
        self.assertEqual(b"", handshake.unused_data)
        self.assertEqual(b"more", self.done(exchange.read(100)))
        self.pump(lambda: console.wire == LINE + b"\1")

    def test_up_to_tls_and_on_inside(self) -> None:
        exchange, _ = self.connect(vencrypt(X509_VNC))
        handshake = self.handshake(tls=True, browser_answers=True)
        self.assertEqual(StartTls(anonymous=False), self.done(exchange.talk(handshake)))
        self.done(exchange.start_tls(self.connection(exchange)))
        handshake.tls_started()
        self.assertEqual(CHALLENGE, self.done(exchange.talk(handshake)).challenge)

    def test_errors(self) -> None:
        exchange, _ = self.connect(says(b"SSH-2.0-thing\r\n"))
        self.failed(exchange.talk(self.handshake()), RfbError)
        exchange, console = self.connect(says(b"RFB"))
        console.hang_up()
        self.failed(exchange.talk(self.handshake()), EndOfTarget)

    def test_last_words_are_written(self) -> None:
        """A conversation that fails may have something to say about it."""
        exchange, console = self.connect(says(LINE, b"\1\x13", b"\0\1"))
        self.failed(exchange.talk(self.handshake(tls=True)), RfbError)
        self.settle()
        self.assertEqual(LINE + b"\x13", bytes(console.wire))
