"""The gateway's side towards a console server: versions, and the choice of a security type."""

from __future__ import annotations

import struct

from twisted.trial.unittest import SynchronousTestCase

from gateway.rfb import (
    MAX_WANTED,
    Challenge,
    Credentials,
    InsecureTarget,
    NeedsCredentials,
    Ready,
    Requirement,
    RfbError,
    SecurityType,
    ServerRefused,
    TargetHandshake,
    Version,
)
from tests.unit.rfb.playbook import Calls, Event, Hears, Raises, Says, drain
from tests.unit.rfb.samples import (
    CHALLENGE,
    LINE,
    LINE_3_3,
    LINE_3_7,
    OK,
    PASSWORD,
    book,
    text,
)

OPEN = Requirement(tls=False)
TLS = Requirement(tls=True)
GATEWAY = Requirement(tls=False, credentials=Credentials(None, PASSWORD))
BROWSER = Requirement(tls=False, browser_answers=True)


class VersionTests(SynchronousTestCase):
    def test_none_in_3_8_has_a_result(self) -> None:
        book(
            OPEN,
            Says(LINE),
            Hears(LINE),
            Says(b"\1\1"),
            Hears(b"\1"),
            Says(OK),
            Event(Ready(Version.V3_8)),
        )

    def test_none_in_3_7_has_no_result(self) -> None:
        line = LINE_3_7
        book(OPEN, Says(line), Hears(line), Says(b"\1\1"), Hears(b"\1"), Event(Ready(Version.V3_7)))

    def test_none_in_3_3(self) -> None:
        line = LINE_3_3
        book(OPEN, Says(line), Hears(line), Says(b"\0\0\0\1"), Event(Ready(Version.V3_3)))

    def test_later_servers_speak_3_8(self) -> None:
        for number in (b"003.009", b"003.016", b"003.889", b"004.000", b"005.000"):
            greeting = (Says(b"RFB " + number + b"\n"), Hears(LINE), Says(b"\1\1"), Hears(b"\1"))
            book(OPEN, *greeting, Says(OK), Event(Ready(Version.V3_8)))

    def test_unpublished_numbers_below_speak_3_3(self) -> None:
        for line in (b"RFB 003.000\n", b"RFB 003.002\n", b"RFB 003.005\n", b"RFB 003.006\n"):
            book(
                OPEN,
                Says(line),
                Hears(LINE_3_3),
                Says(b"\0\0\0\1"),
                Event(Ready(Version.V3_3)),
            )

    def test_other_protocols(self) -> None:
        for line in (b"RFB 000.000\n", b"RFB 002.002\n"):
            book(OPEN, Says(line), Raises(RfbError, "too old"))
        for line in (b"SSH-2.0-abcd", b"RFB 3.8    \n", b"RFB 003.008\r", b"\x15\3\3\0\2\2\x28" + bytes(5)):
            book(OPEN, Says(line), Raises(RfbError, "does not speak RFB"))


class OfferTests(SynchronousTestCase):
    def test_refusal_with_a_reason(self) -> None:
        reason = b"Too many \x1b[31msecurity\nfailures\0"
        for opening in (
            (Says(LINE), Hears(LINE), Says(b"\0" + text(reason))),
            (Says(LINE_3_7), Hears(LINE_3_7), Says(b"\0" + text(reason))),
            (Says(LINE_3_3), Hears(LINE_3_3), Says(OK + text(reason))),
        ):
            book(OPEN, *opening, Raises(ServerRefused, "Too many [31msecurity failures"))

    def test_refusal_without_words(self) -> None:
        book(OPEN, Says(LINE), Hears(LINE), Says(b"\0" + text(b"")), Raises(ServerRefused, "No reason given"))

    def test_a_huge_reason_is_refused_by_its_length(self) -> None:
        for size in (MAX_WANTED + 1, 2**31, 2**32 - 1):
            announced = struct.pack(">I", size)
            book(OPEN, Says(LINE), Hears(LINE), Says(b"\0" + announced), Raises(RfbError, f"of {size} bytes"))

    def test_the_longest_reason_is_cut_for_the_log(self) -> None:
        handshake = TargetHandshake(OPEN)
        handshake.receive_data(LINE + b"\0" + text("ü".encode() * (MAX_WANTED // 2)))
        (error,) = drain(handshake)
        self.assertEqual(str(error), "ü" * 200)

    def test_no_type_in_common(self) -> None:
        book(
            OPEN,
            Says(LINE),
            Hears(LINE),
            Says(b"\4\x10\x1e\x63\x10"),
            Raises(RfbError, "offers TIGHT, APPLE_DH, type 99, of which"),
        )

    def test_long_offers_are_cut_short_in_the_text(self) -> None:
        handshake = TargetHandshake(TLS)
        handshake.receive_data(LINE + b"\xff" + bytes(range(1, 19)) + bytes(range(20, 255)) + b"\1\1")
        (error,) = drain(handshake)
        assert isinstance(error, InsecureTarget)
        self.assertIn("NONE, VNC_AUTHENTICATION, type 3,", str(error))
        self.assertIn("237 more", str(error))
        self.assertLess(len(str(error)), 300)

    def test_preference_without_tls(self) -> None:
        named = Requirement(tls=False, credentials=Credentials("user", PASSWORD))
        for requirement, offered, chosen in (
            (OPEN, b"\2\1\x10", b"\1"),
            (OPEN, b"\2\x13", b"\x13"),
            (OPEN, b"\2\x13\1", b"\1"),
            (GATEWAY, b"\1\2", b"\2"),
            (GATEWAY, b"\x13\2", b"\2"),
            (GATEWAY, b"\x14\1", b"\1"),
            (named, b"\1\2\x13\x14", b"\x14"),
            (named, b"\1\2\x13", b"\2"),
            (BROWSER, b"\1\2\x14", b"\2"),
            (BROWSER, b"\x14\x13", b"\x13"),
        ):
            handshake = TargetHandshake(requirement)
            handshake.receive_data(LINE + bytes((len(offered),)) + offered)
            self.assertEqual(drain(handshake), [])
            self.assertEqual(handshake.data_to_send(), LINE + chosen)
            self.assertEqual(handshake.chosen, SecurityType(chosen[0]))

    def test_tls_is_never_given_up(self) -> None:
        for requirement in (
            TLS,
            Requirement(tls=True, anonymous=True),
            Requirement(tls=True, browser_answers=True),
            Requirement(tls=True, credentials=Credentials("user", PASSWORD)),
        ):
            for opening, named in (
                ((Says(LINE), Hears(LINE), Says(b"\1\1")), "NONE"),
                ((Says(LINE), Hears(LINE), Says(b"\1\2")), "VNC_AUTHENTICATION"),
                ((Says(LINE), Hears(LINE), Says(b"\3\2\x14\x12")), "VNC_AUTHENTICATION, SASL, TLS"),
                ((Says(LINE_3_3), Hears(LINE_3_3), Says(b"\0\0\0\1")), "NONE"),
                ((Says(LINE_3_3), Hears(LINE_3_3), Says(b"\xff" * 4)), "type 4294967295"),
            ):
                book(requirement, *opening, Raises(InsecureTarget, f"offers {named};"))

    def test_3_3_cannot_impose_what_it_has_not(self) -> None:
        for requirement, kind, name in (
            (TLS, b"\x13", "VENCRYPT"),
            (OPEN, b"\x13", "VENCRYPT"),
            (Requirement(tls=False, credentials=Credentials("user", PASSWORD)), b"\x14", "SASL"),
        ):
            book(
                requirement,
                Says(LINE_3_3),
                Hears(LINE_3_3),
                Says(b"\0\0\0" + kind),
                Raises(RfbError, f"imposes {name}"),
            )

    def test_nobody_to_answer(self) -> None:
        for requirement, kind, words in (
            (OPEN, b"\2", "asks for VNC_AUTHENTICATION, and there is no password"),
            (OPEN, b"\x14", "asks for SASL, and there is no password"),
            (GATEWAY, b"\x14", "asks for SASL, and there is no user name"),
            (BROWSER, b"\x14", "asks for SASL, which a browser cannot answer"),
        ):
            book(requirement, Says(LINE), Hears(LINE), Says(b"\1" + kind), Raises(NeedsCredentials, words))
        book(
            OPEN,
            Says(LINE_3_3),
            Hears(LINE_3_3),
            Says(b"\0\0\0\2"),
            Raises(NeedsCredentials, "VNC_AUTHENTICATION"),
        )

    def test_credentials_are_not_used_where_the_browser_answers(self) -> None:
        both = Requirement(tls=False, credentials=Credentials("user", PASSWORD), browser_answers=True)
        book(both, Says(LINE), Hears(LINE), Says(b"\1\x14"), Raises(NeedsCredentials, "browser"))
        book(
            both,
            Says(LINE),
            Hears(LINE),
            Says(b"\1\2"),
            Hears(b"\2"),
            Says(CHALLENGE),
            Event(Challenge(CHALLENGE)),
            Calls("answer", (bytes(16),)),
            Hears(bytes(16)),
            Says(OK),
            Event(Ready(Version.V3_8)),
        )
