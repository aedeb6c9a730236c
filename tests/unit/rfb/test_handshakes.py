"""Both handshakes against each other, against cuts, noise and for their secrets."""

from __future__ import annotations

import base64
import secrets
import traceback

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.rfb import (
    MAX_WANTED,
    BrowserHandshake,
    Challenge,
    ClientReady,
    Credentials,
    FaceReady,
    Ready,
    Requirement,
    Response,
    RfbError,
    RfbServer,
    StartTls,
    TargetHandshake,
    Version,
    vnc_response,
)
from tests.unit.rfb.playbook import drain
from tests.unit.rfb.samples import (
    CHALLENGE,
    FAILED,
    LINE,
    OK,
    PLAIN,
    TLS_NONE,
    X509_NONE,
    X509_PLAIN,
    X509_SASL,
    X509_VNC,
    offer,
    text,
)
from tests.unit.rfb.scram_server import counted
from tests.unit.rfb.test_sasl import CREDENTIALS, exchange

SERVER_FIRST, _, SERVER_FINAL = exchange()
VENCRYPT = LINE + b"\2\x13\1\0\2"
INNER_SASL = text(b"SCRAM-SHA-256") + counted(SERVER_FIRST) + b"\0" + counted(SERVER_FINAL) + b"\1" + OK
CONVERSATIONS: list[tuple[bytes, bytes]] = [
    (LINE + b"\1\1" + OK, b""),
    (b"RFB 003.007\n\2\1\x10", b""),
    (b"RFB 003.003\n\0\0\0\2" + CHALLENGE + OK, b""),
    (LINE + b"\1\2" + CHALLENGE + FAILED + text(b"No"), b""),
    (LINE + b"\0" + text(b"Busy"), b""),
    (LINE + b"\1\x14" + INNER_SASL, b""),
    (VENCRYPT[:12] + b"\1\x13\0\2" + offer(X509_NONE) + b"\1", OK),
    (VENCRYPT[:12] + b"\1\x13\0\2" + offer(X509_VNC, 99) + b"\1", CHALLENGE + OK),
    (VENCRYPT[:12] + b"\1\x13\0\2" + offer(X509_PLAIN) + b"\1", FAILED + text(b"Who?")),
    (VENCRYPT[:12] + b"\1\x13\0\2" + offer(X509_SASL) + b"\1", INNER_SASL),
    (VENCRYPT[:12] + b"\1\x13\0\2" + offer(TLS_NONE) + b"\1", OK),
]
REQUIREMENTS = [
    Requirement(tls, anonymous, credentials, browser)
    for tls in (False, True)
    for anonymous in (False, True)
    for credentials in (None, CREDENTIALS, Credentials(None, "pencil"))
    for browser in (False, True)
]


class Driven:
    """A handshake with a console server whose driver does its part at once."""

    def __init__(self, requirement: Requirement) -> None:
        self.handshake = TargetHandshake(requirement)
        self.outcome: list[str] = []
        self.sent = b""
        self.secure = False
        self._settle()

    def feed(self, piece: bytes) -> None:
        self.handshake.receive_data(piece)
        self._settle()

    def _settle(self) -> None:
        while events := drain(self.handshake):
            self.outcome += [repr(event) for event in events]
            self.sent += self.handshake.data_to_send()
            if isinstance(events[-1], RfbError | Ready):
                break
            if isinstance(events[-1], StartTls):
                self.secure = True
                self.handshake.tls_started()
            else:
                self.handshake.answer(bytes(16))
        self.sent += self.handshake.data_to_send()
        assert self.handshake.wanted <= MAX_WANTED


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted(min(cut, len(stream)) for cut in cuts)
    return [stream[a:b] for a, b in zip([0, *ends], [*ends, len(stream)], strict=True)]


class PropertyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(secrets, "token_bytes", bytes)

    @settings(max_examples=150, deadline=None)
    @given(
        st.sampled_from(CONVERSATIONS),
        st.sampled_from(REQUIREMENTS),
        st.lists(st.integers(0, 300), max_size=20),
    )
    def test_cuts_do_not_matter(
        self, said: tuple[bytes, bytes], requirement: Requirement, cuts: list[int]
    ) -> None:
        played = []
        for part_cuts in ([], cuts):
            driven = Driven(requirement)
            for part in said:
                for piece in pieces(part, part_cuts):
                    driven.feed(piece)
            played.append((driven.outcome[:2], driven.sent, driven.handshake.wanted))
        self.assertEqual(*played)

    @settings(max_examples=100, deadline=None)
    @given(st.sampled_from(CONVERSATIONS), st.sampled_from(REQUIREMENTS))
    def test_a_driver_that_reads_what_is_wanted_never_reads_beyond(
        self, said: tuple[bytes, bytes], requirement: Requirement
    ) -> None:
        driven = Driven(requirement)
        for secure, stream in enumerate(said):
            while stream and driven.handshake.wanted and driven.secure == bool(secure):
                size = driven.handshake.wanted
                self.assertLessEqual(size, len(stream))
                driven.feed(stream[:size])
                stream = stream[size:]
        self.assertEqual(driven.handshake.unused_data, b"")

    FRAGMENTS = st.one_of(
        st.binary(max_size=20),
        st.sampled_from([b"\0", b"\1", b"\0\2", OK, FAILED, CHALLENGE, b"\xff" * 4, b"\1\x13", b"\1\x14"]),
        st.lists(st.integers(256, 264), max_size=4).map(lambda subtypes: offer(*subtypes)),
        st.binary(max_size=40).map(text),
        st.sampled_from(
            [text(b"SCRAM-SHA-256"), counted(SERVER_FIRST) + b"\0", counted(SERVER_FINAL) + b"\1"]
        ),
    )
    OPENINGS = st.sampled_from(
        [
            b"",
            LINE,
            b"RFB 003.003\n",
            LINE + b"\1\x13",
            LINE + b"\1\x13\0\2",
            LINE + b"\1\x14",
            LINE + b"\1\2",
        ]
    )

    @settings(max_examples=400, deadline=None)
    @given(OPENINGS, st.lists(FRAGMENTS, max_size=10), st.sampled_from(REQUIREMENTS))
    def test_noise_is_an_event_or_an_error(
        self, opening: bytes, noise: list[bytes], requirement: Requirement
    ) -> None:
        driven = Driven(requirement)
        for piece in (opening, *noise):
            driven.feed(piece)
        if requirement.tls and any("Ready" in event for event in driven.outcome):
            self.assertIn("StartTls", driven.outcome[0])

    @settings(deadline=None)
    @given(st.booleans(), OPENINGS, st.lists(FRAGMENTS, max_size=6), st.booleans())
    def test_noise_from_a_browser(
        self, authenticate: bool, opening: bytes, noise: list[bytes], fails: bool
    ) -> None:
        face = BrowserHandshake(authenticate)
        if fails:
            face.fail("Not today")
        for piece in (opening, *noise):
            face.receive_data(piece)
            for event in drain(face):
                match event:
                    case FaceReady() if authenticate:
                        face.send_challenge(CHALLENGE)
                    case FaceReady() | Response():
                        face.send_result(not fails)
            self.assertLessEqual(face.wanted, MAX_WANTED)

    @given(
        st.sampled_from(
            [LINE + b"\2" + CHALLENGE, b"RFB 003.007\n\2" + CHALLENGE, b"RFB 003.003\n" + CHALLENGE]
        ),
        st.lists(st.integers(0, 40), max_size=10),
    )
    def test_cuts_from_a_browser_do_not_matter(self, said: bytes, cuts: list[int]) -> None:
        played = []
        for part_cuts in ([], cuts):
            face = BrowserHandshake(True)
            events: list[object] = []
            sent = b""
            for piece in pieces(said + b"after", part_cuts):
                face.receive_data(piece)
                while found := drain(face):
                    events += found
                    if isinstance(found[-1], FaceReady):
                        face.send_challenge(CHALLENGE)
                    else:
                        face.send_result(True)
                sent += face.data_to_send()
            played.append((events, sent, face.unused_data))
        self.assertEqual(*played)


class EndToEndTests(SynchronousTestCase):
    """The gateway between an RFB server of ours and itself as a client, on no network at all."""

    def test_the_gateway_answers_a_server(self) -> None:
        for password, credentials in (("pencil", Credentials(None, "pencil")), (None, None)):
            server = RfbServer(640, 480, "screen", password, lambda size: CHALLENGE[:size])
            target = TargetHandshake(Requirement(tls=False, credentials=credentials))
            self.assertEqual(self.talk(target, server), [Ready(Version.V3_8)])
            server.receive_data(b"\1")
            self.assertEqual(drain(server), [ClientReady(Version.V3_8, shared=True)])

    def test_wrong_password(self) -> None:
        server = RfbServer(640, 480, "screen", "pencil", lambda size: CHALLENGE[:size])
        target = TargetHandshake(Requirement(tls=False, credentials=Credentials(None, "crayon")))
        (error,) = self.talk(target, server)
        self.assertEqual(repr(error), "AuthenticationFailed('Authentication failed')")

    def test_a_browser_answers_through_the_gateway(self) -> None:
        for typed, ok in (("pencil", True), ("crayon", False)):
            server = RfbServer(640, 480, "screen", "pencil", lambda size: CHALLENGE[:size])
            target = TargetHandshake(Requirement(tls=False, browser_answers=True))
            (challenge,) = self.talk(target, server)
            assert isinstance(challenge, Challenge)
            face = BrowserHandshake(True)
            viewer = TargetHandshake(Requirement(tls=False, credentials=Credentials(None, typed)))
            self.assertEqual(self.talk(viewer, face), [])
            face.send_challenge(challenge.challenge)
            self.assertEqual(self.talk(viewer, face), [])
            target.answer(self.response)
            (verdict,) = self.talk(target, server)
            self.assertEqual(isinstance(verdict, Ready), ok)
            face.send_result(ok, "" if ok else str(verdict))
            (seen,) = self.talk(viewer, face)
            self.assertEqual(repr(seen), repr(verdict))

    def test_a_browser_is_told_why_not(self) -> None:
        face = BrowserHandshake(True)
        face.fail("Target offers no secure connection")
        viewer = TargetHandshake(Requirement(tls=False, browser_answers=True))
        (error,) = self.talk(viewer, face)
        self.assertEqual(repr(error), "ServerRefused('Target offers no secure connection')")

    def talk(self, client: TargetHandshake, server: RfbServer | BrowserHandshake) -> list[object]:
        """Carry bytes to and fro until neither has anything to say; return the client's events."""
        events = drain(client)
        while True:
            server.receive_data(client.data_to_send())
            for event in drain(server):
                if isinstance(event, Response):
                    self.response = event.response
            said = server.data_to_send()
            if not said:
                return events
            client.receive_data(said)
            events += drain(client)


class SecretTests(SynchronousTestCase):
    PASSWORD = "Xyzzy-Plugh"

    def test_repr(self) -> None:
        credentials = Credentials("user", self.PASSWORD)
        requirement = Requirement(tls=True, credentials=credentials)
        handshake = TargetHandshake(requirement)
        for value in (credentials, requirement, handshake, Challenge(self.PASSWORD.encode())):
            self.assertNotIn(self.PASSWORD, repr(value) + str(value))

    def test_a_server_that_echoes_the_password(self) -> None:
        for encoding in ("utf-8", "latin-1"):
            password = "\u00e4" + self.PASSWORD
            handshake = TargetHandshake(Requirement(tls=True, credentials=Credentials("user", password)))
            handshake.receive_data(LINE + b"\1\x13\0\2" + offer(X509_PLAIN) + b"\1")
            drain(handshake)
            handshake.tls_started()
            handshake.receive_data(FAILED + text(b"user knows " + password.encode(encoding)))
            (error,) = drain(handshake)
            self.assertEqual(str(error), "Reason withheld")

    def test_passwords_are_sent_in_the_clear_nowhere(self) -> None:
        """Every subtype and requirement: only Plain inside verified TLS carries the password as it is."""
        credentials = Credentials("user", self.PASSWORD)
        for requirement in (
            Requirement(tls, anonymous, credentials) for tls in (False, True) for anonymous in (False, True)
        ):
            for subtype in range(PLAIN, X509_SASL + 2):
                driven = Driven(requirement)
                driven.feed(LINE + b"\1\x13\0\2" + offer(subtype) + b"\1")
                driven.feed(text(b"SCRAM-SHA-256,PLAIN") + CHALLENGE)
                carried = self.PASSWORD.encode() in driven.sent
                self.assertEqual(carried, subtype == X509_PLAIN, subtype)

    @settings(max_examples=200, deadline=None)
    @given(PropertyTests.OPENINGS, st.lists(PropertyTests.FRAGMENTS, max_size=8), st.booleans())
    def test_no_traceback_has_the_password(self, opening: bytes, noise: list[bytes], tls: bool) -> None:
        for password in (self.PASSWORD, self.PASSWORD + "\u0434\n"):
            handshake = TargetHandshake(Requirement(tls, credentials=Credentials("user", password)))
            try:
                for piece in (opening, *noise):
                    handshake.receive_data(piece)
                    while (event := handshake.next_event()) is not None:
                        if isinstance(event, StartTls):
                            handshake.tls_started()
            except RfbError as error:
                shown = "".join(traceback.format_exception(error)) + repr(error)
                response = base64.b64encode(vnc_response(CHALLENGE, self.PASSWORD)).decode()
                self.assertNotIn(self.PASSWORD, shown)
                self.assertNotIn(response, shown)
