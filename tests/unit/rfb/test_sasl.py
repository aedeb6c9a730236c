"""SASL inside RFB, towards a console server."""

from __future__ import annotations

import secrets
import struct

from twisted.trial.unittest import SynchronousTestCase

from gateway.rfb import (
    AuthenticationFailed,
    Credentials,
    NeedsCredentials,
    Ready,
    Requirement,
    RfbError,
    ScramClient,
    TargetHandshake,
    Version,
)
from tests.unit.rfb.playbook import Calls, Event, Hears, Raises, Says, Step, drain
from tests.unit.rfb.samples import FAILED, LINE, LINE_3_7, OK, TLS_SASL, X509_SASL, agreed, book, text
from tests.unit.rfb.scram_server import ScramServer, counted

CREDENTIALS = Credentials("vnc-7", "pencil")
NONCE = b"A" * 32
MORE, DONE = b"\0", b"\1"
OPEN = Requirement(tls=False, credentials=CREDENTIALS)
SECURE = Requirement(tls=True, credentials=CREDENTIALS)
DIRECT = (Says(LINE), Hears(LINE), Says(b"\1\x14"), Hears(b"\x14"))
MECHANISM = text(b"SCRAM-SHA-256")
CHOSEN = (Says(MECHANISM), Hears(MECHANISM + counted(b"n,,n=vnc-7,r=" + NONCE)))


def exchange(password: bytes = b"pencil") -> tuple[bytes, bytes, bytes]:
    """The last three messages of an exchange with a server that has this password."""
    server, scram = ScramServer.of(password), ScramClient(CREDENTIALS, NONCE)
    first = scram.first_message()
    server_first = server.first(first)
    final = scram.final_message(server_first)
    return server_first, final, server.final(first, final)


class SaslTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(secrets, "token_bytes", bytes)
        self.server_first, self.client_final, self.server_final = exchange()

    def steps(self) -> tuple[Step, ...]:
        return (*CHOSEN, Says(counted(self.server_first) + MORE), Hears(counted(self.client_final)))

    def test_as_qemu_speaks_it(self) -> None:
        anonymous = Requirement(tls=True, anonymous=True, credentials=CREDENTIALS)
        for requirement, opening in (
            (OPEN, DIRECT),
            (SECURE, agreed(X509_SASL)),
            (SECURE, agreed(X509_SASL, LINE_3_7)),
            (anonymous, agreed(TLS_SASL)),
        ):
            version = Version.V3_7 if Says(LINE_3_7) in opening else Version.V3_8
            book(
                requirement,
                *opening,
                *self.steps(),
                Says(counted(self.server_final) + DONE),
                Says(OK),
                Event(Ready(version)),
            )

    def test_server_that_takes_one_more_turn(self) -> None:
        book(
            OPEN,
            *DIRECT,
            *self.steps(),
            Says(counted(self.server_final) + MORE),
            Hears(text(b"")),
            Says(text(b"") + DONE),
            Says(OK),
            Event(Ready(Version.V3_8)),
        )

    def test_data_without_final_nul(self) -> None:
        book(
            OPEN,
            *DIRECT,
            *CHOSEN,
            Says(text(self.server_first) + MORE),
            Hears(counted(self.client_final)),
            Says(text(self.server_final) + DONE + OK),
            Event(Ready(Version.V3_8)),
        )

    def test_among_other_mechanisms(self) -> None:
        for listed in (
            b"SCRAM-SHA-1,SCRAM-SHA-256,PLAIN",
            b"SCRAM-SHA-256-PLUS,SCRAM-SHA-256\0",
            b"GSSAPI,SCRAM-SHA-256",
        ):
            book(OPEN, *DIRECT, Says(text(listed)), *CHOSEN[1:])

    def test_no_usable_mechanism(self) -> None:
        for listed, words in (
            (b"", "offers nothing;"),
            (b"PLAIN,SCRAM-SHA-1", "offers PLAIN,SCRAM-SHA-1;"),
            (b"SCRAM-SHA-256-PLUS", "offers SCRAM-SHA-256-PLUS;"),
            (b"XSCRAM-SHA-256", "offers XSCRAM-SHA-256;"),
            (b"\x1b[2J", "offers [2J;"),
        ):
            for requirement, opening in ((OPEN, DIRECT), (SECURE, agreed(X509_SASL))):
                book(requirement, *opening, Says(text(listed)), Raises(RfbError, words))

    def test_hostile_lengths(self) -> None:
        for size in (1026, 2**20, 2**32 - 1):
            announced = struct.pack(">I", size)
            book(OPEN, *DIRECT, Says(announced), Raises(RfbError, f"mechanisms of {size} bytes"))
            book(OPEN, *DIRECT, *CHOSEN, Says(announced), Raises(RfbError, f"data of {size} bytes"))
            book(OPEN, *DIRECT, *self.steps(), Says(announced), Raises(RfbError, f"data of {size} bytes"))

    def test_unknown_progress(self) -> None:
        book(OPEN, *DIRECT, *CHOSEN, Says(counted(self.server_first) + b"\2"), Raises(RfbError, "progress 2"))

    def test_server_that_is_done_too_early(self) -> None:
        book(
            OPEN,
            *DIRECT,
            *CHOSEN,
            Says(counted(self.server_first) + DONE),
            Raises(RfbError, "before either end was authenticated"),
        )
        book(OPEN, *DIRECT, *CHOSEN, Says(text(b"") + DONE), Raises(RfbError, "before either end"))

    def test_server_that_skips_its_proof(self) -> None:
        book(OPEN, *DIRECT, *self.steps(), Says(text(b"") + DONE), Raises(RfbError, "malformed last SCRAM"))

    def test_server_that_goes_on(self) -> None:
        for last in (text(b"") + MORE, counted(b"x") + DONE):
            book(
                OPEN,
                *DIRECT,
                *self.steps(),
                Says(counted(self.server_final) + MORE),
                Hears(text(b"")),
                Says(last),
                Raises(RfbError, "after its end"),
            )

    def test_server_that_does_not_know_the_password(self) -> None:
        impostor = ScramServer.of(b"crayon")
        first = b"n,,n=vnc-7,r=" + NONCE
        scram = ScramClient(Credentials("vnc-7", "crayon"), NONCE)
        server_final = impostor.final(first, scram.final_message(impostor.first(first)))
        book(
            OPEN,
            *DIRECT,
            *self.steps(),
            Says(counted(server_final) + DONE),
            Raises(AuthenticationFailed, "did not prove"),
        )

    def test_refused_proof(self) -> None:
        book(
            OPEN,
            *DIRECT,
            *self.steps(),
            Says(counted(b"e=invalid-proof") + MORE),
            Raises(AuthenticationFailed, "invalid-proof"),
        )

    def test_refused_user(self) -> None:
        book(
            SECURE,
            *agreed(X509_SASL),
            *self.steps(),
            Says(counted(self.server_final) + DONE),
            Says(FAILED + text(b"Authentication failed\0")),
            Raises(AuthenticationFailed, "Authentication failed"),
        )

    def test_hang_up(self) -> None:
        lost: tuple[Step, ...] = (Calls("receive_eof"), Raises(RfbError, "during the handshake"))
        refused: tuple[Step, ...] = (Calls("receive_eof"), Raises(AuthenticationFailed, "closed"))
        book(OPEN, *DIRECT, *lost)
        book(OPEN, *DIRECT, *CHOSEN, *refused)
        book(OPEN, *DIRECT, *self.steps(), *refused)

    def test_credentials_that_scram_cannot_carry(self) -> None:
        handshake = TargetHandshake(Requirement(tls=False, credentials=Credentials("vnc-7", "a\nb")))
        handshake.receive_data(LINE + b"\1\x14" + MECHANISM)
        (error,) = drain(handshake)
        self.assertIs(type(error), NeedsCredentials)
