"""Server-Sent Events as a client reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.control.event_stream import MAX_EVENT, EventStream, EventStreamError, ServerSentEvent


def read(*pieces: bytes) -> list[ServerSentEvent]:
    stream = EventStream()
    return [event for piece in pieces for event in stream.feed(piece)]


class Reading(SynchronousTestCase):
    def test_an_event(self) -> None:
        assert read(b"id: 7\nevent: session-ended\ndata: {}\n\n") == [
            ServerSentEvent("7", "session-ended", "{}")
        ]

    def test_what_may_be_absent(self) -> None:
        assert read(b"data: x\n\n") == [ServerSentEvent("", "message", "x")]
        assert read(b"id: 1\ndata: x\n\ndata: y\n\n")[1] == ServerSentEvent("1", "message", "y")

    def test_lines_of_data(self) -> None:
        assert read(b"data: a\ndata:b\ndata:  c\ndata\n\n")[0].data == "a\nb\n c\n"

    def test_what_is_no_event(self) -> None:
        for text in (
            b": comment\n\n",
            b"\n\n\n",
            b"event: x\n\n",
            b"id: 1\n\n",
            b"data: unfinished\n",
            b"retry: 1\n\n",
        ):
            assert read(text) == []

    def test_ends_of_lines(self) -> None:
        expected = [ServerSentEvent("1", "a", "b\nc")]
        for end in (b"\n", b"\r\n", b"\r"):
            lines = (b"id: 1", b"event: a", b"data: b", b"data: c", b"", b": done")
            assert read(end.join(lines) + end + b":") == expected

    def test_byte_order_mark(self) -> None:
        text = b"\xef\xbb\xbfdata: x\n\n"
        assert [event.data for event in read(text)] == ["x"]
        assert [event.data for event in read(*(bytes([byte]) for byte in text))] == ["x"]
        assert read(b"\xef\xbb", b"data: x\n\n") == []

    def test_last_id(self) -> None:
        stream = EventStream()
        stream.feed(b"id: 5\ndata: x\n\nid: 6\n\nid: 7\n")
        assert stream.last_id == "6"
        stream.feed(b"data: y\n\n")
        assert stream.last_id == "7"
        stream.feed(b"id: 8\0\ndata: z\n\n")
        assert stream.last_id == "7"

    def test_no_utf8(self) -> None:
        assert read(b"data: \xff\xfe\n\n")[0].data == "\ufffd\ufffd"

    def test_without_end(self) -> None:
        for piece in (b"x" * 65536, b"data: " + b"x" * 1000 + b"\n"):
            pieces = [piece] * (MAX_EVENT // len(piece) + 2)
            with pytest.raises(EventStreamError, match="longer than"):
                read(*pieces)

    @given(
        st.lists(
            st.sampled_from([b"data: x", b"id: 3", b"event: y", b"", b":c", b"\xef\xbb\xbf", b"\xc3\xa9"])
        ),
        st.sampled_from([b"\n", b"\r\n"]),
        st.lists(st.integers(0, 200)),
    )
    def test_wherever_it_is_cut(self, lines: list[bytes], end: bytes, cuts: list[int]) -> None:
        text = b"".join(line + end for line in lines)
        places = sorted({min(cut, len(text)) for cut in cuts})
        pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
        assert read(*pieces) == read(text)

    @given(st.lists(st.binary()))
    def test_any_bytes(self, pieces: list[bytes]) -> None:
        for found in read(*pieces):
            assert "\0" not in found.id
