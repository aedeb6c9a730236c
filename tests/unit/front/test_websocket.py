from __future__ import annotations

import gc
import importlib
import re
import weakref
from collections.abc import Iterable
from typing import Any
from unittest.mock import patch

import attrs
from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet import defer
from twisted.logger import formatEvent

from gateway.front import Gate, Refused, websocket
from gateway.reasons import Refusal
from gateway.sessions import Admission, RequestRefused
from gateway.settings import FrontSettings, LimitSettings, Use, UseSettings
from gateway.tickets import Kind, MemoryLedger
from tests.support.http import KEY, upgrade
from tests.unit.front.samples import BAD, EPOCH, GOOD, GRANT, FrontTestCase

REQUIRED = ("Host", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key")


def protocols(*values: str) -> list[tuple[str, str]]:
    return [("Sec-WebSocket-Protocol", value) for value in values]


class HandshakeTests(FrontTestCase):
    def accepted(self, request: bytes) -> bytes:
        """The answer to a request that must begin a session."""
        answer = self.ask(request)
        self.assertTrue(answer.startswith(b"HTTP/1.1 101 "), answer)
        self.started.pop().place.give_back()
        self.assert_empty()
        self.assertEqual(self.places(), 0)
        return answer

    def test_subprotocols(self) -> None:
        for offers in (
            ["binary"],
            ["binary, base64"],
            ["binary,base64"],
            ["base64, binary"],
            ["base64,binary"],
            [" base64 ,\tbinary "],
            ["base64", "binary"],
        ):
            answer = self.accepted(upgrade("/" + GOOD, protocols(*offers)))
            self.assertEqual(re.findall(rb"(?i)sec-websocket-protocol: *(.*?)\r\n", answer), [b"binary"])
        self.assertNotIn(b"rotocol:", self.accepted(upgrade("/" + GOOD)))
        for offers in (["base64"], ["Binary"], ["binary2"], ["chat, superchat"], [""], [","]):
            request = upgrade("/" + GOOD, protocols(*offers))
            self.refused(request, Refusal.MALFORMED if offers == [","] else Refusal.SUBPROTOCOL)

    def test_the_subprotocol_for_notices(self) -> None:
        for offers in (
            ["console-gateway.v1, binary"],
            ["binary, console-gateway.v1"],
            ["console-gateway.v1"],
            ["base64", "console-gateway.v1"],
        ):
            answer = self.ask(upgrade("/" + GOOD, protocols(*offers)))
            self.assertEqual(
                re.findall(rb"(?i)sec-websocket-protocol: *(.*?)\r\n", answer), [b"console-gateway.v1"]
            )
            self.assertTrue(self.started[-1].notices)
            self.started.pop().place.give_back()
        for offers in (["binary"], ["binary", "console-gateway.v2"], ["Console-Gateway.v1, binary"], []):
            self.ask(upgrade("/" + GOOD, protocols(*offers)))
            self.assertFalse(self.started[-1].notices)
            self.started.pop().place.give_back()
        for offer in ("console-gateway.v2", "console-gateway", "Console-Gateway.v1"):
            self.refused(upgrade("/" + GOOD, protocols(offer)), Refusal.SUBPROTOCOL)

    def test_no_compression(self) -> None:
        for offer in (
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover; client_max_window_bits=15, permessage-deflate",
            "permessage-bzip2",
            "x-webkit-deflate-frame",
        ):
            answer = self.accepted(upgrade("/" + GOOD, [("Sec-WebSocket-Extensions", offer)]))
            self.assertNotIn(b"xtensions", answer)

    def test_broken_extensions_leave_no_place_taken(self) -> None:
        for offer in ("permessage-deflate; nonsense=1", "permessage-deflate; client_max_window_bits=99"):
            self.refused(upgrade("/" + GOOD, [("Sec-WebSocket-Extensions", offer)]), Refusal.MALFORMED)
            self.assertEqual(self.places(), 0)

    def test_keys(self) -> None:
        for value in ("", "x", KEY[:-1], KEY + "=", "*" * 22 + "==", "=" * 24, "A" * 24):
            self.refused(upgrade("/" + GOOD, {"Sec-WebSocket-Key": value}), Refusal.MALFORMED)
        self.refused(upgrade("/" + GOOD, [("Sec-WebSocket-Key", KEY)]), Refusal.MALFORMED)

    def test_versions(self) -> None:
        for value in ("12", "8", "7", "14", "0", "-13", "99999999999999999999"):
            answer = self.refused(upgrade("/" + GOOD, {"Sec-WebSocket-Version": value}), Refusal.MALFORMED)
            self.assertEqual(answer.header("Sec-WebSocket-Version"), "13")
        for value in ("", "x", "13, 8"):
            self.refused(upgrade("/" + GOOD, {"Sec-WebSocket-Version": value}), Refusal.MALFORMED)

    def test_missing_and_wrong_fields(self) -> None:
        for name in REQUIRED:
            self.refused(upgrade("/" + GOOD, {name: None}), Refusal.MALFORMED)
        for fields in (
            {"Connection": "keep-alive"},
            {"Connection": ""},
            {"Host": "a:b"},
        ):
            self.refused(upgrade("/" + GOOD, fields), Refusal.MALFORMED)
        for pair in (("Host", "twice.example.com"), ("Sec-WebSocket-Version", "13")):
            self.refused(upgrade("/" + GOOD, [pair]), Refusal.MALFORMED)
        self.refused(upgrade("/" + GOOD).replace(b"HTTP/1.1", b"HTTP/1.0"), Refusal.MALFORMED)

    def test_usual_variants(self) -> None:
        self.accepted(upgrade("/" + GOOD, {"Connection": "keep-alive, Upgrade"}))
        self.accepted(upgrade("/" + GOOD, {"Upgrade": "WebSocket", "Connection": "upgrade"}))
        self.accepted(upgrade("/" + GOOD, {"Host": "[2001:db8::1]:6100"}))
        self.accepted(upgrade("/" + GOOD, [("X-Forwarded-For", "192.0.2.99"), ("Cookie", "a=b")]))

    def test_forwarded_addresses_are_not_believed(self) -> None:
        self.ask(upgrade("/" + GOOD, [("X-Forwarded-For", "192.0.2.99"), ("Forwarded", "for=192.0.2.99")]))
        self.assertEqual(self.started[0].place.client, "127.0.0.1")

    def test_next_line_is_no_line_end(self) -> None:
        """A byte that ends lines in Latin-1 text must not turn a value into a field."""
        hidden = [("Cookie", "a=\x85Sec-WebSocket-Protocol: binary")]
        self.assertNotIn(b"rotocol:", self.accepted(upgrade("/" + GOOD, hidden)))
        without = upgrade(
            "/" + GOOD, {"Sec-WebSocket-Key": None, "Cookie": f"a=\x85Sec-WebSocket-Key: {KEY}"}
        )
        self.refused(without, Refusal.MALFORMED)

    def test_nothing_is_echoed(self) -> None:
        marker = "zQx7marker"
        fields: tuple[str, ...] = (
            "Host",
            "Connection",
            "Upgrade",
            "Origin",
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Version",
        )
        fields += ("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "X-Other", "Cookie")
        requests = [upgrade(f"/{marker}"), upgrade(f"/{GOOD}?{marker}"), upgrade(f"/{GOOD}#{marker}")]
        requests += [upgrade(f"/{marker}/{GOOD}"), upgrade("/" + GOOD, method=marker)]
        requests += [
            upgrade("/" + BAD + marker),
            f"GET /{marker} HTTP/1.1\r\nHost: {marker}\r\n\r\n".encode(),
        ]
        requests += [f"{marker} / HTTP/1.1\r\nHost: x\r\n\r\n".encode(), f"{marker}\r\n\r\n".encode()]
        for name in fields:
            for value in (
                marker,
                f"websocket, {marker}",
                f"13{marker}",
                f"x:{marker}",
                f"http://{marker}:{marker}",
            ):
                requests.append(upgrade("/" + GOOD, {name: value}))
            requests.append(upgrade("/" + GOOD, [(name, marker)]))
        requests.append(upgrade("/" + GOOD, [(marker, "x")]))
        for request in requests:
            answer = self.ask(request)
            self.assertTrue(answer.startswith(b"HTTP/1.1 "), request)
            self.assertNotIn(marker.lower().encode(), answer.lower(), request)
            self.assertNotIn(b"erver:", answer)
            while self.started:
                self.started.pop().place.give_back()
            self.reactor.advance(20)
            self.assert_empty()
            self.assertEqual(self.places(), 0)


class OriginTests(FrontTestCase):
    front_settings = FrontSettings(
        head_size=4096,
        origins=("https://Engine.example.com", "http://[2001:db8::1]:8080", "https://a.example:443"),
    )

    def origin(self, value: str, refusal: Refusal | None, more: Iterable[tuple[str, str]] = ()) -> None:
        request = upgrade("/" + GOOD, [("Origin", value), *more])
        if refusal is not None:
            self.refused(request, refusal)
        else:
            self.assertIn(b" 101 ", self.ask(request), value)
            self.started.pop().place.give_back()
        self.assertEqual(self.places(), 0)

    def test_allowed(self) -> None:
        for value in (
            "https://engine.example.com",
            "https://ENGINE.example.com",
            "HTTPS://engine.example.com",
            "https://engine.example.com:443",
            "http://[2001:db8::1]:8080",
            "http://[2001:DB8:0::1]:8080",
            "https://a.example",
        ):
            self.origin(value, None)
        self.assertIn(b" 101 ", self.ask(upgrade("/" + GOOD)), "no browser, no origin")

    def test_forbidden(self) -> None:
        for value in (
            "https://other.example.com",
            "https://example.com",
            "https://sub.engine.example.com",
            "https://engine.example.com.evil.example",
            "https://evil-engine.example.com",
            "https://engine.example.com:444",
            "http://engine.example.com",
            "http://engine.example.com:443",
            "https://engine.example.com.",
            "https://engine.example.com/",
            "https://engine.example.com/path",
            "https://user@engine.example.com",
            "https://evil.example/https://engine.example.com",
            "https://evil.example#https://engine.example.com",
            "https://[2001:db8::1]:8080",
            "http://[2001:db8::2]:8080",
            "http://2130706433",
            "null",
            "file://",
            "moz-extension://0123456789abcdef",
        ):
            self.origin(value, Refusal.ORIGIN_FORBIDDEN)

    def test_garbage(self) -> None:
        for value in ("", "x", "https://", "://", "https://[", "https://engine.example.com:x", "https://a b"):
            answer = self.answer(upgrade("/" + GOOD, [("Origin", value)]))
            self.assertIn(answer.status, (400, 403), value)
            self.assertEqual((self.started, self.places()), ([], 0))

    def test_two_origins(self) -> None:
        good, evil = ("Origin", "https://engine.example.com"), ("Origin", "https://evil.example")
        for pair in ((good, good), (good, evil), (evil, good)):
            self.refused(upgrade("/" + GOOD, pair), Refusal.MALFORMED)
        self.origin("https://engine.example.com, https://evil.example", Refusal.ORIGIN_FORBIDDEN)

    def test_other_names_for_it(self) -> None:
        more = [
            ("Sec-WebSocket-Origin", "https://engine.example.com"),
            ("Referer", "https://engine.example.com"),
        ]
        self.origin("https://evil.example", Refusal.ORIGIN_FORBIDDEN, more)
        old = upgrade(
            "/" + GOOD, {"Sec-WebSocket-Version": "8", "Origin": "https://evil.example", **dict(more)}
        )
        self.refused(old, Refusal.MALFORMED)

    def test_origin_comes_first(self) -> None:
        """A page that may not connect learns nothing of a ticket."""
        self.refused(upgrade("/" + BAD, [("Origin", "https://evil.example")]), Refusal.ORIGIN_FORBIDDEN)


class OpenOriginTests(FrontTestCase):
    def test_any(self) -> None:
        """With no origin configured the ticket alone decides."""
        for value in (
            "https://evil.example",
            "null",
            "file://",
            "moz-extension://abc",
            "http://localhost:8080",
        ):
            self.assertIn(b" 101 ", self.ask(upgrade("/" + GOOD, [("Origin", value)])), value)
            self.started.pop().place.give_back()


class AsyncGateTests(FrontTestCase):
    """The decision will one day wait for others."""

    def setUp(self) -> None:
        super().setUp()
        self.decision: defer.Deferred[None] = defer.Deferred()
        admit = self.front.gate.admit

        async def later(path: str, origin: str | None, client: str) -> Admission:
            await self.decision
            return await admit(path, origin, client)

        self.patch(self.front.gate, "admit", later)

    def test_later(self) -> None:
        client = self.connect()
        self.send(client, upgrade("/" + GOOD))
        self.assertEqual(self.received(client), b"")
        self.decision.callback(None)
        self.assertIn(b" 101 ", self.received(client))
        self.assertEqual(len(self.started), 1)
        self.assert_empty()

    def test_bytes_meanwhile_are_neither_a_request_nor_lost(self) -> None:
        client = self.connect()
        self.send(client, upgrade("/" + GOOD) + b"first ")
        more = upgrade("/" + GOOD) + bytes(100_000)
        client.setblocking(False)
        sent = client.send(more)
        self.serve()
        held = len(self.reactor.readers)
        self.assertEqual(held, 0, "not more than one read is held")
        self.decision.callback(None)
        self.assertIn(b" 101 ", self.received(client))
        (session,) = self.started
        got = session.early
        buffer = bytearray(1 << 18)
        while len(got) < 6 + sent:
            count = session.channel.recv_into(memoryview(buffer))
            got += bytes(buffer[: max(count, 0)])
        self.assertEqual(got, b"first " + more[:sent])
        self.assertEqual(self.places(), 1)
        self.assert_empty()

    def test_client_leaves_meanwhile(self) -> None:
        for outcome in (None, RuntimeError("defect")):
            self.decision = defer.Deferred()
            client = self.connect()
            self.send(client, upgrade("/" + GOOD))
            client.close()
            self.serve()
            self.assert_empty()
            if outcome is None:
                self.decision.callback(None)
            else:
                self.decision.errback(outcome)
                self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
            self.assertEqual((self.started, self.places()), ([], 0))

    def test_gateway_ends_meanwhile(self) -> None:
        client = self.connect()
        self.send(client, upgrade("/" + GOOD))
        self.front.end()
        self.decision.callback(None)
        self.assertEqual((self.started, self.places()), ([], 0))

    def test_refused_later(self) -> None:
        client = self.connect()
        self.send(client, upgrade("/" + BAD) + b"early")
        self.decision.callback(None)
        self.serve()
        self.assertIn(b" 401 ", self.received(client))
        client.close()
        self.serve()
        self.assertEqual(self.places(), 0)
        self.assert_empty()


class GateTests(FrontTestCase):
    def test_limits(self) -> None:
        for _ in range(2):
            self.assertIn(b" 101 ", self.ask(upgrade("/" + GOOD)))
        answer = self.ask(upgrade("/" + GOOD))
        self.assertIn(b"HTTP/1.1 429 ", answer)
        self.assertIn(b"Retry-After: 10\r\n", answer)
        elsewhere = self.registry.take_place("192.0.2.1", GRANT)
        answer = self.ask(upgrade("/" + GOOD))
        self.assertIn(b"HTTP/1.1 503 ", answer)
        self.assertIn(b"Retry-After: 10\r\n", answer)
        elsewhere.give_back()
        elsewhere.give_back()
        self.started.pop().place.give_back()
        self.assertIn(b" 101 ", self.ask(upgrade("/" + GOOD)))
        self.registry.close()
        self.assertIn(Refusal.SHUTTING_DOWN.public.encode(), self.ask(upgrade("/" + GOOD)))
        while self.started:
            self.started.pop().place.give_back()
        self.assertEqual(dict(self.registry._clients), {}, "addresses that left do not pile up")

    def test_ticket_comes_before_limits(self) -> None:
        """Only who has a ticket learns that the gateway is full."""
        for _ in range(2):
            self.ask(upgrade("/" + GOOD))
        self.assertIn(b" 401 ", self.ask(upgrade("/" + BAD)))

    def test_every_ticket_fault(self) -> None:
        from gateway.tickets import TicketFault, TicketRefused

        observer = self.events()
        for fault in TicketFault:
            self.patch(self.front.gate, "_decode", _raiser(TicketRefused(fault, "fedcba9876543210")))
            answer = self.refused(upgrade("/" + GOOD), fault.refusal)
            self.assertIn(answer.status, (401, 403))
            line = formatEvent(observer.pop())
            self.assertIn(f"reason={fault.refusal.label}", line)
            self.assertIn(fault.label, line)
            self.assertIn("ticket=fedcba9876543210", line)
            self.assertIn("client=127.0.0.1", line)
        self.assertNotIn(GOOD[:24], repr(observer))

    def test_malformed_upgrades_are_logged(self) -> None:
        """So that an operator who looks for a client's trouble finds it; scans of other paths are no news."""
        for request, label in (
            (upgrade("/" + GOOD, protocols("base64")), "subprotocol"),
            (upgrade("/" + GOOD, {"Sec-WebSocket-Key": "x"}), "malformed-request"),
            (upgrade("/" + GOOD, {"Sec-WebSocket-Version": "8"}), "malformed-request"),
        ):
            observer = self.events()
            self.ask(request)
            lines = [line for line in map(formatEvent, observer) if "refused" in line]
            self.assertEqual(len(lines), 1)
            self.assertIn(f"reason={label}", lines[0])

    def test_defect_in_the_decoder(self) -> None:
        """It is logged, the client gets 500, and not even the error's text is written."""
        observer = self.events()
        self.patch(self.front.gate, "_decode", _raiser(KeyError(GOOD)))
        for request in (
            upgrade("/" + GOOD),
            f"GET /{GOOD} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(),
        ):
            self.refused(request, Refusal.INTERNAL_ERROR)
            failures = self.flushLoggedErrors()
            self.assertEqual(len(failures), 1)
            text = failures[0].getTraceback()
            self.assertIn("KeyError", text)
            self.assertIn("gateway/front/gate.py", text)
            self.assertNotIn(GOOD[:24], text)
        self.assertIn("reason=internal-error", " ".join(filter(None, map(formatEvent, observer))))
        self.assertEqual(self.places(), 0)

    def test_defect_in_the_registry(self) -> None:
        self.patch(self.registry, "take_place", _raiser(RuntimeError("defect")))
        self.refused(upgrade("/" + GOOD), Refusal.INTERNAL_ERROR)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_session_that_does_not_start(self) -> None:
        self.patch(self.front, "start", _raiser(OSError(28, "No space left on device")))
        client = self.connect()
        self.send(client, upgrade("/" + GOOD))
        with self.assertRaises(ConnectionResetError):
            while client.recv(100):
                pass
        self.assertEqual(self.places(), 0)
        self.assert_empty()
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_use(self) -> None:
        """A ticket that was used is refused, and the page that asks why is told."""
        self.ledger = MemoryLedger(now=EPOCH.timestamp)
        gate = self.gate(FrontSettings(), UseSettings(vnc=Use.SINGLE))
        admission = self.successResultOf(self.admit(gate))
        self.assertIsNone(gate.verdict(GOOD, "192.0.2.1"))
        self.refused_by(gate, Refusal.TICKET_USED)
        self.assertEqual(1, self.places())
        self.assertIs(Refusal.TICKET_USED, gate.verdict(GOOD, "192.0.2.1"))
        self.assertIs(Refusal.TICKET_REFUSED, gate.verdict(BAD, "192.0.2.1"))
        self.reactor.advance(30.1)
        self.assertIsNone(gate.verdict(GOOD, "192.0.2.1"))
        self.assertEqual(
            RequestRefused("192.0.2.1", "ticket-id", None, "192.0.2.9:5900", Refusal.TICKET_USED, "used-up"),
            self.happenings[0],
        )
        admission.give_back()
        self.assertEqual(0, self.places())

    def test_by_kind(self) -> None:
        self.ledger = MemoryLedger(now=EPOCH.timestamp)
        gate = self.gate(FrontSettings(), UseSettings(vnc_count=1, spice_count=3))
        first = self.successResultOf(self.admit(gate))
        self.refused_by(gate, Refusal.TICKET_USED)
        first.place.group.kind = Kind.SPICE
        for _ in range(2):
            self.registry.limits = LimitSettings()
            self.successResultOf(self.admit(gate))
        self.refused_by(gate, Refusal.TICKET_USED)

    def test_a_ledger_that_cannot_be_asked(self) -> None:
        ledger = MemoryLedger(now=EPOCH.timestamp, limit=0)
        self.ledger = ledger
        self.refused_by(self.gate(FrontSettings()), Refusal.LEDGER_FULL)
        self.successResultOf(defer.Deferred.fromCoroutine(ledger.close()))
        self.refused_by(self.gate(FrontSettings()), Refusal.LEDGER_UNAVAILABLE)
        self.assertEqual(0, self.places())

    def test_a_ledger_that_breaks(self) -> None:
        class Broken(MemoryLedger):
            async def claim(self, ticket_id: str, valid_to: Any, policy: Any) -> Any:
                raise ZeroDivisionError

        self.ledger = Broken()
        self.failureResultOf(self.admit(self.gate(FrontSettings())), ZeroDivisionError)
        self.assertEqual(0, self.places())

    def test_without_the_audit_that_is_demanded(self) -> None:
        recording = [False]
        gate = self.gate(FrontSettings(), recording=lambda: recording[0])
        self.refused_by(gate, Refusal.AUDIT_UNAVAILABLE)
        recording[0] = True
        self.successResultOf(self.admit(gate)).give_back()

    def test_what_is_remembered_is_bounded(self) -> None:
        gate = self.gate(FrontSettings())
        self.registry.close()
        for number in range(1100):
            grant = attrs.evolve(GRANT, id=str(number))
            self.patch(gate, "_decode", lambda path, grant=grant: grant)
            self.refused_by(gate, Refusal.SHUTTING_DOWN)
        self.assertEqual(1000, len(gate._turned_away))

    def admit(self, gate: Gate) -> defer.Deferred[Admission]:
        return defer.Deferred.fromCoroutine(gate.admit(GOOD, None, "192.0.2.1"))

    def refused_by(self, gate: Gate, refusal: Refusal) -> None:
        error = self.failureResultOf(self.admit(gate), Refused)
        self.assertIs(refusal, error.value.refusal)

    def test_settings_are_normalised(self) -> None:
        made = self.gate(FrontSettings(origins=("HTTPS://A.example:443",)))
        admitted = self.successResultOf(
            defer.Deferred.fromCoroutine(made.admit(GOOD, "https://a.example", "192.0.2.1"))
        )
        self.assertEqual(admitted.grant, GRANT)
        admitted.give_back()


class HandOverTests(FrontTestCase):
    """What the hand-over relies on in Autobahn and in our own stream."""

    def test_protocol_dies_at_once(self) -> None:
        protocols: list[Any] = []
        real = websocket.HandshakeProtocol.__init__

        def noting(protocol: Any, *args: Any) -> None:
            protocols.append(weakref.ref(protocol))
            real(protocol, *args)

        self.patch(websocket.HandshakeProtocol, "__init__", noting)
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for _ in range(2):
            client = self.connect()
            (stream,) = map(weakref.ref, self.front._streams)
            self.send(client, upgrade("/" + GOOD, protocols_and_extensions()))
            self.assertEqual(len(self.started), 1)
            self.started.pop().place.give_back()
            self.assertIsNone(protocols.pop()(), "Autobahn's protocol")
            self.assertIsNone(stream(), "our stream")

    def test_options_are_shared_and_complete(self) -> None:
        """Autobahn finds each option on the class, and has none to copy to the protocol."""
        factory = self.front.handshakes
        protocol = factory.make(self.front.gate, self.front.start, GOOD, "client", lambda: None)
        names = WebSocketServerProtocol.CONFIG_ATTRS
        self.assertIn("perMessageCompressionAccept", names)
        for name in names:
            self.assertNotIn(name, vars(protocol))
            self.assertEqual(getattr(protocol, name), getattr(factory, name), name)
        self.assertEqual(len(protocol.CONFIG_ATTRS), 0)

    def test_refused_protocol_leaves_no_connection(self) -> None:
        for request in (upgrade("/" + BAD), upgrade("/" + GOOD, {"Host": None})):
            self.answer(request)
        self.assertEqual(self.front.handshakes.countConnections, 0)

    def test_answer_that_does_not_fit(self) -> None:
        """What the socket does not take goes to the session, in order."""
        client = self.connect()
        (stream,) = self.front._streams
        with patch.object(type(stream._channel), "send", lambda channel, view: -1):
            self.send(client, upgrade("/" + GOOD) + b"early")
        (session,) = self.started
        self.assertTrue(session.unsent.startswith(b"HTTP/1.1 101 "))
        self.assertTrue(session.unsent.endswith(b"\r\n\r\n"))
        self.assertEqual(session.early, b"early")
        self.assertEqual(self.received(client), b"")
        session.channel.send(session.unsent)
        self.assertEqual(client.recv(4096), session.unsent)

    def test_nothing_of_autobahn_is_written(self) -> None:
        """Its logger would write whole requests."""
        txaio: Any = importlib.import_module("txaio")

        observer = self.events()
        before = txaio.get_global_log_level()
        txaio.set_global_log_level("trace")
        self.addCleanup(txaio.set_global_log_level, before)
        for request in (
            upgrade("/" + GOOD),
            upgrade("/" + BAD),
            upgrade("/" + GOOD, {"Sec-WebSocket-Key": "x"}),
            upgrade("/" + GOOD, [("Sec-WebSocket-Extensions", "permessage-deflate; x=1")]),
        ):
            self.ask(request)
        everything = "".join(repr(attrs_free(event)) for event in observer)
        self.assertIn("refused", everything)
        for ticket in (GOOD, BAD):
            self.assertNotIn(ticket[:24], everything)


def protocols_and_extensions() -> list[tuple[str, str]]:
    return [("Sec-WebSocket-Protocol", "binary"), ("Sec-WebSocket-Extensions", "permessage-deflate")]


def attrs_free(event: Any) -> dict[str, Any]:
    """The event without what is not text."""
    return {key: value for key, value in event.items() if isinstance(value, str | int | float)}


def _raiser(error: Exception) -> Any:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    return fail
