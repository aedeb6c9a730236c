"""What is kept and told of certificates."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.targets.certificates import (
    PeerCertificate,
    SeenCertificates,
    describe,
    names_of,
    names_text,
)
from tests.support.pki import Authority, distinguished
from tests.unit.net.samples import DAY, NOW

AUTHORITY = Authority()
KEY = AUTHORITY.issue("key").key


def seen(days: float) -> PeerCertificate:
    return PeerCertificate("CN=a", "CN=b", NOW - DAY, NOW + days * DAY, "00" * 32)


class DescribeTests(SynchronousTestCase):
    def test_text(self) -> None:
        begin = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)
        leaf = AUTHORITY.issue(
            subject=distinguished("host1", ORGANIZATION_NAME="Example"), begin=begin, end=begin + DAY
        )
        self.assertEqual(
            str(describe(leaf.certificate)),
            "subject CN=host1,O=Example, issuer CN=Test CA, valid 2026-01-02 03:04 to 2026-01-03 03:04 UTC, "
            f"SHA-256 {leaf.fingerprint}",
        )

    def test_empty_subject(self) -> None:
        self.assertEqual(describe(AUTHORITY.issue(subject=x509.Name([])).certificate).subject, "(empty)")

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=8))
    def test_any_subject(self, values: list[str]) -> None:
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, value) for value in values])
        peer = describe(AUTHORITY.issue(subject=subject, key=KEY).certificate)
        self.assertTrue(str(peer).isprintable())
        self.assertLess(len(peer.subject), 210)

    def test_names(self) -> None:
        names = ("host1.example.com", "192.0.2.1", "2001:db8::1")
        self.assertEqual(names_of(AUTHORITY.issue(*names).certificate), names)
        self.assertEqual(names_of(AUTHORITY.issue(subject=distinguished("host1")).certificate), ())
        self.assertEqual(names_text(names), "'host1.example.com', '192.0.2.1', '2001:db8::1'")
        self.assertIn("no host", names_text(()))

    @given(st.lists(st.text()))
    def test_any_names(self, names: list[str]) -> None:
        text = names_text(tuple(names))
        self.assertTrue(text.isprintable())
        self.assertLess(len(text), 8 * 900)


class SeenTests(SynchronousTestCase):
    def test_empty(self) -> None:
        self.assertIsNone(SeenCertificates().soonest())
        self.assertEqual(SeenCertificates().items(), ())

    def test_soonest(self) -> None:
        record = SeenCertificates()
        for target, days in (("a:1", 3), ("b:1", -2), ("c:1", 1)):
            record.record(target, seen(days))
        self.assertEqual(record.soonest(), ("b:1", seen(-2)))
        record.record("b:1", seen(30))
        self.assertEqual(record.soonest(), ("c:1", seen(1)))
        self.assertEqual(len(record), 3)

    def test_bounded(self) -> None:
        record = SeenCertificates(limit=2)
        record.record("a:1", seen(1))
        record.record("b:1", seen(2))
        record.record("a:1", seen(1))
        record.record("c:1", seen(3))
        self.assertEqual([target for target, _ in record.items()], ["a:1", "c:1"])

    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(-9, 9))), st.integers(1, 5))
    def test_any_order(self, events: list[tuple[int, int]], limit: int) -> None:
        record = SeenCertificates(limit)
        last: dict[str, int] = {}
        for target, days in events:
            record.record(str(target), seen(days))
            last.pop(str(target), None)
            last[str(target)] = days
        expected = dict(list(last.items())[-limit:])
        self.assertEqual(dict(record.items()), {target: seen(days) for target, days in expected.items()})
        soonest = record.soonest()
        self.assertEqual(soonest and soonest[1], seen(min(expected.values())) if expected else None)
