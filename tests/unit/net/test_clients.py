"""Who is one client, and who is in a network."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.net import NetworkSet, client_key

ADDRESSES = st.ip_addresses().map(str)


class ClientKeyTests(SynchronousTestCase):
    def test_ipv4(self) -> None:
        key = client_key()
        self.assertNotEqual(key("192.0.2.1"), key("192.0.2.2"))
        for other in ("::ffff:192.0.2.1", "::FFFF:c000:201", "0:0:0:0:0:ffff:192.0.2.1"):
            self.assertEqual(key("192.0.2.1"), key(other))

    def test_ipv6(self) -> None:
        key = client_key()
        self.assertEqual(key("2001:db8::1"), key("2001:DB8:0:0:ffff:ffff:ffff:ffff"))
        self.assertNotEqual(key("2001:db8::1"), key("2001:db8:0:1::1"))
        self.assertEqual(client_key(48)("2001:db8::1"), client_key(48)("2001:db8:0:1::1"))
        self.assertNotEqual(client_key(128)("2001:db8::1"), client_key(128)("2001:db8::2"))

    def test_neighbours(self) -> None:
        """All link-local addresses share a prefix, but are not one client."""
        key = client_key()
        self.assertNotEqual(key("fe80::1%eth0"), key("fe80::2%eth0"))
        self.assertEqual(key("fe80::1%eth0"), key("fe80::1"))

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        self.assertEqual(client_key()(text), client_key()(text))

    @given(st.text(), ADDRESSES)
    def test_no_text_is_an_address(self, text: str, address: str) -> None:
        try:
            ipaddress.ip_address(text)
        except ValueError:
            self.assertNotEqual(client_key()(text), client_key()(address))

    @given(st.ip_addresses(v=6), st.ip_addresses(v=6), st.integers(0, 128))
    def test_prefixes(self, one: ipaddress.IPv6Address, other: ipaddress.IPv6Address, prefix: int) -> None:
        if any(each.is_link_local or each.ipv4_mapped for each in (one, other)):
            return
        key = client_key(prefix)
        together = other in ipaddress.IPv6Network((int(one), prefix), strict=False)
        self.assertEqual(together, key(str(one)) == key(str(other)))


class NetworkSetTests(SynchronousTestCase):
    def test_members(self) -> None:
        networks = NetworkSet(["127.0.0.0/8", "192.0.2.7", "2001:db8::/32"])
        for inside in ("127.255.0.1", "::ffff:127.0.0.1", "192.0.2.7", "2001:db8:1::", "2001:db8::%1"):
            self.assertIn(inside, networks)
        for outside in ("128.0.0.1", "192.0.2.8", "2001:db9::", "::1", "::7f00:1", "unix", "", "127.0.0.1/8"):
            self.assertNotIn(outside, networks)
        self.assertNotIn("127.0.0.1", NetworkSet([]))
        self.assertIn("192.0.2.1", NetworkSet(["0.0.0.0/0"]))
        self.assertNotIn("::1", NetworkSet(["0.0.0.0/0"]))
        self.assertRaises(ValueError, NetworkSet, ["192.0.2.0/33"])

    @given(st.lists(st.tuples(st.ip_addresses(), st.integers(0, 32)), max_size=5), st.ip_addresses())
    def test_agrees_with_the_library(
        self,
        networks: list[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]],
        address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    ) -> None:
        made = [ipaddress.ip_network(f"{each}/{prefix}", strict=False) for each, prefix in networks]
        made = [each for each in made if not str(each).startswith("::ffff:")]
        if getattr(address, "ipv4_mapped", None) is None:
            expected = any(address in each for each in made)
            self.assertEqual(expected, str(address) in NetworkSet(map(str, made)))
