from __future__ import annotations

import contextlib
import ipaddress

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.settings import (
    BadValueError,
    NamePattern,
    TargetIndex,
    TargetPattern,
    normalise_host,
    parse_fingerprint,
    parse_network,
    parse_target,
)
from tests.unit.settings.test_values import NAMES, ODD_TEXT, PORTS, ParserTestCase

DIGEST = bytes(range(32))
# Few labels and few bits, so that patterns and hosts meet.
SHORT_NAMES = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(".".join)
V4 = st.integers(0, 7).map(lambda n: ipaddress.IPv4Address(0x0A000000 + n))
V6 = st.integers(0, 7).map(lambda n: ipaddress.IPv6Address((0x20010DB8 << 96) + n))
ADDRESSES = st.one_of(V4, V6)
FEW_PORTS = st.integers(5900, 5902)


def network(pair: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]) -> str:
    address, host_bits = pair
    return str(ipaddress.ip_network((address, address.max_prefixlen - host_bits), strict=False))


def with_port(pair: tuple[str, int]) -> str:
    host, port = pair
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


TARGETS = st.one_of(
    SHORT_NAMES,
    SHORT_NAMES.map("*.".__add__),
    st.tuples(ADDRESSES, st.integers(0, 3)).map(network),
    st.tuples(ADDRESSES, st.just(32)).map(network),
    st.tuples(st.one_of(SHORT_NAMES, ADDRESSES.map(str)), FEW_PORTS).map(with_port),
)
HOSTS = st.one_of(SHORT_NAMES, SHORT_NAMES.map(str.upper), ADDRESSES.map(str), V4.map("::ffff:{}".format))


def matches(pattern: TargetPattern, host: str, port: int) -> bool:
    """What the index must find, one pattern at a time."""
    if pattern.port not in (None, port):
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return isinstance(pattern.where, NamePattern) and pattern.where(host)
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return not isinstance(pattern.where, NamePattern) and address in pattern.where


class ParseTargetTests(ParserTestCase):
    def test_documented_forms(self) -> None:
        name = NamePattern("host.example.com")
        for text, expected in {
            "host.example.com": TargetPattern(name),
            "HOST.example.com.": TargetPattern(name),
            "*.host.example.com": TargetPattern(NamePattern("host.example.com", below=True)),
            "host.example.com:5900": TargetPattern(name, 5900),
            "192.0.2.1": TargetPattern(parse_network("192.0.2.1/32")),
            "192.0.2.0/24": TargetPattern(parse_network("192.0.2.0/24")),
            "192.0.2.1:5900": TargetPattern(parse_network("192.0.2.1/32"), 5900),
            "2001:db8::1": TargetPattern(parse_network("2001:db8::1/128")),
            "2001:db8::/32": TargetPattern(parse_network("2001:db8::/32")),
            "[2001:DB8::1]:5900": TargetPattern(parse_network("2001:db8::1/128"), 5900),
            # An address, and not one with a port.
            "2001:db8::1:5900": TargetPattern(parse_network("2001:db8::1:5900/128")),
        }.items():
            self.assertEqual(parse_target(text), expected, text)

    def test_refused(self) -> None:
        self.refused(
            parse_target,
            ("", "is no target"),
            ("*", "is no target"),
            ("*.", "is no target"),
            ("a.*", "is no target"),
            ("10.1", "is no target"),
            ("a b", "is no target"),
            ("a" * 1000, "is no target"),
            ("a/" * 1000, "is no target"),
            ("10.0.0.1/8", "bits set behind"),
            ("10.0.0.0/33", "is not a network"),
            ("host/24", "is not a network"),
            ("::ffff:10.0.0.1", "IPv4-mapped"),
            ("fe80::1%eth0", "is not a network"),
            ("*.example.com:5900", "no valid host"),
            ("host:0", "is not a host and port"),
            ("host:65536", "is not a host and port"),
            ("host:", "is not a host and port"),
            ("[::1]", "is not a host and port"),
            ("[::1", "is not a host and port"),
            ("[::ffff:10.0.0.1]:5900", "IPv4-mapped"),
        )

    @given(st.one_of(ODD_TEXT, NAMES, TARGETS, st.tuples(NAMES, PORTS).map(with_port)))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            pattern = parse_target(text)
        except BadValueError as error:
            self.assertTrue(str(error).isprintable())
            return
        self.assertEqual(parse_target(str(pattern)), pattern)


class ParseFingerprintTests(ParserTestCase):
    def test_documented_forms(self) -> None:
        for text in (DIGEST.hex(), DIGEST.hex().upper(), DIGEST.hex(":"), DIGEST.hex(":").upper()):
            self.assertEqual(parse_fingerprint(text), DIGEST)

    def test_refused(self) -> None:
        for text in (
            "",
            DIGEST.hex()[:-1],
            DIGEST.hex()[:-2],
            DIGEST.hex() + "00",
            DIGEST.hex(":") + ":",
            DIGEST.hex(":", 2),
            DIGEST.hex(" "),
            DIGEST.hex("-"),
            "sha256:" + DIGEST.hex(),
            DIGEST.hex() + "\n",
            "\u0661" * 64,
            "g" * 64,
            "0" * 10_000,
        ):
            self.refused(parse_fingerprint, (text, "is no SHA-256 fingerprint"))

    @given(st.binary(min_size=32, max_size=32), st.sampled_from(["", ":"]))
    def test_what_openssl_prints_is_read(self, digest: bytes, separator: str) -> None:
        text = digest.hex(separator) if separator else digest.hex()
        self.assertEqual(parse_fingerprint(text.upper()), digest)

    @given(st.one_of(st.text(), st.text("0123456789abcdefABCDEF:", min_size=60, max_size=100)))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        with contextlib.suppress(BadValueError):
            self.assertEqual(len(parse_fingerprint(text)), 32)


class TargetIndexTests(SynchronousTestCase):
    @given(st.lists(TARGETS, max_size=30), HOSTS, FEW_PORTS)
    @example(["10.0.0.0/29", "10.0.0.1:5900"], "::ffff:10.0.0.1", 5900)
    @example(["0.0.0.0/0", "::/0"], "::ffff:10.0.0.1", 5900)
    @example(["*.a", "*.b.a", "b.a", "c.b.a"], "c.b.a", 5900)
    def test_finds_what_matches_in_order(self, targets: list[str], host: str, port: int) -> None:
        index: TargetIndex[int] = TargetIndex()
        patterns = [parse_target(text) for text in targets]
        for number, pattern in enumerate(patterns):
            index.add(pattern, number)
        self.assertEqual(len(index), len(targets))
        expected = [(p, n) for n, p in enumerate(patterns) if matches(p, host, port)]
        self.assertEqual(index.matches(host, port), expected)

    def test_spelling_of_the_host(self) -> None:
        index: TargetIndex[str] = TargetIndex()
        index.add(parse_target("host.example.com"), "name")
        index.add(parse_target("2001:db8::1"), "address")
        for host in ("HOST.Example.COM", "host.example.com."):
            self.assertEqual([value for _, value in index.matches(host, 1)], ["name"])
        for host in ("2001:DB8:0:0::1", "[2001:db8::1]"):
            self.assertEqual([value for _, value in index.matches(host, 1)], ["address"])

    @given(st.text())
    def test_no_host(self, text: str) -> None:
        try:
            normalise_host(text)
        except ValueError:
            self.assertRaises(ValueError, TargetIndex[int]().matches, text, 5900)
