"""SCRAM-SHA-256 and SASLprep by themselves."""

from __future__ import annotations

import base64
import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.rfb import (
    MAX_ITERATIONS,
    MIN_ITERATIONS,
    AuthenticationFailed,
    Credentials,
    NeedsCredentials,
    RfbError,
    ScramClient,
)
from gateway.rfb.saslprep import saslprep
from tests.unit.rfb.scram_server import ScramServer

# The example of RFC 7677, section 3.
NONCE = b"rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = NONCE + b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SERVER_FIRST = b"r=" + SERVER_NONCE + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = b"c=biws,r=" + SERVER_NONCE + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

# The client's nonce in the example of RFC 5802, section 5, which has SHA-1; here it is played with SHA-256.
OTHER_NONCE = b"fyko+d2lbbFgONRv9qkxdawL"


def client(username: str | None = "user", password: str = "pencil", nonce: bytes = NONCE) -> ScramClient:
    return ScramClient(Credentials(username, password), nonce)


class ExchangeTests(SynchronousTestCase):
    def test_rfc_7677(self) -> None:
        scram = client()
        self.assertEqual(scram.first_message(), b"n,,n=user,r=" + NONCE)
        self.assertEqual(scram.final_message(SERVER_FIRST), CLIENT_FINAL)
        scram.verify(SERVER_FINAL)

    def test_messages_of_rfc_5802(self) -> None:
        server = ScramServer.of(b"pencil", base64.b64decode("QSXCR+Q6sek8bf92"))
        server.nonce = b"3rfcNHYJY1ZVvWVs7j"
        scram = client(nonce=OTHER_NONCE)
        first = scram.first_message()
        self.assertEqual(first, b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL")
        server_first = server.first(first)
        self.assertEqual(
            server_first, b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
        )
        final = scram.final_message(server_first)
        self.assertTrue(final.startswith(b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p="))
        scram.verify(server.final(first, final))

    def test_wrong_password(self) -> None:
        server = ScramServer.of(b"pencil")
        scram = client(password="crayon")
        first = scram.first_message()
        answer = server.final(first, scram.final_message(server.first(first)))
        error = self.assertRaises(AuthenticationFailed, scram.verify, answer)
        self.assertEqual(str(error), "invalid-proof")

    def test_wrong_server_signature(self) -> None:
        signature = bytearray(base64.b64decode(SERVER_FINAL[2:]))
        signature[-1] ^= 1
        for wrong in (bytes(signature), bytes(32), bytes(signature[:31]), b"\0"):
            scram = client()
            scram.final_message(SERVER_FIRST)
            error = self.assertRaises(AuthenticationFailed, scram.verify, b"v=" + base64.b64encode(wrong))
            self.assertIn("did not prove", str(error))

    def test_signature_before_the_exchange(self) -> None:
        self.assertRaises(AuthenticationFailed, client().verify, SERVER_FINAL)

    def test_server_errors_are_made_printable(self) -> None:
        for said, words in (
            (b"e=unknown\x1b-\nuser", "unknown - user"),
            (b"e=", "Authentication failed"),
            (b"e=other-error,x=y", "other-error"),
        ):
            error = self.assertRaises(AuthenticationFailed, client().verify, said)
            self.assertEqual(str(error), words)

    def test_malformed_last_messages(self) -> None:
        for said in (b"", b"v=", b"v=!", b"v=AAA", b"x=y", b"v=AAAA,", b"v=AA\0AA", b"e=" + b"x" * 1024):
            error = self.assertRaises(RfbError, client().verify, said)
            self.assertIs(type(error), RfbError)

    def test_extensions_are_ignored(self) -> None:
        scram = client()
        scram.final_message(SERVER_FIRST + b",x=anything,y=")
        other = client()
        other.final_message(SERVER_FIRST)
        other.verify(SERVER_FINAL + b",x=anything")

    def test_nonce_must_extend_ours(self) -> None:
        tail = b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        for nonce in (NONCE, NONCE[:-1], b"X" + SERVER_NONCE, NONCE[:-1] + b"P" + b"more", b"other"):
            error = self.assertRaises(RfbError, client().final_message, b"r=" + nonce + tail)
            self.assertIn("does not extend ours", str(error))

    def test_iterations_are_bounded(self) -> None:
        head = b"r=" + SERVER_NONCE + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i="
        for count in (1, MIN_ITERATIONS - 1, MAX_ITERATIONS + 1, 10**9, 9999999999):
            started = time.perf_counter()
            error = self.assertRaises(RfbError, client().final_message, head + str(count).encode())
            self.assertIn(f"{count} iterations", str(error))
            self.assertLess(time.perf_counter() - started, 0.5)
        client().final_message(head + str(MAX_ITERATIONS).encode())

    def test_malformed_first_messages(self) -> None:
        for said in (
            b"",
            b"r=" + SERVER_NONCE,
            b"m=ext," + SERVER_FIRST,
            SERVER_FIRST.replace(b"4096", b"04096"),
            SERVER_FIRST.replace(b"4096", b"-4096"),
            SERVER_FIRST.replace(b"4096", b"4096.0"),
            SERVER_FIRST.replace(b"4096", "٤٠٩٦".encode()),
            SERVER_FIRST.replace(b"4096", b"1" + b"0" * 500),
            SERVER_FIRST.replace(b"W22Z", b"W22"),
            SERVER_FIRST.replace(b"W22Z", b"W2\xc3\xbcZ"),
            SERVER_FIRST.replace(b"gQ==", b"gQ="),
            SERVER_FIRST.replace(b",s=W22ZaJ0SNY7soEsUEjb6gQ==", b",s="),
            SERVER_FIRST + b"\n",
            SERVER_FIRST + b",",
            SERVER_FIRST + b",x=" + b"y" * 1024,
            b"r=" + NONCE + b" \x7f,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        ):
            error = self.assertRaises(RfbError, client().final_message, said)
            self.assertIs(type(error), RfbError)

    def test_nonces_are_fresh_and_printable(self) -> None:
        messages = {ScramClient(Credentials("user", "pencil")).first_message() for _ in range(20)}
        self.assertEqual(len(messages), 20)
        for message in messages:
            self.assertRegex(message, rb"\An,,n=user,r=[A-Za-z0-9+/]{32}\Z")

    @settings(max_examples=40)
    @given(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
        st.binary(min_size=1, max_size=64),
        st.integers(MIN_ITERATIONS, MIN_ITERATIONS + 100),
    )
    def test_both_ends_agree(self, name: str, password: str, salt: bytes, iterations: int) -> None:
        try:
            scram = client(name, password)
        except NeedsCredentials:
            return
        server = ScramServer.of(saslprep(password).encode(), salt, iterations)
        first = scram.first_message()
        scram.verify(server.final(first, scram.final_message(server.first(first))))

    @given(st.binary(max_size=200))
    def test_noise(self, noise: bytes) -> None:
        scram = client()
        self.assertRaises(RfbError, scram.final_message, noise)
        self.assertRaises(RfbError, scram.verify, noise)


class CredentialTests(SynchronousTestCase):
    def test_escapes(self) -> None:
        self.assertEqual(client("a=b,c").first_message(), b"n,,n=a=3Db=2Cc,r=" + NONCE)
        self.assertEqual(client("=2C").first_message(), b"n,,n==3D2C,r=" + NONCE)

    def test_names_are_prepared(self) -> None:
        # Compatibility forms of "=" and "," must not slip past the escapes.
        self.assertEqual(client("I\u00adX\uff1d\uff0c").first_message(), b"n,,n=IX=3D=2C,r=" + NONCE)

    def test_passwords_are_prepared(self) -> None:
        server = ScramServer.of(b"IX a")
        scram = client(password="\u2168\u00a0\u00aa")
        first = scram.first_message()
        scram.verify(server.final(first, scram.final_message(server.first(first))))

    def test_unusable_credentials(self) -> None:
        for name, password, words in (
            (None, "pencil", "user name of 1 to 255 bytes"),
            ("", "pencil", "user name of 1 to 255 bytes"),
            ("\u00ad", "pencil", "user name of 1 to 255 bytes"),
            ("ü" * 128, "pencil", "user name of 1 to 255 bytes"),
            ("user", "", "password of 1 to 1024 bytes"),
            ("user", "p" * 1025, "password of 1 to 1024 bytes"),
            ("us\0er", "pencil", "user name has characters"),
            ("user", "pen\ncil", "password has characters"),
            ("user", "\ud800", "password has characters"),
            ("user", "\u0627a", "password has characters"),
        ):
            error = self.assertRaises(NeedsCredentials, client, name, password)
            self.assertIn(words, str(error))


class SaslprepTests(SynchronousTestCase):
    def test_examples_of_rfc_4013(self) -> None:
        for text, prepared in (
            ("I\u00adX", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u00aa", "a"),
            ("\u2168", "IX"),
        ):
            self.assertEqual(saslprep(text), prepared)
        self.assertRaises(ValueError, saslprep, "\u0007")
        self.assertRaises(ValueError, saslprep, "\u0627\u0031")

    def test_spaces_and_directions(self) -> None:
        self.assertEqual(saslprep("a\u3000b\u00a0c d"), "a b c d")
        self.assertEqual(saslprep("\u0627\u0031\u0628"), "\u0627\u0031\u0628")
        self.assertRaises(ValueError, saslprep, "\u0627a\u0628")
        self.assertEqual(saslprep(""), "")

    def test_prohibited_characters_are_not_quoted(self) -> None:
        for character in "\u007f\ue000\ufdd0\u2028\ud800\u2ff0\u200e\ufffd":
            error = self.assertRaises(ValueError, saslprep, f"hu{character}hush")
            self.assertNotIn("hush", str(error))

    def test_younger_characters_pass(self) -> None:
        self.assertEqual(saslprep("\N{GRINNING FACE}"), "\N{GRINNING FACE}")
