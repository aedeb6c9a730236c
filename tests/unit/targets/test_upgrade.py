"""The client's opening handshake: what is asked, every answer, every cut, and no secret anywhere."""

from __future__ import annotations

import base64
import itertools
import os
import traceback
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from gateway.targets.upgrade import (
    CONSOLE_SUBPROTOCOL,
    MAX_RESPONSE_HEAD,
    ClientUpgrade,
    UpgradeError,
    UpgradeForbidden,
    bearer_subprotocols,
)

HOST = "api.example"
PATH = "/apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/b/vnc"
TOKEN = "secret-token.of~the/grant+=="
NONCE = b"the sample nonce"
# The example of RFC 6455, section 1.3.
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def numbers(size: int) -> bytes:
    assert size == len(NONCE)
    return NONCE


def upgrade(*subprotocols: str, host: str = HOST, port: int = 6443, path: str = PATH) -> ClientUpgrade:
    return ClientUpgrade(host, port, path, subprotocols, numbers)


def answer(*lines: bytes, status: bytes = b"HTTP/1.1 101 Switching Protocols") -> bytes:
    return b"\r\n".join((status, *lines)) + b"\r\n\r\n"


GOOD = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + ACCEPT)
CHOSEN = b"Sec-WebSocket-Protocol: " + CONSOLE_SUBPROTOCOL.encode()


class RequestTests(SynchronousTestCase):
    def test_the_request(self) -> None:
        handshake = upgrade("one", "two")
        self.assertEqual(
            b"GET " + PATH.encode() + b" HTTP/1.1\r\n"
            b"Host: api.example:6443\r\n"
            b"Upgrade: websocket\r\n"
            b"Connection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: one, two\r\n"
            b"\r\n",
            handshake.data_to_send(),
        )
        self.assertEqual(b"", handshake.data_to_send())
        self.assertFalse(handshake.done)

    def test_no_subprotocol_is_no_field(self) -> None:
        self.assertNotIn(b"Protocol:", upgrade().data_to_send())

    def test_host(self) -> None:
        for host, port, expected in (
            ("api.example", 443, b"api.example"),
            ("api.example", 80, b"api.example:80"),
            ("192.0.2.1", 6443, b"192.0.2.1:6443"),
            ("2001:db8::1", 443, b"[2001:db8::1]"),
            ("2001:db8::1", 6443, b"[2001:db8::1]:6443"),
        ):
            self.assertIn(b"\r\nHost: " + expected + b"\r\n", upgrade(host=host, port=port).data_to_send())

    def test_what_does_not_fit_into_a_request_is_refused_and_not_repeated(self) -> None:
        bad: list[Callable[[str], ClientUpgrade]] = [
            lambda text: upgrade(path="/a" + text),
            lambda text: upgrade(host="a" + text),
            lambda text: upgrade("a" + text),
        ]
        for make, text in itertools.product(
            bad, ("\r\nX: y", " x", "\x00", "\x7f", "\xe9", "\u212a", "#", "\n")
        ):
            if text != "#" or make is not bad[2]:
                error = self.assertRaises(ValueError, make, "SECRET" + text)
                self.assertNotIn("SECRET", str(error))
        for port in (0, -1, 65536):
            self.assertRaises(ValueError, upgrade, port=port)
        self.assertRaises(ValueError, upgrade, path="")
        self.assertRaises(ValueError, upgrade, path="apis")
        self.assertRaises(ValueError, upgrade, "")
        self.assertRaises(ValueError, upgrade, "twice", "twice")

    def test_keys_differ(self) -> None:
        sources = iter((b"a" * 16, b"b" * 16))
        requests = {
            ClientUpgrade(HOST, 443, PATH, (), lambda size: next(sources)).data_to_send() for _ in range(2)
        }
        self.assertEqual(2, len(requests))


class BearerTests(SynchronousTestCase):
    def test_the_known_form(self) -> None:
        self.assertEqual(
            ("base64url.bearer.authorization.k8s.io.Zm9vPz4_", "plain.kubevirt.io"),
            bearer_subprotocols("foo?>?"),
        )

    @given(st.text([chr(code) for code in range(32, 127)], min_size=1, max_size=200))
    def test_any_token_survives(self, token: str) -> None:
        bearer, plain = bearer_subprotocols(token)
        text = bearer.removeprefix("base64url.bearer.authorization.k8s.io.")
        self.assertEqual(token.encode(), base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        upgrade(bearer, plain)

    def test_other_texts_are_refused_and_not_repeated(self) -> None:
        for token in ("", "SECRET\n", "SECRET\u00e9", "\0SECRET"):
            error = self.assertRaises(ValueError, bearer_subprotocols, token)
            self.assertNotIn("SECRET", str(error))
            self.assertIsNone(error.__cause__)


class AgreementTests(SynchronousTestCase):
    def agree(self, data: bytes, *subprotocols: str) -> ClientUpgrade:
        handshake = upgrade(*subprotocols)
        handshake.data_to_send()
        handshake.receive_data(data)
        return handshake

    def test_a_good_answer(self) -> None:
        handshake = self.agree(answer(*GOOD, CHOSEN) + b"\x82\x01x", *bearer_subprotocols(TOKEN))
        self.assertTrue(handshake.done)
        self.assertEqual("plain.kubevirt.io", handshake.subprotocol)
        self.assertEqual(b"\x82\x01x", handshake.unused_data)
        self.assertEqual(0, handshake.wanted)

    def test_no_choice(self) -> None:
        handshake = self.agree(answer(*GOOD), "one")
        self.assertEqual((True, None, b""), (handshake.done, handshake.subprotocol, handshake.unused_data))

    def test_forms_that_mean_the_same(self) -> None:
        for lines in (
            (b"upgrade:WebSocket", b"connection:keep-alive, UPGRADE", b"sec-websocket-accept:" + ACCEPT),
            (b"Server: x", *GOOD[:1], b"Connection: keep-alive", *GOOD[1:], b"Date:", b"Content-Length: 0"),
        ):
            self.assertTrue(self.agree(answer(*lines)).done)
            self.assertTrue(self.agree(answer(*lines, status=b"HTTP/1.1 101 ")).done)

    def test_every_single_cut(self) -> None:
        data = answer(*GOOD, CHOSEN) + b"\x82\x02fr\x82"
        size = data.index(b"\x82")
        for place in range(len(data) + 1):
            handshake = upgrade(*bearer_subprotocols(TOKEN))
            handshake.receive_data(data[:place])
            self.assertEqual(place >= size, handshake.done)
            if handshake.done:
                self.assertEqual(data[size:place], handshake.unused_data)
            else:
                self.assertEqual(MAX_RESPONSE_HEAD - place, handshake.wanted)
                handshake.receive_data(data[place:])
                self.assertEqual((True, data[size:]), (handshake.done, handshake.unused_data))

    def test_byte_by_byte(self) -> None:
        handshake = upgrade()
        data = answer(*GOOD)
        for number in range(len(data)):
            self.assertFalse(handshake.done)
            handshake.receive_data(data[number : number + 1])
        self.assertTrue(handshake.done)

    def test_with_an_independent_server(self) -> None:
        for _ in range(20):
            offered = bearer_subprotocols(TOKEN)
            handshake = ClientUpgrade("::1", 6443, PATH, offered, os.urandom)
            server = ServerProtocol(subprotocols=[Subprotocol("plain.kubevirt.io")])
            server.receive_data(handshake.data_to_send())
            (request,) = server.events_received()
            assert isinstance(request, Request)
            self.assertEqual((PATH, "[::1]:6443"), (request.path, request.headers["Host"]))
            server.send_response(server.accept(request))
            server.send_binary(b"RFB 003.008\n")
            handshake.receive_data(b"".join(server.data_to_send()))
            self.assertEqual((True, "plain.kubevirt.io"), (handshake.done, handshake.subprotocol))
            self.assertEqual(b"\x82\x0cRFB 003.008\n", handshake.unused_data)


class RefusalTests(SynchronousTestCase):
    def refused(
        self, data: bytes, status: int | None, *subprotocols: str, at: int | None = None
    ) -> UpgradeError:
        """``data`` is refused whole and byte by byte, at byte ``at`` or the last."""
        offered = subprotocols or bearer_subprotocols(TOKEN)
        error: UpgradeError = self.assertRaises(UpgradeError, upgrade(*offered).receive_data, data)
        self.assertEqual(status, error.status)
        slow = upgrade(*offered)
        for number in range(len(data)):
            try:
                slow.receive_data(data[number : number + 1])
            except UpgradeError as late:
                self.assertEqual((str(error), status, type(error)), (str(late), late.status, type(late)))
                self.assertEqual(at or len(data), number + 1)
                break
            self.assertFalse(slow.done)
        else:
            raise AssertionError("not refused in pieces")
        return error

    def test_not_allowed(self) -> None:
        for status in (401, 403):
            line = b"HTTP/1.1 %d Nope" % status
            error = self.refused(answer(b"Content-Length: 4", status=line), status)
            self.assertIsInstance(error, UpgradeForbidden)
            self.assertEqual(f"the server answered with status {status}", str(error))

    def test_other_statuses(self) -> None:
        for status in (100, 102, 200, 204, 302, 400, 404, 426, 500, 503, 599):
            error = self.refused(answer(*GOOD, CHOSEN, status=b"HTTP/1.1 %d x" % status), status)
            self.assertNotIsInstance(error, UpgradeForbidden)

    def test_what_is_not_http_1_1_is_refused_at_its_first_wrong_byte(self) -> None:
        for data, at in (
            (b"RFB 003.008\n", 1),
            (b"SSH-2.0-x\r\n", 1),
            (b"\x15\x03\x01\x00\x02\x02\x16", 1),
            (b"HTTP/1.0 101 x\r\n\r\n", 8),
            (b"HTTP/2 101 x\r\n\r\n", 6),
            (b"HTTP/1.10 101 x\r\n\r\n", 9),
            (b"http/1.1 101 x\r\n\r\n", 1),
            (b"\r\nHTTP/1.1 101 x\r\n\r\n", 1),
        ):
            self.refused(data, None, at=at)

    def test_status_lines(self) -> None:
        for line in (
            b"101",
            b"1010 x",
            b"10 x",
            b"101x",
            b" 101 x",
            b"+101 x",
            b"601 x",
            b"101 x\x00",
            b"101 \x7f",
        ):
            self.refused(answer(*GOOD, CHOSEN, status=b"HTTP/1.1 " + line), None)

    def test_grammar_of_the_fields(self) -> None:
        for line in (
            b"Upgrade",
            b" folded: x",
            b"X : y",
            b"X: \x00",
            b"X: a\rb",
            b"X: a\nb",
            b": x",
            b"\xe9: x",
        ):
            self.refused(answer(*GOOD, CHOSEN, line), None)
        self.refused(answer(*GOOD, *[b"X: y"] * 98), None)
        self.assertFalse(self.bare_newlines().done)

    def bare_newlines(self) -> ClientUpgrade:
        """Never the end of a head, so that its limit decides."""
        handshake = upgrade()
        handshake.receive_data(answer(*GOOD).replace(b"\r\n", b"\n"))
        return handshake

    def test_size(self) -> None:
        good = answer(*GOOD)
        filler = b"X: " + b"y" * (MAX_RESPONSE_HEAD - len(good) - 5)
        handshake = upgrade()
        handshake.receive_data(answer(*GOOD, filler) + b"z" * 100_000)
        self.assertEqual(100_000, len(handshake.unused_data))
        self.refused(answer(*GOOD, filler + b"y"), None, at=MAX_RESPONSE_HEAD + 1)
        error = self.refused(b"HTTP/1.1 101 " + b"x" * 20_000, None, at=MAX_RESPONSE_HEAD + 1)
        self.assertIn("longer than 16384 bytes", str(error))

    def test_what_must_be_there(self) -> None:
        for index in range(3):
            lines = list(GOOD)
            del lines[index]
            self.refused(answer(*lines, CHOSEN), 101)

    def test_what_must_be_right(self) -> None:
        for index, line in (
            (0, b"Upgrade: h2c"),
            (0, b"Upgrade: websocket, h2c"),
            (0, b"Upgrade:"),
            (1, b"Connection: keep-alive"),
            (1, b"Connection: upgraded"),
            (2, b"Sec-WebSocket-Accept: " + ACCEPT.lower()),
            (2, b"Sec-WebSocket-Accept: " + ACCEPT[:-1]),
            (2, b"Sec-WebSocket-Accept:"),
        ):
            lines = list(GOOD)
            lines[index] = line
            self.refused(answer(*lines, CHOSEN), 101)

    def test_what_must_not_come_twice(self) -> None:
        for line in (GOOD[0], GOOD[2], CHOSEN, b"sec-websocket-accept: other", b"Upgrade: h2c"):
            self.refused(answer(*GOOD, CHOSEN, line), 101)

    def test_extensions(self) -> None:
        for value in (b"permessage-deflate", b""):
            self.refused(answer(*GOOD, CHOSEN, b"Sec-WebSocket-Extensions: " + value), 101)

    def test_subprotocols_that_were_not_offered(self) -> None:
        for value in (b"", b"binary", b"PLAIN.kubevirt.io", b"plain.kubevirt.io, binary", b"plain"):
            self.refused(answer(*GOOD, b"Sec-WebSocket-Protocol: " + value), 101)

    def test_the_token_is_no_choice(self) -> None:
        bearer = bearer_subprotocols(TOKEN)[0].encode()
        self.refused(answer(*GOOD, b"Sec-WebSocket-Protocol: " + bearer), 101)


class SecrecyTests(SynchronousTestCase):
    def assert_secret(self, text: str) -> None:
        for secret in (TOKEN, base64.urlsafe_b64encode(TOKEN.encode()).rstrip(b"=").decode(), "dGhlIHNh"):
            self.assertNotIn(secret, text)

    def test_no_error_and_no_repr_has_the_token(self) -> None:
        bearer = bearer_subprotocols(TOKEN)[0].encode()
        for data in (
            answer(status=b"HTTP/1.1 401 " + bearer),
            answer(b"WWW-Authenticate: " + bearer, status=b"HTTP/1.1 403 no"),
            answer(status=bearer),
            answer(bearer),
            answer(*GOOD, b"Sec-WebSocket-Protocol: " + bearer),
            answer(*GOOD, b"Sec-WebSocket-Protocol: x" + bearer),
            answer(*GOOD[:2], b"Sec-WebSocket-Accept: " + bearer),
            answer(*GOOD, b"Sec-WebSocket-Extensions: " + bearer),
        ):
            handshake = upgrade(*bearer_subprotocols(TOKEN))
            self.assert_secret(repr(handshake) + str(handshake))
            error = self.assertRaises(UpgradeError, handshake.receive_data, data)
            self.assert_secret("".join(traceback.format_exception(error)) + repr(error) + repr(error.args))

    def test_nothing_is_kept_of_it(self) -> None:
        handshake = upgrade(*bearer_subprotocols(TOKEN))
        handshake.data_to_send()
        handshake.receive_data(answer(*GOOD, CHOSEN))
        self.assert_secret(repr([getattr(handshake, name) for name in ClientUpgrade.__slots__]))


class PropertyTests(SynchronousTestCase):
    @given(
        st.lists(
            st.one_of(
                st.sampled_from(
                    [
                        b"HTTP/1.1 101 x\r\n",
                        *(line + b"\r\n" for line in (*GOOD, CHOSEN)),
                        b"\r\n",
                        b"\n",
                        b":",
                        b"\x82",
                    ]
                ),
                st.binary(max_size=8),
            ),
            max_size=12,
        )
    )
    def test_whatever_comes_is_an_agreement_an_error_or_not_enough(self, pieces: list[bytes]) -> None:
        whole = self.outcome([b"".join(pieces)])
        self.assertEqual(whole, self.outcome([bytes((byte,)) for piece in pieces for byte in piece]))
        if whole[0] == "done":
            self.assertTrue({*GOOD} <= {*b"".join(pieces).split(b"\r\n")})

    def outcome(self, pieces: list[bytes]) -> tuple[object, ...]:
        handshake = upgrade(*bearer_subprotocols(TOKEN))
        behind = b""
        for piece in pieces:
            if handshake.done:
                behind += piece
                continue
            try:
                handshake.receive_data(piece)
            except UpgradeError as error:
                return "error", str(error), error.status
        if handshake.done:
            return "done", handshake.subprotocol, handshake.unused_data + behind
        return "more", handshake.wanted
