"""The target in a genuine ticket."""

from __future__ import annotations

import urllib.parse

from gateway.settings import Attach, TargetSecurity
from gateway.tickets import Grant, Kind, TicketFault
from tests.unit.tickets import samples
from tests.unit.tickets.samples import (
    DATA,
    HostileCase,
    genuine,
    words,
)

LONG_NAME = ".".join(["a" * 49] * 5) + ".bcd"
"""As long as a DNS name may be."""
PATH = "/apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/b/vnc"


class Data(HostileCase):
    """H15 to H19: the target of a genuine ticket."""

    def test_h15_names_and_addresses(self) -> None:
        hosts = words("""
            10.20.30.40 0.0.0.0 255.255.255.255 127.0.0.1 :: ::1 fe80::1 ::ffff:10.0.0.1 2001:DB8::5
            localhost host1.example.com HOST_1.example.com a 1.2.3.4a 1-2 0x7f.a
        """)
        for host in (*hosts, "a" * 63 + ".b", LONG_NAME):
            assert self.target(host=host).host == host
        assert self.target(host="host1.example.com.").host == "host1.example.com"
        assert self.target(host=LONG_NAME + ".").host == LONG_NAME

    def test_h15_numbers_that_resolvers_read_as_addresses(self) -> None:
        hosts = words("""
            0177.0.0.1 2130706433 0x7f.1 0 127.1 0x7f000001 0X7F.0.0.1 1.2.3 1.2.3.4.5 256.1.1.1 1.2.3.256
            01.2.3.4 00.0.0.0 1.2.3.4. a.1 a.0x host.0x1f 0x 127.0.0.0x1
        """)
        for host in hosts:
            self.refused_target(TicketFault.HOST_GRAMMAR, host=host)

    def test_h15_no_host(self) -> None:
        hosts = words("""
            . .. a..b .a a.. fe80::1%eth0 fe80::1%25eth0 [::1] ::1] : 1::2::3 ::10.0.0.01 12345:: a:5900 a/b
            a@b a?b a%2eb -a a- a.-b * a,b
        """)
        hosts += [
            "",
            "a b",
            " a",
            "a\n",
            "a\0",
            "a\r\nb",
            "\xe9.example",
            "xn--\xe9",
            "\uff11\uff10.0.0.1",
            "\ud800",
        ]
        hosts += ["a" * 64, LONG_NAME + "x", "a" * 5000]
        others: list[object] = [None, 1, True, ["a"], {"a": "b"}]
        for host in (*hosts, *others):
            self.refused_target(TicketFault.HOST_GRAMMAR, host=host)

    def test_h16_ports(self) -> None:
        for text, number in (("1", 1), ("5900", 5900), ("65535", 65535), ("05900", 5900)):
            assert self.target(port=text).port == number
        ports = words("0 00000 -1 65536 99999 5900x +5900 005900 5_900 5900.0 0x170c")
        ports += ["\uff15\uff19\uff10\uff10", "", " 5900", "5900 ", "5900\n", "1" * 5000]
        others: list[object] = [5900, 5900.0, None, True, ["5900"]]
        for port in (*ports, *others):
            self.refused_target(TicketFault.PORT_GRAMMAR, port=port)

    def test_h17_ssl_target(self) -> None:
        assert self.target(ssl_target=True).tls is True
        assert self.target(ssl_target=False).tls is False
        others: list[object] = ["true", "false", "", 0, 1, None, [], {}, float("nan")]
        for value in others:
            self.refused_target(TicketFault.TLS_TYPE, ssl_target=value)
        self.refused_target(TicketFault.DATA_KEY_MISSING, ssl_target=...)

    def test_h18_paths(self) -> None:
        base = "/apis/subresources.kubevirt.io/v1alpha3/namespaces/vms/virtualmachineinstances/"
        names = ("web-01/vnc", "web.01/console", "a" * 63 + "." + "b" * 63 + "/vnc", LONG_NAME + "/vnc")
        for path in (*(base + name for name in names), base.replace("v1alpha3", "v1") + "a/vnc"):
            assert self.target(path=path, token="t").path == path
        wrong_names = (
            *words("a a/vnc/ a/exec a/vnc?x a/vnc#x ../vnc a..b/vnc .a/vnc a/../vnc A/vnc a%2fb/vnc -a/vnc"),
            *words("a-/vnc a//vnc a/VNC a/vnc/console"),
            *("", "a b/vnc", "a/vnc\r\nX: y", "a/vnc\n", "a" * 64 + "/vnc", LONG_NAME + "x/vnc"),
        )
        paths = [base + name for name in wrong_names]
        for part, other in (
            ("vms", ""),
            ("vms", "a.b"),
            ("vms", "A"),
            ("v1alpha3", "vx"),
            ("v1alpha3", "v1alpha"),
            (".kubevirt", "xkubevirt"),
            ("/apis", "https://192.0.2.1/apis"),
            ("/apis", "//192.0.2.1/apis"),
            ("/apis", " /apis"),
            ("/apis", "/x/../apis"),
        ):
            paths.append(base.replace(part, other) + "a/vnc")
        others: list[object] = ["/", "vnc", 1, True, False, [], {}]
        for wrong in (*paths, *others):
            self.refused_target(TicketFault.PATH_GRAMMAR, path=wrong)

    def test_h18_tokens(self) -> None:
        for token in ("a", "aA0-._~+/==", "x" * 8192):
            assert self.target(path=PATH, token=token).token == token
        others: list[object] = [1, True, False, [], {}]
        for bad in ("a b", "a\r\nX: y", "a\n", "=", "a=b", "a,b", "\xe9", "x" * 8193, *others):
            self.refused_target(TicketFault.TOKEN_GRAMMAR, path=PATH, token=bad)
        self.refused_target(TicketFault.TOKEN_GRAMMAR, token="a b")

    def test_h18_token_of_a_megabyte(self) -> None:
        self.refused(genuine(data=samples.target_data(token="x" * 1048576)), TicketFault.TOO_LONG)

    def test_path_and_token_may_be_empty(self) -> None:
        for nothing in (None, "", ...):
            target = self.target(path=nothing, token=nothing)
            assert target.path is None
            assert target.token is None

    def test_token_without_path_is_dropped(self) -> None:
        assert self.target(token="secret").token is None

    def test_h19_double_encoding(self) -> None:
        self.refused(genuine(data=urllib.parse.quote(DATA)), TicketFault.DATA_NOT_JSON)
        once = urllib.parse.quote(samples.target_data(host="a%2eb"))
        self.refused(genuine(data=once), TicketFault.HOST_GRAMMAR)

    def test_h19_bad_escapes(self) -> None:
        raw = samples.target_data()
        escapes = words("%zz % %7 %+1 %u0041 %00 %0a %09 %7f %80 %C3%A9 %c0%af %ed%a0%80 %ff %FE%FF")
        for escape in (*escapes, "% 41", "\x7f", "\t"):
            self.refused(genuine(data=raw.replace("10.20.30.40", escape)), TicketFault.DATA_ENCODING)
        self.refused(genuine(data=raw + "%"), TicketFault.DATA_ENCODING)
        self.refused(genuine(data=raw.replace("10.20.30.40", "\xe9")), TicketFault.DATA_GRAMMAR)

    def test_h19_escapes_of_either_case(self) -> None:
        plain = self.decoder.decode(genuine(data=samples.target_data())).target
        for data in (
            DATA,
            DATA.lower(),
            urllib.parse.unquote(DATA),
            "".join(f"%{ord(c):02x}" for c in samples.target_data()),
        ):
            assert self.decoder.decode(genuine(data=data)).target == plain

    def test_h19_plus_is_no_space(self) -> None:
        self.refused(genuine(data=samples.target_data().replace(" ", "+")), TicketFault.DATA_NOT_JSON)
        assert self.target(path=PATH, token="a+b").token == "a+b"

    def test_data_is_no_object(self) -> None:
        for data in ("[]", "null", "{", "{}x}", "{]}", "{'host': 1}", '{"a" "b"}', " {}", "{} ", "hello"):
            self.refused(genuine(data=data), TicketFault.DATA_NOT_JSON)
        self.refused(genuine(data="{}"), TicketFault.DATA_KEY_MISSING)
        self.refused(genuine(data='{"port": 1' + "0" * 6000 + "}"), TicketFault.DATA_NOT_JSON)

    def test_data_keys(self) -> None:
        self.refused_target(TicketFault.DATA_KEY_UNKNOWN, user="x")
        self.refused_target(TicketFault.DATA_KEY_UNKNOWN, Host="x")
        self.refused_target(TicketFault.DATA_KEY_MISSING, host=...)
        self.refused_target(TicketFault.DATA_KEY_MISSING, port=...)


class Extensions(HostileCase):
    """What a ticket may say beyond what engines do."""

    def test_security(self) -> None:
        for how in (TargetSecurity.AUTO, TargetSecurity.VENCRYPT, TargetSecurity.TLS):
            for tls in (True, False):
                target = self.target(security=how.value, ssl_target=tls)
                assert (target.security, target.tls) == (how, tls)
        for nothing in (None, ...):
            assert self.target(security=nothing).security is None
        others: list[object] = [
            "ticket",
            "none",
            "plain",
            "",
            "TLS",
            " tls",
            "tls\n",
            "x" * 5000,
            1,
            True,
            [],
            {},
        ]
        for wrong in others:
            self.refused_target(TicketFault.SECURITY_UNKNOWN, security=wrong)

    def test_server_name(self) -> None:
        for name in words("host1.example.com HOST_1 192.0.2.7 2001:db8::5 a"):
            assert self.target(server_name=name).server_name == name
        assert self.target(server_name="host1.").server_name == "host1"
        for nothing in (None, ...):
            assert self.target(server_name=nothing).server_name is None
        names: list[object] = [*words("0x7f.1 127.1 [::1] a:5900 *.example.com a/b a..b fe80::1%eth0")]
        for wrong in (*names, "", "a b", "a\n", "\xe9", "a" * 64, "a" * 5000, 1, True, [], {}):
            self.refused_target(TicketFault.HOST_GRAMMAR, server_name=wrong)

    def grant(self, **changes: object) -> Grant:
        return self.decoder.decode(genuine(data=urllib.parse.quote(samples.target_data(**changes))))

    def test_kind(self) -> None:
        for kind in Kind:
            assert self.target(kind=kind.value).kind is kind
        for nothing in (None, ...):
            assert self.target(kind=nothing).kind is None
        others: list[object] = ["", "VNC", "rfb", " vnc", "vnc\n", "x" * 5000, 1, True, [], {}]
        for wrong in others:
            self.refused_target(TicketFault.KIND_UNKNOWN, kind=wrong)

    def test_attach(self) -> None:
        for how in Attach:
            assert self.grant(attach=how.value).attach is how
        for nothing in (None, ...):
            assert self.grant(attach=nothing).attach is None
        others: list[object] = ["", "Share", "take_over", "takeover", "refuse ", "x" * 5000, 1, True, [], {}]
        for wrong in others:
            self.refused_target(TicketFault.ATTACH_UNKNOWN, attach=wrong)

    def test_subject(self) -> None:
        names = [
            "a",
            "alice@example.com",
            "CN=Alice Doe, O=Example",
            'a"b\\c',
            "a+b",
            "100 %",
            "[a]{b}",
            "~" * 256,
        ]
        for name in names:
            assert self.grant(subject=name).subject == name
        for nothing in (None, ...):
            assert self.grant(subject=nothing).subject is None

    def test_no_subject(self) -> None:
        names = [
            "",
            " ",
            " a",
            "a ",
            "a\n",
            "\ta",
            "a\0b",
            "a\x1b[31m",
            "\x7f",
            "\xe9",
            "\u202ea",
            "\ud800",
            "a" * 257,
        ]
        others: list[object] = ["a" * 5000, 1, 0, True, False, [], {}]
        for wrong in (*names, *others):
            self.refused_target(TicketFault.SUBJECT_GRAMMAR, subject=wrong)

    def test_brackets_in_a_subject(self) -> None:
        """So many would make a nested text, unless they are escaped."""
        self.refused_target(TicketFault.DATA_NESTED, subject="[" * 100)
        escaped = samples.target_data(subject="*").replace("*", "\\u005b" * 100)
        assert self.decoder.decode(genuine(data=urllib.parse.quote(escaped))).subject == "[" * 100

    def test_they_say_nothing_of_the_target(self) -> None:
        grant = self.grant(subject="alice", attach="refuse")
        assert grant.target == self.target()
        assert grant.id == grant.id.lower()
        assert "alice" not in grant.id

    def test_they_do_not_change_the_host(self) -> None:
        target = self.target(host="192.0.2.7", server_name="host1.example.com", path=PATH, token="t")
        assert (target.host, target.server_name, target.path) == ("192.0.2.7", "host1.example.com", PATH)
        assert str(target) == "192.0.2.7:5901"

    def test_other_spellings_are_unknown_keys(self) -> None:
        for name in (
            *("Security", "server-name", "servername", "verify", "ca", "password"),
            *("Kind", "Attach", "Subject", "user", "username", "sub"),
        ):
            self.refused_target(TicketFault.DATA_KEY_UNKNOWN, **{name: "tls"})
