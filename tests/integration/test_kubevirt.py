"""The leg to a KubeVirt console against an independent server in a process of its own, over TLS."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from OpenSSL import SSL

from gateway.net import BLOCKED, RECORD_SIZE, TlsChannel
from gateway.reasons import EndReason
from gateway.relay import Leg, RemoteWebSocketLeg
from gateway.rfb.auth import CHALLENGE_SIZE, vnc_response
from gateway.targets.upgrade import ClientUpgrade, UpgradeError, UpgradeForbidden, bearer_subprotocols
from tests.peers import needs
from tests.support.kubevirt import PATH, SCRAPS, TOKEN, KubeVirt, blast_pattern
from tests.support.qemu import Qemu
from tests.support.targets import TargetServer, greet
from tests.unit.relay.wires import End, RelayCase, Session, pki

PATIENCE = 15.0


def wait(step: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not step():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def connect(port: int) -> TlsChannel:
    """A verified TLS connection, as a gateway makes it."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(str(pki().ca_file))
    context.set_verify(SSL.VERIFY_PEER)
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setblocking(False)
    tls = SSL.Connection(context, sock)
    tls.set_connect_state()
    channel = TlsChannel(sock, tls)
    wait(channel.handshake)
    return channel


def upgrade(channel: TlsChannel, *, path: str = PATH, token: str = TOKEN) -> ClientUpgrade:
    """Go through the opening handshake."""
    handshake = ClientUpgrade("127.0.0.1", 6443, path, bearer_subprotocols(token), os.urandom)
    request = handshake.data_to_send()
    assert channel.send(request) == len(request)
    view = memoryview(bytearray(RECORD_SIZE))

    def step() -> bool:
        count = channel.recv_into(view)
        assert count, "the server ended the connection"
        if count != BLOCKED:
            handshake.receive_data(bytes(view[:count]))
        return handshake.done

    try:
        wait(step)
    except UpgradeError:
        channel.close()
        raise
    return handshake


class PeerSession(Session):
    """A session with the stand-in."""

    def __init__(self, case: RelayCase, server: KubeVirt) -> None:
        self._server = server
        super().__init__(case, tcp=True)

    def make_target(self, *, tcp: bool, small: bool) -> tuple[Leg, End]:
        channel = connect(self._server.port)
        self.handshake = upgrade(channel)
        leg = RemoteWebSocketLeg(channel, self.case.poller, early=self.handshake.unused_data)
        # Nothing for the test to play: the console is elsewhere.
        return leg, End(self.case.wire()[1])


class KubeVirtTests(RelayCase):
    def serve(self, behaviour: str, *options: str) -> KubeVirt:
        server = KubeVirt(pki().certificate_file, pki().key_file, behaviour, *options)
        self.addCleanup(server.close)
        return server

    def directory(self) -> Path:
        path = Path(self.mktemp())
        path.mkdir(parents=True)
        return path

    def test_who_may(self) -> None:
        server = self.serve("echo")
        for path, token, status in ((PATH, "other", 401), (PATH + "x", TOKEN, 404), (PATH, TOKEN + "=", 401)):
            with self.assertRaises(UpgradeError) as caught:
                upgrade(connect(server.port), path=path, token=token)
            self.assertEqual(status, caught.exception.status)
            self.assertEqual(status == 401, isinstance(caught.exception, UpgradeForbidden))

    def test_echo(self) -> None:
        server = self.serve("echo")
        session = PeerSession(self, server)
        self.assertEqual("plain.kubevirt.io", session.handshake.subprotocol)
        data = blast_pattern()[:700_000]
        place = 0
        for size in (0, 1, 125, 126, 65535, 65536, 131_072, 300_000):
            session.browser.message(data[place : place + size])
            place += size
        self.pump(lambda: len(session.browser.received) == place)
        self.assertTrue(session.browser.received == data[:place])
        session.browser.close_frame(4321)
        session.wait_for_end()
        session.assert_ended(EndReason.CLIENT_CLOSED, 4321)
        server.wait_for("ended code=4321$")

    def test_blast(self) -> None:
        session = PeerSession(self, self.serve("blast", "--mebibytes", "8"))
        expected = hashlib.sha256(blast_pattern() * 8).digest()
        self.pump(lambda: len(session.browser.received) == 8 << 20)
        self.assertEqual(expected, hashlib.sha256(session.browser.received).digest())
        session.browser.message(b"more")
        self.pump(lambda: session.browser.received.endswith(b"more"))

    def test_blast_into_a_slow_browser(self) -> None:
        session = PeerSession(self, self.serve("blast", "--mebibytes", "16"))
        session.browser.stalled = True
        self.pump(lambda: session.client.pending)
        self.settle()
        self.assertFalse(session.target.reading)
        session.browser.stalled = False
        session.browser.read_size = 1 << 20
        self.pump(lambda: len(session.browser.received) == 16 << 20)
        expected = hashlib.sha256(blast_pattern() * 16).digest()
        self.assertEqual(expected, hashlib.sha256(session.browser.received).digest())

    def test_several_frames_in_one_record(self) -> None:
        session = PeerSession(self, self.serve("records"))
        whole = b"".join(SCRAPS)
        self.pump(lambda: len(session.browser.received) == len(whole))
        self.assertEqual(whole, session.browser.received)

    def test_ping(self) -> None:
        session = PeerSession(self, self.serve("ping"))
        self.pump(lambda: session.browser.received == b"pong")

    def test_close(self) -> None:
        for code in (1000, 1001, 4242):
            server = self.serve("close", "--code", str(code), "--reason", "stopped")
            session = PeerSession(self, server)
            session.wait_for_end()
            session.assert_ended(EndReason.TARGET_CLOSED, code, detail=f"code {code}")
            self.assertEqual(b"bye", session.browser.received)
            server.wait_for(f"ended code={code}$")

    def test_drop(self) -> None:
        session = PeerSession(self, self.serve("drop"))
        session.wait_for_end()
        session.assert_ended(EndReason.TARGET_CLOSED, 1000)
        self.assertEqual(b"bye", session.browser.received)

    def test_relay(self) -> None:
        with TargetServer(greet) as console:
            session = PeerSession(self, self.serve("relay", "--console", f"127.0.0.1:{console.port}"))
            self.pump(lambda: session.browser.received == b"RFB 003.008\n")
            session.browser.message(b"hello")
            self.pump(lambda: session.browser.received == b"RFB 003.008\nhello")
        session.wait_for_end()
        session.assert_ended(EndReason.TARGET_CLOSED, 1000, detail="code 1000")

    @needs("qemu")
    def test_a_real_console(self) -> None:
        with Qemu(self.directory(), "secret") as qemu:
            session = PeerSession(self, self.serve("relay", "--console", f"127.0.0.1:{qemu.port}"))
            received = session.browser.received
            self.pump(lambda: received == b"RFB 003.008\n")
            session.browser.message(b"RFB 003.008\n")
            self.pump(lambda: len(received) == 14)
            self.assertEqual(b"\x01\x02", received[12:])
            session.browser.message(b"\x02")
            self.pump(lambda: len(received) == 14 + CHALLENGE_SIZE)
            session.browser.message(vnc_response(bytes(received[14:]), "secret") + b"\x01")
            # SecurityResult, and the size of the screen.
            self.pump(lambda: len(received) > 14 + CHALLENGE_SIZE + 4 + 24)
            self.assertEqual(b"\0\0\0\0", received[14 + CHALLENGE_SIZE :][:4])
            session.browser.close_frame(1000)
            session.wait_for_end()
            session.assert_ended(EndReason.CLIENT_CLOSED, 1000)
