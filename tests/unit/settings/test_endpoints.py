from __future__ import annotations

import ipaddress
import string

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from gateway.settings import (
    BadValueError,
    Endpoint,
    SystemdEndpoint,
    TcpEndpoint,
    UnixEndpoint,
    endpoints_overlap,
    parse_endpoint,
)

PRINTABLE = st.characters(exclude_categories=("C", "Z"))
ADDRESSES = st.one_of(st.ip_addresses(), st.just(ipaddress.ip_address("::"))).map(str)
TCP = st.builds(TcpEndpoint, st.integers(0, 65535), st.one_of(st.just(""), ADDRESSES))
UNIX = st.builds(UnixEndpoint, st.text(PRINTABLE, max_size=20).map("/".__add__), st.integers(0, 0o777))
SYSTEMD = st.one_of(
    st.builds(SystemdEndpoint, index=st.integers(0, 999)),
    st.builds(
        SystemdEndpoint,
        name=st.text(string.ascii_letters + "./\\-_@", min_size=1, max_size=40),
    ),
)


class ParseEndpointTests(SynchronousTestCase):
    def test_documented_forms(self) -> None:
        cases: dict[str, Endpoint] = {
            "tcp:6100": TcpEndpoint(6100),
            "tcp:0": TcpEndpoint(0),
            "tcp:65535:interface=192.0.2.1": TcpEndpoint(65535, "192.0.2.1"),
            "tcp:1:interface=[2001:DB8:0::1]": TcpEndpoint(1, "2001:db8::1"),
            r"tcp:1:interface=\:\:1": TcpEndpoint(1, "::1"),
            "tcp:1:interface=[fe80::1%eth0]": TcpEndpoint(1, "fe80::1%eth0"),
            "unix:/run/a b.sock:mode=600": UnixEndpoint("/run/a b.sock", 0o600),
            "unix:/run/x=[y]": UnixEndpoint("/run/x=[y]", 0o660),
            r"unix:/run/a\:b\\c:mode=0777": UnixEndpoint("/run/a:b\\c", 0o777),
            "systemd:console.socket": SystemdEndpoint(name="console.socket"),
            "systemd:3": SystemdEndpoint(index=3),
        }
        for text, endpoint in cases.items():
            self.assertEqual(parse_endpoint(text), endpoint, text)

    def test_refused(self) -> None:
        cases = {
            "": "no known kind",
            "ssl:443": "no known kind",
            "TCP:1": "no known kind",
            "tcp": "incomplete",
            "tcp:": "incomplete",
            "tcp:65536": "no valid port",
            "tcp:-1": "no valid port",
            "tcp:+1": "no valid port",
            "tcp: 1": "no valid port",
            "tcp:\u0661": "no valid port",
            "tcp:1:interface=": "no valid interface",
            "tcp:1:interface=localhost": "no valid interface",
            "tcp:1:interface=[127.0.0.1]": "no valid interface",
            "tcp:1:interface=[::1": "unknown parameter",
            "tcp:1:interface=[::1]x": "unknown parameter",
            "tcp:1:interface=::1": "interface=[::1]",
            "tcp:1:interface=2001:db8::1": "interface=[::1]",
            "tcp:1:interface=::1%a]": "interface=[::1]",
            "tcp:1:backlog=5": "unknown parameter",
            "tcp:1:127.0.0.1": "unknown parameter",
            "tcp:1:interface=127.0.0.1:interface=127.0.0.2": "twice",
            "tcp:1\\": "backslash",
            "unix:relative": "not absolute",
            "unix:/a\0b": "unprintable",
            "unix:/a\nb": "unprintable",
            "unix:/" + "a" * 107: "longer than 107 bytes",
            "unix:/a:mode=888": "no valid mode",
            "unix:/a:mode=1777": "no valid mode",
            "unix:/a:lockfile=0": "unknown parameter",
            "systemd:1000": "no socket of systemd",
            "systemd:a b": "no socket of systemd",
            r"systemd:a\:b": "no socket of systemd",
            "systemd:a:mode=660": "unknown parameter",
            "tcp:" + "1" * 600: "longer than 512",
        }
        for text, expected in cases.items():
            with self.assertRaises(BadValueError, msg=text) as caught:
                parse_endpoint(text)
            self.assertIn(expected, str(caught.exception), text)
            self.assertLess(len(str(caught.exception)), 300)
            self.assertTrue(str(caught.exception).isprintable())

    @given(st.one_of(TCP, UNIX, SYSTEMD))
    def test_what_is_written_is_read_back(self, endpoint: Endpoint) -> None:
        self.assertEqual(parse_endpoint(str(endpoint)), endpoint)

    @given(
        st.one_of(
            st.text(),
            st.from_regex(r"(tcp|unix|systemd):[\\:=\[\]a-f0-9/]*(interface=|mode=)?[\\:\[\]a-f0-9.]*"),
        )
    )
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            endpoint = parse_endpoint(text)
        except ValueError:
            return
        self.assertEqual(parse_endpoint(str(endpoint)), endpoint)

    @given(TCP)
    def test_twisted_reads_our_tcp_endpoints_alike(self, endpoint: TcpEndpoint) -> None:
        reactor = MemoryReactor()
        escaped = endpoint.interface.replace(":", r"\:")
        server = serverFromString(reactor, f"tcp:{endpoint.port}:interface={escaped}")
        parsed = parse_endpoint(f"tcp:{endpoint.port}" + (f":interface={escaped}" if escaped else ""))
        self.assertEqual(parsed, TcpEndpoint(server._port, server._interface))


class OverlapTests(SynchronousTestCase):
    def overlap(self, one: str, other: str) -> bool:
        first, second = parse_endpoint(one), parse_endpoint(other)
        result = endpoints_overlap(first, second)
        self.assertEqual(endpoints_overlap(second, first), result)
        return result

    def test_overlaps(self) -> None:
        for one, other in (
            ("tcp:1", "tcp:1"),
            ("tcp:1", "tcp:1:interface=127.0.0.1"),
            ("tcp:1:interface=0.0.0.0", "tcp:1:interface=127.0.0.1"),
            ("tcp:1:interface=[::]", "tcp:1:interface=[::1]"),
            ("unix:/a:mode=600", "unix:/a:mode=660"),
            ("systemd:a", "systemd:a"),
            ("systemd:0", "systemd:0"),
        ):
            self.assertTrue(self.overlap(one, other), (one, other))

    def test_does_not_overlap(self) -> None:
        for one, other in (
            ("tcp:0", "tcp:0"),
            ("tcp:1", "tcp:2"),
            ("tcp:1:interface=127.0.0.1", "tcp:1:interface=127.0.0.2"),
            ("tcp:1:interface=0.0.0.0", "tcp:1:interface=[::1]"),
            ("unix:/a", "unix:/b"),
            ("systemd:0", "systemd:1"),
            ("tcp:1", "unix:/1"),
        ):
            self.assertFalse(self.overlap(one, other), (one, other))
