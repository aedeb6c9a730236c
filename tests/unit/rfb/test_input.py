"""What counts as input of an RFB client: by message, by handshake, and however the bytes are cut."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.rfb import RfbInput

CAPS, REQUEST, PEEK, NOTIFY, PROVIDE = (1 << bit for bit in range(24, 29))

# What noVNC has sent to QEMU, but for the response.
VERSION = b"RFB 003.008\n"
RESPONSE = bytes(range(16))
PIXEL_FORMAT = bytes.fromhex("000000002018000100ff00ff00ff000810000000")
ENCODINGS = bytes.fromhex(
    "02000019000000010000003200000007fffffefc000000100000001500000005000000020000000600000000ffffffe6"
    "ffffff02ffffff21ffffff20fffffefefffffefbfffffeccfffffecbfffffec8fffffec7fffffecdc0a1e5cefffffec4"
    "574d5664ffffff11"
)
ASK_ALL = bytes.fromhex("03000000000002d00190")
ASK = bytes.fromhex("03010000000002d00190")
CLIPBOARD_CAPS = bytes.fromhex("06000000fffffff81f00000100000000")
QEMU_KEY = bytes.fromhex("ff000001000000610000001e")
POINTER = bytes.fromhex("0500012c012c")
CLICK = bytes.fromhex("05010014000a")

PLAIN_ENCODINGS = bytes.fromhex("0200000200000000ffffff21")


def extended(flags: int, data: bytes = b"") -> bytes:
    """A message of the extended clipboard."""
    return struct.pack(">B3xiI", 6, -4 - len(data), flags) + data


def gii(kind: int, size: int, *, big: bool = True) -> bytes:
    head = struct.pack(">BBH" if big else "<BBH", 253, kind | (0x80 if big else 0), size)
    return head + bytes(size)


SILENT = [
    PIXEL_FORMAT,
    PLAIN_ENCODINGS,
    ENCODINGS,
    b"\x02\0\0\0",
    ASK_ALL,
    ASK,
    CLIPBOARD_CAPS,
    extended(CAPS | REQUEST | PEEK | NOTIFY | PROVIDE, bytes(8)),
    extended(REQUEST | 1),
    extended(PEEK),
    struct.pack(">BBHHHH", 150, 1, 0, 0, 720, 400),
    struct.pack(">B3xIB", 248, 1 << 31, 5) + b"\4\4\4\4\4",
    struct.pack(">B3xIB", 248, 1, 0),
    struct.pack(">BxHHBx", 251, 800, 600, 2) + bytes(32),
    gii(1, 2),
    gii(2, 56 + 2 * 116, big=False),
    gii(3, 4),
    bytes.fromhex("ff010000"),
    bytes.fromhex("ff010001"),
    bytes.fromhex("ff010002") + bytes.fromhex("03020000ac44"),
]
INPUT = [
    struct.pack(">BB2xI", 4, 1, 0xFF0D),
    struct.pack(">BB2xI", 4, 0, 0xFF0D),
    POINTER,
    CLICK,
    QEMU_KEY,
    struct.pack(">B3xI", 6, 5) + b"hello",
    struct.pack(">B3xI", 6, 0),
    extended(NOTIFY | 1),
    extended(PROVIDE | 1, b"\x78\x9c" + bytes(70)),
    bytes.fromhex("fa000104"),
    gii(0, 24),
    gii(0, 24, big=False),
]


def ready() -> RfbInput:
    """One whose handshake is over, without a list of encodings."""
    follower = RfbInput(authenticated=True)
    assert not follower.client(b"\1")
    return follower


def state(follower: RfbInput) -> list[object]:
    """All that the next answers depend on: whether bytes count matters while some are to be skipped."""
    values = {name: getattr(follower, name) for name in RfbInput.__slots__}
    values["_counts"] = bool(values["_left"]) and values["_counts"]
    return list(values.values())


class MessageTests(SynchronousTestCase):
    def assert_counts(self, message: bytes, counts: bool, follower: RfbInput | None = None) -> None:
        """Alone, behind and before others, as a view, and byte by byte."""
        follower = follower or ready()
        self.assertIs(follower.client(message), counts, message)
        self.assertIs(follower.client(memoryview(bytearray(message))), counts, message)
        self.assertIs(follower.client(ASK + message), counts, message)
        self.assertIs(follower.client(message + ASK), counts, message)
        pieces = [follower.client(message[at : at + 1]) for at in range(len(message))]
        self.assertIs(any(pieces), counts, message)
        self.assertIs(follower.client(ASK), False, message)
        self.assertIs(follower.client(POINTER), True, message)

    def test_silent(self) -> None:
        for message in SILENT:
            self.assert_counts(message, False)

    def test_input(self) -> None:
        for message in INPUT:
            self.assert_counts(message, True)

    def test_nothing(self) -> None:
        self.assertIs(ready().client(b""), False)
        self.assertIs(RfbInput().client(memoryview(b"")), False)

    def test_the_same_position_again(self) -> None:
        # Clients send what has changed; what they repeat is still somebody's doing.
        follower = ready()
        self.assertEqual([follower.client(POINTER) for _ in range(3)], [True] * 3)

    def test_a_long_text_counts_as_long_as_it_comes(self) -> None:
        follower = ready()
        self.assertTrue(follower.client(struct.pack(">B3xI", 6, (1 << 31) - 1)))
        block = bytes(1 << 20)
        for _ in range((1 << 11) - 1):
            self.assertTrue(follower.client(block))
        self.assertTrue(follower.client(block[:-1]))
        self.assertFalse(follower.client(ASK))

    def test_what_the_machine_has_is_fetched_without_the_user(self) -> None:
        follower = ready()
        self.assertFalse(follower.client(extended(PEEK, bytes(1 << 16))))
        self.assertFalse(follower.client(ASK))

    def test_more_buttons(self) -> None:
        follower = ready()
        follower.client(ENCODINGS)
        more = bytes.fromhex("0580002800280102")[:7]
        for message in (POINTER, CLICK, more):
            self.assert_counts(message, True, follower)
        # One byte is missing; it is none of another message.
        self.assertTrue(follower.client(more[:6]))
        self.assertTrue(follower.client(more[6:]))
        self.assertFalse(follower.client(ASK))

    def test_the_eighth_button(self) -> None:
        follower = ready()
        eighth = bytes.fromhex("058000280028")
        self.assert_counts(eighth, True, follower)
        follower.client(ENCODINGS)
        follower.client(PLAIN_ENCODINGS)
        self.assert_counts(eighth, True, follower)

    def test_unknown(self) -> None:
        for message in (
            b"\x01",
            b"\x07",
            b"\xfc",
            b"\xff\x02\0\0",
            b"\xff\x01\0\3",
            gii(1, 4),
            gii(2, 2),
            gii(4, 4),
            b"\x02\0\x04\x01",
        ):
            follower = ready()
            self.assertFalse(follower.client(ASK))
            self.assertTrue(follower.client(message))
            self.assertEqual([follower.client(ASK) for _ in range(3)], [True] * 3)
            self.assertTrue(follower.client(b"\0"))
            self.assertFalse(follower.client(b""))


class HandshakeTests(SynchronousTestCase):
    def assert_followed(self, server: bytes, *client: bytes) -> None:
        """The server's version, the client's, and so on: in steps, and byte by byte."""
        for size in (1 << 16, 1):
            follower = RfbInput()

            def give(take: Callable[[bytes], bool | None], said: bytes, size: int = size) -> None:
                for at in range(0, len(said), size):
                    self.assertFalse(take(said[at : at + size]))

            give(follower.server, server[:12])
            give(follower.client, client[0])
            give(follower.server, server[12:])
            for said in client[1:]:
                give(follower.client, said)
            self.assertFalse(follower.needs_server)
            self.assertFalse(follower.client(PIXEL_FORMAT + ASK))
            self.assertTrue(follower.client(POINTER))
            self.assertFalse(follower.client(ASK))

    def test_novnc_with_a_password(self) -> None:
        self.assert_followed(VERSION + b"\1\2", VERSION, b"\2", RESPONSE, b"\1")

    def test_novnc_without(self) -> None:
        self.assert_followed(VERSION + b"\1\1", VERSION, b"\1", b"\1")

    def test_3_7(self) -> None:
        version = b"RFB 003.007\n"
        self.assert_followed(VERSION + b"\2\1\2", version, b"\2", RESPONSE, b"\0")

    def test_3_3(self) -> None:
        for version in (b"RFB 003.003\n", b"RFB 003.005\n"):
            self.assert_followed(VERSION + b"\0\0\0\1", version, b"\1")
            self.assert_followed(version + b"\0\0\0\2" + bytes(16), version, RESPONSE, b"\1")

    def test_everything_at_once(self) -> None:
        follower = RfbInput()
        self.assertFalse(follower.client(VERSION + b"\2" + RESPONSE + b"\1" + PIXEL_FORMAT + ENCODINGS + ASK))
        self.assertTrue(follower.client(CLICK))

    def test_the_server_chooses_before_the_client_is_read(self) -> None:
        follower = RfbInput()
        follower.server(b"RFB 003.003\n\0\0\0\1")
        self.assertFalse(follower.needs_server)
        self.assertFalse(follower.client(b"RFB 003.003\n\1" + ASK))
        self.assertTrue(follower.client(CLICK))

    def test_a_client_that_does_not_wait_counts(self) -> None:
        follower = RfbInput()
        follower.server(b"RFB 003.003\n")
        self.assertFalse(follower.client(b"RFB 003.003\n"))
        self.assertTrue(follower.client(b"\1"))
        self.assertFalse(follower.needs_server)
        follower.server(b"\0\0\0\1")
        self.assertTrue(follower.client(ASK))

    def test_what_cannot_be_followed_counts(self) -> None:
        for kind in (0, 5, 6, 16, 18, 19, 20, 30, 113, 129):
            follower = RfbInput()
            follower.server(VERSION)
            self.assertFalse(follower.client(VERSION))
            follower.client(bytes((kind,)))
            self.assertTrue(follower.client(ASK), kind)

    def test_imposed_types_that_cannot_be_followed_count(self) -> None:
        for kind in (0, 3, 17, 1 << 24):
            follower = RfbInput()
            follower.server(VERSION)
            self.assertFalse(follower.client(b"RFB 003.003\n"))
            follower.server(kind.to_bytes(4, "big"))
            self.assertTrue(follower.client(ASK), kind)

    def test_unknown_versions_count(self) -> None:
        for version in (b"RFB 003.889\n", b"RFB 004.001\n", b"GET / HTTP/1"):
            follower = RfbInput()
            follower.server(VERSION)
            self.assertTrue(follower.client(version))
            self.assertFalse(follower.needs_server)
            self.assertTrue(follower.client(ASK))

    def test_a_server_that_goes_on_and_on(self) -> None:
        follower = RfbInput()
        for _ in range(16):
            self.assertTrue(follower.needs_server)
            follower.server(b"x")
        self.assertFalse(follower.needs_server)
        follower.server(bytes(1 << 20))
        self.assertLessEqual(len(follower._greeting), 16)

    def test_authenticated(self) -> None:
        follower = RfbInput(authenticated=True)
        self.assertFalse(follower.needs_server)
        self.assertFalse(follower.client(b"\1" + ASK))
        self.assertTrue(follower.client(CLICK))


messages = st.sampled_from([(message, False) for message in SILENT] + [(message, True) for message in INPUT])


class PropertyTests(SynchronousTestCase):
    @given(st.lists(messages, max_size=12), st.data())
    def test_any_cut_of_messages(self, said: list[tuple[bytes, bool]], data: st.DataObject) -> None:
        wire = b"".join(message for message, _ in said)
        places = data.draw(st.lists(st.integers(0, len(wire)), max_size=12))
        follower, whole = ready(), ready()
        found = [
            follower.client(wire[begin:end])
            for begin, end in itertools.pairwise(sorted({0, *places, len(wire)}))
        ]
        expected = any(counts for _, counts in said)
        self.assertIs(any(found), expected)
        self.assertIs(whole.client(wire), expected)
        self.assertEqual(state(follower), state(whole))
        one_by_one = ready()
        self.assertEqual([one_by_one.client(message) for message, _ in said], [counts for _, counts in said])

    @given(
        st.binary(max_size=40),
        st.binary(max_size=200) | st.binary(max_size=200).map(lambda rest: VERSION + b"\1\1" + rest),
        st.lists(st.integers(0, 200), max_size=8),
        st.booleans(),
    )
    def test_any_cut_of_anything(
        self, server: bytes, client: bytes, places: list[int], authenticated: bool
    ) -> None:
        whole, follower = (RfbInput(authenticated=authenticated) for _ in range(2))
        for one in (whole, follower):
            one.server(server)
        borders = sorted({0, *(place % (len(client) + 1) for place in places), len(client)})
        found = [follower.client(client[begin:end]) for begin, end in itertools.pairwise(borders)]
        self.assertIs(any(found), whole.client(client))
        self.assertEqual(state(follower), state(whole))
        kept = sum(len(value) for value in state(follower) if isinstance(value, bytes))
        self.assertLessEqual(kept, 16 + 12)
