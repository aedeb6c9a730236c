"""The frame codec: every cut, every form, every violation, against an independent implementation."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import ProtocolError
from websockets.frames import Close, Frame
from websockets.frames import Opcode as TheirOpcode
from websockets.protocol import Protocol, Side

from gateway.relay import FrameDecoder, FrameError
from gateway.relay.frames import (
    MAX_HEADER,
    FrameReader,
    Opcode,
    close_payload,
    control_frame,
    parse_close,
    write_header,
)
from gateway.relay.masking import NATIVE, unmask, unmask_slowly

LIMIT = 1 << 24
KEY = b"\x12\x34\x56\x78"

sizes = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 127, 65535, 65536, 70000]))
keys = st.binary(min_size=4, max_size=4)


def masked(first: int, payload: bytes, key: bytes = KEY, *, length_bytes: int | None = None) -> bytes:
    """A client frame written by hand, also in forms that an encoder would refuse."""
    size = len(payload)
    if length_bytes is None:
        length_bytes = 0 if size < 126 else 2 if size < 65536 else 8
    marker = {0: size, 2: 126, 8: 127}[length_bytes]
    head = bytes((first, 0x80 | marker)) + (size.to_bytes(length_bytes, "big") if length_bytes else b"")
    return head + key + unmask_slowly(payload, key)


@attrs.define
class Decoded:
    """What came out of a decoder over all that was fed to it."""

    payload: bytes = b""
    pings: list[bytes] = attrs.field(factory=list)
    ended: bool = False
    close_code: int | None = None
    error: FrameError | None = None
    fed: int = 0
    """Bytes fed when the error showed."""


def decode(pieces: Iterable[bytes], limit: int = LIMIT) -> Decoded:
    decoder = FrameDecoder(limit)
    result = Decoded()
    for piece in pieces:
        # A buffer that is used again, as the relay's is: nothing may be kept of it but copies.
        room = bytearray(piece)
        payload = decoder.feed(memoryview(room))
        assert room == piece
        room[:] = b"#" * len(room)
        result.payload += payload
        result.fed += len(piece)
        if decoder.ping is not None:
            result.pings.append(decoder.ping)
            decoder.ping = None
        if decoder.error is not None:
            break
    result.ended, result.close_code = decoder.ended, decoder.close_code
    result.error = decoder.error
    return result


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(borders)]


@st.composite
def client_streams(draw: st.DrawFn) -> tuple[bytes, bytes, list[bytes]]:
    """A stream of messages in fragments with control frames between: wire, payload, pings."""
    wire = b""
    payload = b""
    pings: list[bytes] = []
    for _ in range(draw(st.integers(1, 4))):
        fragments = draw(st.lists(sizes, min_size=1, max_size=4))
        for index, size in enumerate(fragments):
            for opcode in draw(st.lists(st.sampled_from([Opcode.PING, Opcode.PONG]), max_size=2)):
                said = draw(st.binary(max_size=125))
                if opcode is Opcode.PING:
                    pings.append(said)
                wire += Frame(TheirOpcode(opcode), said).serialize(mask=True)
            data = draw(st.binary(min_size=1, max_size=16)) * (size // 8 + 1)
            data = data[:size]
            payload += data
            first = (0x80 if index == len(fragments) - 1 else 0) | (0 if index else Opcode.BINARY)
            if draw(st.booleans()):
                wire += masked(first, data, draw(keys))
            else:
                kind = TheirOpcode.CONT if index else TheirOpcode.BINARY
                wire += Frame(kind, data, fin=bool(first & 0x80)).serialize(mask=True)
    return wire, payload, pings


class DecodingTests(SynchronousTestCase):
    @given(client_streams(), st.lists(st.integers(0, 1 << 20), max_size=12))
    def test_any_fragmentation_and_any_cut_yield_the_payload(
        self, stream: tuple[bytes, bytes, list[bytes]], places: list[int]
    ) -> None:
        wire, payload, pings = stream
        result = decode(cut(wire, places))
        self.assertFalse(result.ended)
        self.assertEqual(payload, result.payload)
        # Of several pings in one piece the latest stays; none is invented, none out of order.
        rest = iter(pings)
        self.assertTrue(all(ping in rest for ping in result.pings))
        self.assertEqual(pings[-1:], result.pings[-1:])

    def test_every_single_cut_and_byte_by_byte(self) -> None:
        wire = (
            masked(0x02, b"a" * 200)
            + masked(0x89, b"ping", b"\xff\0\xff\1")
            + masked(0x00, b"")
            + masked(0x80, b"tail", b"\0\0\0\0")
            + masked(0x89, b"")
            + masked(0x82, b"x" * 126)
            + masked(0x89, b"pong")
            + masked(0x8A, b"p" * 125)
            + masked(0x82, b"")
        )
        expected = b"a" * 200 + b"tail" + b"x" * 126
        for place in range(len(wire) + 1):
            result = decode([wire[:place], wire[place:]])
            self.assertEqual((expected, None), (result.payload, result.error))
            self.assertEqual(b"pong", result.pings[-1])
        result = decode(bytes((byte,)) for byte in wire)
        self.assertEqual((expected, None), (result.payload, result.error))
        self.assertEqual([b"ping", b"", b"pong"], result.pings)

    def test_length_forms(self) -> None:
        for size in (0, 1, 125, 126, 127, 65535, 65536, 65537, 131072):
            payload = bytes(range(256)) * (size // 256 + 1)
            payload = payload[:size]
            result = decode([Frame(TheirOpcode.BINARY, payload).serialize(mask=True)])
            self.assertEqual((payload, None), (result.payload, result.error))

    @given(st.lists(st.binary(max_size=40), max_size=10))
    def test_arbitrary_bytes_never_raise(self, pieces: list[bytes]) -> None:
        decode(pieces, 1000)

    @given(st.binary(max_size=20), client_streams(), st.integers(0, 1 << 20))
    def test_a_damaged_stream_never_raises(
        self, junk: bytes, stream: tuple[bytes, bytes, list[bytes]], place: int
    ) -> None:
        wire = stream[0]
        place %= len(wire)
        decode([wire[:place], junk, wire[place:]], 1000)

    def test_data_after_a_close_frame_is_ignored(self) -> None:
        result = decode(
            [masked(0x82, b"one") + masked(0x88, b"\x03\xe8") + masked(0x82, b"two"), b"\xff" * 9]
        )
        self.assertEqual((b"one", None), (result.payload, result.error))
        self.assertEqual((True, 1000), (result.ended, result.close_code))

    def test_a_close_frame_without_a_code(self) -> None:
        result = decode([masked(0x88, b"")])
        self.assertEqual((True, None, None), (result.ended, result.close_code, result.error))

    def test_memory_is_bounded_by_a_header_or_a_control_payload(self) -> None:
        decoder = FrameDecoder(LIMIT)
        wire = masked(0x02, b"d" * 70000) + masked(0x89, b"p" * 125) + masked(0x80, b"e" * 70000)
        for byte in wire:
            decoder.feed(bytes((byte,)))
            kept = sum(
                len(value)
                for name in (*FrameReader.__slots__, *FrameDecoder.__slots__)
                if isinstance(value := getattr(decoder, name), bytes)
            )
            self.assertLessEqual(kept, 125 + 13 + 4)


class ViolationTests(SynchronousTestCase):
    def assert_refused(self, code: int, wire: bytes, before: bytes = b"", *, at: int | None = None) -> None:
        """``wire`` is refused with ``code`` however it is cut, at byte ``at`` (or the last) at the latest."""
        whole = decode([before + wire])
        assert whole.error is not None, wire
        self.assertEqual(code, whole.error.code)
        slow = decode(bytes((byte,)) for byte in before + wire)
        assert slow.error is not None, wire
        self.assertEqual(code, slow.error.code)
        self.assertLessEqual(slow.fed, len(before) + (len(wire) if at is None else at))
        self.assertEqual(whole.payload, slow.payload)

    def test_reserved_bits(self) -> None:
        for bits in (0x40, 0x20, 0x10, 0x70):
            for first in (0x82, 0x02, 0x89, 0x88):
                self.assert_refused(1002, masked(first | bits, b"xy"), at=2)

    def test_reserved_opcodes(self) -> None:
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
            self.assert_refused(1002, masked(0x80 | opcode, b"xy"), at=2)
            self.assert_refused(1002, masked(opcode, b"xy"), at=2)

    def test_unmasked_frames(self) -> None:
        for opcode in (TheirOpcode.BINARY, TheirOpcode.TEXT, TheirOpcode.PING, TheirOpcode.CLOSE):
            self.assert_refused(1002, Frame(opcode, b"").serialize(mask=False) + b"xx", at=2)

    def test_text_messages(self) -> None:
        self.assert_refused(1003, masked(0x81, b"hello"), at=2)
        self.assert_refused(1003, masked(0x01, b"hello"), masked(0x82, b"first"), at=2)

    def test_control_frames_are_short_and_whole(self) -> None:
        for opcode in (0x88, 0x89, 0x8A):
            self.assert_refused(1002, masked(opcode, b"x" * 126), at=2)
            self.assert_refused(1002, masked(opcode, b"x" * 5, length_bytes=2), at=2)
            self.assert_refused(1002, masked(opcode, b"x" * 5, length_bytes=8), at=2)
            self.assert_refused(1002, masked(opcode & 0x0F, b""), at=2)

    def test_close_frames_that_must_not_be_sent(self) -> None:
        for payload, code in ((b"\x03", 1002), (b"\x03\xed", 1002), (b"\x03\xe8\xff", 1007)):
            self.assert_refused(code, masked(0x88, payload), masked(0x82, b"before"))

    def test_message_order(self) -> None:
        self.assert_refused(1002, masked(0x80, b"x"), at=2)
        self.assert_refused(1002, masked(0x00, b"x"), at=2)
        self.assert_refused(1002, masked(0x80, b"x"), masked(0x82, b"whole"), at=2)
        self.assert_refused(1002, masked(0x82, b"x"), masked(0x02, b"begun"), at=2)
        self.assert_refused(1002, masked(0x02, b"x"), masked(0x02, b"begun") + masked(0x00, b""), at=2)
        self.assert_refused(1002, masked(0x80, b"x"), masked(0x02, b"begun") + masked(0x80, b""), at=2)

    def test_lengths_not_in_their_shortest_form(self) -> None:
        for size in (0, 1, 125):
            self.assert_refused(1002, masked(0x82, b"x" * size, length_bytes=2), at=8)
        for size in (0, 125, 126, 65535):
            self.assert_refused(1002, masked(0x82, b"x" * size, length_bytes=8), at=14)

    def test_lengths_above_63_bits(self) -> None:
        for length in (1 << 63, (1 << 64) - 1):
            self.assert_refused(1002, b"\x82\xff" + length.to_bytes(8, "big") + KEY, at=14)
        self.assert_refused(1009, b"\x82\xff" + ((1 << 63) - 1).to_bytes(8, "big") + KEY, at=14)

    def test_messages_above_the_limit(self) -> None:
        def announced(first: int, size: int) -> bytes:
            return masked(first, bytes(size))[:14]

        limit = 100_000
        self.assertIsNone(decode([masked(0x82, bytes(limit))], limit).error)
        for pieces in (
            [announced(0x82, limit + 1)],
            [masked(0x02, bytes(limit)), masked(0x89, b"ping"), masked(0x00, b""), announced(0x80, 1)],
            [masked(0x02, bytes(60_000)), announced(0x00, 40_001)],
        ):
            result = decode(pieces, limit)
            assert result.error is not None
            self.assertEqual(1009, result.error.code)
        # The next message starts counting anew.
        two = [masked(0x02, bytes(60_000)), masked(0x80, bytes(40_000)), masked(0x82, bytes(limit))]
        self.assertIsNone(decode(two, limit).error)

    def test_what_came_before_an_error_is_delivered(self) -> None:
        wire = masked(0x82, b"good") + masked(0x89, b"p") + masked(0x02, b"more") + masked(0x81, b"bad")
        result = decode([wire + masked(0x82, b"later"), masked(0x82, b"later")])
        self.assertEqual(b"goodmore", result.payload)
        self.assertEqual([b"p"], result.pings)

    @given(st.binary(min_size=2, max_size=40))
    def test_the_same_streams_are_refused_as_elsewhere(self, wire: bytes) -> None:
        """An independent server refuses what is refused here, but for what only we restrict."""
        theirs = Protocol(Side.SERVER, max_size=1000)
        theirs.receive_data(wire)
        ours = decode([wire], 1000)
        if ours.error is not None and ours.error.code == 1002 and "shortest" not in str(ours.error):
            if theirs.parser_exc is None and theirs.close_rcvd is None:
                # They judge a frame only when all of it is there.
                theirs.receive_data(bytes(1100))
            self.assertTrue(theirs.parser_exc is not None or theirs.close_rcvd is not None)
        if isinstance(theirs.parser_exc, ProtocolError):
            self.assertTrue(ours.ended)


class EncodingTests(SynchronousTestCase):
    def check_header(self, size: int) -> None:
        payload = bytes(range(256)) * (size // 256 + 1)
        payload = payload[:size]
        buffer = memoryview(bytearray(b"#" * 16 + payload + b"#"))
        start = write_header(buffer, 16, 16 + size)
        self.assertLessEqual(16 - start, MAX_HEADER)
        self.assertEqual(b"#" * start, buffer[:start])
        self.assertEqual(Frame(TheirOpcode.BINARY, payload).serialize(mask=False), buffer[start : 16 + size])
        client = Protocol(Side.CLIENT, max_size=None)
        client.receive_data(bytes(buffer[start : 16 + size]))
        (frame,) = client.events_received()
        assert isinstance(frame, Frame)
        self.assertEqual((TheirOpcode.BINARY, True, payload), (frame.opcode, frame.fin, bytes(frame.data)))

    def test_headers_at_the_boundaries(self) -> None:
        for size in (0, 1, 125, 126, 127, 65535, 65536, 65537, 131062, 131072):
            self.check_header(size)

    @given(st.integers(0, 70000))
    def test_headers(self, size: int) -> None:
        self.check_header(size)

    @given(st.sampled_from([Opcode.PING, Opcode.PONG, Opcode.CLOSE]), st.binary(max_size=125))
    def test_control_frames(self, opcode: Opcode, payload: bytes) -> None:
        expected = Frame(TheirOpcode(opcode), payload).serialize(mask=False)
        self.assertEqual(expected, control_frame(opcode, payload))

    def test_control_frames_above_125_bytes_are_refused(self) -> None:
        self.assertRaises(ValueError, control_frame, Opcode.PING, b"x" * 126)


class CloseTests(SynchronousTestCase):
    def test_codes(self) -> None:
        allowed = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
        for code in range(65536):
            if code in allowed:
                self.assertEqual(code, parse_close(code.to_bytes(2, "big")))
            else:
                error = self.assertRaises(FrameError, parse_close, code.to_bytes(2, "big"))
                self.assertEqual(1002, error.code)

    def test_no_code(self) -> None:
        self.assertIsNone(parse_close(b""))
        self.assertEqual(b"", close_payload(None, "never sent"))

    def test_half_a_code(self) -> None:
        self.assertEqual(1002, self.assertRaises(FrameError, parse_close, b"\x03").code)

    def test_reason_that_is_not_utf8(self) -> None:
        for reason in (b"\xff", b"ok \xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"):
            error = self.assertRaises(FrameError, parse_close, b"\x03\xe8" + reason)
            self.assertEqual(1007, error.code)

    @given(st.sampled_from([1000, 1001, 1011, 3000, 4006, 4999]), st.text(max_size=200))
    def test_reasons_are_cut_to_what_fits_without_splitting_a_character(self, code: int, reason: str) -> None:
        payload = close_payload(code, reason)
        self.assertLessEqual(len(payload), 125)
        self.assertEqual(code, parse_close(payload))
        text = Close.parse(payload).reason
        self.assertTrue(reason.startswith(text))
        if text != reason:
            self.assertGreater(len((text + reason[len(text)]).encode()), 123)


class MaskingTests(SynchronousTestCase):
    def test_the_native_routine_is_there(self) -> None:
        self.assertTrue(NATIVE)

    @given(st.binary(max_size=300), keys)
    def test_both_routines_agree_and_undo_themselves(self, data: bytes, key: bytes) -> None:
        result = unmask_slowly(data, key)
        self.assertEqual(bytes(byte ^ key[i % 4] for i, byte in enumerate(data)), result)
        self.assertEqual(result, unmask(data, key))
        self.assertEqual(data, unmask_slowly(result, key))

    @given(client_streams(), st.lists(st.integers(0, 1 << 20), max_size=4))
    def test_decoding_with_the_slow_routine(
        self, stream: tuple[bytes, bytes, list[bytes]], places: list[int]
    ) -> None:
        decoder = FrameDecoder(LIMIT, unmask_slowly)
        wire, payload, _ = stream
        got = b""
        for piece in cut(wire, places):
            got += decoder.feed(piece)
        self.assertEqual(payload, got)
