"""The gateway's side towards a console server: answers, results, ends, and the driver's part."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.rfb import (
    AuthenticationFailed,
    Challenge,
    Credentials,
    InsecureTarget,
    NeedsCredentials,
    Ready,
    Requirement,
    RfbError,
    TargetHandshake,
    Version,
    vnc_response,
)
from tests.unit.rfb.playbook import Calls, Event, Hears, Raises, Says, drain
from tests.unit.rfb.samples import (
    CHALLENGE,
    FAILED,
    LINE,
    LINE_3_3,
    LINE_3_7,
    OK,
    PASSWORD,
    RESPONSE,
    book,
    text,
)

OPEN = Requirement(tls=False)
TLS = Requirement(tls=True)
GATEWAY = Requirement(tls=False, credentials=Credentials(None, PASSWORD))
BROWSER = Requirement(tls=False, browser_answers=True)


class AnswerTests(SynchronousTestCase):
    def test_the_gateway_answers(self) -> None:
        for line, offer, choice, version in (
            (LINE, b"\1\2", b"\2", Version.V3_8),
            (LINE_3_7, b"\1\2", b"\2", Version.V3_7),
            (LINE_3_3, b"\0\0\0\2", b"", Version.V3_3),
        ):
            book(
                GATEWAY,
                Says(line),
                Hears(line),
                Says(offer),
                Hears(choice),
                Says(CHALLENGE),
                Hears(RESPONSE),
                Says(OK),
                Event(Ready(version)),
            )

    def test_the_browser_answers(self) -> None:
        for line, offer, choice, version in (
            (LINE, b"\2\x10\2", b"\2", Version.V3_8),
            (LINE_3_7, b"\1\2", b"\2", Version.V3_7),
            (LINE_3_3, b"\0\0\0\2", b"", Version.V3_3),
        ):
            book(
                BROWSER,
                Says(line),
                Hears(line),
                Says(offer),
                Hears(choice),
                Says(CHALLENGE),
                Event(Challenge(CHALLENGE)),
                Hears(b""),
                Calls("answer", (RESPONSE,)),
                Hears(RESPONSE),
                Says(OK),
                Event(Ready(version)),
            )

    def test_only_eight_characters_count(self) -> None:
        long = Requirement(tls=False, credentials=Credentials(None, "password and more"))
        response = vnc_response(CHALLENGE, "password")
        book(long, Says(LINE), Hears(LINE), Says(b"\1\2"), Hears(b"\2"), Says(CHALLENGE), Hears(response))

    def test_password_that_vnc_cannot_carry(self) -> None:
        book(
            Requirement(tls=False, credentials=Credentials(None, "пароль")),
            Says(LINE),
            Hears(LINE),
            Says(b"\1\2"),
            Hears(b"\2"),
            Says(CHALLENGE),
            Raises(NeedsCredentials, "the password has characters that VNC authentication cannot carry"),
        )

    def test_refused_answer(self) -> None:
        for line, result, words in (
            (LINE, FAILED + text(b"Wrong\tpassword\0"), "Wrong password"),
            (LINE, FAILED + text(b""), "Authentication failed"),
            (LINE, b"\0\0\0\2" + text(b"Too many attempts"), "Too many attempts"),
            (LINE, FAILED + text(b"a\xe2\x80\xaeb\xff"), "a b\N{REPLACEMENT CHARACTER}"),
            (LINE_3_7, FAILED, "Authentication failed"),
            (LINE_3_7, b"\0\0\0\2", "Authentication failed"),
        ):
            book(
                GATEWAY,
                Says(line),
                Hears(line),
                Says(b"\1\2"),
                Hears(b"\2"),
                Says(CHALLENGE),
                Hears(RESPONSE),
                Says(result),
                Raises(AuthenticationFailed, words),
            )

    def test_none_can_be_refused_too(self) -> None:
        book(
            OPEN,
            Says(LINE),
            Hears(LINE),
            Says(b"\1\1"),
            Hears(b"\1"),
            Says(FAILED + text(b"Owner said no")),
            Raises(AuthenticationFailed, "Owner said no"),
        )

    def test_malformed_results(self) -> None:
        opening = (Says(LINE), Hears(LINE), Says(b"\1\1"), Hears(b"\1"))
        book(OPEN, *opening, Says(b"\0\0\0\3"), Raises(RfbError, "unknown SecurityResult 3"))
        book(OPEN, *opening, Says(FAILED + b"\xff" * 4), Raises(RfbError, "4294967295 bytes"))

    def test_what_follows_is_left_alone(self) -> None:
        handshake = TargetHandshake(OPEN)
        handshake.receive_data(LINE + b"\1\1" + OK + b"beyond")
        self.assertEqual(drain(handshake), [Ready(Version.V3_8)])
        handshake.receive_data(b" that")
        self.assertEqual(drain(handshake), [])
        self.assertEqual((handshake.unused_data, handshake.wanted), (b"beyond that", 0))


class DriverTests(SynchronousTestCase):
    def test_calls_out_of_turn(self) -> None:
        handshake = TargetHandshake(BROWSER)
        self.assertRaises(RuntimeError, handshake.tls_started)
        self.assertRaises(RuntimeError, handshake.answer, RESPONSE)
        handshake.receive_data(LINE + b"\1\2" + CHALLENGE)
        self.assertEqual(drain(handshake), [Challenge(CHALLENGE)])
        self.assertRaises(RuntimeError, handshake.tls_started)
        self.assertRaises(ValueError, handshake.answer, RESPONSE[:15])
        self.assertEqual(drain(handshake), [])
        handshake.answer(RESPONSE)
        self.assertRaises(RuntimeError, handshake.answer, RESPONSE)
        self.assertEqual(drain(handshake), [])
        self.assertEqual(handshake.wanted, 4)

    def test_end_of_the_connection(self) -> None:
        stages = (
            (b"", RfbError),
            (LINE + b"\1", RfbError),
            (LINE + b"\1\2" + CHALLENGE[:9], RfbError),
            (LINE + b"\1\2" + CHALLENGE, AuthenticationFailed),
            (LINE + b"\1\2" + CHALLENGE + FAILED + b"\0\0", AuthenticationFailed),
            (LINE + b"\1\1" + FAILED, AuthenticationFailed),
        )
        for said, kind in stages:
            handshake = TargetHandshake(GATEWAY)
            handshake.receive_data(said)
            self.assertEqual(drain(handshake), [])
            handshake.receive_eof()
            (error,) = drain(handshake)
            self.assertIs(type(error), kind)
            self.assertIn("closed the connection", str(error))

    def test_end_while_the_browser_thinks(self) -> None:
        handshake = TargetHandshake(BROWSER)
        handshake.receive_data(LINE + b"\1\2" + CHALLENGE)
        drain(handshake)
        handshake.receive_eof()
        handshake.answer(RESPONSE)
        (error,) = drain(handshake)
        self.assertIs(type(error), RfbError)

    def test_end_after_the_end(self) -> None:
        handshake = TargetHandshake(OPEN)
        handshake.receive_data(LINE + b"\1\1" + OK)
        self.assertEqual(drain(handshake), [Ready(Version.V3_8)])
        handshake.receive_eof()
        self.assertEqual(drain(handshake), [])
        refused = TargetHandshake(TLS)
        refused.receive_data(LINE + b"\1\1")
        drain(refused)
        refused.receive_eof()
        (error,) = drain(refused)
        self.assertIs(type(error), InsecureTarget)
