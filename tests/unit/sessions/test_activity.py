"""Which console it is, and whether somebody works on it."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.sessions.activity import Activity
from gateway.tickets import Kind
from tests.unit.spice.samples import DISPLAY_LINK, INPUTS_LINK, MAIN_LINK, REPLY, TICKET, agent, mini

VERSION = b"RFB 003.008\n"
ASK = bytes.fromhex("03010000000002d00190")
POINTER = bytes.fromhex("0500012c012c")
KEY_DOWN = bytes.fromhex("6500040000001e000000")

KINDS = (None, *Kind)


class KindTests(SynchronousTestCase):
    def assert_kind(self, activity: Activity, kind: Kind | None) -> None:
        self.assertIs(activity.kind, kind)

    def test_nobody_knows(self) -> None:
        for kind in KINDS:
            activity = Activity(kind)
            self.assert_kind(activity, kind)
            self.assertTrue(activity.needs_server)
            activity.server(b"")
            self.assertFalse(activity.client(b""))
            self.assert_kind(activity, kind)

    def test_vnc(self) -> None:
        for kind, size in itertools.product(KINDS, (1, 3, 12)):
            activity = Activity(kind)
            for at in range(0, 12, size):
                activity.server(VERSION[at : at + size])
            self.assert_kind(activity, Kind.VNC)
            self.assertTrue(activity.needs_server)
            self.assertFalse(activity.client(VERSION))
            self.assertFalse(activity.needs_server)
            self.assertFalse(activity.client(b"\1"))
            self.assertFalse(activity.client(b"\1"))
            self.assertFalse(activity.client(ASK))
            self.assertTrue(activity.client(memoryview(POINTER)))
            self.assertFalse(activity.client(ASK))

    def test_vnc_3_3(self) -> None:
        activity = Activity()
        activity.server(VERSION)
        activity.client(b"RFB 003.003\n")
        self.assertTrue(activity.needs_server)
        activity.server(b"\0\0\0\1")
        self.assertFalse(activity.needs_server)
        self.assertFalse(activity.client(b"\1" + ASK))
        self.assertTrue(activity.client(POINTER))

    def test_an_impatient_vnc_client(self) -> None:
        activity = Activity()
        activity.server(b"RF")
        self.assertFalse(activity.client(b"R"))
        self.assertFalse(activity.client(VERSION[1:] + b"\1\1" + ASK))
        self.assert_kind(activity, Kind.VNC)
        activity.server(b"B 003.008\n")
        self.assertTrue(activity.client(POINTER))

    def test_the_beginning_of_a_client_is_kept(self) -> None:
        activity = Activity()
        self.assertFalse(activity.client(b"RF"))
        activity.server(VERSION)
        self.assertFalse(activity.client(VERSION[2:] + b"\1\1" + ASK))
        self.assertTrue(activity.client(POINTER))

    def test_handshakes_done(self) -> None:
        for kind in KINDS:
            activity = Activity(kind, authenticated=True)
            self.assert_kind(activity, Kind.VNC)
            self.assertFalse(activity.needs_server)
            activity.server(b"\2\0\1\x90")
            self.assertFalse(activity.client(b"\1" + ASK))
            self.assertTrue(activity.client(POINTER))

    def test_spice(self) -> None:
        for kind, size in itertools.product(KINDS, (1, 3, 99)):
            activity = Activity(kind)
            for at in range(0, len(INPUTS_LINK), size):
                self.assertFalse(activity.client(INPUTS_LINK[at : at + size]))
            self.assert_kind(activity, Kind.SPICE)
            self.assertTrue(activity.needs_server)
            activity.server(REPLY)
            self.assertFalse(activity.needs_server)
            self.assertFalse(activity.client(TICKET))
            self.assertTrue(activity.client(KEY_DOWN))
            self.assertFalse(activity.client(mini(2)))

    def test_spice_clipboard(self) -> None:
        activity = Activity()
        activity.client(MAIN_LINK)
        activity.server(REPLY)
        self.assertFalse(activity.client(TICKET + mini(104)))
        self.assertTrue(activity.client(mini(107, agent(7, bytes(4)))))

    def test_spice_screen(self) -> None:
        activity = Activity()
        self.assertFalse(activity.client(DISPLAY_LINK))
        self.assertFalse(activity.needs_server)
        self.assertFalse(activity.client(TICKET + KEY_DOWN))

    def test_serial(self) -> None:
        for kind, said in itertools.product(KINDS, (b"l", b"ls\r", b"Root\r", b"RFC 6143", b"REDO", b"\0")):
            activity = Activity(kind)
            self.assertTrue(activity.client(said))
            self.assert_kind(activity, Kind.SERIAL)
            self.assertFalse(activity.needs_server)
            activity.server(VERSION)
            self.assertTrue(activity.client(b"x"))
            self.assertFalse(activity.client(b""))

    def test_serial_typed_slowly(self) -> None:
        activity = Activity()
        said = [activity.client(byte) for byte in (b"R", b"E", b"D", b"o", b"n", b"e")]
        self.assertEqual(said, [False, False, False, True, True, True])
        self.assert_kind(activity, Kind.SERIAL)

    def test_serial_that_greets(self) -> None:
        for said in (b"login: ", b"R", b"RFB"):
            activity = Activity(Kind.VNC)
            activity.server(said)
            activity.server(b"!")
            self.assert_kind(activity, Kind.SERIAL)
            self.assertFalse(activity.needs_server)
            self.assertTrue(activity.client(b"REDQ"))

    def test_a_line_that_greets_like_rfb_is_never_idle(self) -> None:
        activity = Activity(Kind.SERIAL)
        activity.server(VERSION + b"login: ")
        self.assertTrue(activity.client(b"root\r") or activity.client(b"password\r"))
        self.assertTrue(activity.client(b"x"))


class PropertyTests(SynchronousTestCase):
    @given(
        st.sampled_from(KINDS),
        st.booleans(),
        st.lists(
            st.tuples(
                st.booleans(),
                st.sampled_from([VERSION, b"RFB ", MAIN_LINK, INPUTS_LINK, REPLY, TICKET, ASK, POINTER, b"R"])
                | st.binary(max_size=50),
            ),
            max_size=10,
        ),
    )
    def test_anything_byte_by_byte(
        self, kind: Kind | None, authenticated: bool, said: list[tuple[bool, bytes]]
    ) -> None:
        whole, pieces = (Activity(kind, authenticated=authenticated) for _ in range(2))
        fed = 0
        for by_client, data in said:
            if by_client:
                found = [pieces.client(data[at : at + 1]) for at in range(len(data))]
                self.assertIs(any(found), whole.client(memoryview(data)))
            else:
                whole.server(data)
                for at in range(len(data)):
                    fed += pieces.needs_server
                    pieces.server(data[at : at + 1])
            self.assertIs(pieces.kind, whole.kind)
            self.assertIs(pieces.needs_server, whole.needs_server)
        self.assertLessEqual(fed, 515)
