from __future__ import annotations

import contextlib
import string

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.front.head import MAX_HEADERS, BadHead, RequestHead, parse_head

TOKEN = st.text("!#$%&'*+-.^_`|~" + string.ascii_letters + string.digits, min_size=1, max_size=20)
METHOD = TOKEN
TARGET = st.text([chr(number) for number in range(33, 127)], min_size=1, max_size=60)
# Visible characters with white space only inside, as RFC 9110, section 5.5 has it.
VALUE = st.text(["\t", " ", *map(chr, range(33, 127)), *map(chr, range(128, 256))], max_size=30).map(
    lambda text: text.strip(" \t")
)
FIELDS = st.lists(st.tuples(TOKEN, VALUE), max_size=12)
PIECES = st.sampled_from(
    [
        b"GET",
        b" ",
        b"/",
        b"HTTP/1.1",
        b"\r\n",
        b"\r",
        b"\n",
        b":",
        b"Host",
        b"x",
        b"\0",
        b"\t",
        b"\x85",
        b"\xff",
    ]
)


def head(*lines: bytes) -> bytes:
    return b"\r\n".join(lines) + b"\r\n\r\n"


class PropertyTests(SynchronousTestCase):
    @given(st.binary(max_size=300))
    @example(b"")
    @example(b"\r\n\r\n")
    def test_arbitrary_bytes(self, data: bytes) -> None:
        self.check(data)

    @given(st.lists(PIECES, max_size=40).map(b"".join))
    def test_nearly_heads(self, data: bytes) -> None:
        self.check(data)
        self.check(b"GET / HTTP/1.1\r\n" + data + b"\r\n\r\n")

    def check(self, data: bytes) -> None:
        try:
            parsed = parse_head(data)
        except BadHead:
            return
        # What is accepted has one reading: no control character is left anywhere.
        text = parsed.method + parsed.target + "".join(name + value for name, value in parsed.fields)
        self.assertFalse(set(text) & set(map(chr, range(32))) - {"\t"}, parsed)
        self.assertNotIn("\x7f", text)
        self.assertEqual(data.count(b"\n"), len(parsed.fields) + 2)
        self.assertEqual(data.count(b"\r"), len(parsed.fields) + 2)

    @given(
        METHOD, TARGET, st.sampled_from(["1.0", "1.1"]), FIELDS, st.sampled_from([":", ": ", ":\t ", ":  "])
    )
    def test_round_trip(
        self, method: str, target: str, version: str, fields: list[tuple[str, str]], colon: str
    ) -> None:
        lines = [f"{method} {target} HTTP/{version}", *(f"{n}{colon}{v} " for n, v in fields), "", ""]
        parsed = parse_head("\r\n".join(lines).encode("latin-1"))
        expected = tuple((name.lower(), value) for name, value in fields)
        self.assertEqual(parsed, RequestHead(method, target, expected))

    def test_linear(self) -> None:
        """A head of the largest size that any setting allows is read at once, whatever is in it."""
        for filler in (b" ", b"\t", b"a", b"!", b"\x85", b":", b","):
            for line in (b"X: " + filler * 262000, filler * 262000, b"X:" + filler * 262000 + b"\0"):
                with contextlib.suppress(BadHead):
                    parse_head(head(b"GET / HTTP/1.1", line))


class ShapeTests(SynchronousTestCase):
    def bad(self, data: bytes) -> None:
        self.assertRaises(BadHead, parse_head, data)

    def test_smuggling_shapes(self) -> None:
        for data in (
            b"GET / HTTP/1.1\nHost: x\n\n",
            b"GET / HTTP/1.1\r\nHost: x\nOrigin: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\rOrigin: y\r\n\r\n",
            b"GET / HTTP/1.1\n\r\n\r\n",
            head(b"GET / HTTP/1.1", b"Host: x", b" folded: y"),
            head(b"GET / HTTP/1.1", b"Host: x", b"\tfolded"),
            head(b"GET / HTTP/1.1", b" Host: x"),
            head(b"GET / HTTP/1.1", b"Host : x"),
            head(b"GET / HTTP/1.1", b"Host\t: x"),
            head(b"GET / HTTP/1.1", b"Host: x\0y"),
            head(b"GET / HTTP/1.1", b"Ho\0st: x"),
            head(b"GET / HTTP/1.1", b"H\xf6st: x"),
            head(b"GET / HTTP/1.1", b": x"),
            head(b"GET / HTTP/1.1", b"Host"),
            head(b"GET / HTTP/1.1", b"Host: x\x0by"),
            head(b"GET / HTTP/1.1", b"Host: x\x7f"),
            b"\r\n" + head(b"GET / HTTP/1.1"),
            b"GET / HTTP/1.1\r\nHost: x\r\n",
        ):
            self.bad(data)

    def test_request_lines(self) -> None:
        for line in (
            b"",
            b"GET",
            b"GET /",
            b"GET  / HTTP/1.1",
            b"GET /  HTTP/1.1",
            b" GET / HTTP/1.1",
            b"GET / HTTP/1.1 ",
            b"GET\t/\tHTTP/1.1",
            b"GET / HTTP/2.0",
            b"GET / HTTP/1.10",
            b"GET / http/1.1",
            b"GET /\x85 HTTP/1.1",
            b"GET /\xc3\xa4 HTTP/1.1",
            b"GET /\0 HTTP/1.1",
            b"G(T / HTTP/1.1",
            b"A" * 33 + b" / HTTP/1.1",
            b"\x16\x03\x01\x02\x00\x01",
        ):
            self.bad(head(line))

    def test_too_many_fields(self) -> None:
        lines = [b"A: b"] * MAX_HEADERS
        self.assertEqual(len(parse_head(head(b"GET / HTTP/1.1", *lines)).fields), MAX_HEADERS)
        self.bad(head(b"GET / HTTP/1.1", *lines, b"A: b"))

    def test_repeated_fields_are_all_seen(self) -> None:
        parsed = parse_head(head(b"GET / HTTP/1.1", b"HOST: a", b"Host: b", b"hOst:"))
        self.assertEqual(parsed.values("host"), ["a", "b", ""])

    def test_wants_websocket(self) -> None:
        for lines, wanted in (
            ([b"Upgrade: websocket"], True),
            ([b"upgrade: WebSocket"], True),
            ([b"Upgrade: h2c, websocket"], True),
            ([b"Upgrade: h2c", b"Upgrade: websocket"], True),
            ([b"Upgrade: websockets"], False),
            ([b"Upgrade: \x85websocket"], False),
            ([b"Upgrade: h2c,\xa0websocket"], False),
            ([b"Upgrade:"], False),
            ([b"X-Upgrade: websocket"], False),
            ([], False),
        ):
            self.assertIs(parse_head(head(b"GET / HTTP/1.1", *lines)).wants_websocket, wanted)

    def test_has_body(self) -> None:
        for lines, body in (
            ([b"Content-Length: 0"], False),
            ([b"Content-Length: 1"], True),
            ([b"Content-Length: 00"], True),
            ([b"Content-Length: 0", b"Content-Length: 5"], True),
            ([b"Transfer-Encoding: chunked"], True),
            ([b"Transfer-Encoding: identity", b"Content-Length: 0"], True),
            ([], False),
        ):
            self.assertIs(parse_head(head(b"GET / HTTP/1.1", *lines)).has_body, body)
