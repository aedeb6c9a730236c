"""Names of hosts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.names import dns
from twisted.trial import unittest

from gateway.setup.asking.fqdn import NameCheck, Need
from gateway.setup.asking.names import Names, is_own, lookup
from gateway.setup.errors import AnswerError, Cancelled
from tests.support.interview import ScriptedInterview

KEY = "OVESETUP_CONFIG/fqdn"
WARN = f"queryEnvKey_warnverify_{KEY}"


def names(addresses: Mapping[str, Sequence[str]] | None = None, known: bool | None = True) -> Names:
    found = {"wsp.example.org": ["192.0.2.1"], "wsp": ["192.0.2.1"], "localhost": ["127.0.0.1"]}
    found.update({name: list(them) for name, them in (addresses or {}).items()})
    return Names(
        resolve=lambda name: found.get(name, ()),
        reverse=lambda address: [name for name, them in found.items() if address in them],
        lookup=lambda name: known,
        own_name=lambda: None,
        is_own=lambda address: address in {"192.0.2.1", "127.0.0.1"},
    )


class NameCheckTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.interview = ScriptedInterview({WARN: ["no", "yes", "abort"]})
        self.check = NameCheck(self.interview, names(), KEY)

    def test_the_form_that_certificates_have(self) -> None:
        for name in ("wsp.example.org", " WSP.example.ORG. "):
            self.assertEqual(self.check(name), "wsp.example.org")
        self.assertEqual(self.interview.warnings, [])

    def test_what_is_no_name(self) -> None:
        for name, word in {
            "": "needed",
            ".": "needed",
            "192.0.2.1": "address",
            "10.1": "address",
            "::1": "address",
            "x" * 254: "253",
            "a_b.example.org": "letters",
            "bücher.example.org": "xn--",
            "a b": "letters",
            "a\nb": "letters",
            ".example.org": "part",
            "a..b": "part",
            "-a.b": "part",
            f"{'a' * 64}.example.org": "part",
            "no.example.org": "resolved",
        }.items():
            error = self.assertRaises(AnswerError, self.check, name)
            self.assertIn(word, str(error), name)

    def test_a_name_without_domain_is_doubtful(self) -> None:
        self.assertEqual(self.check("wsp"), "wsp")
        self.assertIn("not fully qualified", self.interview.warnings[0])

    def test_a_name_that_leads_elsewhere(self) -> None:
        elsewhere = names(
            {"gw.example.org": ["192.0.2.9", "2001:db8::9"], "two.example.org": ["::9", "192.0.2.1"]}
        )
        check = NameCheck(self.interview, elsewhere, KEY, lookup=True)
        self.assertEqual(check("gw.example.org"), "gw.example.org")
        self.assertIn("192.0.2.9, which is no address of this host", self.interview.warnings[0])
        self.assertEqual(check("two.example.org"), "two.example.org")
        self.assertEqual(len(self.interview.warnings), 1)
        for address, own in (
            ("127.0.0.1", True),
            ("::1", True),
            ("203.0.113.77", False),
            ("2001:db8::7", False),
        ):
            self.assertEqual(is_own(address), own, address)

    def test_local_names_are_confirmed(self) -> None:
        self.assertRaises(AnswerError, self.check, "localhost")
        self.assertEqual(self.check("localhost"), "localhost")
        self.assertRaises(Cancelled, self.check, "localhost")
        self.assertEqual(self.interview.asked, [WARN] * 3)

    def test_local_names_are_not_accepted_by_default(self) -> None:
        interview = ScriptedInterview(accept_defaults=True)
        self.assertRaises(AnswerError, NameCheck(interview, names(), KEY), "localhost.localdomain")

    def test_names_that_cannot_be_resolved_elsewhere(self) -> None:
        check = NameCheck(self.interview, names(), KEY, Need.SHOULD)
        self.assertEqual(check("no.example.org"), "no.example.org")
        self.assertIn("cannot be resolved", self.interview.warnings[0])

    def test_names_that_nobody_looks_up(self) -> None:
        check = NameCheck(self.interview, Names(resolve=self.fail), KEY, Need.NOT, abroad=True)
        self.assertEqual(check("no.example.org"), "no.example.org")

    def test_names_that_the_dns_does_not_know(self) -> None:
        for known, count in ((True, 0), (None, 0), (False, 1)):
            interview = ScriptedInterview()
            self.assertEqual(
                NameCheck(interview, names(known=known), KEY, lookup=True)("wsp.example.org"),
                "wsp.example.org",
            )
            self.assertEqual(len(interview.warnings), count)

    def test_addresses_of_the_loopback_interface(self) -> None:
        known = names({"a.example.org": ["192.0.2.7", "127.0.0.1"]})
        check = NameCheck(self.interview, known, KEY, abroad=True)
        self.assertRaises(AnswerError, check, "a.example.org")
        self.assertEqual(check("wsp.example.org"), "wsp.example.org")

    def test_addresses_that_lead_elsewhere(self) -> None:
        known = Names(
            resolve=lambda name: ["192.0.2.7"],
            reverse=lambda address: ["b.example.org"],
            lookup=lambda name: True,
        )
        check = NameCheck(self.interview, known, KEY, reverse=True)
        self.assertRaises(AnswerError, check, "a.example.org")
        self.assertEqual(check("b.example.org"), "b.example.org")

    @given(st.text(max_size=30) | st.from_regex(r"[A-Za-z0-9.-]{1,30}", fullmatch=True))
    def test_any_text_is_a_name_or_refused(self, text: str) -> None:
        check = NameCheck(ScriptedInterview(accept_defaults=True), Names(), KEY, Need.NOT)
        try:
            name = check(text)
        except AnswerError as error:
            self.assertNotIn("\n", str(error))
        else:
            self.assertRegex(name, r"\A[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z")


class Server:
    """A name server that knows one name, or answers something else."""

    def __init__(self, garbage: bytes | None = None) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self._garbage = garbage
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            data, client = self.socket.recvfrom(1000)
            if not data:
                return
            question = dns.Message()
            question.fromStr(data)
            answer = dns.Message(question.id, answer=1)
            answer.queries = question.queries
            (query,) = question.queries
            if query.name.name != b"wsp.example.org":
                answer.rCode = dns.ENAME
            elif query.type == dns.A:
                payload = dns.Record_A("192.0.2.1")
                answer.answers = [dns.RRHeader(b"wsp.example.org", dns.A, payload=payload)]
            self.socket.sendto(answer.toStr() if self._garbage is None else self._garbage, client)

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self.socket.close()


class LookupTests(unittest.SynchronousTestCase):
    def server(self, garbage: bytes | None = None) -> int:
        server = Server(garbage)
        self.addCleanup(server.close)
        return int(server.port)

    def test_what_the_dns_says(self) -> None:
        port = self.server()
        self.assertIs(lookup("wsp.example.org", ["127.0.0.1"], port), True)
        self.assertIs(lookup("other.example.org", ["127.0.0.1"], port), False)

    def test_what_it_does_not_say(self) -> None:
        for garbage in (b"\xff", b"\x00" * 12, b"\xff" * 300):
            self.assertIsNone(lookup("wsp.example.org", ["127.0.0.1"], self.server(garbage)))
        self.assertIsNone(lookup("wsp.example.org", [], 53))
