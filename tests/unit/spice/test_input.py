"""What counts as input on SPICE's channels, and however the bytes are cut."""

from __future__ import annotations

import itertools
import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.spice import SpiceInput
from tests.unit.spice.samples import (
    AUTH_SELECTION,
    AUTH_SPICE,
    CURSOR_LINK,
    DISPLAY_LINK,
    INPUTS_LINK,
    MAIN_LINK,
    MINI_HEADER,
    REPLY,
    TICKET,
    agent,
    full,
    link,
    mini,
    reply,
)

MAIN, INPUTS, PORT = 1, 3, 10
SILENT_CHANNELS = (2, 4, 5, 6, 8, 9, 11)

ACK = mini(2)
PONG = bytes.fromhex("03000c00000073483366c802ca6e4b160000")
KEY_DOWN = bytes.fromhex("6500040000001e000000")
KEY_UP = bytes.fromhex("6600040000009e000000")
MOTION = bytes.fromhex("6f000b000000c0000000c0000000000000")
PRESS = bytes.fromhex("710003000000010100")
INPUT = (KEY_DOWN, KEY_UP, mini(103, b"\1\0"), mini(104, b"\x1e"), MOTION, mini(112, bytes(12)), PRESS)
COMMON = (mini(1, bytes(4)), ACK, PONG, mini(4), mini(6, bytes(12)))
"""What every channel says."""

CLIPBOARD, GRAB, FILE_START, FILE_DATA = 4, 7, 10, 12
SILENT_AGENT = (1, 2, 3, 5, 6, 8, 9, 11, 13, 14, 15, 99)


def linked(message: bytes = INPUTS_LINK, answer: bytes = REPLY, ticket: bytes = TICKET) -> SpiceInput:
    """One whose connection is open."""
    follower = SpiceInput()
    found = [follower.client(message)]
    follower.server(answer)
    found.append(follower.client(ticket))
    assert found == [False, False]
    assert not follower.needs_server
    return follower


def state(follower: SpiceInput) -> list[object]:
    """All that the next answers depend on: whether bytes count matters while some are to be skipped."""
    values = {name: getattr(follower, name) for name in SpiceInput.__slots__}
    for counts, left in (("_counts", "_left"), ("_agent_counts", "_agent_left"), ("_in_agent_data", "_left")):
        values[counts] = bool(values[left]) and values[counts]
    return list(values.values())


class ChannelTests(SynchronousTestCase):
    def assert_counts(self, follower: SpiceInput, message: bytes, counts: bool) -> None:
        """Alone, behind and before others, as a view, and byte by byte."""
        self.assertIs(follower.client(message), counts, message)
        self.assertIs(follower.client(memoryview(bytearray(message))), counts, message)
        self.assertIs(follower.client(ACK + message), counts, message)
        self.assertIs(follower.client(message + ACK), counts, message)
        pieces = [follower.client(message[at : at + 1]) for at in range(len(message))]
        self.assertIs(any(pieces), counts, message)
        self.assertIs(follower.client(ACK), False, message)

    def test_inputs(self) -> None:
        for message in INPUT:
            self.assert_counts(linked(), message, True)
        for message in COMMON:
            self.assert_counts(linked(), message, False)
        self.assertFalse(linked().client(b""))

    def test_nothing_counts_on_other_channels(self) -> None:
        for message in (DISPLAY_LINK, CURSOR_LINK, *map(link, SILENT_CHANNELS)):
            follower = SpiceInput()
            self.assertFalse(follower.client(message))
            self.assertFalse(follower.needs_server)
            for said in (TICKET, KEY_DOWN, mini(101, bytes(5000)), b"\xff" * 99):
                self.assertFalse(follower.client(said))

    def test_ports(self) -> None:
        follower = linked(link(PORT))
        for kind, counts in ((101, True), (102, True), (201, False), (3, False)):
            self.assert_counts(follower, mini(kind, b"ls\r"), counts)

    def test_unknown_channels(self) -> None:
        for channel in (0, 7, 12, 255):
            follower = linked(link(channel))
            self.assert_counts(follower, mini(101, b"xy"), True)
            self.assert_counts(follower, PONG, False)

    def test_main(self) -> None:
        follower = linked(MAIN_LINK)
        for message in (mini(104), mini(101, bytes(8)), mini(105, b"\1\0"), mini(106, bytes(4)), *COMMON):
            self.assert_counts(follower, message, False)

    def test_clipboard_and_files(self) -> None:
        follower = linked(MAIN_LINK)
        for kind in (CLIPBOARD, GRAB, FILE_START, FILE_DATA):
            self.assert_counts(follower, mini(107, agent(kind, b"\1\0\0\0hello")), True)
        for kind in SILENT_AGENT:
            self.assert_counts(follower, mini(107, agent(kind, bytes(12))), False)

    def test_a_message_to_the_agent_in_pieces(self) -> None:
        follower = linked(MAIN_LINK)
        text = agent(CLIPBOARD, bytes(5000))
        for at in range(0, len(text), 2048):
            self.assertTrue(follower.client(mini(107, text[at : at + 2048])))
        self.assertFalse(follower.client(mini(107, agent(2, bytes(28)))))
        # Its head is cut, too; nobody knows what it is before that is there.
        self.assertFalse(follower.client(mini(107, text[:10])))
        self.assertFalse(follower.client(ACK))
        self.assertTrue(follower.client(mini(107, text[10:])))
        # And one behind another.
        self.assertTrue(follower.client(mini(107, agent(6, bytes(8)) + agent(GRAB, bytes(4)))))
        self.assertFalse(follower.client(mini(107, agent(6, bytes(8)))))
        self.assertFalse(follower.client(mini(107)))

    def test_a_large_message_is_skipped(self) -> None:
        follower = linked(link(PORT))
        self.assertTrue(follower.client(struct.pack("<HI", 101, (1 << 32) - 1)))
        block = bytes(1 << 20)
        for _ in range((1 << 12) - 1):
            self.assertTrue(follower.client(block))
        self.assertTrue(follower.client(block[:-1]))
        self.assertFalse(follower.client(ACK))


class LinkTests(SynchronousTestCase):
    def test_byte_by_byte(self) -> None:
        follower = SpiceInput()
        for at in range(len(INPUTS_LINK)):
            self.assertTrue(follower.needs_server)
            self.assertFalse(follower.client(INPUTS_LINK[at : at + 1]))
        for at in range(198):
            self.assertTrue(follower.needs_server)
            follower.server(REPLY[at : at + 1])
        self.assertFalse(follower.needs_server)
        for at in range(len(TICKET)):
            self.assertFalse(follower.client(TICKET[at : at + 1]))
        self.assertTrue(follower.client(KEY_DOWN))
        self.assertFalse(follower.client(PONG))

    def test_headers(self) -> None:
        with_both = [AUTH_SELECTION | AUTH_SPICE | MINI_HEADER]
        without = [AUTH_SELECTION | AUTH_SPICE]
        for ours, theirs in ((with_both, without), (without, with_both), (without, without)):
            follower = linked(link(INPUTS, ours), reply(theirs))
            for _ in range(2):
                self.assertTrue(follower.client(full(101, bytes(4))))
                self.assertFalse(follower.client(full(2)))
                self.assertTrue(follower.client(full(2) + full(111, bytes(11))))

    def test_the_ticket_alone(self) -> None:
        for ours, theirs in (([MINI_HEADER], [AUTH_SELECTION | MINI_HEADER]), ([], []), ([0], [0])):
            follower = linked(link(INPUTS, ours), reply(theirs), TICKET[4:])
            message = mini if ours == [MINI_HEADER] else full
            self.assertFalse(follower.client(message(2)))
            self.assertTrue(follower.client(message(101, bytes(4))))

    def test_capabilities_elsewhere(self) -> None:
        words = struct.pack("<II", AUTH_SELECTION | MINI_HEADER, 0)
        message = struct.pack("<IBBIII", 7, INPUTS, 0, 1, 1, 30) + bytes(12) + words
        moved = struct.pack("<4sIII", b"REDQ", 2, 2, len(message)) + message
        follower = linked(moved, reply([AUTH_SELECTION | MINI_HEADER, 5], offset=200))
        self.assertFalse(follower.client(ACK))
        self.assertTrue(follower.client(KEY_DOWN))

    def test_a_server_that_does_not_wait(self) -> None:
        follower = SpiceInput()
        follower.server(REPLY)
        self.assertFalse(follower.needs_server)
        self.assertFalse(follower.client(INPUTS_LINK + TICKET + ACK))
        self.assertTrue(follower.client(KEY_DOWN))

    def test_a_client_that_does_not_wait_counts(self) -> None:
        follower = SpiceInput()
        self.assertTrue(follower.client(INPUTS_LINK + TICKET))
        self.assertFalse(follower.needs_server)
        self.assertTrue(follower.client(ACK))

    def test_other_authentication_counts(self) -> None:
        for mechanism in (0, 2, 3):
            follower = SpiceInput()
            self.assertFalse(follower.client(INPUTS_LINK))
            follower.server(REPLY)
            self.assertTrue(follower.client(mechanism.to_bytes(4, "little")))
            self.assertTrue(follower.client(ACK))

    def test_what_is_no_link_counts(self) -> None:
        for head in (
            struct.pack("<4sIII", b"REDX", 2, 2, 18),
            struct.pack("<4sIII", b"REDQ", 1, 0, 18),
            struct.pack("<4sIII", b"REDQ", 2, 2, 17),
            struct.pack("<4sIII", b"REDQ", 2, 2, 4097),
            # Its capabilities would be outside of it.
            struct.pack("<4sIII", b"REDQ", 2, 2, 18) + struct.pack("<IBBIII", 7, INPUTS, 0, 1, 0, 18),
            struct.pack("<4sIII", b"REDQ", 2, 2, 22) + struct.pack("<IBBIII", 7, INPUTS, 0, 1, 0, 17),
            struct.pack("<4sIII", b"REDQ", 2, 2, 22) + struct.pack("<IBBIII", 7, INPUTS, 0, 1, 0, 1 << 31),
        ):
            follower = SpiceInput()
            self.assertTrue(follower.client(head), head)
            self.assertFalse(follower.needs_server)
            self.assertTrue(follower.client(ACK))

    def test_a_server_that_says_something_else(self) -> None:
        for answer in (b"RFB 003.008\n", b"REDX", reply([1], offset=500)):
            follower = SpiceInput()
            self.assertFalse(follower.client(INPUTS_LINK))
            follower.server(answer + bytes(600))
            self.assertFalse(follower.needs_server)
            self.assertTrue(follower.client(TICKET))
            self.assertTrue(follower.client(ACK))


messages = st.sampled_from(
    [(message, True) for message in INPUT]
    + [(message, False) for message in COMMON]
    + [(mini(107, agent(kind, bytes(9))), kind in (4, 7, 10, 12)) for kind in range(1, 16)]
)


class PropertyTests(SynchronousTestCase):
    @given(st.lists(messages, max_size=12), st.booleans(), st.data())
    def test_any_cut_of_messages(
        self, said: list[tuple[bytes, bool]], main: bool, data: st.DataObject
    ) -> None:
        if main:
            said = [(message, counts and message[0] == 107) for message, counts in said]
        else:
            said = [(message, counts or message[0] == 107) for message, counts in said]
        opened = MAIN_LINK if main else INPUTS_LINK
        wire = b"".join(message for message, _ in said)
        places = data.draw(st.lists(st.integers(0, len(wire)), max_size=12))
        follower, whole, one_by_one = linked(opened), linked(opened), linked(opened)
        found = [
            follower.client(wire[begin:end])
            for begin, end in itertools.pairwise(sorted({0, *places, len(wire)}))
        ]
        expected = [counts for _, counts in said]
        self.assertIs(any(found), any(expected))
        self.assertIs(whole.client(wire), any(expected))
        self.assertEqual([one_by_one.client(message) for message, _ in said], expected)
        self.assertEqual(state(follower), state(whole))
        self.assertEqual(state(one_by_one), state(whole))

    @given(
        st.sampled_from([b"", MAIN_LINK, INPUTS_LINK, link(PORT, [])]),
        st.sampled_from([REPLY, REPLY[:100], reply([])]) | st.binary(max_size=600),
        st.sampled_from([b"", TICKET]),
        st.binary(max_size=300),
        st.lists(st.integers(0, 500), max_size=8),
    )
    def test_any_cut_of_anything(
        self, begin: bytes, server: bytes, ticket: bytes, rest: bytes, places: list[int]
    ) -> None:
        whole, follower = SpiceInput(), SpiceInput()
        client = ticket + rest
        borders = sorted({0, *(place % (len(client) + 1) for place in places), len(client)})
        for one in (whole, follower):
            one.client(begin)
            one.server(server)
        found = [follower.client(client[start:end]) for start, end in itertools.pairwise(borders)]
        self.assertIs(any(found), whole.client(client))
        self.assertEqual(state(follower), state(whole))
        kept = sum(len(value) for value in state(follower) if isinstance(value, bytes))
        self.assertLessEqual(kept, 512 + 18 + 20)
