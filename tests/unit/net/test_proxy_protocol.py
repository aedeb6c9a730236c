from __future__ import annotations

import ipaddress
import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from gateway.net import (
    LOCAL_HEADER,
    MAX_PROXY_HEADER,
    BadProxyHeader,
    ProxyDecoder,
    ProxyHeader,
    encode_proxy_header,
    ip_address,
)
from tests.support.proxies import SIGNATURE, binary_header, crc32c, text_header

CLIENT = ("198.51.100.7", 56324)
HERE = ("192.0.2.11", 443)
CLIENT6 = ("2001:db8::7", 1)
HERE6 = ("2001:db8::11", 65535)
BEHIND = b"\x16\x03\x01\x02\x00\x01"

PORTS = st.integers(0, 65535)
V4 = st.tuples(st.ip_addresses(v=4).map(str), PORTS)
V6 = st.tuples(st.ip_addresses(v=6).map(str), PORTS)
PAIRS = st.one_of(st.tuples(V4, V4), st.tuples(V6, V6))
EXTENSIONS = st.lists(
    st.tuples(st.sampled_from([1, 2, 4, 5, 0x20, 0x30, 0xEE]), st.binary(max_size=40)), max_size=5
)


def decode(stream: bytes, *cuts: int) -> tuple[ProxyHeader | None, int]:
    """What a header says, and how long it is, when the stream comes in pieces of these lengths."""
    decoder, taken, at = ProxyDecoder(), 0, 0
    for cut in (*cuts, len(stream)):
        piece = stream[at : at + cut]
        left = decoder.feed(piece)
        taken += left
        if decoder.header is not None:
            break
        assert left == len(piece), "bytes of an incomplete header were left"
        at += cut
    return decoder.header, taken


def header(source: tuple[str, int], destination: tuple[str, int]) -> ProxyHeader:
    return ProxyHeader(ip_address(*source), ip_address(*destination))


class DecodeTests(SynchronousTestCase):
    def good(self, stream: bytes, expected: ProxyHeader) -> None:
        for cuts in ((), (1,) * len(stream), (len(stream) - 1,)):
            self.assertEqual((expected, len(stream)), decode(stream + BEHIND, *cuts), stream)
        for size in range(len(stream)):
            self.assertEqual((None, size), decode(stream[:size]))

    def bad(self, stream: bytes, text: str, *, certain: int | None = None) -> None:
        """:param certain: how many bytes it takes to know."""
        for cuts in ((), (1,) * len(stream)):
            error = self.assertRaises(BadProxyHeader, decode, stream, *cuts)
            self.assertEqual(text, str(error))
        if certain is not None:
            self.assertEqual((None, certain - 1), decode(stream[: certain - 1]))
            self.assertRaises(BadProxyHeader, decode, stream[:certain])

    def test_text(self) -> None:
        self.good(b"PROXY TCP4 198.51.100.7 192.0.2.11 56324 443\r\n", header(CLIENT, HERE))
        self.good(b"PROXY TCP6 2001:db8::7 2001:DB8:0::11 1 65535\r\n", header(CLIENT6, HERE6))
        self.good(
            b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n",
            header(("255.255.255.255", 65535), ("0.0.0.0", 0)),
        )
        longest = b":".join([b"ffff"] * 8)
        self.good(
            b"PROXY TCP6 %b %b 65535 65535\r\n" % (longest, longest),
            ProxyHeader(*(IPv6Address("TCP", longest.decode(), 65535),) * 2),
        )

    def test_an_address_of_a_socket_for_both_families(self) -> None:
        self.good(b"PROXY TCP6 ::ffff:198.51.100.7 ::ffff:c000:20b 56324 443\r\n", header(CLIENT, HERE))

    def test_text_that_says_nothing(self) -> None:
        for line in (
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
            b"PROXY UNKNOWN \xff\x00\r garbage\r\n",
            b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n",
        ):
            self.good(line, ProxyHeader())

    def test_what_is_none(self) -> None:
        self.bad(b"\x16\x03\x01\x02\x00", "there is none", certain=1)
        self.bad(b"GET / HTTP/1.1\r\n", "there is none", certain=1)
        self.bad(b"PUT / HTTP/1.1\r\n", "there is none", certain=2)
        self.bad(b"PROXYTCP4", "there is none", certain=6)
        self.bad(b"proxy TCP4", "there is none", certain=1)
        self.bad(b"\r\n\r\n\0\r\nQUITE", "there is none", certain=12)
        self.bad(b" " + text_header(CLIENT, HERE), "there is none", certain=1)

    def test_malformed_text(self) -> None:
        good = text_header(CLIENT, HERE)
        for line in (
            good.replace(b" 443", b" 0443"),
            good.replace(b" 443", b" +443"),
            good.replace(b" 443", b" 4_43"),
            good.replace(b" 443", b""),
            good.replace(b" 443", b"  443"),
            good.replace(b" 443", b" 443 "),
            good.replace(b" 443", b"\t443"),
            good.replace(b" 443", b" 123456"),
            good.replace(b"TCP4", b"TCP5"),
            good.replace(b"TCP4", b"tcp4"),
            good.replace(b"TCP4", b"UDP4"),
            good.replace(b"PROXY ", b"PROXY  "),
            good.replace(b"\r\n", b"\r\r\n"),
            b"PROXY \r\n",
            b"PROXY UNKNOWNS\r\n",
        ):
            self.bad(line, "the line is malformed", certain=len(line))

    def test_malformed_addresses(self) -> None:
        for line, text in {
            b"PROXY TCP4 198.51.100.07 192.0.2.11 1 2\r\n": "the line has no valid address",
            b"PROXY TCP4 198.51.100 192.0.2.11 1 2\r\n": "the line has no valid address",
            b"PROXY TCP4 198.51.100.7 gateway.example.com 1 2\r\n": "the line has no valid address",
            b"PROXY TCP6 [::1] [::1] 1 2\r\n": "the line has no valid address",
            b"PROXY TCP6 ::1/128 ::1 1 2\r\n": "the line has no valid address",
            b"PROXY TCP6 fe80::1%lo ::1 1 2\r\n": "the line has an address of another family",
            b"PROXY TCP4 ::1 ::1 1 2\r\n": "the line has an address of another family",
            b"PROXY TCP6 192.0.2.1 ::1 1 2\r\n": "the line has an address of another family",
            b"PROXY TCP6 ::1 192.0.2.1 1 2\r\n": "the line has an address of another family",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n": "the line has no valid port",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 99999\r\n": "the line has no valid port",
        }.items():
            self.bad(line, text)

    def test_where_a_line_ends(self) -> None:
        self.bad(b"PROXY TCP4 192.0.2.1\n", "the line does not end with CRLF")
        self.bad(b"PROXY \n", "the line does not end with CRLF")
        self.bad(b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "the line is too long", certain=107)

    def test_binary(self) -> None:
        self.good(binary_header(CLIENT, HERE), header(CLIENT, HERE))
        self.good(binary_header(CLIENT6, HERE6), header(CLIENT6, HERE6))
        self.good(binary_header(CLIENT, HERE, family=0x12), header(CLIENT, HERE))
        self.good(binary_header(CLIENT6, HERE6, family=0x22), header(CLIENT6, HERE6))
        mapped = binary_header(("::ffff:198.51.100.7", 56324), ("::ffff:192.0.2.11", 443))
        self.good(mapped, header(CLIENT, HERE))

    def test_a_client_on_a_unix_socket(self) -> None:
        stream = binary_header(b"/run/a".ljust(108, b"\0"), b"\0abstract".ljust(108, b"\0"), family=0x31)
        self.good(stream, ProxyHeader(UNIXAddress(None), UNIXAddress(None)))

    def test_binary_that_says_nothing(self) -> None:
        self.good(LOCAL_HEADER, ProxyHeader())
        self.good(binary_header(), ProxyHeader())
        # What comes along is skipped, whatever it is.
        self.good(binary_header(CLIENT, HERE, command=0x20), ProxyHeader())
        self.good(binary_header(b"\x03\x00", b"\x09x", command=0x20, family=0xFF), ProxyHeader())
        for family in (0x00, 0x01, 0x02, 0x10, 0x20, 0x30):
            self.good(binary_header(b"anything", b"", family=family), ProxyHeader())

    def test_malformed_binary(self) -> None:
        for command in (0x22, 0x2F, 0x11, 0x31, 0x01):
            self.bad(binary_header(CLIENT, HERE, command=command), "the version or command is unknown")
        for family in (0x13, 0x41, 0xF1, 0x14, 0x40):
            self.bad(binary_header(CLIENT, HERE, family=family), "the family or protocol is unknown")
        for family, size in ((0x11, 11), (0x11, 0), (0x21, 35), (0x31, 215)):
            self.bad(binary_header(bytes(size), b"", family=family), "the addresses are incomplete")
        self.bad(binary_header(CLIENT, HERE, family=0x21), "the addresses are incomplete")

    def test_extensions(self) -> None:
        for extensions in (
            [(4, b"")],
            [(1, b"h2"), (2, b"gateway.example.com"), (0xEA, bytes(300))],
            [(0x20, b"\1\0\0\0\0\x21\0\x07TLSv1.3")],
            [(5, b"x" * 128)] * 15,
        ):
            self.good(binary_header(CLIENT, HERE, extensions=extensions), header(CLIENT, HERE))
        block = binary_header(CLIENT, HERE)[16:]
        for rest in (b"\4", b"\4\0", b"\4\0\1", b"\4\0\0\4\0\5abcd", b"\0"):
            self.bad(binary_header(block, rest, family=0x11), "an extension is incomplete")

    def test_length(self) -> None:
        block = binary_header(CLIENT, HERE)[16:]
        longest = binary_header(block, b"\4" + struct.pack("!H", 2033) + bytes(2033), family=0x11)
        self.assertEqual(MAX_PROXY_HEADER, len(longest))
        self.assertEqual((header(CLIENT, HERE), len(longest)), decode(longest + BEHIND, 1000, 1000, 64, 1))
        longer = binary_header(block, b"\4" + struct.pack("!H", 2034) + bytes(2034), family=0x11)
        self.bad(longer, "it is too long", certain=16)
        self.bad(SIGNATURE + b"\x20\0\xff\xff", "it is too long", certain=16)

    def test_checksum(self) -> None:
        # The check value of this checksum in catalogues of them.
        self.assertEqual(0xE3069283, crc32c(b"123456789"))
        good = binary_header(CLIENT, HERE, checksum=True, extensions=[(2, b"gateway.example.com")])
        self.good(good, header(CLIENT, HERE))
        for place in (*range(16, 28), *range(31, 35), len(good) - 1):
            altered = bytearray(good)
            altered[place] ^= 0x40
            self.bad(bytes(altered), "the checksum is wrong")
        for extensions in ([(3, bytes(3))], [(3, bytes(5))], [(3, b"")]):
            self.bad(binary_header(CLIENT, HERE, extensions=extensions), "the checksum is malformed")
        twice = binary_header(CLIENT, HERE, checksum=True, extensions=[(3, bytes(4))])
        self.bad(twice, "the checksum is malformed")

    def test_nothing_is_taken_from_what_follows(self) -> None:
        decoder = ProxyDecoder()
        self.assertEqual(len(LOCAL_HEADER), decoder.feed(LOCAL_HEADER + BEHIND))
        self.assertEqual(0, decoder.feed(BEHIND))

    @given(PAIRS, st.lists(st.integers(0, 30), max_size=8), st.binary(max_size=20))
    def test_text_in_any_cut(
        self, pair: tuple[tuple[str, int], tuple[str, int]], cuts: list[int], behind: bytes
    ) -> None:
        stream = text_header(*pair)
        self.assertEqual((header(*pair), len(stream)), decode(stream + behind, *cuts))

    @given(PAIRS, EXTENSIONS, st.booleans(), st.lists(st.integers(0, 60), max_size=8), st.binary(max_size=20))
    def test_binary_in_any_cut(
        self,
        pair: tuple[tuple[str, int], tuple[str, int]],
        extensions: list[tuple[int, bytes]],
        checksum: bool,
        cuts: list[int],
        behind: bytes,
    ) -> None:
        stream = binary_header(*pair, extensions=extensions, checksum=checksum)
        self.assertEqual((header(*pair), len(stream)), decode(stream + behind, *cuts))


class EncodeTests(SynchronousTestCase):
    def test_bytes(self) -> None:
        self.assertEqual(
            SIGNATURE + bytes.fromhex("2111000cc6336407c000020bdc0401bb"),
            encode_proxy_header(header(CLIENT, HERE)),
        )
        self.assertEqual(SIGNATURE + bytes.fromhex("20000000"), LOCAL_HEADER)
        self.assertEqual(binary_header(CLIENT6, HERE6), encode_proxy_header(header(CLIENT6, HERE6)))

    def test_families_do_not_mix(self) -> None:
        for source, destination in ((CLIENT, HERE6), (CLIENT6, HERE)):
            encoded = encode_proxy_header(header(source, destination))
            self.assertEqual(0x21, encoded[13])
            self.assertEqual((header(source, destination), 52), decode(encoded))

    def test_what_is_not_known(self) -> None:
        unix, client = UNIXAddress(None), IPv4Address("TCP", *CLIENT)
        for source, destination in (
            (unix, unix),
            (unix, client),
            (client, unix),
            (client, None),
            (None, None),
        ):
            encoded = encode_proxy_header(ProxyHeader(source, destination))
            self.assertEqual(SIGNATURE + bytes.fromhex("21000000"), encoded)

    def test_a_zone_is_left_out(self) -> None:
        scoped = IPv6Address("TCP", "fe80::1%lo", 5)
        self.assertEqual(
            binary_header(("fe80::1", 5), ("fe80::1", 5)), encode_proxy_header(ProxyHeader(scoped, scoped))
        )

    @given(st.one_of(V4, V6), st.one_of(V4, V6), st.lists(st.integers(0, 30), max_size=4))
    def test_round_trip(self, source: tuple[str, int], destination: tuple[str, int], cuts: list[int]) -> None:
        expected = header(source, destination)
        encoded = encode_proxy_header(expected)
        self.assertEqual((expected, len(encoded)), decode(encoded + BEHIND, *cuts))


class AddressTests(SynchronousTestCase):
    @given(st.ip_addresses(v=4), PORTS)
    def test_mapped(self, address: ipaddress.IPv4Address, port: int) -> None:
        self.assertEqual(IPv4Address("TCP", str(address), port), ip_address(f"::ffff:{address}", port))

    def test_none(self) -> None:
        for host in ("", "gateway.example.com", "1", "192.0.2.01", "[::1]"):
            self.assertRaises(ValueError, ip_address, host, 1)
