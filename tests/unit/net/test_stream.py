from __future__ import annotations

import contextlib
import gc
import socket
import ssl
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IConsumer, IPushProducer, IReadWriteDescriptor, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.net import Channel, SocketChannel, Stream, TlsChannel, load_identity, server_context
from gateway.settings import TlsSettings
from tests.support.reactor import HandReactor
from tests.unit.net.samples import certificate, key, pem, write

ADDRESS = IPv4Address("TCP", "192.0.2.1", 5000)


class Recorder(Protocol):
    """Notes what the transport tells it."""

    def __init__(self, on_data: Callable[[Any, bytes], None] | None = None) -> None:
        self.on_data = on_data
        self.events: list[str] = []
        self.received = b""

    def connectionMade(self) -> None:
        self.events.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.on_data is not None:
            self.on_data(self.transport, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.events.append("lost")


class StreamTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.ends: list[str] = []
        self.protocol = Recorder()
        served, self.client = socket.socketpair()
        self.client.settimeout(5)
        for sock in (served, self.client):
            self.addCleanup(sock.close)
            # Small buffers, so that a peer that does not read is felt soon.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.served = served
        self.stream = self.make()

    def make(self) -> Stream:
        stream = self.make_stream(SocketChannel(self.served), secure=False)
        stream.start(self.protocol, 10)
        return stream

    def make_stream(self, channel: Channel, *, secure: bool) -> Stream:
        return Stream(
            self.reactor,
            channel,
            peer=ADDRESS,
            host=ADDRESS,
            secure=secure,
            ended=lambda: self.ends.append("ended"),
        )

    def fill(self, size: int = 500_000) -> bytes:
        """Write more than the socket takes."""
        data = bytes(range(250)) * (size // 250)
        self.stream.write(data)
        return data

    def drain(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.client.recv(65536)
            self.reactor.serve()
        return data

    def assert_gone(self) -> None:
        """Nothing is left of the stream: no descriptor, no timer, one end."""
        self.assertEqual(self.ends, ["ended"])
        self.assertEqual(self.reactor.readers | self.reactor.writers, set())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.stream.fileno(), -1)


class PlainTests(StreamTestCase):
    def test_interfaces(self) -> None:
        for interface in (IReadWriteDescriptor, ITransport, IConsumer, IPushProducer):
            self.assertTrue(verifyObject(interface, self.stream))
        self.assertEqual((self.stream.getPeer(), self.stream.getHost()), (ADDRESS, ADDRESS))

    def test_both_ways(self) -> None:
        self.client.sendall(b"question")
        self.reactor.serve()
        self.assertEqual(self.protocol.received, b"question")
        self.stream.writeSequence([b"ans", b"wer"])
        self.assertEqual(self.client.recv(100), b"answer")
        self.assertEqual(self.reactor.writers, set())

    def test_client_leaves(self) -> None:
        self.client.close()
        self.reactor.serve()
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assert_gone()
        self.stream.connectionLost(connectionDone)
        self.stream.abortConnection()
        self.stream.loseConnection()
        self.stream.write(b"late")
        self.assertIsNone(self.stream.doRead())
        self.assertIsNone(self.stream.doWrite())
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assert_gone()

    def test_back_pressure(self) -> None:
        events: list[str] = []

        class Producer:
            def pauseProducing(self) -> None:
                events.append("pause")

            def resumeProducing(self) -> None:
                events.append("resume")

            def stopProducing(self) -> None:
                events.append("stop")

        producer = Producer()
        self.assertRaises(ValueError, self.stream.registerProducer, producer, False)
        self.stream.registerProducer(producer, True)
        self.assertRaises(RuntimeError, self.stream.registerProducer, producer, True)
        self.stream.write(b"short")
        self.assertEqual(events, [])
        data = self.fill()
        self.stream.write(b"more")
        self.assertEqual(events, ["pause"])
        self.assertEqual(self.drain(5 + len(data) + 4), b"short" + data + b"more")
        self.assertEqual(events, ["pause", "resume"])
        self.fill()
        self.stream.abortConnection()
        self.assertEqual(events, ["pause", "resume", "pause", "stop"])
        self.stream.registerProducer(producer, True)
        self.assertEqual(events[-1], "stop", "a producer that comes too late is told so")
        self.assertEqual(len(events), 5)

    def test_pause_reading(self) -> None:
        self.stream.pauseProducing()
        self.client.sendall(b"x")
        self.reactor.serve()
        self.assertEqual(self.protocol.received, b"")
        self.stream.resumeProducing()
        self.reactor.serve()
        self.assertEqual(self.protocol.received, b"x")

    def test_lose_connection_delivers(self) -> None:
        data = self.fill()
        self.stream.loseConnection()
        self.stream.loseConnection()
        self.stream.write(b"too late")
        self.assertEqual(self.protocol.events, ["made"])
        self.assertEqual(self.drain(len(data)), data)
        self.assertEqual(self.client.recv(10), b"")
        self.client.close()
        self.reactor.serve()
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assert_gone()

    def test_linger_discards_and_ends(self) -> None:
        """What still comes is read, so that no reset overtakes the answer, but only for a moment."""
        self.stream.write(b"answer")
        self.stream.loseConnection()
        for _ in range(3):
            self.client.sendall(b"unread")
            self.reactor.serve()
        self.assertEqual(self.protocol.received, b"")
        self.assertEqual(self.client.recv(100), b"answer")
        self.assertEqual(self.client.recv(100), b"")
        self.reactor.advance(1.0)
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assert_gone()

    def test_closing_does_not_wait_for_ever(self) -> None:
        """A client that never reads does not keep its connection."""
        self.fill()
        self.stream.loseConnection()
        self.reactor.pump([1] * 29)
        self.assertEqual(self.ends, [])
        self.reactor.advance(1)
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assert_gone()

    def test_abort(self) -> None:
        self.fill()
        self.stream.abortConnection()
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assert_gone()

    def test_reset_while_writing(self) -> None:
        self.client.close()
        self.stream.write(b"nobody reads this")
        self.stream.write(b"nor this")
        self.assertEqual(self.protocol.events, ["made"], "not lost inside write()")
        self.reactor.serve()
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assert_gone()

    def test_reset_while_bytes_wait(self) -> None:
        self.fill()
        self.stream.pauseProducing()
        self.client.close()
        self.reactor.serve()
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assert_gone()

    def test_detach(self) -> None:
        data = self.fill()
        channel, unsent = self.stream.detach()
        self.assert_gone()
        self.assertGreater(len(unsent), 0)
        sent = self.client.recv(1 << 20)
        while len(sent) < len(data) - len(unsent):
            sent += self.client.recv(1 << 20)
        self.assertEqual(sent + unsent, data)
        self.assertEqual(self.protocol.events, ["made"], "the connection is not lost, it lives on")
        self.client.sendall(b"on")
        buffer = bytearray(16384)
        self.assertEqual(channel.recv_into(memoryview(buffer)), 2)
        self.stream.resumeProducing()
        self.assertEqual(self.reactor.readers, set())
        channel.close()

    def test_detach_leaves_nothing_alive(self) -> None:
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        stream, protocol = weakref.ref(self.stream), weakref.ref(self.protocol)
        channel, _ = self.stream.detach()
        self.protocol.transport = None
        del self.stream, self.protocol
        self.assertIsNone(protocol())
        self.assertIsNone(stream())
        channel.close()

    def test_end_leaves_nothing_alive(self) -> None:
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        stream = weakref.ref(self.stream)
        self.stream.loseConnection()
        self.client.close()
        self.reactor.serve()
        self.protocol.transport = None
        del self.stream
        self.assertIsNone(stream())

    def test_switch(self) -> None:
        second = Recorder()
        self.stream.switch(second)
        self.client.sendall(b"x")
        self.reactor.serve()
        self.assertEqual((self.protocol.received, second.received), (b"", b"x"))
        self.client.close()
        self.reactor.serve()
        self.assertEqual((self.protocol.events, second.events), (["made"], ["made", "lost"]))

    def test_answer_inside_data_received(self) -> None:
        def answer(transport: Any, data: bytes) -> None:
            transport.write(data.upper())
            transport.loseConnection()

        self.protocol.on_data = answer
        self.client.sendall(b"hello")
        self.client.shutdown(socket.SHUT_WR)
        self.reactor.serve()
        self.reactor.serve()
        self.assertEqual(self.client.recv(100), b"HELLO")
        self.assertEqual(self.client.recv(100), b"")
        self.assert_gone()


class TlsTests(StreamTestCase):
    def make(self) -> Stream:
        directory = Path(self.mktemp())
        directory.mkdir()
        server = certificate(key(), "gateway.example.com")
        tls = TlsSettings(certificate=write(directory / "all.pem", pem(server, key())))
        connection = SSL.Connection(server_context(tls, load_identity(tls)), self.served)
        connection.set_accept_state()
        self.served.setblocking(False)
        stream = self.make_stream(TlsChannel(self.served, connection), secure=True)
        stream.start(self.protocol, 10)
        context = ssl.create_default_context(cadata=pem(server).decode())
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname="gateway.example.com")
        return stream

    def pump(self) -> None:
        """Move bytes between the client and the wire, and serve the server."""
        data = self._out.read()
        while data:
            self.client.sendall(data[:1024])
            data = data[1024:]
            self.reactor.serve()
        self.reactor.serve()
        self.client.setblocking(False)
        try:
            while data := self.client.recv(65536):
                self._in.write(data)
                self.reactor.serve()
            self._in.write_eof()
        except BlockingIOError:
            pass
        self.client.setblocking(True)

    def shake(self) -> None:
        for _ in range(5):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
            self.pump()

    def test_both_ways(self) -> None:
        self.assertEqual(self.protocol.events, [])
        self.shake()
        self.assertEqual(self.protocol.events, ["made"])
        self.assertEqual(self.reactor.getDelayedCalls(), [], "the handshake's time limit is off")
        for size in (1, 16384, 16385, 40000):
            data = bytes(size)
            self.tls.write(data)
            self.pump()
            self.assertEqual(len(self.protocol.received), size)
            self.protocol.received = b""
        self.stream.write(b"answer")
        self.pump()
        self.assertEqual(self.tls.read(100), b"answer")

    def test_handshake_in_single_bytes(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        for byte in self._out.read():
            self.client.sendall(bytes([byte]))
            self.reactor.serve()
        self.shake()
        self.assertEqual(self.protocol.events, ["made"])

    def test_handshake_timeout(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.pump()
        self.reactor.advance(9.9)
        self.assertEqual(self.ends, [])
        self.reactor.advance(0.2)
        self.assert_gone()
        self.assertEqual(self.protocol.events, [], "a protocol that was never connected is not told")

    def test_silent_client(self) -> None:
        self.reactor.advance(10)
        self.assert_gone()

    def test_not_tls(self) -> None:
        self.client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.reactor.serve()
        self.assert_gone()
        self.assertEqual(self.protocol.events, [])

    def test_client_leaves_during_the_handshake(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.pump()
        self.client.close()
        self.reactor.serve()
        self.assert_gone()
        self.assertEqual(self.protocol.events, [])

    def test_back_pressure(self) -> None:
        self.shake()
        data = bytes(range(250)) * 4000
        self.stream.write(data)
        self.assertIn(self.stream, self.reactor.writers)
        got = b""
        while len(got) < len(data):
            self.pump()
            with contextlib.suppress(ssl.SSLWantReadError):
                got += self.tls.read(1 << 20)
        self.assertEqual(got, data)
        self.assertEqual(self.reactor.writers, set())

    def test_orderly_close(self) -> None:
        self.shake()
        self.stream.write(b"answer")
        self.stream.loseConnection()
        self.pump()
        self.assertEqual(self.tls.read(100), b"answer")
        # A close_notify came, so the client can tell this end from a cut.
        self.assertEqual(self.tls.read(100), b"")
        self.client.close()
        self.reactor.serve()
        self.assert_gone()

    def test_client_ends_without_goodbye(self) -> None:
        self.shake()
        self.client.close()
        self.reactor.serve()
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assert_gone()

    def test_detach_mid_write_goes_on_where_it_was(self) -> None:
        """The next record must begin with exactly the bytes that were left."""
        self.shake()
        data = bytes(range(250)) * 4000
        self.stream.write(data)
        channel, unsent = self.stream.detach()
        self.assert_gone()
        self.assertGreater(len(unsent), 0)
        got = b""
        while len(got) < len(data):
            count = channel.send(unsent) if unsent else 0
            unsent = unsent[max(count, 0) :]
            self.pump()
            with contextlib.suppress(ssl.SSLWantReadError):
                got += self.tls.read(1 << 20)
        self.assertEqual(got, data)
        channel.close()
