"""Legs behind TLS: record sizes, key updates, blocked writes, and all the ways in which TLS ends."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import random
import socket
import ssl
import struct
import unittest

from OpenSSL import SSL
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from gateway.net import BLOCKED, RECORD_SIZE, ChannelError
from gateway.net.channel import TlsChannel
from gateway.reasons import EndReason
from tests.unit.relay.wires import RelayCase, Session, client_context, gateway_context, tls_pair

DATA = random.Random(1).randbytes(300_000)


def message(data: bytes) -> bytes:
    return Frame(Opcode.BINARY, data).serialize(mask=True)


def read_tickets(client: ssl.SSLSocket) -> None:
    """Read what follows the handshake: a socket closed with unread bytes sends a reset."""
    with contextlib.suppress(ssl.SSLWantReadError):
        client.recv(1)


class ChannelTests(RelayCase):
    def pair(
        self, *, small: bool = False, version: ssl.TLSVersion | None = None
    ) -> tuple[TlsChannel, ssl.SSLSocket]:
        near, far = self.wire(tcp=True, small=small)
        context = client_context()
        if version is not None:
            context.minimum_version = context.maximum_version = version
        channel, client = tls_pair(near, far, context)
        self.sockets.append(client)
        return channel, client

    def read(self, channel: TlsChannel, size: int, room: int = 8 * RECORD_SIZE) -> bytes:
        data = b""
        view = memoryview(bytearray(room))
        for _ in range(100_000):
            count = channel.recv_into(view)
            if count == BLOCKED:
                self.assertFalse(channel.read_wants_write)
                if len(data) >= size:
                    return data
            else:
                self.assertGreater(count, 0)
                data += view[:count]
        raise AssertionError("not everything arrived")

    def test_records_of_every_size(self) -> None:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            channel, client = self.pair(version=version)
            self.assertEqual(BLOCKED, channel.recv_into(memoryview(bytearray(RECORD_SIZE))))
            for size in (1, 2, 8191, 8192, 8193, 16383, 16384, 16385, 100_000):
                sent = client.send(DATA[:size])
                self.assertEqual(DATA[:sent], self.read(channel, sent))
                self.assertEqual(sent, channel.send(DATA[:sent]))
                got = b""
                while len(got) < sent:
                    got += client.recv(65536)
                self.assertEqual(DATA[:sent], got)

    def test_many_small_records(self) -> None:
        channel, client = self.pair()
        for byte in DATA[:3000]:
            client.send(bytes((byte,)))
        self.assertEqual(DATA[:3000], self.read(channel, 3000))

    def test_the_smallest_room_leaves_nothing_behind(self) -> None:
        channel, client = self.pair()
        client.send(DATA[:RECORD_SIZE])
        client.send(DATA[:100])
        view = memoryview(bytearray(RECORD_SIZE))
        self.assertEqual(RECORD_SIZE, channel.recv_into(view))
        self.assertEqual(100, channel.recv_into(view))

    def test_a_blocked_write_goes_on_with_the_same_bytes(self) -> None:
        channel, client = self.pair(small=True)
        left = memoryview(DATA)
        got = b""
        blocked = 0
        while len(got) < len(DATA):
            if left:
                sent = channel.send(bytes(left))
                self.assertFalse(channel.write_wants_read)
                if sent == BLOCKED or sent < len(left):
                    blocked += 1
                left = left[max(sent, 0) :]
            try:
                got += client.recv(1000)
            except ssl.SSLWantReadError:
                continue
        self.assertEqual(DATA, got)
        self.assertGreater(blocked, 10)

    def test_plain_text_instead_of_tls(self) -> None:
        channel, client = self.pair()
        sock = socket.socket(fileno=client.detach())
        self.sockets.append(sock)
        sock.send(b"GET / HTTP/1.1\r\n\r\n")
        error = self.assertRaises(ChannelError, self.read, channel, 1)
        self.assertTrue(str(error).startswith("TLS: "), str(error))

    def test_end_without_close_notify(self) -> None:
        channel, client = self.pair()
        read_tickets(client)
        client.close()
        self.assertEqual(0, channel.recv_into(memoryview(bytearray(RECORD_SIZE))))
        self.assertEqual(0, channel.recv_into(memoryview(bytearray(RECORD_SIZE))))

    def test_reset(self) -> None:
        channel, client = self.pair()
        raw = socket.socket(fileno=client.detach())
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()
        error = self.assertRaises(ChannelError, channel.recv_into, memoryview(bytearray(RECORD_SIZE)))
        self.assertEqual("ECONNRESET", str(error))
        self.assertRaises(ChannelError, channel.send, b"x" * 100)


class TlsRelayTests(RelayCase):
    """The same, seen from a session."""

    def tls_socket(self, session: Session) -> ssl.SSLSocket:
        sock = session.browser.sock
        assert isinstance(sock, ssl.SSLSocket)
        read_tickets(sock)
        return sock

    def test_data_and_close_notify_in_one_go_without_fin(self) -> None:
        """The end of TLS is seen although the socket has nothing more to say."""
        session = Session(self, tls=True)
        far = self.tls_socket(session)
        session.browser.stalled = True
        far.send(message(b"last"))
        with contextlib.suppress(ssl.SSLWantReadError):
            far.unwrap()
        session.wait_for_end()
        self.assertEqual(EndReason.CLIENT_GONE, session.ended[0].reason)
        self.assertEqual(b"last", session.console.received)

    def test_data_and_garbage_in_one_go(self) -> None:
        session = Session(self, tls=True)
        far = self.tls_socket(session)
        far.send(message(b"last"))
        raw = socket.socket(fileno=far.detach())
        self.sockets.append(raw)
        raw.send(b"\x17\x03\x03\x00\x20" + b"garbage!" * 4)
        session.wait_for_end()
        self.assertEqual(EndReason.CLIENT_GONE, session.ended[0].reason)
        self.assertTrue(session.ended[0].detail.startswith("TLS: "), session.ended[0].detail)
        self.assertEqual(b"last", session.console.received)

    def test_big_data_and_garbage_in_one_go(self) -> None:
        session = Session(self, tls=True)
        far = self.tls_socket(session)
        wire = message(DATA[:16000])
        far.send(wire)
        raw = socket.socket(fileno=far.detach())
        self.sockets.append(raw)
        raw.send(b"\x17\x03\x03\x00\x20" + b"garbage!" * 4)
        session.wait_for_end()
        self.assertEqual(EndReason.CLIENT_GONE, session.ended[0].reason)
        self.assertTrue(session.ended[0].detail.startswith("TLS: "), session.ended[0].detail)
        self.assertEqual(DATA[:16000], session.console.received)

    def test_big_data_and_close_notify_in_one_go_without_fin(self) -> None:
        for data in (DATA[:16000], DATA[:100_000]):
            session = Session(self, tls=True)
            far = self.tls_socket(session)
            session.browser.stalled = True
            session.browser.message(data)
            self.pump(lambda: not session.browser.out)  # noqa: B023
            with contextlib.suppress(ssl.SSLWantReadError):
                far.unwrap()
            session.wait_for_end()
            self.assertEqual(EndReason.CLIENT_GONE, session.ended[0].reason)
            self.assertEqual(data, session.console.received)

    def test_tcp_ends_without_close_notify(self) -> None:
        session = Session(self, tls=True)
        far = self.tls_socket(session)
        far.send(message(b"last"))
        far.close()
        session.wait_for_end()
        self.assertEqual((EndReason.CLIENT_GONE, ""), (session.ended[0].reason, session.ended[0].detail))
        self.assertEqual(b"last", session.console.received)

    def test_tcp_ends_inside_a_record(self) -> None:
        session = Session(self, tls=True)
        far = self.tls_socket(session)
        raw = socket.socket(fileno=far.detach())
        raw.send(b"\x17\x03\x03\x40\x00" + bytes(100))
        raw.close()
        session.wait_for_end()
        self.assertEqual(EndReason.CLIENT_GONE, session.ended[0].reason)

    def test_key_updates_in_the_middle_of_everything(self) -> None:
        """A client that changes its keys, and asks for ours to change, while both sides are busy."""
        near, far = self.wire(tcp=True, small=True)
        client = LibsslClient(far)
        connection = SSL.Connection(gateway_context(), near)
        connection.set_accept_state()
        channel = TlsChannel(near, connection)
        while not all([client.handshake(), channel.handshake()]):
            pass
        session = Session(self, channel=channel)
        session.console.send(DATA)
        left = memoryview(
            b"".join(message(DATA[place : place + 5000]) for place in range(0, len(DATA), 5000))
        )
        down = Protocol(Side.CLIENT, max_size=None)
        got = b""
        updates = asked = 0
        for turn in range(1_000_000):
            self.turn()
            self.assertEqual([], session.ending)
            if turn % 7 == 0:
                left = left[client.send(bytes(left[:3000])) :]
            # OpenSSL bears one update while the answer to the last is held up by a blocked write, not two.
            if len(got) >= asked + 2 * RECORD_SIZE and client.update_keys(ask=updates % 2 == 0):
                updates += 1
                asked = len(got)
            if turn % 3 == 0:
                down.receive_data(client.receive(4000))
                got += b"".join(frame.data for frame in down.events_received())  # type: ignore[union-attr]
            if not left and len(got) == len(DATA) == len(session.console.received):
                break
        self.assertGreater(updates, 2)
        self.assertTrue(session.console.received == DATA)
        self.assertTrue(got == DATA)
        self.assertEqual([], session.ending)


class LibsslClient:
    """A TLS client on the system's OpenSSL, for what the ssl module does not offer: key updates."""

    def __init__(self, sock: socket.socket) -> None:
        name = ctypes.util.find_library("ssl")
        if name is None:
            raise unittest.SkipTest("no shared libssl on this system")
        lib = ctypes.CDLL(name)
        for function in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(lib, function).restype = ctypes.c_void_p
        self._lib = lib
        self._context = ctypes.c_void_p(lib.SSL_CTX_new(ctypes.c_void_p(lib.TLS_client_method())))
        self._ssl = ctypes.c_void_p(lib.SSL_new(self._context))
        lib.SSL_set_fd(self._ssl, sock.fileno())
        lib.SSL_set_connect_state(self._ssl)
        # Partial writes, from buffers that move.
        lib.SSL_ctrl(self._ssl, 33, ctypes.c_long(3), None)

    def handshake(self) -> bool:
        return self._result(self._lib.SSL_do_handshake(self._ssl)) == 1

    def update_keys(self, *, ask: bool) -> bool:
        if self._lib.SSL_key_update(self._ssl, int(ask)) != 1:
            # Not in the middle of a write.
            self._lib.ERR_clear_error()
            return False
        self._result(self._lib.SSL_do_handshake(self._ssl))
        return True

    def send(self, data: bytes) -> int:
        return max(0, self._result(self._lib.SSL_write(self._ssl, data, len(data)))) if data else 0

    def receive(self, size: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        count = self._result(self._lib.SSL_read(self._ssl, buffer, size))
        return buffer.raw[: max(0, count)]

    def _result(self, result: int) -> int:
        if result <= 0:
            error = self._lib.SSL_get_error(self._ssl, result)
            assert error in (2, 3), f"SSL error {error}"
        return int(result)


class CorkTests(RelayCase):
    """Several records go out together, and nothing stays behind for it."""

    def test_the_last_record_leaves_at_once(self) -> None:
        channel, browser = self.browser_wire(tls=True)
        payload = random.Random(0).randbytes(60_000)
        self.assertEqual(len(payload), channel.send(memoryview(payload)))
        cork = self.sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK)
        self.assertEqual(0, cork, "a corked socket holds back its last segment")
        browser.took = browser.received.extend  # type: ignore[method-assign, assignment]
        self.pump(lambda: len(browser.received) == len(payload))
        self.assertEqual(payload, bytes(browser.received))
