"""The server side of the handshake, and its message parser."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.rfb import (
    MAX_CUT_TEXT,
    MAX_ENCODINGS,
    ClientCutText,
    ClientEvent,
    ClientReady,
    FramebufferUpdateRequest,
    KeyEvent,
    PixelFormat,
    PointerEvent,
    Rectangle,
    RfbError,
    RfbServer,
    SetEncodings,
    SetPixelFormat,
    Version,
    vnc_response,
)

PASSWORD = "s3cret"
CHALLENGE = bytes(range(100, 116))
NAME = "test screen"
SERVER_INIT = (
    struct.pack(">HH", 640, 480) + PixelFormat().encode() + struct.pack(">I", len(NAME)) + NAME.encode()
)


def server(password: str | None = PASSWORD) -> RfbServer:
    return RfbServer(640, 480, NAME, password, lambda size: CHALLENGE[:size])


def feed(rfb: RfbServer, data: bytes) -> list[ClientEvent]:
    rfb.receive_data(data)
    events: list[ClientEvent] = []
    while (event := rfb.next_event()) is not None:
        events.append(event)
    return events


def ready(password: str | None = None) -> RfbServer:
    """A server whose client has finished the handshake."""
    rfb = server(password)
    feed(rfb, b"RFB 003.008\n\1\1")
    rfb.data_to_send()
    return rfb


class HandshakeTests(SynchronousTestCase):
    def test_speaks_first(self) -> None:
        rfb = server()
        self.assertEqual(rfb.data_to_send(), b"RFB 003.008\n")
        self.assertEqual(rfb.data_to_send(), b"")

    def test_3_8_with_password(self) -> None:
        rfb = server()
        rfb.data_to_send()
        self.assertEqual(feed(rfb, b"RFB 003.008\n"), [])
        self.assertEqual(rfb.data_to_send(), b"\1\2")
        self.assertEqual(feed(rfb, b"\2"), [])
        self.assertEqual(rfb.data_to_send(), CHALLENGE)
        self.assertEqual(feed(rfb, vnc_response(CHALLENGE, PASSWORD)), [])
        self.assertEqual(rfb.data_to_send(), b"\0\0\0\0")
        self.assertEqual(feed(rfb, b"\1"), [ClientReady(Version.V3_8, shared=True)])
        self.assertEqual(rfb.data_to_send(), SERVER_INIT)

    def test_3_8_without_password(self) -> None:
        rfb = server(None)
        events = feed(rfb, b"RFB 003.008\n" + b"\1" + b"\0")
        self.assertEqual(events, [ClientReady(Version.V3_8, shared=False)])
        self.assertEqual(rfb.data_to_send(), b"RFB 003.008\n" + b"\1\1" + b"\0\0\0\0" + SERVER_INIT)

    def test_3_7_without_password_has_no_result(self) -> None:
        rfb = server(None)
        events = feed(rfb, b"RFB 003.007\n" + b"\1" + b"\1")
        self.assertEqual(events, [ClientReady(Version.V3_7, shared=True)])
        self.assertEqual(rfb.data_to_send(), b"RFB 003.008\n" + b"\1\1" + SERVER_INIT)

    def test_3_3_is_told_the_security_type(self) -> None:
        rfb = server()
        feed(rfb, b"RFB 003.003\n")
        self.assertEqual(rfb.data_to_send(), b"RFB 003.008\n" + b"\0\0\0\2" + CHALLENGE)
        events = feed(rfb, vnc_response(CHALLENGE, PASSWORD) + b"\1")
        self.assertEqual(events, [ClientReady(Version.V3_3, shared=True)])
        self.assertEqual(rfb.data_to_send(), b"\0\0\0\0" + SERVER_INIT)

    def test_3_3_without_password(self) -> None:
        rfb = server(None)
        self.assertEqual(feed(rfb, b"RFB 003.003\n\1"), [ClientReady(Version.V3_3, shared=True)])
        self.assertEqual(rfb.data_to_send(), b"RFB 003.008\n" + b"\0\0\0\1" + SERVER_INIT)

    def test_odd_versions_speak_3_3(self) -> None:
        rfb = server(None)
        self.assertEqual(feed(rfb, b"RFB 003.005\n\1"), [ClientReady(Version.V3_3, shared=True)])

    def test_other_protocols_are_refused(self) -> None:
        for greeting in (
            b"RFB 004.001\n",
            b"GET / HTTP/1",
            b"RFB 003.8  \n",
            b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3\0",
        ):
            self.assertRaises(RfbError, feed, server(), greeting)

    def test_wrong_password(self) -> None:
        for version, reason in ((b"8", b"\0\0\0\x15Authentication failed"), (b"7", b"")):
            rfb = server()
            feed(rfb, b"RFB 003.00" + version + b"\n\2")
            rfb.data_to_send()
            error = self.assertRaises(RfbError, feed, rfb, vnc_response(CHALLENGE, "wrong") + b"\1")
            self.assertNotIn(PASSWORD, str(error))
            self.assertEqual(rfb.data_to_send(), b"\0\0\0\1" + reason)

    def test_security_type_that_was_not_offered(self) -> None:
        rfb = server()
        self.assertRaises(RfbError, feed, rfb, b"RFB 003.008\n\1")
        self.assertTrue(rfb.data_to_send().endswith(b"Security type was not offered"))

    def test_an_error_lasts(self) -> None:
        rfb = server(None)
        self.assertRaises(RfbError, feed, rfb, b"RFB 009.009\n")
        self.assertRaises(RfbError, feed, rfb, b"RFB 003.008\n\1\1")


class MessageTests(SynchronousTestCase):
    def test_set_pixel_format(self) -> None:
        rfb = ready()
        wanted = PixelFormat(16, 16, True, True, 31, 63, 31, 11, 5, 0)
        self.assertEqual(feed(rfb, b"\0\0\0\0" + wanted.encode()), [SetPixelFormat(wanted)])
        self.assertEqual(rfb.pixel_format, wanted)

    def test_impossible_pixel_format_changes_nothing(self) -> None:
        rfb = ready()
        self.assertRaises(RfbError, feed, rfb, bytes(20))
        self.assertEqual(rfb.pixel_format, PixelFormat())

    def test_set_encodings(self) -> None:
        data = struct.pack(">BxH3i", 2, 3, 0, 1, -239)
        self.assertEqual(feed(ready(), data), [SetEncodings((0, 1, -239))])
        self.assertEqual(feed(ready(), b"\2\0\0\0"), [SetEncodings(())])

    def test_too_many_encodings(self) -> None:
        self.assertRaises(RfbError, feed, ready(), struct.pack(">BxH", 2, MAX_ENCODINGS + 1))

    def test_update_request(self) -> None:
        data = struct.pack(">BBHHHH", 3, 1, 10, 20, 300, 65535)
        self.assertEqual(feed(ready(), data), [FramebufferUpdateRequest(True, Rectangle(10, 20, 300, 65535))])

    def test_keys_and_pointer(self) -> None:
        data = struct.pack(">BBxxI", 4, 1, 0xFF0D) + struct.pack(">BBHH", 5, 5, 600, 400)
        self.assertEqual(feed(ready(), data), [KeyEvent(True, 0xFF0D), PointerEvent(5, 600, 400)])

    def test_cut_text_is_not_in_its_repr(self) -> None:
        (event,) = feed(ready(), b"\6\0\0\0\0\0\0\5hallo")
        self.assertEqual(event, ClientCutText(b"hallo"))
        self.assertNotIn("hallo", repr(event))

    def test_cut_text_is_bounded_before_it_is_read(self) -> None:
        header = struct.pack(">B3xI", 6, MAX_CUT_TEXT)
        self.assertEqual(feed(ready(), header + bytes(MAX_CUT_TEXT)), [ClientCutText(bytes(MAX_CUT_TEXT))])
        self.assertRaises(RfbError, feed, ready(), struct.pack(">B3xI", 6, MAX_CUT_TEXT + 1))

    def test_unknown_message(self) -> None:
        for kind in (1, 7, 255):
            self.assertRaises(RfbError, feed, ready(), bytes([kind]))

    def test_events_before_an_error_are_delivered(self) -> None:
        rfb = ready()
        rfb.receive_data(struct.pack(">BBHH", 5, 0, 1, 2) + b"\xff")
        self.assertEqual(rfb.next_event(), PointerEvent(0, 1, 2))
        self.assertRaises(RfbError, rfb.next_event)

    def test_updates(self) -> None:
        rfb = ready()
        rfb.send_update([(Rectangle(1, 2, 1, 2), b"aaaabbbb"), (Rectangle(5, 6, 1, 1), b"cccc")])
        self.assertEqual(
            rfb.data_to_send(),
            b"\0\0\0\2" + b"\0\1\0\2\0\1\0\2\0\0\0\0aaaabbbb" + b"\0\5\0\6\0\1\0\1\0\0\0\0cccc",
        )

    def test_cut_text_to_the_client(self) -> None:
        rfb = ready()
        rfb.send_cut_text(b"abc")
        self.assertEqual(rfb.data_to_send(), b"\3\0\0\0\0\0\0\3abc")


MESSAGES = st.one_of(
    st.just(b"\0\0\0\0" + PixelFormat().encode()),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20).map(
        lambda encodings: struct.pack(f">BxH{len(encodings)}i", 2, len(encodings), *encodings)
    ),
    st.binary(min_size=9, max_size=9).map(lambda body: b"\3" + body),
    st.binary(min_size=7, max_size=7).map(lambda body: b"\4" + body),
    st.binary(min_size=5, max_size=5).map(lambda body: b"\5" + body),
    st.binary(max_size=100).map(lambda text: struct.pack(">B3xI", 6, len(text)) + text),
)
HANDSHAKES = st.sampled_from(
    [
        b"RFB 003.008\n\2" + vnc_response(CHALLENGE, PASSWORD) + b"\1",
        b"RFB 003.007\n\2" + vnc_response(CHALLENGE, PASSWORD) + b"\0",
        b"RFB 003.003\n" + vnc_response(CHALLENGE, PASSWORD) + b"\1",
    ]
)


class SplitTests(SynchronousTestCase):
    @given(HANDSHAKES, st.lists(MESSAGES, max_size=12), st.data())
    def test_cuts_do_not_matter(self, handshake: bytes, messages: list[bytes], data: st.DataObject) -> None:
        stream = handshake + b"".join(messages)
        whole = server()
        expected = feed(whole, stream)
        self.assertEqual(len(expected), 1 + len(messages))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        cut = server()
        self.assertEqual([event for piece in pieces for event in feed(cut, piece)], expected)
        self.assertEqual(cut.data_to_send(), whole.data_to_send())

    @given(st.binary(max_size=300))
    def test_noise_is_an_event_or_an_error(self, noise: bytes) -> None:
        for rfb in (server(None), ready()):
            try:
                events = feed(rfb, noise)
            except RfbError:
                continue
            self.assertLessEqual(len(events), len(noise))
