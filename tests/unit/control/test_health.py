from __future__ import annotations

import gc
import resource

from twisted.internet import defer
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from gateway.control.health import Check
from gateway.settings import LimitSettings
from gateway.tickets import LedgerRefusal, LedgerRefused
from tests.support.http import Answer
from tests.unit.control.scene import NOW, Conversation, Scene, ask, session

DAY = 86400


class HealthTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.scene = Scene()

    def ready(self, method: str = "GET") -> Answer:
        answer = ask(self.scene.health.ready, method=method)
        assert answer is not None
        return answer

    def check(self, name: str) -> Check:
        checks = self.successResultOf(defer.Deferred.fromCoroutine(self.scene.health.checks()))
        found = {each.name: each for each in checks}
        self.assertEqual(len(found), len(checks))
        for each in checks:
            self.assertTrue(each.detail)
            self.assertNotIn("\n", each.detail)
        return found[name]


class ProbeTests(HealthTestCase):
    def test_ok(self) -> None:
        for page in (self.scene.health.live, self.scene.health.ready):
            answer = ask(page)
            assert answer is not None
            self.assertEqual((answer.status, answer.body), (200, b"ok\n"))
            self.assertEqual(answer.header("Content-Type"), "text/plain; charset=utf-8")
            self.assertEqual(answer.header("Cache-Control"), "no-store")

    def test_head(self) -> None:
        for page in (self.scene.health.live, self.scene.health.ready):
            answer = ask(page, method="HEAD")
            assert answer is not None
            self.assertEqual((answer.status, answer.body), (200, b""))
            self.assertEqual(answer.header("Content-Length"), "3")
        self.scene.admitting = False
        self.assertEqual((self.ready("HEAD").status, self.ready("HEAD").body), (503, b""))

    def test_other_methods(self) -> None:
        for method in ("POST", "DELETE", "OPTIONS"):
            answer = self.ready(method)
            self.assertEqual((answer.status, answer.header("Allow")), (405, "GET, HEAD"))

    def test_not_ready(self) -> None:
        """Each reason is said in one line, and the process lives all the same."""

        def expect(words: str) -> None:
            answer = self.ready()
            self.assertEqual((answer.status, answer.header("Retry-After")), (503, "10"))
            self.assertIn(words, answer.body.decode())
            self.assertEqual(answer.body.count(b"\n"), 1)
            live = ask(self.scene.health.live)
            assert live is not None
            self.assertEqual(live.status, 200)

        self.scene.ledger = LedgerRefused(LedgerRefusal.UNAVAILABLE)
        expect("ledger")
        self.scene.audit.available = False
        expect("ledger")
        self.scene.audit.is_required = True
        expect("audit")
        self.scene.admitting = False
        expect("admission")
        self.scene.listeners = []
        expect("listening")
        self.scene.stopping = True
        expect("shutting down")

    def test_audit_that_is_not_required(self) -> None:
        self.scene.audit.available = False
        self.assertEqual(self.ready().status, 200)

    def test_a_full_gateway_is_ready(self) -> None:
        """A balancer that took it out would do so with each of its peers in turn."""
        self.scene.limits = LimitSettings(sessions=1)
        self.scene.live = [session(1)]
        self.assertEqual(self.ready().status, 200)


class LedgerProbeTests(HealthTestCase):
    def test_time_limit(self) -> None:
        self.scene.ledger = defer.Deferred()
        conversation = Conversation(self.scene.health.ready)
        self.assertIsNone(conversation.answer)
        self.scene.pass_time(0.9)
        self.assertIsNone(conversation.answer)
        self.scene.pass_time(0.2)
        assert conversation.answer is not None
        self.assertEqual(conversation.answer.status, 503)
        self.assertEqual(self.scene.health.ledger.failures, 1)

    def test_slow_answer(self) -> None:
        pending: defer.Deferred[int] = defer.Deferred()
        self.scene.ledger = pending
        conversation = Conversation(self.scene.health.ready)
        self.scene.pass_time(0.9)
        pending.callback(5)
        assert conversation.answer is not None
        self.assertEqual(conversation.answer.status, 200)
        self.assertEqual(self.scene.clock.getDelayedCalls(), [])

    def test_is_asked_once_for_many(self) -> None:
        pending: defer.Deferred[int] = defer.Deferred()
        self.scene.ledger = pending
        conversations = [Conversation(self.scene.health.ready) for _ in range(50)]
        self.assertEqual(self.scene.asked, 1)
        pending.callback(5)
        self.assertEqual({each.answer and each.answer.status for each in conversations}, {200})

    def test_is_not_asked_more_often_than_once_a_second(self) -> None:
        for ledger, status in ((5, 200), (LedgerRefused(LedgerRefusal.UNAVAILABLE), 503)):
            self.scene.ledger, self.scene.asked = ledger, 0
            self.scene.pass_time(5)
            for _ in range(10):
                self.assertEqual(self.ready().status, status)
                self.scene.pass_time(0.05)
            self.assertEqual(self.scene.asked, 1)
            self.scene.pass_time(1)
            self.ready()
            self.assertEqual(self.scene.asked, 2)

    def test_client_leaves(self) -> None:
        """Others that wait still get their answer, and nothing is logged."""
        pending: defer.Deferred[int] = defer.Deferred()
        self.scene.ledger = pending
        first, second = Conversation(self.scene.health.ready), Conversation(self.scene.health.ready)
        first.protocol.connectionLost(Failure(ConnectionError()))
        pending.callback(5)
        assert second.answer is not None
        self.assertEqual(second.answer.status, 200)
        self.assertIsNone(first.answer)
        del first, second
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_defect(self) -> None:
        """It is not hidden, and the probe is answered."""
        self.scene.ledger = KeyError("x")
        self.assertEqual(self.ready().status, 503)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class CheckTests(HealthTestCase):
    def test_all_is_well(self) -> None:
        self.assertTrue(self.check("admission").ok)
        checks = self.successResultOf(defer.Deferred.fromCoroutine(self.scene.health.checks()))
        names = [each.name for each in checks]
        self.assertEqual(
            names,
            [
                "admission",
                "listeners",
                "capacity",
                "ledger",
                "audit",
                "event loop",
                "masker",
                "certificate",
                "file descriptors",
            ],
        )
        self.assertEqual([each for each in checks if not each.ok], [])

    def test_admission(self) -> None:
        self.scene.admitting = False
        self.assertEqual(
            (self.check("admission").ok, "operator" in self.check("admission").detail), (False, True)
        )
        self.scene.stopping = True
        self.assertIn("shutting down", self.check("admission").detail)

    def test_listeners(self) -> None:
        self.assertEqual(self.check("listeners").detail, "127.0.0.1:6100 (TLS)")
        self.scene.listeners = []
        self.assertFalse(self.check("listeners").ok)

    def test_capacity(self) -> None:
        self.scene.live = [session(number) for number in range(9)]
        self.assertEqual(
            self.check("capacity"), Check("capacity", True, "9 of 10 sessions, 3 of 20 handshakes")
        )
        self.scene.live.append(session(9))
        self.assertFalse(self.check("capacity").ok)
        self.scene.live = []
        self.scene.handshakes = 20
        self.assertFalse(self.check("capacity").ok)

    def test_ledger(self) -> None:
        self.assertEqual(self.check("ledger").detail, "7 of 1000 tickets")
        self.scene.ledger = 1000
        self.scene.pass_time(2)
        self.assertIn("uses.limit", self.check("ledger").detail)
        self.scene.ledger = LedgerRefused(LedgerRefusal.UNAVAILABLE)
        self.scene.pass_time(2)
        self.assertFalse(self.check("ledger").ok)

    def test_audit(self) -> None:
        self.scene.audit.lost = 2
        self.assertIn("2 records were lost", self.check("audit").detail)
        self.scene.audit.available = False
        self.scene.audit.waiting = 4
        self.assertIn("4 records wait", self.check("audit").detail)
        self.scene.audit.is_required = True
        self.assertIn("sessions are refused", self.check("audit").detail)
        self.assertFalse(self.check("audit").ok)

    def test_event_loop(self) -> None:
        self.scene.lag.start()
        self.scene.clock.advance(1.999)
        self.assertEqual(self.check("event loop"), Check("event loop", True, "999 ms late"))
        self.scene.clock.advance(2.0)
        self.assertFalse(self.check("event loop").ok)

    def test_certificate(self) -> None:
        for days, ok, detail in (
            (8, True, "expires in 8.0 days"),
            (6, False, "expires in 6.0 days; renew tls.certificate"),
            (-2, False, "expired 2.0 days ago; renew tls.certificate"),
        ):
            self.scene.expires = NOW + days * DAY
            self.assertEqual(self.check("certificate"), Check("certificate", ok, detail))
        self.scene.certificate = "certificates.dmz.certificate"
        self.assertIn("renew certificates.dmz.certificate", self.check("certificate").detail)
        self.scene.expires = None
        self.assertTrue(self.check("certificate").ok)

    def test_file_descriptors(self) -> None:
        for limit, ok, words in (
            (100_000, True, "of 100000 left"),
            (4, False, "0 of 4 left; raise LimitNOFILE"),
            (resource.RLIM_INFINITY, True, "without limit"),
        ):
            self.patch(resource, "getrlimit", lambda which, limit=limit: (limit, limit))
            found = self.check("file descriptors")
            self.assertEqual(found.ok, ok)
            self.assertIn(words, found.detail)
