"""Frames of servers: every cut, form and violation, with the decoder of client frames as a witness."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Frame
from websockets.frames import Opcode as TheirOpcode
from websockets.protocol import Protocol, Side

from gateway.relay import FrameDecoder, ServerFrameDecoder
from gateway.relay.frames import MAX_HEADER, FrameReader, Opcode
from gateway.relay.legs import HEADROOM
from gateway.relay.masking import unmask_slowly
from gateway.relay.remote import masked_control_frame, masked_frame

KEY = b"\x9a\x00\xff\x31"

sizes = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 65535, 65536, 70000]))
firsts = st.one_of(
    st.sampled_from([0x82, 0x02, 0x00, 0x80, 0x89, 0x8A, 0x82, 0x02, 0x00, 0x89]), st.integers(0, 255)
)


def plain(first: int, payload: bytes, *, form: int | None = None) -> bytes:
    """A server's frame, also in forms that an encoder would refuse.

    :param form: bytes of the extended length; by default as few as there may be.
    """
    size = len(payload)
    if form is None:
        form = 0 if size < 126 else 2 if size < 65536 else 8
    marker = {0: size, 2: 126, 8: 127}[form]
    return bytes((first, marker)) + (size.to_bytes(form, "big") if form else b"") + payload


def masked(frame: bytes, payload: bytes) -> bytes:
    """The same frame as a client would send it."""
    header = frame[: len(frame) - len(payload)]
    return bytes((header[0], header[1] | 0x80)) + header[2:] + KEY + unmask_slowly(payload, KEY)


@attrs.define
class Decoded:
    """What came of a stream; ``fed`` is how much of it there was when it ended."""

    payload: bytes = b""
    ping: bytes | None = None
    ended: bool = False
    close_code: int | None = None
    error: tuple[int, str] | None = None
    fed: int = attrs.field(default=0, eq=False)


def decode(decoder: FrameDecoder | ServerFrameDecoder, pieces: Iterable[bytes]) -> Decoded:
    result = Decoded()
    for piece in pieces:
        if isinstance(decoder, FrameDecoder):
            result.payload += decoder.feed(piece)
        else:
            # Exactly the room that is promised to be enough, before bytes that must stay as they are.
            room = memoryview(bytearray(bytes(HEADROOM) + piece + b"####"))
            stop = HEADROOM + len(piece)
            begin, end = decoder.feed(room, HEADROOM, stop)
            assert HEADROOM <= begin <= end <= stop
            assert bytes(room[stop:]) == b"####"
            result.payload += room[begin:end]
            # Nothing of it may be needed later.
            room[:] = b"?" * len(room)
        if not result.ended:
            result.fed += len(piece)
        if decoder.ping is not None:
            result.ping, decoder.ping = decoder.ping, None
        result.ended = decoder.ended
    result.close_code = decoder.close_code
    if decoder.error is not None:
        result.error = decoder.error.code, str(decoder.error)
    return result


def ours(*pieces: bytes) -> Decoded:
    return decode(ServerFrameDecoder(), pieces)


def each_byte(data: bytes) -> Iterable[bytes]:
    return (data[place : place + 1] for place in range(len(data)))


class DecodingTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(
        st.lists(st.tuples(firsts, sizes, st.sampled_from([False] * 9 + [True])), max_size=8),
        st.lists(st.integers(0, 1 << 20), max_size=12),
    )
    def test_what_a_client_may_say_masked_a_server_may_say_plainly(
        self, frames: list[tuple[int, int, bool]], places: list[int]
    ) -> None:
        said = both = b""
        for number, (first, size, wasteful) in enumerate(frames):
            payload = bytes((number + 3,)) * (size % 130 if first & 8 else size)
            frame = plain(first, payload, form=8 if wasteful else None)
            said += frame
            both += masked(frame, payload)
        borders = [0, *sorted(place % (len(said) + 1) for place in places), len(said)]
        expected = decode(FrameDecoder(1 << 40), [both])
        self.assertEqual(expected, ours(*(said[a:b] for a, b in itertools.pairwise(borders))))

    def test_every_single_cut_and_byte_by_byte(self) -> None:
        wire = (
            plain(0x02, b"a" * 200)
            + plain(0x89, b"ping")
            + plain(0x00, b"")
            + plain(0x80, b"tail")
            + plain(0x8A, b"p" * 125)
            + plain(0x89, b"")
            + plain(0x82, b"x" * 126)
            + plain(0x82, b"")
            + plain(0x82, b"y")
            + plain(0x89, b"pong")
        )
        expected = b"a" * 200 + b"tail" + b"x" * 126 + b"y"
        for place in range(len(wire) + 1):
            result = ours(wire[:place], wire[place:])
            self.assertEqual((expected, b"pong", None), (result.payload, result.ping, result.error))
        result = ours(*each_byte(wire))
        self.assertEqual((expected, b"pong", None), (result.payload, result.ping, result.error))

    def test_the_payload_of_one_frame_stays_where_it_is(self) -> None:
        wire = plain(0x82, b"x" * 300)
        room = memoryview(bytearray(bytes(HEADROOM) + wire))
        self.assertEqual((HEADROOM + 4, len(room)), ServerFrameDecoder().feed(room, HEADROOM, len(room)))

    def test_lengths(self) -> None:
        for size in (0, 1, 125, 126, 127, 65535, 65536, 65537, 131072):
            payload = (bytes(range(256)) * (size // 256 + 1))[:size]
            result = ours(Frame(TheirOpcode.BINARY, payload).serialize(mask=False))
            self.assertEqual((payload, None), (result.payload, result.error))
        # What is announced costs nothing.
        result = ours(b"\x82\x7f" + ((1 << 63) - 1).to_bytes(8, "big") + b"begun")
        self.assertEqual((b"begun", None), (result.payload, result.error))

    def test_nothing_counts_behind_a_close_frame(self) -> None:
        result = ours(plain(0x82, b"one") + plain(0x88, b"\x03\xe9bye") + plain(0x82, b"two"), b"\xff" * 9)
        self.assertEqual(
            (b"one", True, 1001, None), (result.payload, result.ended, result.close_code, result.error)
        )
        self.assertEqual((True, None), (ours(plain(0x88, b"")).ended, ours(plain(0x88, b"")).close_code))

    def test_little_is_kept(self) -> None:
        decoder = ServerFrameDecoder()
        for piece in each_byte(
            plain(0x02, b"d" * 70000) + plain(0x89, b"p" * 125) + plain(0x80, b"e" * 70000)
        ):
            decoder.feed(memoryview(bytearray(bytes(HEADROOM) + piece)), HEADROOM, HEADROOM + 1)
            values = [getattr(decoder, name) for name in FrameReader.__slots__]
            self.assertLessEqual(sum(len(value) for value in values if isinstance(value, bytes)), 125 + 9)

    @given(st.lists(st.binary(max_size=40), max_size=10))
    def test_arbitrary_bytes_are_judged_as_elsewhere(self, pieces: list[bytes]) -> None:
        result = ours(*pieces)
        theirs = Protocol(Side.CLIENT, max_size=None)
        theirs.receive_data(b"".join(pieces))
        if theirs.parser_exc is not None:
            self.assertTrue(result.ended)
        elif result.error is None and not result.ended:
            data = b"".join(
                frame.data
                for frame in theirs.events_received()
                if isinstance(frame, Frame) and frame.opcode in (TheirOpcode.BINARY, TheirOpcode.CONT)
            )
            # They give a frame away when all of it is there.
            self.assertTrue(result.payload.startswith(data))


class ViolationTests(SynchronousTestCase):
    def refused(self, code: int, wire: bytes, before: bytes = b"", *, at: int | None = None) -> None:
        """``wire`` is refused with ``code``, at its byte ``at`` or the last."""
        whole = ours(before + wire + b"\x82\x01x")
        assert whole.error is not None, wire
        slow = ours(*each_byte(before + wire))
        self.assertEqual((code, whole.error, whole.payload), (whole.error[0], slow.error, slow.payload))
        self.assertEqual(len(before) + (len(wire) if at is None else at), slow.fed)

    def test_masked_frames(self) -> None:
        for first in (0x82, 0x02, 0x89, 0x8A, 0x88, 0x81):
            frame = plain(first, b"xy")
            self.refused(1002, masked(frame, b"xy"), plain(0x82, b"first"), at=2)

    def test_text(self) -> None:
        self.refused(1003, plain(0x81, b"hello"), plain(0x82, b"first"), at=2)
        self.refused(1003, plain(0x01, b"hello"), at=2)

    def test_reserved_bits_and_opcodes(self) -> None:
        for bits in (0x40, 0x20, 0x10):
            for first in (0x82, 0x02, 0x89, 0x88):
                self.refused(1002, plain(first | bits, b"xy"), at=2)
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
            self.refused(1002, plain(0x80 | opcode, b"xy"), at=2)

    def test_control_frames(self) -> None:
        for first in (0x88, 0x89, 0x8A):
            self.refused(1002, plain(first, b"x" * 126), at=2)
            self.refused(1002, plain(first, b"x", form=8), at=2)
            self.refused(1002, plain(first & 0x0F, b""), at=2)
        for payload, code in ((b"\x03", 1002), (b"\x03\xed", 1002), (b"\x03\xe8\xff", 1007)):
            self.refused(code, plain(0x88, payload), plain(0x82, b"before"))

    def test_order(self) -> None:
        self.refused(1002, plain(0x80, b"x"), at=2)
        self.refused(1002, plain(0x80, b"x"), plain(0x82, b"whole"), at=2)
        self.refused(1002, plain(0x82, b"x"), plain(0x02, b"begun"), at=2)

    def test_lengths(self) -> None:
        self.refused(1002, plain(0x82, b"x" * 125, form=2), at=4)
        self.refused(1002, plain(0x82, b"x" * 65535, form=8), at=10)
        for length in (1 << 63, (1 << 64) - 1):
            self.refused(1002, b"\x82\x7f" + length.to_bytes(8, "big"))


class MaskingTests(SynchronousTestCase):
    def read(self, wire: bytes) -> Frame:
        """The one frame in ``wire``, as an independent server reads it: it insists on masks."""
        server = Protocol(Side.SERVER, max_size=None)
        server.receive_data(wire)
        self.assertIsNone(server.parser_exc)
        (frame,) = server.events_received()
        assert isinstance(frame, Frame)
        return frame

    def test_frames_of_every_size(self) -> None:
        for size in (0, 1, 3, 4, 5, 125, 126, 127, 65535, 65536, 65537, 131072):
            payload = (bytes(range(251)) * (size // 251 + 1))[:size]
            view = masked_frame(memoryview(payload))
            self.assertLessEqual(len(view), size + MAX_HEADER + 4)
            frame = self.read(bytes(view))
            self.assertEqual(
                (TheirOpcode.BINARY, True, payload), (frame.opcode, frame.fin, bytes(frame.data))
            )

    @given(st.sampled_from([Opcode.PING, Opcode.PONG, Opcode.CLOSE]), st.binary(min_size=2, max_size=123))
    def test_control_frames(self, opcode: Opcode, payload: bytes) -> None:
        if opcode is Opcode.CLOSE:
            payload = b"\x03\xe8" + payload.hex().encode()[:100]
        frame = self.read(masked_control_frame(opcode, payload))
        self.assertEqual((TheirOpcode(opcode), True, payload), (frame.opcode, frame.fin, bytes(frame.data)))

    def test_control_frames_above_125_bytes_are_refused(self) -> None:
        self.assertRaises(ValueError, masked_control_frame, Opcode.PING, b"x" * 126)

    def test_no_key_is_used_twice(self) -> None:
        keys = set()
        for _ in range(200):
            keys.add(bytes(masked_frame(b"abcd")[2:6]))
            keys.add(masked_control_frame(Opcode.PONG, b"x")[2:6])
        # Of 400 random keys two are equal once in 50,000 runs; of keys that repeat by mistake, many are.
        self.assertGreaterEqual(len(keys), 399)
