"""Requests that come through proxies: whose they are, at the door and on pages."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address

from gateway.net import client_text
from gateway.reasons import Refusal
from gateway.sessions import RequestRefused
from gateway.settings import AbuseSettings, ForwardedHeader, ProxySettings
from tests.support.http import upgrade
from tests.support.proxies import binary_header, text_header
from tests.unit.front.samples import BAD, GOOD, FrontTestCase

CLIENT = ("198.51.100.7", 56324)
HERE = ("192.0.2.11", 443)
LOOPBACK = "127.0.0.1"


def asked(*values: str, ticket: str = GOOD, name: str = "X-Forwarded-For") -> bytes:
    return upgrade(f"/{ticket}", [(name, value) for value in values])


class UntrustedTests(FrontTestCase):
    def test_nobody_is_believed(self) -> None:
        client = self.connect()
        fields = [("X-Forwarded-For", "198.51.100.7"), ("Forwarded", "for=198.51.100.7")]
        self.send(client, upgrade(f"/{GOOD}", fields))
        self.assertEqual(LOOPBACK, self.started[0].place.client)

    def test_a_header_where_none_is_asked_for(self) -> None:
        self.refused(text_header(CLIENT, HERE) + asked(), Refusal.MALFORMED)
        self.refused(binary_header(CLIENT, HERE) + asked(), Refusal.MALFORMED)


class OtherNetworkTests(UntrustedTests):
    proxies = ProxySettings(("192.0.2.0/24",), unix=True, forwarded=ForwardedHeader.X_FORWARDED_FOR)

    def test_a_header_of_a_stranger(self) -> None:
        events = self.events()
        for _ in range(50):
            client = self.connect(announced=True)
            self.assertEqual(b"", client.recv(1))
        lines = [event for event in events if event.get("reason") == "untrusted-proxy"]
        self.assertEqual([LOOPBACK], [event["client"] for event in lines])
        self.assertEqual(50, self.watch.closed["untrusted-proxy"])
        self.assert_empty()


class AnnouncedTests(FrontTestCase):
    proxies = ProxySettings(("127.0.0.0/8",))

    def test_a_session(self) -> None:
        for header in (text_header(CLIENT, HERE), binary_header(CLIENT, HERE)):
            client = self.connect(announced=True)
            self.send(client, header + asked("203.0.113.1"), piece=7)
            (started,) = self.started
            self.assertEqual(CLIENT[0], started.place.client)
            self.assertEqual(IPv4Address("TCP", *CLIENT), started.on_behalf_of.source)
            self.assertEqual(IPv4Address("TCP", *HERE), started.on_behalf_of.destination)
            started.admission.give_back()
            self.started.clear()

    def test_limits_are_the_clients(self) -> None:
        for number, expected in ((1, 1), (1, 2), (1, 2), (2, 3)):
            client = self.connect(announced=True)
            self.send(client, text_header((f"198.51.100.{number}", 1), HERE) + asked())
            self.assertEqual(expected, len(self.started))
        self.assertEqual(
            [("198.51.100.1", Refusal.CLIENT_LIMIT)],
            [(each.client, each.reason) for each in self.happenings if isinstance(each, RequestRefused)],
        )

    def test_a_malformed_header_is_logged(self) -> None:
        events = self.events()
        client = self.connect(announced=True)
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        self.serve()
        self.assertRaises(ConnectionResetError, client.recv, 1)
        (line,) = [event for event in events if event.get("reason") == "bad-proxy-header"]
        self.assertEqual((LOOPBACK, " (there is none)"), (line["client"], line["detail"]))
        self.assertEqual(1, self.watch.closed["bad-proxy-header"])

    def test_too_slow(self) -> None:
        self.connect(announced=True)
        self.assertEqual(1, self.front.handshakes_open)
        self.reactor.advance(self.front_settings.handshake_timeout)
        self.assertEqual(1, self.watch.closed["proxy-header-timeout"])
        self.assert_empty()

    def test_the_end_of_the_front(self) -> None:
        self.connect(announced=True)
        self.front.end()
        self.assert_empty()


class WatchTests(FrontTestCase):
    """What is held against clients is held against them, not against their proxy."""

    proxies = ProxySettings(("127.0.0.0/8",))
    abuse = AbuseSettings(handshakes=2, failed_tickets=2, exempt=())

    def test_connections_that_come_to_nothing(self) -> None:
        for number, expected in ((1, 1), (1, 2), (1, 2), (2, 3)):
            client = self.connect(announced=True)
            self.send(client, text_header((f"198.51.100.{number}", 1), HERE))
            self.assertEqual(expected, self.front.handshakes_open)
        self.assertEqual(1, self.watch.closed["client-rate"])


class ForwardedTests(FrontTestCase):
    proxies = ProxySettings(("127.0.0.0/8",), forwarded=ForwardedHeader.X_FORWARDED_FOR)
    abuse = AbuseSettings(failed_tickets=2)

    def test_a_session(self) -> None:
        client = self.connect()
        self.send(client, asked("203.0.113.1", "198.51.100.7:99, 127.0.0.5"))
        (started,) = self.started
        self.assertEqual("198.51.100.7", started.place.client)
        self.assertEqual(IPv4Address("TCP", "198.51.100.7", 99), started.on_behalf_of.source)
        host: Any = started.on_behalf_of.destination
        self.assertEqual(client.getpeername(), (host.host, host.port))

    def test_without_the_field(self) -> None:
        self.send(self.connect(), asked())
        self.assertEqual(LOOPBACK, self.started[0].place.client)

    def test_the_client_in_a_refusal(self) -> None:
        self.refused(asked("198.51.100.7", ticket=BAD), Refusal.TICKET_REFUSED)
        (refused,) = self.happenings
        assert isinstance(refused, RequestRefused)
        self.assertEqual("198.51.100.7", refused.client)

    def test_a_malformed_field(self) -> None:
        self.refused(asked("203.0.113.1, garbage"), Refusal.MALFORMED)
        (refused,) = self.happenings
        assert isinstance(refused, RequestRefused)
        self.assertEqual((LOOPBACK, "forwarded: no address"), (refused.client, refused.detail))

    def test_after_the_header_of_another_proxy(self) -> None:
        client = self.connect(announced=True)
        self.send(client, text_header(("127.9.9.9", 1), HERE) + asked("198.51.100.7"))
        self.assertEqual("198.51.100.7", self.started[0].place.client)
        # Who comes through a proxy that only passes on is not a proxy itself.
        client = self.connect(announced=True)
        self.send(client, text_header(("198.51.100.8", 1), HERE) + asked("203.0.113.1"))
        self.assertEqual("198.51.100.8", self.started[1].place.client)

    def test_each_request_of_a_connection(self) -> None:
        client = self.connect()
        page = b"GET /%b HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: %b\r\n\r\n"
        self.send(client, page % (GOOD.encode(), b"198.51.100.1"))
        self.send(client, asked("198.51.100.2"))
        self.assertEqual("198.51.100.2", self.started[0].place.client)

    def test_pages_are_held_against_the_client(self) -> None:
        page = "GET /{} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {}\r\nConnection: close\r\n\r\n"

        def status(client: str, ticket: str = BAD) -> int:
            return self.answer(page.format(ticket, client).encode()).status

        for client in ("198.51.100.1", "198.51.100.1"):
            self.refused(asked(client, ticket=BAD), Refusal.TICKET_REFUSED)
        self.assertEqual(429, status("198.51.100.1"))
        self.assertEqual(401, status("198.51.100.2"))
        # What cannot be read is nobody's request.
        self.assertEqual(400, status("garbage"))
        self.assertEqual(400, status("garbage", GOOD))


class Rfc7239Tests(FrontTestCase):
    proxies = ProxySettings(("127.0.0.0/8",), forwarded=ForwardedHeader.FORWARDED)

    def test_a_session(self) -> None:
        fields = [
            ("Forwarded", 'for=203.0.113.1, for="[2001:db8::7]:80"'),
            ("X-Forwarded-For", "203.0.113.9"),
        ]
        self.send(self.connect(), upgrade(f"/{GOOD}", fields))
        source = self.started[0].on_behalf_of.source
        assert source is not None
        self.assertEqual(("2001:db8::7", "2001:db8::7"), (self.started[0].place.client, client_text(source)))

    def test_a_malformed_field(self) -> None:
        self.refused(asked('for="198.51.100.7', name="Forwarded"), Refusal.MALFORMED)
