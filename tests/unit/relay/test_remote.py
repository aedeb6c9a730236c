"""The leg to a console server that speaks WebSocket: bytes, back-pressure, and every end."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from gateway.reasons import EndReason
from gateway.relay import WebSocketLeg
from gateway.relay.frames import MAX_HEADER
from gateway.relay.legs import BUFFER_SIZE
from tests.unit.relay import test_chaos as chaos
from tests.unit.relay.remains import nothing_left
from tests.unit.relay.remotes import ConsoleServer, RemoteSession, unmasked
from tests.unit.relay.wires import CLOSE_TIMEOUT, End, RelayCase, Session

BIG = random.Random(7).randbytes(3_000_000)
KINDS = {
    "RemoteSession",
    "Relay",
    "WebSocketLeg",
    "RemoteWebSocketLeg",
    "SocketChannel",
    "ServerFrameDecoder",
}


def frames_of(data: bytes, chance: random.Random, *, mask: bool) -> bytes:
    """``data`` in any fragmentation, with control frames between."""
    wire = b""
    place = 0
    inside = False
    while place < len(data) or inside:
        size = chance.choice([0, 1, 3, 125, 126, 700, 5000, 65535, 65536, 100_000])
        piece = data[place : place + size]
        place += len(piece)
        fin = chance.random() < 0.5 or place >= len(data)
        wire += Frame(Opcode.CONT if inside else Opcode.BINARY, piece, fin=fin).serialize(mask=mask)
        inside = not fin
        if chance.random() < 0.3:
            opcode = chance.choice([Opcode.PING, Opcode.PONG])
            wire += Frame(opcode, chance.randbytes(chance.randrange(126))).serialize(mask=mask)
    return wire


class BytesTests(RelayCase):
    def relay_both_ways(self, seed: int, *, tls: bool, small: bool = False, size: int = 500_000) -> None:
        chance = random.Random(seed)
        session = RemoteSession(self, tls=tls, target_tls=tls, tcp=True, small=small)
        sides = session.browser, session.server
        data = BIG[: chance.randrange(size)], BIG[-chance.randrange(size) :]
        wires = [frames_of(each, chance, mask=not index) for index, each in enumerate(data)]
        while any(wires):
            for index, side in enumerate(sides):
                cut = chance.choice([1, 2, 7, 100, 1460, 16384, 200_000])
                side.send(wires[index][:cut])
                wires[index] = wires[index][cut:]
                side.stalled = chance.random() < 0.2
                side.read_size = chance.choice([1000, 65536])
                side.write_size = chance.choice([500, 65536])
            for _ in range(chance.randrange(4)):
                self.turn()
        for side in sides:
            side.stalled = False
            side.write_size = side.read_size = 1 << 20
        self.pump(lambda: [len(side.received) for side in sides] == [len(data[1]), len(data[0])])
        self.settle()
        self.assertTrue(session.server.received == data[0])
        self.assertTrue(session.browser.received == data[1])
        self.assertEqual(list(map(len, data)), [session.client.received, session.remote.received])
        self.assertEqual([], session.ending)
        session.browser.close_frame(1000)
        session.wait_for_end()
        session.assert_ended(EndReason.CLIENT_CLOSED, 1000)
        self.assertEqual(1000, session.server.close_code)

    def test_bytes_in_are_bytes_out_both_ways_plain(self) -> None:
        for seed in range(5):
            self.relay_both_ways(seed, tls=False)
        self.relay_both_ways(99, tls=False, small=True, size=150_000)

    def test_bytes_in_are_bytes_out_both_ways_tls(self) -> None:
        for seed in range(5):
            self.relay_both_ways(seed, tls=True)
        self.relay_both_ways(99, tls=True, small=True, size=150_000)

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 400), max_size=20))
    def test_any_cut_of_any_messages(self, messages: list[bytes], cuts: list[int]) -> None:
        session = RemoteSession(self)
        wire = b"".join(unmasked(Opcode.BINARY, message) for message in messages)
        for cut in [*cuts, len(wire)]:
            session.server.send(wire[:cut])
            wire = wire[cut:]
            self.pump(lambda: not session.server.out)
            self.poller.doRead()
        self.settle()
        self.assertEqual(b"".join(messages), session.browser.received)
        session.browser.close()
        session.wait_for_end()
        self.ends.clear()

    def test_several_frames_in_one_record(self) -> None:
        session = RemoteSession(self, target_tls=True)
        messages = [b"RFB 003.008\n", b"", b"x" * 125, b"y" * 126, b"z"]
        session.server.send(b"".join(unmasked(Opcode.BINARY, message) for message in messages))
        self.settle()
        self.assertEqual(b"".join(messages), session.browser.received)

    def test_every_message_is_one_message_and_no_other(self) -> None:
        """No empty frames in between, whatever the size."""
        for size in (1, 125, 126, 127, 4096, 65535, 65536, 131_000):
            session = RemoteSession(self, tcp=True)
            session.browser.write_size = 1 << 20
            session.browser.message(BIG[:size])
            self.pump(lambda: len(session.server.received) == size)  # noqa: B023
            self.settle()
            sizes = session.server.sizes
            self.assertEqual(size, sum(sizes))
            self.assertNotIn(0, sizes)
            if size <= 4096:
                self.assertEqual([size], sizes)

    def test_every_frame_has_a_key_of_its_own(self) -> None:
        session = RemoteSession(self)
        for _ in range(50):
            session.browser.message(b"abcd")
            self.settle()
        wire = bytes(session.server.wire)
        self.assertEqual(50 * 10, len(wire))
        self.assertEqual({b"\x82\x84"}, {wire[place : place + 2] for place in range(0, len(wire), 10)})
        keys = {wire[place + 2 : place + 6] for place in range(0, len(wire), 10)}
        self.assertEqual(50, len(keys))
        self.assertEqual(b"abcd" * 50, session.server.received)

    def test_nothing_is_sent_unasked(self) -> None:
        session = RemoteSession(self)
        self.settle()
        self.assertEqual((b"", b"", []), (session.server.wire, session.browser.received, session.ending))


class BehindTests(RelayCase):
    """Bytes that arrived behind the response to the opening handshake."""

    def test_they_come_first(self) -> None:
        hello = unmasked(Opcode.BINARY, b"RFB 003.008\n")
        early = Frame(Opcode.BINARY, b"early").serialize(mask=True)
        for cut in range(len(hello) + 1):
            session = RemoteSession(self, behind=hello + hello[:cut], early=early)
            session.server.send(hello[cut:])
            self.settle()
            self.assertEqual(b"RFB 003.008\n" * 2, session.browser.received)
            self.assertEqual(b"early", session.server.received)
            self.assertEqual(24, session.remote.received)
            self.assertEqual([], session.ending)

    def test_a_ping_is_answered(self) -> None:
        session = RemoteSession(self, behind=unmasked(Opcode.PING, b"hm"))
        self.settle()
        self.assertEqual([b"hm"], session.server.pongs)

    def test_more_than_the_browser_takes(self) -> None:
        session = RemoteSession(
            self,
            tcp=True,
            small_client=True,
            behind=unmasked(Opcode.BINARY, BIG[: BUFFER_SIZE - 10]),
            early=Frame(Opcode.BINARY, b"early").serialize(mask=True),
            joined=False,
        )
        session.browser.stalled = True
        session.server.message(BIG[BUFFER_SIZE - 10 : 400_000])
        session.relay.join(session.remote)
        self.assertTrue(session.client.pending)
        self.assertFalse(session.remote.reading)
        self.settle()
        self.assertLessEqual(len(session.client.pending or b""), BUFFER_SIZE + MAX_HEADER)
        self.assertEqual(b"early", session.server.received)
        session.browser.stalled = False
        self.pump(lambda: len(session.browser.received) == 400_000)
        self.assertTrue(session.browser.received == BIG[:400_000])

    def test_behind_an_answer_that_the_browser_has_not_got_yet(self) -> None:
        session = RemoteSession(
            self,
            unsent=unmasked(Opcode.BINARY, b"answer "),
            behind=unmasked(Opcode.BINARY, b"hello") + unmasked(Opcode.PING, b"p"),
            joined=False,
        )
        session.server.message(b" again")
        self.settle()
        session.relay.join(session.remote)
        self.settle()
        self.assertEqual(b"answer hello again", session.browser.received)
        self.assertEqual([b"p"], session.server.pongs)

    def test_the_end_at_once(self) -> None:
        behind = unmasked(Opcode.BINARY, b"bye") + unmasked(Opcode.CLOSE, b"\x0f\xa0stopped")
        for early in (b"", Frame(Opcode.BINARY, b"early").serialize(mask=True)):
            session = RemoteSession(self, behind=behind, early=early)
            session.wait_for_end()
            session.assert_ended(EndReason.TARGET_CLOSED, 4000, detail="code 4000")
            self.assertEqual((b"bye", b""), (session.browser.received, session.server.received))
            self.assertEqual(4000, session.server.close_code)

    def test_the_end_at_once_of_a_server_that_is_gone(self) -> None:
        for behind in (unmasked(Opcode.CLOSE, b"\x03\xe8"), unmasked(Opcode.TEXT, b"x")):
            session = RemoteSession(self, tcp=True, behind=behind, joined=False)
            session.server.abort()
            session.relay.join(session.remote)
            session.wait_for_end()
            reason = session.ended[0].reason
            self.assertIn(reason, (EndReason.TARGET_CLOSED, EndReason.TARGET_PROTOCOL_ERROR))
            session.assert_ended(reason, reason.code)

    def test_a_violation_at_once(self) -> None:
        session = RemoteSession(self, behind=unmasked(Opcode.BINARY, b"bye") + unmasked(Opcode.TEXT, b"x"))
        session.wait_for_end()
        session.assert_ended(EndReason.TARGET_PROTOCOL_ERROR, 4017, detail="text message")
        self.assertEqual(b"bye", session.browser.received)
        self.assertEqual(1003, session.server.close_code)

    def test_a_browser_that_is_gone_by_then(self) -> None:
        session = RemoteSession(self, tcp=True, behind=unmasked(Opcode.BINARY, b"hello"), joined=False)
        session.browser.abort()
        session.relay.join(session.remote)
        session.wait_for_end()
        session.assert_ended(EndReason.CLIENT_GONE, None)


class ControlTests(RelayCase):
    def test_pings_are_answered_between_messages_and_inside_them(self) -> None:
        for tls in (False, True):
            session = RemoteSession(self, target_tls=tls)
            session.server.frame(Opcode.PING, b"before")
            self.settle()
            session.server.frame(Opcode.BINARY, b"be", fin=False)
            session.server.frame(Opcode.PING, b"inside")
            session.server.frame(Opcode.CONT, b"gun")
            self.settle()
            self.assertEqual([b"before", b"inside"], session.server.pongs)
            self.assertEqual(b"begun", session.browser.received)

    def test_pongs_are_for_nobody(self) -> None:
        session = RemoteSession(self)
        session.server.frame(Opcode.PONG, b"hm")
        self.settle()
        self.assertEqual(([], [], []), (session.server.frames, session.browser.frames, session.ending))

    def test_what_brings_no_payload_is_no_message(self) -> None:
        puts: list[int] = []
        self.patch(WebSocketLeg, "put", lambda leg, buffer, start, end: puts.append(end - start))
        session = RemoteSession(self)
        session.server.frame(Opcode.PING, b"p")
        session.server.message(b"")
        self.settle()
        session.server.message(b"some")
        self.settle()
        self.assertEqual([4], puts)

    def test_ping_flood_of_a_server_that_never_reads(self) -> None:
        session = RemoteSession(self, tcp=True, small=True)
        session.server.stalled = True
        session.browser.message(BIG[:400_000])
        self.settle()
        for number in range(5_000):
            session.server.frame(Opcode.PING, b"%06d" % number * 20)
        self.settle()
        self.assertFalse(session.server.out, "pings are read although nothing can be sent")
        self.assertLessEqual(len(session.remote.pending or b""), BUFFER_SIZE + MAX_HEADER + 4)
        session.server.stalled = False
        self.pump(lambda: len(session.server.received) == 400_000)
        self.settle()
        # One for the latest of all those that waited for the same bytes to go (RFC 6455, section 5.5.3).
        self.assertEqual(b"004999" * 20, session.server.pongs[-1])
        self.assertLess(len(session.server.pongs), 10)
        self.assertTrue(session.server.received == BIG[:400_000])


class BackPressureTests(RelayCase):
    def test_stalled_browser_while_the_server_floods(self) -> None:
        for tls in (False, True):
            session = RemoteSession(self, target_tls=tls, tcp=True, small=True)
            session.browser.stalled = True
            session.server.message(BIG)
            kept: list[int] = []
            self.settle(lambda: kept.append(len(session.client.pending or b"")))  # noqa: B023
            self.assertGreater(max(kept), 0)
            self.assertLessEqual(max(kept), BUFFER_SIZE + MAX_HEADER)
            self.assertFalse(session.remote.reading)
            self.assertGreater(len(session.server.out), 2_000_000)
            session.browser.message(b"key")
            self.pump(lambda: session.server.received == b"key")  # noqa: B023
            session.browser.stalled = False
            self.pump(lambda: len(session.browser.received) == len(BIG))  # noqa: B023
            self.assertTrue(session.browser.received == BIG)
            self.assertTrue(session.remote.reading)
            self.settle()

    def test_stalled_server_while_the_browser_floods(self) -> None:
        for tls in (False, True):
            session = RemoteSession(self, target_tls=tls, tcp=True, small=True)
            session.server.stalled = True
            for place in range(0, len(BIG), 100_000):
                session.browser.message(BIG[place : place + 100_000])
            kept: list[int] = []
            self.settle(lambda: kept.append(len(session.remote.pending or b"")))  # noqa: B023
            self.assertGreater(max(kept), 0)
            self.assertLessEqual(max(kept), BUFFER_SIZE + MAX_HEADER + 4)
            self.assertFalse(session.client.reading)
            self.assertGreater(len(session.browser.out), 2_000_000)
            session.server.message(b"update")
            self.pump(lambda: session.browser.received == b"update")  # noqa: B023
            session.server.stalled = False
            self.pump(lambda: len(session.server.received) == len(BIG))  # noqa: B023
            self.assertTrue(session.server.received == BIG)
            self.settle()


class EndTests(RelayCase):
    def test_the_server_closes(self) -> None:
        for said, told, detail in (
            *((code, code, f"code {code}") for code in (1000, 1001, 1011, 3000, 4000, 4999)),
            (None, 1000, "no code"),
        ):
            for tls in (False, True):
                session = RemoteSession(self, target_tls=tls)
                session.server.message(b"bye")
                session.server.close_frame(said)
                session.wait_for_end()
                session.assert_ended(EndReason.TARGET_CLOSED, told, detail=detail)
                self.assertEqual(b"bye", session.browser.received)
                self.assertEqual(said or 1005, session.server.close_code)
                assert session.browser.ws.close_rcvd is not None
                self.assertEqual("Target closed", session.browser.ws.close_rcvd.reason)

    def test_the_server_closes_with_bytes_pending_for_a_slow_browser(self) -> None:
        session = RemoteSession(self, tcp=True, small=True)
        session.browser.stalled = True
        # All of it read, a part of it pending.
        session.server.message(BIG[:60_000])
        session.server.close_frame(1001)
        self.settle()
        self.assertTrue(session.client.pending)
        session.browser.stalled = False
        session.wait_for_end()
        session.assert_ended(EndReason.TARGET_CLOSED, 1001)
        self.assertTrue(session.browser.received == BIG[:60_000])

    def test_the_server_closes_with_bytes_pending_for_itself(self) -> None:
        session = RemoteSession(self, tcp=True, small=True)
        session.server.stalled = True
        session.browser.message(BIG[:60_000])
        self.settle()
        self.assertTrue(session.remote.pending)
        session.server.close_frame(1001)
        self.pump(lambda: session.ending)
        session.server.stalled = False
        session.wait_for_end()
        session.assert_ended(EndReason.TARGET_CLOSED, 1001)
        self.assertTrue(BIG.startswith(session.server.received))
        self.assertEqual(session.client.received, len(session.server.received))
        self.assertEqual(1001, session.server.close_code)

    def test_the_server_ends_without_a_word(self) -> None:
        for tls in (False, True):
            session = RemoteSession(self, target_tls=tls)
            session.server.message(b"bye")
            self.settle()
            session.server.close()
            session.wait_for_end()
            session.assert_ended(EndReason.TARGET_CLOSED, 1000)
            self.assertEqual(b"bye", session.browser.received)

    def test_the_server_says_only_that_nothing_more_comes(self) -> None:
        for tls in (False, True):
            session = RemoteSession(self, target_tls=tls)
            session.server.message(b"bye")
            session.server.polite = session.server.hangs_up = False
            self.pump(lambda: not session.server.out)  # noqa: B023
            session.server.finish_sending()
            session.wait_for_end()
            session.assert_ended(EndReason.TARGET_CLOSED, 1000)
            self.assertEqual(b"bye", session.browser.received)

    def test_the_server_resets(self) -> None:
        session = RemoteSession(self, tcp=True)
        session.server.message(b"bye")
        self.settle()
        session.server.abort()
        session.wait_for_end()
        session.assert_ended(EndReason.TARGET_LOST, 4006, detail="Connection reset by peer")
        self.assertEqual(b"bye", session.browser.received)

    def test_the_server_breaks_the_protocol(self) -> None:
        for wire, code, detail in (
            (Frame(Opcode.BINARY, b"x").serialize(mask=True), 1002, "server frame is masked"),
            (unmasked(Opcode.TEXT, b"hello"), 1003, "text message"),
            (b"\xc2\x00", 1002, "reserved bit set without an extension"),
            (b"\x82\x7f" + b"\xff" * 8, 1002, "frame length has its most significant bit set"),
            (b"\x82\x7e\x00\x01x", 1002, "frame length is not in its shortest form"),
            (unmasked(Opcode.CLOSE, b"\x03\xed"), 1002, "close code that must not be sent"),
            (b"\x88\x03\x03\xe8\xff", 1007, "close reason is not UTF-8"),
        ):
            for tls in (False, True):
                session = RemoteSession(self, target_tls=tls)
                session.server.message(b"last")
                session.server.send(wire)
                session.wait_for_end()
                session.assert_ended(EndReason.TARGET_PROTOCOL_ERROR, 4017, detail=detail)
                self.assertEqual(b"last", session.browser.received)
                self.assertEqual(code, session.server.close_code)

    def test_a_server_that_broke_the_protocol_is_not_waited_for(self) -> None:
        session = RemoteSession(self)
        session.server.polite = session.server.hangs_up = False
        session.server.send(unmasked(Opcode.TEXT, b"hello"))
        self.settle()
        self.assertTrue(session.server.eof)
        self.assertEqual([], session.ended)
        session.server.close()
        session.wait_for_end()
        session.assert_ended(EndReason.TARGET_PROTOCOL_ERROR, 4017)

    def test_the_client_closes(self) -> None:
        for said, told in ((1000, 1000), (1001, 1001), (4321, 4321), (None, 1005)):
            session = RemoteSession(self)
            session.browser.message(b"last")
            session.browser.close_frame(said)
            session.wait_for_end()
            session.assert_ended(EndReason.CLIENT_CLOSED, told)
            self.assertEqual((b"last", told), (session.server.received, session.server.close_code))

    def test_a_client_that_is_gone_in_another_way(self) -> None:
        session = RemoteSession(self)
        session.browser.close()
        session.wait_for_end()
        session.assert_ended(EndReason.CLIENT_GONE, None)
        self.assertEqual(1001, session.server.close_code)
        session = RemoteSession(self)
        session.browser.frame(Opcode.TEXT, b"hello")
        session.wait_for_end()
        session.assert_ended(EndReason.UNSUPPORTED_DATA, 1003)
        # The target has done nothing wrong.
        self.assertEqual(1001, session.server.close_code)

    def test_shutdown(self) -> None:
        session = RemoteSession(self)
        session.relay.end(EndReason.SHUTDOWN)
        session.wait_for_end()
        session.assert_ended(EndReason.SHUTDOWN, 1001)
        self.assertEqual(1001, session.server.close_code)

    def test_both_close_at_once(self) -> None:
        session = RemoteSession(self)
        session.browser.close_frame(1000)
        session.server.close_frame(1001)
        session.wait_for_end()
        self.assertEqual(1, len(session.ended))
        self.settle()
        self.assertEqual(0, len(self.poller))

    def test_a_server_that_never_says_close(self) -> None:
        session = RemoteSession(self)
        session.server.polite = session.server.hangs_up = False
        session.browser.close_frame(1000)
        self.settle()
        self.assertEqual([], session.ended)
        self.assertEqual(1000, session.server.close_code)
        # What still comes is for nobody.
        session.server.frame(Opcode.BINARY, b"more")
        self.settle()
        self.clock.advance(CLOSE_TIMEOUT)
        session.assert_ended(EndReason.CLIENT_CLOSED, 1000)
        self.assertEqual(b"", session.browser.received)

    def test_a_server_that_never_ends_the_connection(self) -> None:
        session = RemoteSession(self)
        session.server.hangs_up = False
        session.server.close_frame(1000)
        self.settle()
        self.assertEqual([], session.ended)
        self.assertFalse(session.server.eof)
        self.clock.advance(CLOSE_TIMEOUT)
        session.assert_ended(EndReason.TARGET_CLOSED, 1000)

    def test_nothing_is_left(self) -> None:
        def closes(session: RemoteSession) -> None:
            session.server.close_frame(1000)

        def violates(session: RemoteSession) -> None:
            session.server.frame(Opcode.TEXT, b"x")

        def leaves(session: RemoteSession) -> None:
            session.browser.close_frame(1001)

        for end in (closes, violates, leaves):
            with nothing_left(self, KINDS, end.__name__):
                session = RemoteSession(self, behind=unmasked(Opcode.BINARY, b"hello"))
                session.browser.message(b"x")
                self.settle()
                end(session)
                session.wait_for_end()
                self.settle()
                for side in (session.browser, session.server):
                    side.close()
                self.ends.clear()
                self.sockets.clear()
                del session


class RemoteChaosTests(chaos.ChaosTests):
    """The same as with a raw target: anything in any order, and nothing left."""

    target_header = MAX_HEADER + 4

    def make(self, chance: random.Random) -> Session:
        behind = (
            b"",
            unmasked(Opcode.BINARY, b"behind"),
            b"\x82\x05",
            b"\x88\x02\x03\xe8",
            b"\x81",
            b"\x89\x01p",
        )
        return RemoteSession(
            self, target_tls=chance.random() < 0.4, behind=chance.choice(behind), **self.options(chance)
        )

    def say(self, console: End, data: bytes, chance: random.Random) -> None:
        assert isinstance(console, ConsoleServer)
        match chance.randrange(8):
            case 0:
                console.frame(Opcode.PING, data[:125])
            case 1:
                code = chance.choice([b"", b"\x03\xe8", b"\x0f\xa0bye", b"\x03", b"\x03\xed"])
                console.send(unmasked(Opcode.BINARY, data) + bytes((0x88, len(code))) + code)
            case 2:
                console.frame(Opcode.BINARY, data, fin=False)
                console.frame(Opcode.PING, b"inside")
                console.frame(Opcode.CONT, data)
            case _:
                console.frame(Opcode.BINARY, data)
