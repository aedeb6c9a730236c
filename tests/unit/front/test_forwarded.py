from __future__ import annotations

import contextlib
import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from gateway.front.forwarded import MAX_HOPS, BadForwarded, Clients
from gateway.net import client_text, ip_address
from gateway.settings import ForwardedHeader, ProxySettings

PROXY = IPv4Address("TCP", "192.0.2.1", 40000)
NETWORKS = ("192.0.2.0/24", "2001:db8:9::/48")
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
TRUSTED = st.integers(1, 254).map(lambda n: f"192.0.2.{n}")


class ForwardedTestCase(SynchronousTestCase):
    header = ForwardedHeader.NONE
    name = ""

    def find(self, *values: str, peer: IAddress = PROXY, unix: bool = False) -> IAddress:
        clients = Clients(ProxySettings(NETWORKS, unix=unix, forwarded=self.header))

        def of(name: str) -> list[str]:
            self.assertEqual(self.name, name)
            return list(values)

        return clients.find(peer, of)

    def client(self, *values: str) -> str:
        return client_text(self.find(*values))

    def refused(self, text: str, *values: str) -> None:
        error = self.assertRaises(BadForwarded, self.find, *values)
        self.assertEqual(text, str(error))


class NoneTests(ForwardedTestCase):
    def test_nothing_is_looked_at(self) -> None:
        self.assertIs(PROXY, self.find("198.51.100.7"))


class XForwardedForTests(ForwardedTestCase):
    header = ForwardedHeader.X_FORWARDED_FOR
    name = "x-forwarded-for"

    def test_the_last_that_is_not_trusted(self) -> None:
        for values, expected in {
            ("198.51.100.7",): "198.51.100.7",
            ("203.0.113.1, 198.51.100.7",): "198.51.100.7",
            ("203.0.113.1,198.51.100.7 , 192.0.2.9",): "198.51.100.7",
            ("203.0.113.1", "198.51.100.7", "192.0.2.9,192.0.2.8"): "198.51.100.7",
            ("198.51.100.7", "2001:db8:9::1"): "198.51.100.7",
            ("2001:db8::7",): "2001:db8::7",
            ("[2001:DB8::7]",): "2001:db8::7",
            ("[2001:db8::7]:443",): "2001:db8::7",
            ("198.51.100.7:56324",): "198.51.100.7",
            ("::ffff:198.51.100.7",): "198.51.100.7",
            ("::ffff:192.0.2.7, ::ffff:192.0.2.8",): "192.0.2.7",
            ("198.51.100.7,, ,\t",): "198.51.100.7",
        }.items():
            self.assertEqual(expected, self.client(*values), values)

    def test_the_port_where_there_is_one(self) -> None:
        self.assertEqual(IPv4Address("TCP", "198.51.100.7", 56324), self.find("198.51.100.7:56324"))
        self.assertEqual(IPv6Address("TCP", "2001:db8::7", 0), self.find("2001:db8::7"))

    def test_everybody_is_trusted(self) -> None:
        self.assertEqual("192.0.2.2", self.client("192.0.2.2, 192.0.2.3"))

    def test_nobody_is_named(self) -> None:
        for values in ((), ("",), (" , ,",), ("unknown",), ("198.51.100.7, unknown",), ("_hidden",)):
            self.assertEqual(PROXY.host, self.client(*values), values)
        self.assertEqual("192.0.2.3", self.client("198.51.100.7, unknown, 192.0.2.3"))

    def test_what_a_client_made_up_is_not_looked_at(self) -> None:
        for invention in (
            "garbage",
            "127.0.0.1",
            '"',
            "192.0.2.5",
            "x" * 30000,
            ", ".join(["192.0.2.5"] * 2000),
        ):
            self.assertEqual("198.51.100.7", self.client(f"{invention}, 198.51.100.7"), invention)
            self.assertEqual("198.51.100.7", self.client(invention, "198.51.100.7"), invention)

    def test_an_untrusted_peer(self) -> None:
        for peer in (
            IPv4Address("TCP", "192.0.3.1", 1),
            IPv6Address("TCP", "2001:db8:8::1", 1),
            UNIXAddress(None),
        ):
            self.assertIs(peer, self.find("198.51.100.7", peer=peer))

    def test_trusted_peers(self) -> None:
        for peer in (IPv6Address("TCP", "2001:db8:9::1", 1), UNIXAddress("/run/x.sock"), UNIXAddress(None)):
            found = self.find("203.0.113.1, 198.51.100.7", peer=peer, unix=True)
            self.assertEqual("198.51.100.7", client_text(found))

    def test_malformed(self) -> None:
        for value in (
            "garbage",
            "198.51.100",
            "198.51.100.07",
            "198.51.100.256",
            "198.51.100.7/32",
            "198.51.100.7 198.51.100.8",
            "gateway.example.com",
            "[198.51.100.7]",
            "[2001:db8::7",
            "2001:db8::7]",
            "2001:db8::7:",
            "fe80::1%lo",
            ":",
            "::1::",
            '"198.51.100.7"',
            "for=198.51.100.7",
            "\xb2.0.0.1",
            "unknown.example.com",
        ):
            self.refused("no address", f"198.51.100.7, {value}")
        for value in ("198.51.100.7:65536", "[::1]:99999"):
            self.refused("no port", value)
        for value in ("198.51.100.7:", "198.51.100.7:123456", "198.51.100.7:x", "198.51.100.7:-1"):
            self.refused("no address", value)

    def test_too_many(self) -> None:
        def proxies(count: int) -> str:
            return ", ".join(["198.51.100.7", *["192.0.2.5"] * count])

        self.assertEqual("198.51.100.7", self.client(proxies(MAX_HOPS - 1)))
        self.refused(f"more than {MAX_HOPS} proxies", proxies(MAX_HOPS))

    @given(st.text(max_size=60))
    def test_anything(self, text: str) -> None:
        try:
            found = self.find(text)
        except BadForwarded as error:
            self.assertNotIn("\n", str(error))
            return
        self.assertIsInstance(found, IPv4Address | IPv6Address)

    @given(st.text(max_size=40), ADDRESSES, st.lists(TRUSTED, max_size=5), st.booleans())
    def test_walk(self, invention: str, address: str, proxies: list[str], joined: bool) -> None:
        client = ip_address(address, 0)
        values = [invention, address, *proxies]
        trusted = client.host.startswith("192.0.2.") or client.host.startswith("2001:db8:9:")
        if not trusted:
            self.assertEqual(client, self.find(*([", ".join(values)] if joined else values)))


class ForwardedTests(ForwardedTestCase):
    header = ForwardedHeader.FORWARDED
    name = "forwarded"

    def test_the_last_that_is_not_trusted(self) -> None:
        for values, expected in {
            ("for=198.51.100.7",): "198.51.100.7",
            ("For=198.51.100.7;proto=http;by=203.0.113.43",): "198.51.100.7",
            ("proto=https ; FOR=198.51.100.7",): "198.51.100.7",
            ("for=203.0.113.1, for=198.51.100.7",): "198.51.100.7",
            ("for=203.0.113.1,for=198.51.100.7 , ,for=192.0.2.9;by=_x",): "198.51.100.7",
            ("for=203.0.113.1", "for=198.51.100.7", "for=192.0.2.9"): "198.51.100.7",
            ('for="[2001:db8:cafe::17]:4711"',): "2001:db8:cafe::17",
            ('for="[2001:db8:cafe::17]"',): "2001:db8:cafe::17",
            ('for="198.51.100.7:_port"',): "198.51.100.7",
            (r'for="198.51\.100.7"',): "198.51.100.7",
            ('for=203.0.113.1;host="a, for=203.0.113.2", for=198.51.100.7',): "198.51.100.7",
            (r'host="\"", for=198.51.100.7',): "198.51.100.7",
        }.items():
            self.assertEqual(expected, self.client(*values), values)

    def test_nobody_is_named(self) -> None:
        for value in (
            "",
            ",",
            "for=unknown",
            'for="_gazonk"',
            "for=_hidden",
            "proto=https",
            "for=1.2.3.4, by=_x",
        ):
            self.assertEqual(PROXY.host, self.client(value), value)
        self.assertEqual(IPv4Address("TCP", "198.51.100.7", 80), self.find('for="198.51.100.7:80"'))

    def test_malformed(self) -> None:
        for value in (
            "198.51.100.7",
            "for",
            "for=",
            "for =198.51.100.7",
            "for= 198.51.100.7",
            "=198.51.100.7",
            "for=198.51.100.7 proto=https",
            "for=198.51.100.7:80",
            "for=[::1]",
            'for="198.51.100.7',
            'for=198.51.100.7"',
            'for="198.51.100.7"proto=https',
            'for="198.51.100.7\\"',
            "for=198.51.100.7, garbage",
            "garbage, for=198.51.100.7",
            "for=\x01",
        ):
            self.refused("no list of parameters", value)
        self.refused("a parameter that is there twice", "for=203.0.113.1;For=198.51.100.7")
        for value in (
            "for=x",
            'for=""',
            'for="[198.51.100.7]"',
            'for="2001:db8::7"',
            'for="[::1%lo]"',
            "for='198.51.100.7'",
            'for=" "',
        ):
            self.refused("no address", value)

    def test_a_string_does_not_swallow_what_a_proxy_adds(self) -> None:
        for invention in (
            'for=203.0.113.1;x="',
            r'for=203.0.113.1;x="\\',
            r'for=203.0.113.1;x="\"',
            '"',
            "x=",
        ):
            for added in ("for=198.51.100.7", 'for="[2001:db8::7]"', 'for="198.51.100.7:80";by="_x"'):
                self.assertRaises(BadForwarded, self.find, f"{invention}, {added}")
                # A field of its own is not touched by it.
                self.assertNotEqual("203.0.113.1", self.client(invention, added))

    def test_time_is_linear(self) -> None:
        begun = time.process_time()
        for value in (
            'x="' + "\\" * 32000,
            "a" * 32000,
            ";" * 32000,
            'a="b";' * 5000,
            " " * 32000,
            ", \t" * 10000,
        ):
            with contextlib.suppress(BadForwarded):
                self.find(value)
        self.assertLess(time.process_time() - begun, 2)

    @given(st.text(max_size=60))
    def test_anything(self, text: str) -> None:
        try:
            found = self.find(text)
        except BadForwarded as error:
            self.assertNotIn("\n", str(error))
            return
        self.assertIsInstance(found, IPv4Address | IPv6Address)

    @given(st.text(max_size=40), ADDRESSES)
    def test_nothing_in_front_can_stand_for_the_client(self, invention: str, address: str) -> None:
        client = ip_address(address, 0)
        node = f'"[{client.host}]"' if isinstance(client, IPv6Address) else client.host
        try:
            found = self.find(f"{invention}, for={node}")
        except BadForwarded:
            return
        if client.host.startswith("192.0.2.") or client.host.startswith("2001:db8:9:"):
            return
        self.assertEqual(client, found)
