"""The gateway's side towards a browser."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.rfb import BrowserHandshake, FaceReady, Response, RfbError, Version
from tests.unit.rfb.playbook import Calls, Event, Hears, Raises, Says, Step, drain, play
from tests.unit.rfb.samples import CHALLENGE, FAILED, LINE, LINE_3_3, LINE_3_7, OK, RESPONSE, text


def book(authenticate: bool, *script: Step) -> None:
    play(lambda: BrowserHandshake(authenticate), Hears(LINE), *script)


class WithAuthenticationTests(SynchronousTestCase):
    def agreed(self, line: bytes, version: Version) -> tuple[Step, ...]:
        choosing: tuple[Step, ...] = (Hears(b"\1\2"), Says(b"\2"))
        if version is Version.V3_3:
            choosing = (Hears(b"\0\0\0\2"),)
        return (
            Says(line),
            *choosing,
            Event(FaceReady(version)),
            Calls("send_challenge", (CHALLENGE,)),
            Hears(CHALLENGE),
            Says(RESPONSE),
            Event(Response(RESPONSE)),
        )

    def test_accepted(self) -> None:
        for line, version in (
            (LINE, Version.V3_8),
            (LINE_3_7, Version.V3_7),
            (LINE_3_3, Version.V3_3),
            (b"RFB 003.005\n", Version.V3_3),
        ):
            book(True, *self.agreed(line, version), Calls("send_result", (True,)), Hears(OK))

    def test_refused(self) -> None:
        for line, version, last_words in (
            (LINE, Version.V3_8, FAILED + text("Nö".encode())),
            (LINE_3_7, Version.V3_7, FAILED),
            (LINE_3_3, Version.V3_3, FAILED),
        ):
            book(True, *self.agreed(line, version), Calls("send_result", (False, "Nö")), Hears(last_words))

    def test_nothing_is_wanted_in_the_drivers_turn(self) -> None:
        face = BrowserHandshake(True)
        self.assertEqual((drain(face), face.wanted), ([], 12))
        face.receive_data(LINE)
        self.assertEqual((drain(face), face.wanted), ([], 1))
        face.receive_data(b"\2")
        self.assertEqual((drain(face), face.wanted), ([FaceReady(Version.V3_8)], 0))
        face.send_challenge(CHALLENGE)
        self.assertEqual((drain(face), face.wanted), ([], 16))
        face.receive_data(RESPONSE)
        self.assertEqual((drain(face), face.wanted), ([Response(RESPONSE)], 0))
        face.send_result(True)
        self.assertEqual((drain(face), face.wanted), ([], 0))

    def test_calls_out_of_turn(self) -> None:
        face = BrowserHandshake(True)
        self.assertRaises(RuntimeError, face.send_challenge, CHALLENGE)
        self.assertRaises(RuntimeError, face.send_result, True)
        face.receive_data(LINE + b"\2")
        drain(face)
        self.assertRaises(RuntimeError, face.send_result, True)
        self.assertRaises(RuntimeError, face.fail, "too late")
        self.assertRaises(ValueError, face.send_challenge, CHALLENGE[1:])
        face.send_challenge(CHALLENGE)
        self.assertRaises(RuntimeError, face.send_challenge, CHALLENGE)
        face.receive_data(RESPONSE)
        drain(face)
        face.send_result(False, "no")
        self.assertRaises(RuntimeError, face.send_result, True)
        self.assertTrue(face.data_to_send().endswith(FAILED + text(b"no")))

    def test_response_is_not_in_its_repr(self) -> None:
        self.assertEqual(repr(Response(RESPONSE)), "Response()")


class WithoutAuthenticationTests(SynchronousTestCase):
    def test_3_8_has_a_result(self) -> None:
        for arguments, result in (((True,), OK), ((False, "Gone"), FAILED + text(b"Gone"))):
            book(
                False,
                *(Says(LINE), Hears(b"\1\1"), Says(b"\1")),
                Event(FaceReady(Version.V3_8)),
                Calls("send_result", arguments),
                Hears(result),
            )

    def test_older_ones_have_none(self) -> None:
        for ok in (True, False):
            book(
                False,
                *(Says(LINE_3_7), Hears(b"\1\1"), Says(b"\1")),
                Event(FaceReady(Version.V3_7)),
                Calls("send_result", (ok, "unheard")),
                Hears(b""),
            )
            book(
                False,
                Says(LINE_3_3),
                Hears(b"\0\0\0\1"),
                Event(FaceReady(Version.V3_3)),
                Calls("send_result", (ok, "unheard")),
                Hears(b""),
            )

    def test_no_challenge(self) -> None:
        face = BrowserHandshake(False)
        face.receive_data(LINE + b"\1")
        drain(face)
        self.assertRaises(RuntimeError, face.send_challenge, CHALLENGE)

    def test_what_follows_is_left_alone(self) -> None:
        face = BrowserHandshake(False)
        face.receive_data(LINE + b"\1" + b"\1beyond")
        self.assertEqual(drain(face), [FaceReady(Version.V3_8)])
        self.assertEqual(face.unused_data, b"\1beyond")
        face.send_result(True)
        self.assertEqual(drain(face), [])
        self.assertEqual((face.unused_data, face.wanted), (b"\1beyond", 0))


class RefusalTests(SynchronousTestCase):
    def test_reason_instead_of_an_offer(self) -> None:
        reason = text(b"Target is asleep")
        for line, last_words in ((LINE, b"\0" + reason), (LINE_3_7, b"\0" + reason), (LINE_3_3, OK + reason)):
            for authenticate in (True, False):
                book(
                    authenticate,
                    Calls("fail", ("Target is asleep",)),
                    Says(line),
                    Raises(RfbError, "Target is asleep"),
                    Hears(last_words),
                )

    def test_between_the_bytes_of_the_version(self) -> None:
        face = BrowserHandshake(True)
        face.receive_data(LINE[:5])
        self.assertEqual(drain(face), [])
        face.fail("Sorry")
        face.receive_data(LINE[5:])
        (error,) = drain(face)
        self.assertEqual(str(error), "Sorry")
        self.assertEqual(face.data_to_send(), LINE + b"\0" + text(b"Sorry"))

    def test_type_that_was_not_offered(self) -> None:
        reason = text(b"Security type was not offered")
        for authenticate, choice in ((True, b"\1"), (False, b"\2"), (True, b"\0"), (True, b"\x13")):
            offered = b"\1\2" if authenticate else b"\1\1"
            for line, last_words in ((LINE, FAILED + reason), (LINE_3_7, FAILED)):
                book(
                    authenticate,
                    *(Says(line), Hears(offered), Says(choice)),
                    Raises(RfbError, "not offered"),
                    Hears(last_words),
                )

    def test_other_protocols(self) -> None:
        for line in (b"RFB 004.001\n", b"GET / HTTP/1", b"RFB 3.8    \n", b"REDQ\2\0\0\0\2\0\0\0"):
            book(True, Says(line), Raises(RfbError, "does not speak RFB 3"))
