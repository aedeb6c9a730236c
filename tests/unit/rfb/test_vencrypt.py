"""VeNCrypt 0.2 towards a console server, and what is spoken inside its TLS."""

from __future__ import annotations

import struct

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
    StartTls,
    TargetHandshake,
    VencryptSubtype,
    Version,
)
from tests.unit.rfb.playbook import Calls, Event, Hears, Raises, Says, drain
from tests.unit.rfb.samples import (
    CHALLENGE,
    FAILED,
    LINE,
    LINE_3_7,
    OK,
    PASSWORD,
    PLAIN,
    RESPONSE,
    TLS_NONE,
    TLS_PLAIN,
    TLS_SASL,
    TLS_VNC,
    X509_NONE,
    X509_PLAIN,
    X509_SASL,
    X509_VNC,
    agreed,
    book,
    offer,
    text,
)

TLS = Requirement(tls=True)
ANONYMOUS = Requirement(tls=True, anonymous=True)
BROWSER = Requirement(tls=True, browser_answers=True)
GATEWAY = Requirement(tls=True, credentials=Credentials(None, PASSWORD))
NAMED = Requirement(tls=True, credentials=Credentials("üser", PASSWORD))

GREETING = (Says(LINE), Hears(LINE), Says(b"\1\x13"), Hears(b"\x13"), Says(b"\0\2"), Hears(b"\0\2"))


class NegotiationTests(SynchronousTestCase):
    def test_subtypes_by_preference(self) -> None:
        for requirement, offered, chosen in (
            (TLS, (X509_NONE,), X509_NONE),
            (TLS, (TLS_NONE, X509_VNC, X509_NONE), X509_NONE),
            (ANONYMOUS, (TLS_NONE, X509_NONE), X509_NONE),
            (ANONYMOUS, (TLS_VNC, TLS_NONE), TLS_NONE),
            (BROWSER, (X509_NONE, X509_VNC, X509_PLAIN, X509_SASL), X509_VNC),
            (GATEWAY, (X509_NONE, X509_PLAIN, X509_SASL, X509_VNC), X509_VNC),
            (GATEWAY, (X509_PLAIN, X509_NONE), X509_NONE),
            (NAMED, (X509_NONE, X509_VNC, X509_PLAIN, X509_SASL), X509_SASL),
            (NAMED, (77, X509_NONE, X509_VNC, X509_PLAIN, 2**32 - 1), X509_PLAIN),
            (NAMED, (TLS_SASL, PLAIN, X509_NONE), X509_NONE),
        ):
            handshake = TargetHandshake(requirement)
            handshake.receive_data(LINE + b"\1\x13" + b"\0\2" + offer(*offered))
            self.assertEqual(drain(handshake), [])
            self.assertEqual(handshake.data_to_send()[-4:], struct.pack(">I", chosen))
            handshake.receive_data(b"\1")
            self.assertEqual(drain(handshake), [StartTls(anonymous=chosen == TLS_NONE)])
            self.assertEqual(handshake.chosen, VencryptSubtype(chosen))

    def test_other_types_around_it(self) -> None:
        handshake = TargetHandshake(TLS)
        handshake.receive_data(LINE + b"\5\2\1\x13\x10\x14")
        self.assertEqual(drain(handshake), [])
        self.assertEqual(handshake.data_to_send(), LINE + b"\x13")

    def test_insecure_subtypes_are_never_chosen(self) -> None:
        named = Credentials("user", PASSWORD)
        for requirement, offered, words in (
            (TLS, (TLS_NONE, TLS_VNC), "offers TLS_NONE, TLS_VNC; only TLS with certificates may be used"),
            (GATEWAY, (TLS_VNC,), "offers TLS_VNC"),
            (NAMED, (PLAIN,), "offers PLAIN; only TLS with certificates"),
            (
                Requirement(True, anonymous=True, credentials=named),
                (PLAIN, TLS_PLAIN),
                "only TLS may be used",
            ),
            (Requirement(False, True, named), (PLAIN, TLS_PLAIN), "only TLS may be used"),
            (Requirement(tls=False, credentials=named), (PLAIN, TLS_SASL), "offers PLAIN, TLS_SASL"),
            (NAMED, (99,), "offers type 99"),
            (TLS, (), "offers nothing"),
        ):
            book(requirement, *GREETING, Says(offer(*offered)), Raises(InsecureTarget, words))

    def test_nobody_to_answer(self) -> None:
        for requirement, offered, words in (
            (TLS, (X509_VNC,), "X509_VNC, and there is no password"),
            (GATEWAY, (X509_PLAIN, X509_SASL), "X509_SASL, X509_PLAIN, and there is no user name"),
            (BROWSER, (X509_SASL,), "X509_SASL, which a browser cannot answer"),
            (ANONYMOUS, (TLS_VNC,), "TLS_VNC, and there is no password"),
        ):
            book(requirement, *GREETING, Says(offer(*offered)), Raises(NeedsCredentials, words))

    def test_other_versions(self) -> None:
        for version in (b"\0\1", b"\0\3", b"\1\0", b"\2\0"):
            book(
                TLS,
                *(Says(LINE), Hears(LINE), Says(b"\1\x13"), Hears(b"\x13")),
                Says(version),
                Raises(RfbError, f"VeNCrypt {version[0]}.{version[1]}"),
                Hears(b"\0\0"),
            )

    def test_acknowledgements_have_opposite_senses(self) -> None:
        for refusal in (b"\1", b"\xff"):
            book(TLS, *GREETING, Says(refusal), Raises(RfbError, "refused VeNCrypt 0.2"))
        for refusal in (b"\0", b"\2"):
            book(
                TLS,
                *GREETING,
                Says(offer(X509_NONE)),
                Hears(b"\0\0\1\4"),
                Says(refusal),
                Raises(RfbError, "refused the VeNCrypt subtype X509_NONE"),
            )

    def test_without_tls_required_it_is_the_last_resort(self) -> None:
        for requirement in (Requirement(tls=False), Requirement(tls=False, anonymous=True)):
            book(requirement, *agreed(X509_NONE), Says(OK), Event(Ready(Version.V3_8)))
        book(Requirement(tls=False, anonymous=True), *agreed(TLS_NONE), Says(OK), Event(Ready(Version.V3_8)))


class TlsTests(SynchronousTestCase):
    def test_injected_plaintext(self) -> None:
        for piece in (b"\0", OK, CHALLENGE):
            handshake = TargetHandshake(TLS)
            handshake.receive_data(LINE + b"\1\x13" + b"\0\2" + offer(X509_NONE) + b"\1" + piece)
            (error,) = drain(handshake)
            self.assertIs(type(error), RfbError)
            self.assertIn("plaintext", str(error))

    def test_plaintext_between_agreement_and_tls(self) -> None:
        book(
            TLS,
            *agreed(X509_NONE)[:-1],
            Calls("receive_data", (OK,)),
            Calls("tls_started"),
            Raises(RfbError, "plaintext where TLS must begin"),
        )

    def test_nothing_happens_before_tls(self) -> None:
        handshake = TargetHandshake(TLS)
        handshake.receive_data(LINE + b"\1\x13" + b"\0\2" + offer(X509_NONE) + b"\1")
        self.assertEqual(drain(handshake), [StartTls(anonymous=False)])
        self.assertEqual((drain(handshake), handshake.wanted), ([], 0))
        self.assertRaises(RuntimeError, handshake.answer, RESPONSE)
        handshake.tls_started()
        self.assertRaises(RuntimeError, handshake.tls_started)
        self.assertEqual((drain(handshake), handshake.wanted), ([], 4))


class InnerTests(SynchronousTestCase):
    def test_none_has_a_result_in_every_version(self) -> None:
        for line, version in ((LINE, Version.V3_8), (LINE_3_7, Version.V3_7)):
            book(TLS, *agreed(X509_NONE, line), Says(OK), Event(Ready(version)))
        book(ANONYMOUS, *agreed(TLS_NONE), Says(OK), Event(Ready(Version.V3_8)))

    def test_none_refused(self) -> None:
        book(TLS, *agreed(X509_NONE), Says(FAILED + text(b"No")), Raises(AuthenticationFailed, "No"))

    def test_vnc_answered_by_the_gateway(self) -> None:
        anonymous = Requirement(tls=True, anonymous=True, credentials=Credentials(None, PASSWORD))
        for requirement, subtype in ((GATEWAY, X509_VNC), (anonymous, TLS_VNC)):
            book(
                requirement,
                *agreed(subtype),
                Says(CHALLENGE),
                Hears(RESPONSE),
                Says(OK),
                Event(Ready(Version.V3_8)),
            )

    def test_vnc_answered_by_the_browser(self) -> None:
        book(
            BROWSER,
            *agreed(X509_VNC),
            Says(CHALLENGE),
            Event(Challenge(CHALLENGE)),
            Calls("answer", (RESPONSE,)),
            Hears(RESPONSE),
            Says(FAILED + text(b"Authentication failed\0")),
            Raises(AuthenticationFailed, "Authentication failed"),
        )

    def test_plain(self) -> None:
        message = b"\0\0\0\5\0\0\0\6" + "üser".encode() + b"s3cret"
        book(
            NAMED,
            *agreed(X509_PLAIN),
            Hears(message),
            Says(OK),
            Event(Ready(Version.V3_8)),
        )
        book(
            NAMED,
            *agreed(X509_PLAIN),
            Hears(message),
            Says(FAILED + text(b"Who is that?")),
            Raises(AuthenticationFailed, "Who is that?"),
        )

    def test_plain_is_bounded(self) -> None:
        for credentials, words in (
            (Credentials("u" * 1025, "p"), "the user name is longer than 1024 bytes"),
            (Credentials("u", "ü" * 513), "the password is longer than 1024 bytes"),
            (Credentials("u", "\udc80"), "the password is not text"),
        ):
            book(
                Requirement(tls=True, credentials=credentials),
                *agreed(X509_PLAIN),
                Raises(NeedsCredentials, words),
            )

    def test_hang_up_on_plain(self) -> None:
        book(
            NAMED,
            *agreed(X509_PLAIN),
            Hears(b"\0\0\0\5\0\0\0\6" + "üser".encode() + b"s3cret"),
            Calls("receive_eof"),
            Raises(AuthenticationFailed, "closed the connection"),
        )
