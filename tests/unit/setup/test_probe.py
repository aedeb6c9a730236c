"""The probe of the gateway's port: what works, and which check failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

from twisted.trial import unittest

from gateway.setup.enrolling.fetch import Fault, FetchError, Page, fetch
from gateway.setup.probe import Check, probe
from tests.support.pki import Authority
from tests.unit.setup.enrolling import FQDN, Site, authority, closed_port, dump, trusted_by_host

CA = dump(authority().certificate)
GOOD = [(200, b"This is a console gateway.\n"), (404, b"Not found\n")]


class ProbeTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.enterContext(trusted_by_host())

    def site(self, answers: Sequence[tuple[int, bytes]] = GOOD, **more: Any) -> Site:
        more = {"name": FQDN, "ca": authority(), **more}
        return self.enterContext(Site({"/": list(answers)}, **more))

    def probe(self, port: int, ca: bytes | None = CA, **more: Any) -> tuple[Check, ...]:
        return probe(FQDN, port, ca, **{"address": "127.0.0.1", "timeout": 2.0, **more})

    def fails(self, name: str, text: str, port: int, **more: Any) -> None:
        checks = self.probe(port, **more)
        self.assertEqual([check.name for check in checks if not check.passed], [name])
        self.assertIn(text, checks[-1].text)
        self.assertEqual(checks[-1].name, name)
        self.assertNotIn("\n", checks[-1].text)

    def test_everything_works(self) -> None:
        site = self.site()
        checks = self.probe(site.port)
        names = ["connection", "certificate", "page", "websocket"]
        self.assertEqual([(check.name, check.passed) for check in checks], [(name, True) for name in names])
        (_, plain), (_, upgrade) = site.asked
        self.assertEqual(plain["host"], f"{FQDN}:{site.port}")
        self.assertEqual(upgrade["upgrade"], "websocket")
        self.assertEqual(len(upgrade["sec-websocket-key"]), 24)

    def test_a_host_without_the_old_addresses(self) -> None:
        """The name leads nowhere yet, and there is no 127.0.0.1."""
        site = self.site()
        asked: list[str] = []

        def reach(url: str, **more: Any) -> Page:
            asked.append(str(more["address"]))
            if more["address"] != "::1":
                raise FetchError("refused", Fault.UNREACHABLE)
            return fetch(url, **{**more, "address": "127.0.0.1"})

        with mock.patch("gateway.setup.probe.fetch", reach):
            checks = self.probe(site.port, address=None)
        self.assertEqual(asked[:3], ["None", "127.0.0.1", "::1"])
        self.assertEqual([check.passed for check in checks], [False, True, True, True])

    def test_an_embedder_may_have_no_page(self) -> None:
        checks = self.probe(self.site([(404, b"")]).port)
        self.assertTrue(all(check.passed for check in checks))

    def test_nobody_listens(self) -> None:
        self.fails("connection", "refused", closed_port())

    def test_a_service_that_is_starting_is_waited_for(self) -> None:
        pauses: list[float] = []
        self.probe(closed_port(), attempts=4, pause=pauses.append)
        self.assertEqual(pauses, [1.0, 1.0, 1.0])

    def test_another_ca(self) -> None:
        self.fails("certificate", "not trusted", self.site(ca=Authority("Another CA")).port)

    def test_another_name(self) -> None:
        self.fails("certificate", f"not valid for '{FQDN}'", self.site(name="other.example.org").port)

    def test_no_tls(self) -> None:
        self.fails("certificate", "does not speak TLS", self.site(ca=None).port)

    def test_a_broken_ca_file(self) -> None:
        self.fails("certificate", "cannot be used", 1, ca=b"nonsense")

    def test_something_else_listens(self) -> None:
        self.fails("page", "HTTP status 502", self.site([(502, b"")]).port)
        self.fails("page", "Something else than a gateway", self.site([(200, b"x" * 70000)]).port)

    def test_whoever_lets_everybody_in_is_no_gateway(self) -> None:
        self.fails("websocket", "is let in", self.site([(200, b""), (101, b"")]).port)
        self.fails("websocket", "HTTP status 500", self.site([(200, b""), (500, b"")]).port)

    def test_a_name_that_does_not_lead_here(self) -> None:
        site = self.site()
        real = __import__("socket").create_connection

        def connect(address: tuple[str, int], *rest: object) -> object:
            if address[0] == FQDN:
                raise TimeoutError
            return real(address, *rest)

        with mock.patch("socket.create_connection", connect):
            checks = self.probe(site.port, address=None)
            missing = self.probe(closed_port(), address=None)
        self.assertEqual([check.passed for check in checks], [False, True, True, True])
        self.assertIn("look at DNS and firewall", checks[0].text)
        self.assertEqual([check.passed for check in missing], [False])
