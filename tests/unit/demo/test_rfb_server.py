"""The demo's console server, seen by a client on an in-memory transport."""

from __future__ import annotations

import datetime
import struct

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from gateway.demo.canvas import HEIGHT, WIDTH, Colour
from gateway.demo.rfb_server import DemoConsoleFactory
from gateway.rfb import PixelFormat, vnc_response

PASSWORD = "letmein"
NOON = datetime.datetime(2030, 1, 2, 12, 0, 0)
LOOPBACK = IPv4Address("TCP", "127.0.0.1", 1)
SERVER_INIT_SIZE = 24 + len("Console Gateway demo")


class Transport(StringTransportWithDisconnection):
    """A connection whose client reads only when a test says so."""

    noDelay = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.noDelay = enabled


class Client:
    """A very small viewer."""

    def __init__(self, factory: DemoConsoleFactory, address: IPv4Address | UNIXAddress = LOOPBACK) -> None:
        protocol = factory.buildProtocol(address)
        assert protocol is not None
        self.protocol = protocol
        self.transport = Transport(hostAddress=address)
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def received(self) -> bytes:
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def log_in(self, password: str = PASSWORD) -> None:
        self.send(b"RFB 003.008\n\2")
        challenge = self.received()[-16:]
        self.send(vnc_response(challenge, password))

    def start(self) -> None:
        self.log_in()
        self.send(b"\1")
        assert self.received()[4:8] == struct.pack(">HH", WIDTH, HEIGHT)

    def request(self, *, incremental: bool) -> None:
        self.send(struct.pack(">BBHHHH", 3, incremental, 0, 0, WIDTH, HEIGHT))

    def key(self, keysym: int) -> None:
        self.send(struct.pack(">BBxxI", 4, 1, keysym) + struct.pack(">BBxxI", 4, 0, keysym))


def rectangles(update: bytes, pixel_size: int = 4) -> list[tuple[int, int, int, int, bytes]]:
    """Take apart exactly one FramebufferUpdate."""
    kind, count = struct.unpack_from(">BxH", update)
    assert kind == 0
    position, found = 4, []
    for _ in range(count):
        x, y, width, height, encoding = struct.unpack_from(">HHHHi", update, position)
        assert encoding == 0
        position += 12
        pixels = update[position : position + width * height * pixel_size]
        assert len(pixels) == width * height * pixel_size
        position += len(pixels)
        found.append((x, y, width, height, pixels))
    assert position == len(update)
    return found


class DemoConsoleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        start = self.clock.seconds()
        self.factory = DemoConsoleFactory(
            PASSWORD,
            self.clock,
            now=lambda: NOON + datetime.timedelta(seconds=self.clock.seconds() - start),
        )

    def tearDown(self) -> None:
        self.factory.stopFactory()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_handshake(self) -> None:
        client = Client(self.factory)
        self.assertEqual(client.received(), b"RFB 003.008\n")
        self.assertTrue(client.transport.noDelay)
        client.log_in()
        self.assertEqual(client.received(), b"\0\0\0\0")
        client.send(b"\1")
        init = client.received()
        self.assertEqual(len(init), SERVER_INIT_SIZE)
        self.assertTrue(init.endswith(b"Console Gateway demo"))

    def test_unix_sockets_have_no_tcp_options(self) -> None:
        client = Client(self.factory, UNIXAddress("/run/demo.sock"))
        self.assertFalse(client.transport.noDelay)
        client.start()

    def test_wrong_password(self) -> None:
        client = Client(self.factory)
        client.log_in("letmeout")
        self.assertIn(b"Authentication failed", client.received())
        self.assertFalse(client.transport.connected)

    def test_challenges_differ(self) -> None:
        challenges = set()
        for _ in range(5):
            client = Client(self.factory)
            client.send(b"RFB 003.008\n\2")
            challenges.add(client.received()[-16:])
        self.assertEqual(len(challenges), 5)

    def test_silent_client_is_dropped(self) -> None:
        client = Client(self.factory)
        self.clock.advance(9.9)
        self.assertTrue(client.transport.connected)
        self.clock.advance(0.2)
        self.assertFalse(client.transport.connected)

    def test_nonsense_ends_the_connection(self) -> None:
        client = Client(self.factory)
        client.start()
        client.send(b"\xfe" * 20)
        self.assertFalse(client.transport.connected)
        client.send(b"\xfe" * 20)

    def test_full_picture(self) -> None:
        client = Client(self.factory)
        client.start()
        self.assertEqual(client.received(), b"")
        client.request(incremental=False)
        ((x, y, width, height, pixels),) = rectangles(client.received())
        self.assertEqual((x, y, width, height), (0, 0, WIDTH, HEIGHT))
        red, green, blue = Colour.HEADER.rgb
        self.assertEqual(pixels[:4], bytes([blue, green, red, 0]))

    def test_one_answer_to_one_request(self) -> None:
        client = Client(self.factory)
        client.start()
        client.request(incremental=False)
        client.received()
        client.key(ord("a"))
        self.assertEqual(client.received(), b"")
        client.request(incremental=True)
        self.assertTrue(rectangles(client.received()))
        client.request(incremental=True)
        self.assertEqual(client.received(), b"")
        client.key(ord("b"))
        # The press answers the request; the release changes nothing.
        changed = rectangles(client.received())
        self.assertLess(sum(width * height for _, _, width, height, _ in changed), 20 * 16 * 20)
        client.key(ord("c"))
        self.assertEqual(client.received(), b"")
        self.assertEqual(self.factory.screen.typed, "abc")

    def test_time_passes(self) -> None:
        client = Client(self.factory)
        client.start()
        client.request(incremental=False)
        client.received()
        client.request(incremental=True)
        self.clock.advance(0.2)
        self.assertTrue(rectangles(client.received()))
        self.clock.advance(0.2)
        self.assertEqual(client.received(), b"")

    def test_nothing_runs_without_clients(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])
        client = Client(self.factory)
        client.start()
        self.assertTrue(self.clock.getDelayedCalls())
        client.transport.loseConnection()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_screen_outlives_its_viewers(self) -> None:
        for character in "xy":
            client = Client(self.factory)
            client.start()
            client.key(ord(character))
            client.transport.loseConnection()
        self.assertEqual(self.factory.screen.typed, "xy")

    def test_viewers_share_the_screen(self) -> None:
        one, two = Client(self.factory), Client(self.factory)
        for client in (one, two):
            client.start()
            client.request(incremental=False)
            client.received()
        two.request(incremental=True)
        two.received()
        two.request(incremental=True)
        one.key(ord("z"))
        self.assertTrue(rectangles(two.received()))

    def test_slow_client_is_not_written_to(self) -> None:
        client = Client(self.factory)
        client.start()
        assert client.transport.producer is not None
        client.transport.producer.pauseProducing()
        for _ in range(50):
            client.request(incremental=False)
            self.clock.advance(0.2)
        client.send(struct.pack(">BBxxI", 4, 1, 0xFFE3))
        client.key(ord("c"))
        self.assertEqual(client.received(), b"")
        client.transport.producer.resumeProducing()
        self.assertEqual(len(rectangles(client.received())), 1)

    def test_pixel_formats(self) -> None:
        formats = {
            PixelFormat(32, 24, True, True, 255, 255, 255, 0, 8, 16): 4,
            PixelFormat(16, 16, False, True, 31, 63, 31, 11, 5, 0): 2,
            PixelFormat(16, 15, True, True, 31, 31, 31, 10, 5, 0): 2,
            PixelFormat(8, 8, False, True, 7, 7, 3, 0, 3, 6): 1,
        }
        client = Client(self.factory)
        client.start()
        for pixel_format, pixel_size in formats.items():
            client.send(b"\0\0\0\0" + pixel_format.encode())
            client.request(incremental=False)
            ((*_, pixels),) = rectangles(client.received(), pixel_size)
            self.assertEqual(pixels[:pixel_size], pixel_format.pixel(*Colour.HEADER.rgb))
            accent = (60 * WIDTH + 5) * pixel_size
            self.assertEqual(pixels[accent : accent + pixel_size], pixel_format.pixel(*Colour.ACCENT.rgb))

    def test_colour_maps_are_refused(self) -> None:
        client = Client(self.factory)
        client.start()
        client.send(b"\0\0\0\0" + PixelFormat(8, 8, False, False, 0, 0, 0, 0, 0, 0).encode())
        self.assertFalse(client.transport.connected)

    def test_clipboard_both_ways(self) -> None:
        client = Client(self.factory)
        client.start()
        client.send(b"\6\0\0\0\0\0\0\5paste")
        client.key(ord("h"))
        client.key(ord("i"))
        client.send(struct.pack(">BBxxI", 4, 1, 0xFFE3))
        client.key(ord("c"))
        self.assertEqual(client.received(), b"\3\0\0\0\0\0\0\2hi")

    def test_number_of_clients_is_bounded(self) -> None:
        clients = [Client(self.factory) for _ in range(32)]
        self.assertIsNone(self.factory.buildProtocol(None))
        clients[0].transport.loseConnection()
        Client(self.factory).start()

    def test_stopping_drops_everybody(self) -> None:
        greeting, viewing = Client(self.factory), Client(self.factory)
        viewing.start()
        self.factory.stopFactory()
        self.assertFalse(greeting.transport.connected)
        self.assertFalse(viewing.transport.connected)
