from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.settings import (
    BadValueError,
    NamePattern,
    PortSet,
    normalise_host,
    parse_name_pattern,
    parse_network,
    parse_origin,
    parse_ports,
    parse_socket_key,
)

PORTS = st.integers(1, 65535)
RANGES = st.lists(st.tuples(PORTS, PORTS).map(lambda pair: (min(pair), max(pair))), max_size=8)
LABELS = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
HOSTS = st.one_of(NAMES, st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"))
ODD_TEXT = st.one_of(
    st.text(max_size=40),
    st.text("0123456789.:/-*[]%axh", max_size=30),
    st.text("0123456789.:[]ab", max_size=20).map("https://".__add__),
)


class ParserTestCase(SynchronousTestCase):
    def refused(self, parser: Callable[[str], Any], *cases: tuple[str, str]) -> None:
        for text, expected in cases:
            with self.assertRaises(BadValueError, msg=text) as caught:
                parser(text)
            self.assertIn(expected, str(caught.exception), text)
            self.assertTrue(str(caught.exception).isprintable(), text)
            self.assertLess(len(str(caught.exception)), 300)


class AnyTextTests(SynchronousTestCase):
    @given(ODD_TEXT)
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        """Nothing but ValueError; and what is accepted is a fixed point of the parser."""
        parsers: tuple[Callable[[str], Any], ...] = (
            parse_network,
            parse_name_pattern,
            parse_origin,
            normalise_host,
            lambda item: parse_ports([item]),
        )
        for parser in parsers:
            try:
                value = parser(text)
            except ValueError:
                continue
            self.assertEqual(parser(str(value)), value)
        try:
            host, port = parse_socket_key(text)
        except ValueError:
            return
        again = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.assertEqual(parse_socket_key(again), (host, port))


class PortTests(ParserTestCase):
    def test_ports_and_ranges(self) -> None:
        ports = parse_ports(["5900-5910", "443", "5911", "5905-5920", "00080"])
        self.assertEqual(ports.ranges, ((80, 80), (443, 443), (5900, 5920)))
        self.assertEqual(str(ports), "80, 443, 5900-5920")
        self.assertNotIn(5921, ports)
        self.assertNotIn(0, parse_ports([]))

    def test_refused(self) -> None:
        self.refused(
            lambda text: parse_ports([text]),
            ("", "not a port"),
            ("0", "out of range"),
            ("65536", "out of range"),
            ("1-70000", "out of range"),
            ("0-5", "out of range"),
            ("9-1", "write '1-9'"),
            ("1-", "not a port"),
            ("-1", "not a port"),
            (" 1", "not a port"),
            ("1\n", "not a port"),
            ("1-2-3", "not a port"),
            ("\u0665", "not a port"),
            ("9" * 10000, "not a port"),
        )

    @given(RANGES, RANGES, PORTS)
    def test_membership_is_that_of_any_range(
        self, one: list[tuple[int, int]], other: list[tuple[int, int]], port: int
    ) -> None:
        ports = parse_ports(f"{a}-{b}" for a, b in one) | PortSet.of(other)
        for probe in {port, *(edge + d for pair in one + other for edge in pair for d in (-1, 0, 1))}:
            self.assertEqual(probe in ports, any(a <= probe <= b for a, b in one + other))
        for left, right in zip(ports.ranges, ports.ranges[1:], strict=False):
            self.assertLess(left[1] + 1, right[0])


class NetworkTests(ParserTestCase):
    def test_networks(self) -> None:
        self.assertEqual(parse_network("192.0.2.0/24"), ipaddress.ip_network("192.0.2.0/24"))
        self.assertEqual(parse_network("2001:DB8::/32"), ipaddress.ip_network("2001:db8::/32"))
        self.assertEqual(parse_network("127.0.0.1"), ipaddress.ip_network("127.0.0.1/32"))
        self.assertEqual(parse_network("::/0"), ipaddress.ip_network("::/0"))

    def test_refused(self) -> None:
        self.refused(
            parse_network,
            ("10.1.2.3/8", "write '10.0.0.0/8'"),
            ("2001:db8::1/32", "write '2001:db8::/32'"),
            ("10.0.0.0/255.0.0.0", "not a network"),
            ("10.0.0.0/33", "not a network"),
            ("10.0.0.0/", "not a network"),
            ("fe80::1%eth0/128", "not a network"),
            ("::ffff:10.0.0.0/104", "write '10.0.0.0/8'"),
            ("::ffff:10.0.0.1", "write '10.0.0.1/32'"),
            ("example.com", "not a network"),
            ("", "not a network"),
            ("010.0.0.1", "not a network"),
        )

    @given(st.ip_addresses(), st.integers(0, 128))
    def test_host_bits_are_refused_with_the_network_meant(self, address: Any, prefix: int) -> None:
        prefix = min(prefix, address.max_prefixlen)
        meant: Any = ipaddress.ip_network((address, prefix), strict=False)
        mapped = address.version == 6 and meant.subnet_of(ipaddress.IPv6Network("::ffff:0:0/96"))
        text = f"{address}/{prefix}"
        if meant.network_address == address and not mapped:
            self.assertEqual(parse_network(text), meant)
        else:
            with self.assertRaises(BadValueError):
                parse_network(text)


class NameTests(ParserTestCase):
    def test_exact(self) -> None:
        pattern = parse_name_pattern("Host.Example.com.")
        self.assertEqual(pattern, NamePattern("host.example.com"))
        self.assertTrue(pattern("HOST.example.com"))
        self.assertTrue(pattern("host.example.com."))
        self.assertFalse(pattern("a.host.example.com"))
        self.assertFalse(pattern("host.example.com.evil.example"))

    def test_below(self) -> None:
        pattern = parse_name_pattern("*.example.com")
        self.assertTrue(pattern("a.example.com"))
        self.assertTrue(pattern("a.b.Example.com."))
        self.assertFalse(pattern("example.com"))
        self.assertFalse(pattern(".example.com"))
        self.assertFalse(pattern("badexample.com"))
        self.assertFalse(pattern("a.example.com.."))

    def test_refused(self) -> None:
        self.refused(
            parse_name_pattern,
            ("", "not a host name"),
            ("*", "not a host name"),
            ("*.", "not a host name"),
            ("a.*.com", "not a host name"),
            ("*.*.com", "not a host name"),
            ("a..b", "not a host name"),
            (".a", "not a host name"),
            ("-a", "not a host name"),
            ("a" * 64, "not a host name"),
            ("a." * 127 + "a", "not a host name"),
            ("b\u00fccher.example", "not a host name"),
            ("\u212a.example", "not a host name"),
            ("192.0.2.1", "targets.networks"),
            ("::1", "targets.networks"),
            ("127.1", "not a host name"),
            ("0x7f000001", "not a host name"),
            ("a.example\n", "not a host name"),
        )

    @given(NAMES, NAMES)
    def test_pattern_matches_by_whole_labels(self, name: str, below: str) -> None:
        self.assertTrue(parse_name_pattern(f"*.{name}")(f"{below}.{name}".upper()))
        self.assertFalse(parse_name_pattern(f"*.{name}")(f"x{name}"))
        self.assertFalse(parse_name_pattern(name)(f"{below}.{name}"))


class OriginTests(ParserTestCase):
    def test_origins(self) -> None:
        for text, origin in {
            "https://Engine.Example.com": "https://engine.example.com",
            "HTTPS://engine.example.com:443": "https://engine.example.com",
            "https://engine.example.com:8443": "https://engine.example.com:8443",
            "http://localhost:80": "http://localhost",
            "http://localhost:443": "http://localhost:443",
            "https://[2001:DB8:0:0::1]:0443": "https://[2001:db8::1]",
            "https://192.0.2.1": "https://192.0.2.1",
        }.items():
            self.assertEqual(parse_origin(text), origin)

    def test_refused(self) -> None:
        self.refused(
            parse_origin,
            ("", "not a web origin"),
            ("null", "not a web origin"),
            ("engine.example.com", "not a web origin"),
            ("ftp://a", "not a web origin"),
            ("https://a/", "not a web origin"),
            ("https://a/path", "not a web origin"),
            ("https://a?q", "not a web origin"),
            ("https://a#f", "not a web origin"),
            ("https://user@a", "not a web origin"),
            ("https://a:", "not a web origin"),
            ("https://a:0", "no valid port"),
            ("https://a:65536", "no valid port"),
            ("https://[::1", "not a web origin"),
            ("https://::1", "not a web origin"),
            ("https://[a]", "no valid host"),
            ("https://[127.0.0.1]", "no valid host"),
            ("https://*.example.com", "no valid host"),
            ("https://a.example.", "no valid host"),
            ("https://a b", "no valid host"),
            ("https://a\r\nX: y", "not a web origin"),
            ("https://" + "a." * 5000, "not a web origin"),
        )

    @given(st.sampled_from(["https", "http"]), HOSTS, PORTS)
    def test_one_spelling(self, scheme: str, host: str, port: int) -> None:
        default = {"https": 443, "http": 80}[scheme]
        origin = parse_origin(f"{scheme}://{host}:{port}")
        self.assertEqual(parse_origin(f"{scheme}://{host}:{port}".upper()), origin)
        self.assertEqual(parse_origin(origin), origin)
        self.assertEqual(origin == parse_origin(f"{scheme}://{host}"), port == default)


class SocketKeyTests(ParserTestCase):
    def test_keys(self) -> None:
        self.assertEqual(parse_socket_key("VM-1.example.com:5900"), ("vm-1.example.com", 5900))
        self.assertEqual(parse_socket_key("[2001:DB8::0:1]:1"), ("2001:db8::1", 1))
        self.assertEqual(parse_socket_key("127.0.0.1:65535"), ("127.0.0.1", 65535))

    def test_refused(self) -> None:
        self.refused(
            parse_socket_key,
            ("", "not a host and port"),
            ("host", "not a host and port"),
            ("host:", "not a host and port"),
            ("host:0", "not a host and port"),
            ("host:65536", "not a host and port"),
            ("::1:5900", "not a host and port"),
            ("[::1]", "not a host and port"),
            ("[x]:1", "no valid host"),
            ("a b:1", "no valid host"),
            ("a:1:2", "not a host and port"),
        )

    @given(HOSTS, PORTS)
    def test_every_host_and_port(self, host: str, port: int) -> None:
        self.assertEqual(parse_socket_key(f"{host}:{port}"), (normalise_host(host), port))
