"""Real sockets, a poller driven by hand, and far ends that play browser and console."""

from __future__ import annotations

import contextlib
import functools
import select
import socket
import ssl
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from gateway.demo.pki import DemoPki, make_pki
from gateway.net import Channel, Poller, SocketChannel, TlsChannel, server_context
from gateway.net.tls import load_identity
from gateway.reasons import EndReason
from gateway.relay import Ending, Leg, RawLeg, Relay, WebSocketLeg
from gateway.settings import TlsSettings

CLOSE_TIMEOUT = 5.0
PATIENCE = 5.0
"""Seconds of real time after which a test that waits for bytes has failed."""


class Reactor(Clock):
    """What a poller needs of a reactor; its time is that of resting sockets and no other."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[object] = []

    def addReader(self, reader: object) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        self.readers.remove(reader)


class End:
    """The far end of a connection: sends what it is given and, unless stalled, reads what comes."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.out = bytearray()
        self.received = bytearray()
        self.stalled = False
        self.polite = True
        """Close when the other side has ended; a browser also answers pings and close frames."""
        self.eof = False
        self.reset = False
        self.read_size = 65536
        self.write_size = 65536

    def send(self, data: bytes) -> None:
        self.out += data

    def step(self) -> bool:
        """Do what can be done now; whether anything was."""
        if self.sock.fileno() < 0:
            return False
        moved = False
        try:
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if self.out:
                    sent = self.sock.send(self.out[: self.write_size])
                    del self.out[:sent]
                    moved = sent > 0
            if not self.stalled and not self.eof:
                with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    data = self.sock.recv(self.read_size)
                    moved = True
                    if data:
                        self.took(data)
                    else:
                        self.eof = True
        except OSError:
            self.reset = self.eof = True
            self.out.clear()
        if self.eof and self.polite and not self.out and not self.reset:
            self.sock.close()
        return moved

    def took(self, data: bytes) -> None:
        self.received += data

    def finish_sending(self) -> None:
        with contextlib.suppress(OSError):
            # Not an SSL socket's own method, which would go on in plain text.
            socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def abort(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Browser(End):
    """A WebSocket client behind its opening handshake; framing is an independent implementation's."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.ws = Protocol(Side.CLIENT, max_size=None)
        self.frames: list[Frame] = []
        """Control frames received."""

    def message(self, data: bytes) -> None:
        self.ws.send_binary(data)
        self._say()

    def close_frame(self, code: int | None = None, reason: str = "") -> None:
        self.ws.send_close(code, reason)
        self._say()

    def frame(self, opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> None:
        self.send(Frame(opcode, data, fin=fin).serialize(mask=True))

    def took(self, data: bytes) -> None:
        self.ws.receive_data(data)
        for frame in self.ws.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode in (Opcode.BINARY, Opcode.CONT):
                self.received += frame.data
            else:
                self.frames.append(frame)
        assert self.ws.parser_exc is None, self.ws.parser_exc
        self._say()

    @property
    def close_code(self) -> int | None:
        """The code of the close frame received; 1005 for an empty one, ``None`` for none."""
        return self.ws.close_rcvd.code if self.ws.close_rcvd is not None else None

    @property
    def pongs(self) -> list[bytes]:
        return [bytes(frame.data) for frame in self.frames if frame.opcode is Opcode.PONG]

    @property
    def pings(self) -> list[bytes]:
        return [bytes(frame.data) for frame in self.frames if frame.opcode is Opcode.PING]

    def _say(self) -> None:
        data = b"".join(self.ws.data_to_send())
        if self.polite:
            self.send(data)


class RelayCase(SynchronousTestCase):
    """A poller, a clock and helpers to make legs and to turn the crank."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.poller = Poller(self.reactor)
        self.clock = Clock()
        self.ends: list[End] = []
        self.sockets: list[socket.socket] = []
        self.addCleanup(self._release)

    def _release(self) -> None:
        for end in self.ends:
            end.close()
        for sock in self.sockets:
            sock.close()
        self.poller.close()

    # -- wires -----------------------------------------------------------------

    def wire(self, *, tcp: bool = False, small: bool = False) -> tuple[socket.socket, socket.socket]:
        """Two connected sockets, the gateway's first; ``small`` gives them small kernel buffers."""
        near, far = tcp_pair(small=small) if tcp else socket.socketpair()
        for sock in (near, far):
            if small and not tcp:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
            sock.setblocking(False)
            self.sockets.append(sock)
        return near, far

    def browser_wire(
        self, *, tls: bool = False, tcp: bool = False, small: bool = False
    ) -> tuple[Channel, Browser]:
        near, far = self.wire(tcp=tcp or tls, small=small)
        channel: Channel = SocketChannel(near)
        if tls:
            channel, far = tls_pair(near, far)
            self.sockets.append(far)
        browser = Browser(far)
        self.ends.append(browser)
        return channel, browser

    def console_wire(self, *, tcp: bool = False, small: bool = False) -> tuple[SocketChannel, End]:
        near, far = self.wire(tcp=tcp, small=small)
        end = End(far)
        self.ends.append(end)
        return SocketChannel(near), end

    # -- the crank -------------------------------------------------------------

    def pump(self, until: Callable[[], object]) -> None:
        """Let both sides work until ``until()`` is true."""
        deadline = time.monotonic() + PATIENCE
        while not until():
            assert time.monotonic() < deadline, "nothing more happens"
            self.turn()

    def turn(self) -> bool:
        moved = bool(select.select([self.poller], [], [], 0)[0] or self.reactor.getDelayedCalls())
        self.poller.doRead()
        self.reactor.advance(0.001)
        for end in self.ends:
            moved = end.step() or moved
        return moved

    def settle(self, watch: Callable[[], object] = bool) -> None:
        """Let both sides work until neither has anything to do, which must come to be.

        :param watch: called after every turn.
        """
        quiet = 0
        for _ in range(200_000):
            quiet = 0 if self.turn() else quiet + 1
            watch()
            if quiet == 10:
                break
        else:
            raise AssertionError("the sockets never come to rest")
        self.assert_no_busy_loop()

    def assert_no_busy_loop(self) -> None:
        # An acknowledgement may come in at any time; what spins is ready every time.
        for _ in range(20):
            self.poller.doRead()
            if not select.select([self.poller], [], [], 0)[0]:
                return
        self.fail("the poller spins")

    def timers(self) -> list[object]:
        return list(self.clock.getDelayedCalls())


class Session:
    """A relay between a browser and a console, as a session would build it."""

    def __init__(
        self,
        case: RelayCase,
        *,
        tls: bool = False,
        tcp: bool = False,
        small: bool = False,
        small_client: bool = False,
        small_target: bool = False,
        max_message: int = 1 << 24,
        unsent: bytes = b"",
        early: bytes = b"",
        joined: bool = True,
        channel: Channel | None = None,
    ) -> None:
        """:param channel: the client's, where a test plays the browser itself."""
        self.case = case
        if channel is None:
            channel, self.browser = case.browser_wire(tls=tls, tcp=tcp, small=small or small_client)
        self.client = WebSocketLeg(channel, case.poller, max_message=max_message, unsent=unsent, early=early)
        self.ending: list[Ending] = []
        self.ended: list[Ending] = []
        self.relay = Relay(
            case.clock,
            self.client,
            close_timeout=CLOSE_TIMEOUT,
            ending=self.ending.append,
            ended=self.ended.append,
        )
        self.target, self.console = self.make_target(tcp=tcp, small=small or small_target)
        if joined:
            self.relay.join(self.target)

    def make_target(self, *, tcp: bool, small: bool) -> tuple[Leg, End]:
        """The leg to the console, and the console."""
        channel, console = self.case.console_wire(tcp=tcp, small=small)
        return RawLeg(channel, self.case.poller), console

    def wait_for_end(self) -> None:
        self.case.pump(lambda: self.ended)

    def assert_ended(self, reason: EndReason, code: int | None = None, *, detail: str | None = None) -> None:
        """Ended once, for this reason, with this close code on the wire, and nothing is left behind."""
        case = self.case
        case.assertEqual([reason], [how.reason for how in self.ending])
        case.assertEqual(self.ending, self.ended)
        if detail is not None:
            case.assertEqual(detail, self.ended[0].detail)
        case.settle()
        case.assertEqual(code, self.browser.close_code)
        case.assertEqual([], case.timers())
        case.assertEqual(0, len(case.poller))
        for leg in (self.client, self.target):
            case.assertTrue(leg.is_closed)
            case.assertEqual((None, None, None), (leg.peer, leg.owner, leg.pending))


def tcp_pair(*, small: bool = False) -> tuple[socket.socket, socket.socket]:
    with socket.socket() as listener:
        if small:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        far = socket.socket()
        if small:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        far.connect(listener.getsockname())
        near, _ = listener.accept()
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


@functools.cache
def pki() -> DemoPki:
    return make_pki(Path(tempfile.mkdtemp()), ["localhost", "127.0.0.1"])


@functools.cache
def gateway_context() -> SSL.Context:
    tls = TlsSettings(certificate=pki().certificate_file, key=pki().key_file)
    return server_context(tls, load_identity(tls))


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pki().ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def tls_pair(
    near: socket.socket, far: socket.socket, context: ssl.SSLContext | None = None
) -> tuple[TlsChannel, ssl.SSLSocket]:
    """Speak TLS on two connected sockets, and finish the handshake."""
    connection = SSL.Connection(gateway_context(), near)
    connection.set_accept_state()
    channel = TlsChannel(near, connection)
    client = (context or client_context()).wrap_socket(
        far, server_hostname="localhost", do_handshake_on_connect=False
    )
    deadline = time.monotonic() + PATIENCE
    shaken = [False, False]
    while not all(shaken):
        assert time.monotonic() < deadline
        if not shaken[0]:
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                client.do_handshake()
                shaken[0] = True
        shaken[1] = shaken[1] or channel.handshake()
    return channel, client
