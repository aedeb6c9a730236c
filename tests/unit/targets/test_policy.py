"""Destination policy: what is denied by default, what must be named, and every spelling of the same place."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.settings import TargetSettings
from gateway.targets import DestinationPolicy, Forbidden, OwnAddress

PORT = 5900
LOCAL = {"192.0.2.1", "2001:db8::1", "127.0.0.1", "::1"}

v4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
v6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)

SPECIAL = {
    "loopback": ["127.0.0.1", "127.0.0.2", "127.255.255.254", "127.0.0.0", "::1"],
    "link-local": ["169.254.0.1", "169.254.169.254", "169.254.255.255", "fe80::1", "febf::1", "fe80::"],
    "unspecified": ["0.0.0.0", "0.0.0.1", "0.255.255.255", "::"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff02::1", "ff05::2", "ffff::1"],
    "broadcast": ["255.255.255.255"],
}


def policy(
    networks: Iterable[str] = ("0.0.0.0/0", "::/0"),
    *,
    names: Iterable[str] = (),
    ports: Iterable[str] = ("5900-6923",),
    own: Iterable[OwnAddress] = (),
) -> DestinationPolicy:
    settings = TargetSettings(networks=tuple(networks), names=tuple(names), ports=tuple(ports))
    return DestinationPolicy(settings, own, is_local=lambda ip: str(ip) in LOCAL)


def embedded(address: ipaddress.IPv4Address) -> dict[str, str]:
    """Ways to write an IPv4 address as an IPv6 one that leads there."""
    number = int(address)
    return {
        "mapped": str(ipaddress.IPv6Address((0xFFFF << 32) | number)),
        "mapped, dotted": f"::ffff:{address}",
        "NAT64": str(ipaddress.IPv6Address((0x0064FF9B << 96) | number)),
        "NAT64, dotted": f"64:ff9b::{address}",
        "6to4": str(ipaddress.IPv6Address((0x2002 << 112) | number << 80 | 1)),
        "Teredo": str(ipaddress.IPv6Address((0x20010000 << 96) | (0x01020304 << 64) | number ^ 0xFFFFFFFF)),
        "translated": str(ipaddress.IPv6Address((0xFFFF << 48) | number)),
        **({"compatible": f"::{address}"} if number > 1 else {}),
    }


class Case(SynchronousTestCase):
    def assert_denied(self, rules: DestinationPolicy, address: str, port: int = PORT) -> str:
        return str(self.assertRaises(Forbidden, rules.check_address, address, port))

    def assert_denied_name(self, rules: DestinationPolicy, host: str, port: int = PORT) -> str:
        return str(self.assertRaises(Forbidden, rules.check_name, host, port))


class AddressTests(Case):
    def test_ordinary_addresses_are_allowed_by_default(self) -> None:
        for address in ("10.0.0.1", "172.16.5.4", "192.168.1.1", "198.51.100.7", "2001:db8::7", "fd00::1"):
            policy().check_address(address, PORT)

    def test_special_ranges_are_denied_by_default(self) -> None:
        for kind, addresses in SPECIAL.items():
            for address in addresses:
                self.assertIn(kind, self.assert_denied(policy(), address))

    def test_special_ranges_in_every_ipv6_spelling(self) -> None:
        for addresses in SPECIAL.values():
            for address in addresses:
                if ":" not in address:
                    for spelling in embedded(ipaddress.IPv4Address(address)).values():
                        self.assert_denied(policy(), spelling)

    def test_metadata_address_in_every_spelling(self) -> None:
        for address in (
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "::ffff:a9fe:a9fe",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::a9fe:a9fe",
            "0:0:0:0:0:ffff:a9fe:a9fe",
        ):
            self.assert_denied(policy(), address)

    def test_a_network_that_only_covers_a_special_range_does_not_name_it(self) -> None:
        for network, address in (
            ("126.0.0.0/7", "127.0.0.1"),
            ("0.0.0.0/0", "127.0.0.1"),
            ("169.254.0.0/15", "169.254.169.254"),
            ("192.0.0.0/2", "255.255.255.255"),
            ("::/127", "::1"),
            ("fe00::/7", "fe80::1"),
        ):
            self.assert_denied(policy([network]), address)

    def test_special_ranges_are_allowed_when_a_network_lies_inside(self) -> None:
        for network, address, beside in (
            ("127.0.0.1/32", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.0/8", "127.0.0.2", "169.254.0.1"),
            ("::1/128", "::1", "::"),
            ("169.254.7.0/24", "169.254.7.9", "169.254.8.9"),
            ("fe80::/64", "fe80::5", "fe80:0:0:1::5"),
            ("224.1.0.0/16", "224.1.2.3", "224.2.2.3"),
            ("255.255.255.255/32", "255.255.255.255", "239.0.0.1"),
            ("0.0.0.0/8", "0.1.2.3", "127.0.0.1"),
        ):
            for networks in ([network], ["0.0.0.0/0", "::/0", network], [network, "0.0.0.0/0", "::/0"]):
                policy(networks).check_address(address, PORT)
                self.assert_denied(policy(networks), beside)

    def test_naming_one_loopback_does_not_name_the_other(self) -> None:
        self.assert_denied(policy(["127.0.0.0/8", "::/0"]), "::1")
        self.assert_denied(policy(["::1/128", "0.0.0.0/0"]), "127.0.0.1")

    def test_networks(self) -> None:
        rules = policy(["10.1.0.0/16", "2001:db8:1::/48"])
        for address in ("10.1.0.0", "10.1.255.255", "2001:db8:1::", "2001:db8:1:ffff::9"):
            rules.check_address(address, PORT)
        for address in ("10.0.255.255", "10.2.0.0", "2001:db8:2::1", "::a01:1", "8.8.8.8"):
            self.assert_denied(rules, address)
        self.assert_denied(policy([]), "10.1.0.1")

    def test_an_ipv4_mapped_address_is_its_ipv4_address(self) -> None:
        rules = policy(["10.1.0.0/16"])
        rules.check_address("::ffff:10.1.2.3", PORT)
        self.assert_denied(rules, "::ffff:10.2.2.3")
        self.assert_denied(policy(["::/0"]), "::ffff:10.1.2.3")
        policy(["127.0.0.1/32"]).check_address("::ffff:127.0.0.1", PORT)

    def test_translated_addresses_must_be_allowed_as_both(self) -> None:
        """Through a translator or tunnel two addresses are reached, and each must be allowed."""
        for kind, spelling in embedded(ipaddress.IPv4Address("10.1.2.3")).items():
            if kind.startswith("mapped"):
                continue
            policy(["10.1.0.0/16", f"{spelling}/128"]).check_address(spelling, PORT)
            policy().check_address(spelling, PORT)
            self.assert_denied(policy(["10.1.0.0/16"]), spelling)
            self.assert_denied(policy(["::/0"]), spelling)
            self.assert_denied(policy(["10.2.0.0/16", "::/0"]), spelling)

    def test_addresses_with_a_zone(self) -> None:
        for rules in (policy(), policy(["fe80::/10"])):
            for address in ("fe80::1%eth0", "fe80::1%1", "::1%lo"):
                self.assertIn("interface", self.assert_denied(rules, address))

    def test_a_denial_says_which_rule(self) -> None:
        self.assertEqual(
            "8.8.8.8 is in no network of targets.networks", self.assert_denied(policy([]), "8.8.8.8")
        )
        self.assertEqual(
            "127.0.0.1 is a loopback address that targets.networks does not name expressly",
            self.assert_denied(policy(), "127.0.0.1"),
        )

    @given(v4)
    def test_every_spelling_of_an_ipv4_address_is_judged_like_it(
        self, address: ipaddress.IPv4Address
    ) -> None:
        rules = policy(["0.0.0.0/1", "::/0", "127.0.0.0/9"])

        def denied(text: str) -> bool:
            try:
                rules.check_address(text, PORT)
            except Forbidden:
                return True
            return False

        plain = denied(str(address))
        for kind, spelling in embedded(address).items():
            self.assertEqual(plain, denied(spelling), kind)

    @given(st.one_of(v4, v6))
    def test_nothing_special_is_ever_allowed_by_default(self, address: ipaddress.IPv4Address) -> None:
        try:
            policy().check_address(str(address), PORT)
        except Forbidden:
            return
        for property_ in ("is_loopback", "is_link_local", "is_multicast", "is_unspecified"):
            self.assertFalse(getattr(address, property_), property_)

    @given(st.lists(st.tuples(v4, st.integers(9, 32)), max_size=4), v4)
    def test_what_is_allowed_lies_in_a_network(
        self, networks: list[tuple[ipaddress.IPv4Address, int]], address: ipaddress.IPv4Address
    ) -> None:
        nets = [ipaddress.ip_network((int(ip), prefix), strict=False) for ip, prefix in networks]
        probes = [address, *(net[0] for net in nets), *(net[-1] for net in nets)]
        rules = policy(str(net) for net in nets)
        for probe in probes:
            try:
                rules.check_address(str(probe), PORT)
            except Forbidden:
                continue
            self.assertTrue(any(probe in net for net in nets))


class OwnAddressTests(Case):
    def test_own_listener(self) -> None:
        rules = policy(own=[OwnAddress("192.0.2.1", 6100)])
        for address in ("192.0.2.1", "::ffff:192.0.2.1"):
            self.assertIn("itself", self.assert_denied(rules, address, 6100))
            rules.check_address(address, 6101)
        rules.check_address("192.0.2.2", 6100)
        rules.check_address("2001:db8::1", 6100)

    def test_own_ipv6_listener(self) -> None:
        rules = policy(own=[OwnAddress("2001:db8::1", 6100)])
        self.assert_denied(rules, "2001:db8:0:0::1", 6100)
        rules.check_address("192.0.2.1", 6100)

    def test_own_mapped_listener(self) -> None:
        rules = policy(own=[OwnAddress("::ffff:192.0.2.1", 6100)])
        self.assert_denied(rules, "192.0.2.1", 6100)

    def test_wildcard_listeners_are_reached_by_every_local_address(self) -> None:
        for host in ("0.0.0.0", "::"):
            rules = policy(["0.0.0.0/0", "::/0", "127.0.0.0/8", "::1/128"], own=[OwnAddress(host, 6100)])
            for address in (*LOCAL, "::ffff:192.0.2.1", "64:ff9b::192.0.2.1"):
                self.assertIn("itself", self.assert_denied(rules, address, 6100))
                rules.check_address(address, 6101)
            rules.check_address("192.0.2.2", 6100)
            rules.check_address("2001:db8::2", 6100)

    def test_several_listeners(self) -> None:
        rules = policy(own=[OwnAddress("192.0.2.1", 6100), OwnAddress("::", 6101)])
        self.assert_denied(rules, "192.0.2.1", 6100)
        self.assert_denied(rules, "192.0.2.1", 6101)
        rules.check_address("192.0.2.1", 6102)

    def test_the_kernel_knows_which_addresses_are_local(self) -> None:
        settings = TargetSettings(networks=("127.0.0.0/8", "192.0.2.0/24", "::1/128", "2001:db8::/32"))
        rules = DestinationPolicy(settings, [OwnAddress("::", 6100)])
        self.assert_denied(rules, "127.0.0.1", 6100)
        rules.check_address("192.0.2.99", 6100)
        rules.check_address("2001:db8::99", 6100)

    def test_a_host_without_ipv6_has_no_local_ipv6_address(self) -> None:
        real = socket.socket

        def no_ipv6(family: int, *args: int) -> socket.socket:
            if family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            return real(family, *args)

        self.patch(socket, "socket", no_ipv6)
        rules = DestinationPolicy(TargetSettings(), [OwnAddress("0.0.0.0", 6100)])
        rules.check_address("2001:db8::1", 6100)


class NameTests(Case):
    def test_ports(self) -> None:
        rules = policy(ports=["5900-5910", "6000"])
        for port in (5900, 5905, 5910, 6000):
            rules.check_name("vm.example.com", port)
            rules.check_name("10.0.0.1", port)
        for port in (0, -1, 22, 5899, 5911, 5999, 6001, 65536):
            self.assertEqual(
                f"port {port} is not in targets.ports", self.assert_denied_name(rules, "vm.example.com", port)
            )
            self.assert_denied_name(rules, "10.0.0.1", port)
        self.assert_denied_name(policy(ports=[]), "vm.example.com")

    def test_no_names_allow_any_name(self) -> None:
        for host in ("vm", "vm.example.com", "10.0.0.1", "::1", "localhost"):
            policy().check_name(host, PORT)

    def test_names(self) -> None:
        rules = policy(names=["Host7.Example.com", "*.lab.example.com"])
        for host in ("host7.example.com", "HOST7.EXAMPLE.COM", "host7.example.com.", "a.lab.example.com"):
            rules.check_name(host, PORT)
        for host in ("a.b.lab.example.com", "A.LAB.example.COM."):
            rules.check_name(host, PORT)
        for host in (
            "lab.example.com",
            "lab.example.com.",
            ".lab.example.com",
            "evillab.example.com",
            "host7.example.com.evil.net",
            "xhost7.example.com",
            "host7",
            "host7.example.com..",
            "localhost",
            "127.1",
            "2130706433",
            "0x7f.1",
            "",
        ):
            self.assertEqual("the name is not in targets.names", self.assert_denied_name(rules, host), host)

    def test_literal_addresses_are_held_to_the_networks_alone(self) -> None:
        rules = policy(["10.0.0.0/8"], names=["host7.example.com"])
        for host in ("10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"):
            rules.check_name(host, PORT)
        self.assert_denied(rules, "2001:db8::1")
