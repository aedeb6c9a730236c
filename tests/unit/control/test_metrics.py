from __future__ import annotations

import gzip
import random
import secrets
import shutil
import subprocess

import attrs
import hypothesis
import hypothesis.strategies as st
import prometheus_client
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from twisted.internet import defer
from twisted.trial.unittest import SynchronousTestCase

from gateway import __version__
from gateway.control.traffic import Traffic, TrafficCount
from gateway.reasons import EndReason, Refusal
from gateway.sessions.events import (
    AdminAction,
    RequestRefused,
    SessionEnded,
    SessionJoined,
    SessionOpened,
    SessionWarned,
)
from gateway.sessions.info import SessionState
from gateway.tickets import Kind, LedgerRefusal, LedgerRefused
from tests.peers import needs
from tests.support.http import Answer
from tests.unit.control.scene import NOW, Conversation, Scene, ask, session

DAY = 86400
P = "console_gateway_"


class MetricsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.scene = Scene()
        self.publish = self.scene.events.publish

    def value(self, name: str) -> float:
        return self.scene.scrape()[P + name]

    def get(self, **fields: str) -> Answer:
        answer = ask(self.scene.metrics.resource, {name.replace("_", "-"): v for name, v in fields.items()})
        assert answer is not None
        return answer


class ExpositionTests(MetricsTestCase):
    def test_formats(self) -> None:
        text = self.get()
        self.assertEqual(text.header("Content-Type"), "text/plain; version=0.0.4; charset=utf-8")
        self.assertIn(b"# TYPE console_gateway_sessions_ended_total counter", text.body)
        # What Prometheus sends.
        modern = self.get(
            Accept="application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
        )
        self.assertTrue(
            (modern.header("Content-Type") or "").startswith("application/openmetrics-text; version=1")
        )
        self.assertTrue(modern.body.endswith(b"# EOF\n"))
        names = {family.name for family in openmetrics_families(modern.body.decode())}
        self.assertIn("console_gateway_sessions_ended", names)

    def test_what_is_asked_for_is_not_repeated(self) -> None:
        for accept in (
            "application/openmetrics-text;version=junk",
            "application/openmetrics-text; version=9.9.9; escaping=\xff",
            "text/plain;version=1.0.0;escaping=allow-utf-8",
            ",;,=;",
        ):
            answer = self.get(Accept=accept)
            self.assertEqual(answer.status, 200)
            self.assertNotIn(b"junk", answer.head)
            self.assertNotIn(b"9.9.9", answer.head)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_compression(self) -> None:
        answer = self.get(Accept_Encoding="deflate, gzip;q=1.0")
        self.assertEqual(answer.header("Content-Encoding"), "gzip")
        self.assertEqual(answer.header("Content-Length"), str(len(answer.body)))
        self.assertIn(b"console_gateway_sessions{", gzip.decompress(answer.body))

    def test_methods(self) -> None:
        head = ask(self.scene.metrics.resource, method="HEAD")
        assert head is not None
        self.assertEqual((head.status, head.body), (200, b""))
        post = ask(self.scene.metrics.resource, method="POST")
        assert post is not None
        self.assertEqual(post.status, 405)

    def test_several_in_one_process(self) -> None:
        other = Scene()
        other.events.publish(SessionOpened(session(1), 0.1))
        name = 'sessions_started_total{kind="vnc"}'
        self.assertEqual((self.value(name), other.scrape()[P + name]), (0, 1))
        ours = [family.name for family in prometheus_client.REGISTRY.collect()]
        self.assertFalse([name for name in ours if name.startswith(P)])

    def test_process(self) -> None:
        found = self.scene.scrape()
        self.assertEqual(found[f'{P}build_info{{masker="native",version="{__version__}"}}'], 1)
        self.assertGreater(found["process_resident_memory_bytes"], 1e6)
        self.assertGreater(found["process_open_fds"], 0)
        self.assertIn('python_gc_collections_total{generation="0"}', found)

    @needs("prometheus")
    def test_names(self) -> None:
        """As Prometheus's own tool wants them."""
        promtool = shutil.which("promtool")
        assert promtool
        found = subprocess.run(
            [promtool, "check", "metrics"],
            input=self.get().body,
            capture_output=True,
            timeout=30,
            check=False,
        )
        self.assertEqual((found.returncode, found.stdout, found.stderr), (0, b"", b""))


class CountTests(MetricsTestCase):
    def test_everything_is_there_from_the_start(self) -> None:
        found = self.scene.scrape()
        for reason in EndReason:
            self.assertEqual(found[f'{P}sessions_ended_total{{reason="{reason.label}"}}'], 0)
        for refusal in Refusal:
            self.assertEqual(found[f'{P}requests_refused_total{{reason="{refusal.label}"}}'], 0)
        for kind in (*Kind, None):
            label = kind.value if kind else "unknown"
            self.assertEqual(found[f'{P}sessions_started_total{{kind="{label}"}}'], 0)
            self.assertEqual(found[f'{P}session_duration_seconds_count{{kind="{label}"}}'], 0)
            for state in SessionState:
                self.assertEqual(found[f'{P}sessions{{kind="{label}",state="{state.value}"}}'], 0)

    def test_life_of_a_session(self) -> None:
        begun = session(1, kind=None, state=SessionState.CONNECTING)
        self.scene.live = [begun]
        self.publish(SessionOpened(begun, 0.03))
        self.assertEqual(self.value('sessions{kind="unknown",state="connecting"}'), 1)
        joined = attrs.evolve(begun, kind=Kind.SPICE, state=SessionState.ACTIVE, duration=0.2)
        self.scene.live = [joined]
        self.publish(SessionJoined(joined, 0.2))
        self.assertEqual(self.value('sessions{kind="spice",state="active"}'), 1)
        self.assertEqual(self.value('sessions{kind="unknown",state="connecting"}'), 0)
        self.scene.live = []
        self.publish(SessionEnded(attrs.evolve(joined, duration=400.0), EndReason.IDLE, ""))
        found = self.scene.scrape()
        for name, value in (
            ('sessions_started_total{kind="unknown"}', 1),
            ('sessions_ended_total{reason="idle"}', 1),
            ('sessions{kind="spice",state="active"}', 0),
            ('handshake_duration_seconds_bucket{le="0.025"}', 0),
            ('handshake_duration_seconds_bucket{le="0.05"}', 1),
            ("handshake_duration_seconds_sum", 0.03),
            ('dial_duration_seconds_bucket{le="0.1"}', 0),
            ('dial_duration_seconds_bucket{le="0.25"}', 1),
            ('session_duration_seconds_bucket{kind="spice",le="300.0"}', 0),
            ('session_duration_seconds_bucket{kind="spice",le="900.0"}', 1),
            ('session_duration_seconds_count{kind="spice"}', 1),
        ):
            self.assertEqual(found[P + name], value, name)
        self.assertEqual(self.scene.metrics.ended["idle"], 1)
        self.assertEqual(sum(self.scene.metrics.ended.values()), 1)

    def test_refusals(self) -> None:
        for refusal in (Refusal.TICKET_USED, Refusal.TICKET_USED, Refusal.SESSION_LIMIT):
            self.publish(RequestRefused("192.0.2.1", None, None, None, refusal, ""))
        self.assertEqual(self.value('requests_refused_total{reason="ticket-used"}'), 2)
        self.assertEqual(self.scene.metrics.refused["session-limit"], 1)

    def test_other_events(self) -> None:
        before = self.scene.scrape()
        self.publish(SessionWarned(session(1), EndReason.IDLE, 60))
        self.publish(AdminAction("uid:0", "end", ("id-1",), ""))
        after = self.scene.scrape()
        self.assertEqual(
            {name: value for name, value in before.items() if name.startswith(P)},
            {name: value for name, value in after.items() if name.startswith(P)},
        )

    def test_stop(self) -> None:
        self.scene.metrics.stop()
        self.publish(SessionOpened(session(1), 0.1))
        self.assertEqual(self.value('sessions_started_total{kind="vnc"}'), 0)

    def test_labels_are_bounded(self) -> None:
        """Whatever thousands of users bring along, the exposition stays as it is."""
        before = [name for name in self.scene.scrape() if name.startswith(P)]
        size = len(self.get().body)
        chance = random.Random(5)
        for number in range(10_000):
            info = session(
                number,
                ticket=secrets.token_hex(16),
                subject=f"user-{number}@{chance.random()}",
                client=f"192.0.{chance.randrange(256)}.{chance.randrange(256)}",
                target=f"host-{chance.random()}.example:{chance.randrange(65536)}",
                security=secrets.token_hex(8),
                kind=chance.choice([*Kind, None]),
                state=chance.choice(list(SessionState)),
            )
            self.scene.live.append(info)
            self.scene.targets.append(NOW + chance.uniform(-9, 900) * DAY)
            self.publish(SessionOpened(info, chance.random()))
            self.publish(SessionJoined(info, chance.random()))
            refusal = chance.choice(list(Refusal))
            self.publish(
                RequestRefused(info.client, info.ticket, info.subject, info.target, refusal, info.target)
            )
            if number % 2:
                self.publish(SessionEnded(self.scene.live.pop(), chance.choice(list(EndReason)), info.target))
        after = [name for name in self.scene.scrape() if name.startswith(P)]
        self.assertEqual(set(after) - set(before), {P + "target_certificate_expiry_timestamp_seconds"})
        self.assertEqual(len(after), len(before) + 1)
        # Numbers get longer, and nothing else.
        self.assertLess(len(self.get().body), size + 16 * len(after))


class TrafficTests(MetricsTestCase):
    def total(self) -> list[float]:
        found = self.scene.scrape()
        return [
            found[f'{P}relayed_{what}_total{{direction="{way}"}}']
            for what in ("bytes", "messages")
            for way in ("to_target", "to_client")
        ]

    def test_live_and_ended(self) -> None:
        first = session(1, to_target=10, to_client=20, messages_to_target=3, messages_to_client=4)
        second = session(2, to_target=100, to_client=200, messages_to_target=30, messages_to_client=40)
        self.scene.live = [first, second]
        for info in self.scene.live:
            self.publish(SessionOpened(attrs.evolve(info, to_target=0, to_client=0), 0.1))
        self.assertEqual(self.total(), [110, 220, 33, 44])
        first = attrs.evolve(first, to_target=15)
        self.publish(SessionEnded(first, EndReason.CLIENT_CLOSED, ""))
        # It may be listed for a moment longer.
        self.assertEqual(self.total(), [115, 220, 33, 44])
        self.scene.live = [second]
        self.assertEqual(self.total(), [115, 220, 33, 44])
        # It may be gone from the list before its end is told.
        self.scene.live = []
        self.assertEqual(self.total(), [115, 220, 33, 44])
        self.publish(SessionEnded(second, EndReason.CLIENT_CLOSED, ""))
        self.assertEqual(self.total(), [115, 220, 33, 44])

    @hypothesis.given(st.data())
    @hypothesis.settings(max_examples=60, deadline=None)
    def test_never_goes_backwards(self, data: st.DataObject) -> None:
        """In whatever order sessions leave the list and their ends are told; and each byte counts once."""
        count = TrafficCount()
        live = {}
        untold = {}
        expected = before = 0
        for number in range(data.draw(st.integers(1, 25))):
            step = data.draw(st.sampled_from(["open", "relay", "unlist", "end", "look"]))
            if step == "open":
                live[number] = session(number)
                untold[number] = live[number]
                count.opened(live[number])
            elif step == "relay" and live:
                key = data.draw(st.sampled_from(sorted(live)))
                if key in untold:
                    more = data.draw(st.integers(0, 1000))
                    live[key] = attrs.evolve(live[key], to_target=live[key].to_target + more)
                    untold[key] = live[key]
            elif step == "unlist" and live:
                live.pop(data.draw(st.sampled_from(sorted(live))))
            elif step == "end" and untold:
                info = untold.pop(data.draw(st.sampled_from(sorted(untold))))
                expected += info.to_target
                count.ended(info)
            total = count.total(live.values()).to_target
            self.assertGreaterEqual(total, before)
            before = total
        for info in untold.values():
            expected += info.to_target
            count.ended(info)
        self.assertEqual(count.total(live.values()), Traffic(to_target=expected))

    def test_nothing_is_kept_of_the_ended(self) -> None:
        for number in range(100):
            self.publish(SessionOpened(session(number), 0.1))
            self.publish(SessionEnded(session(number, to_target=1), EndReason.CLIENT_GONE, ""))
        # Their ids come again, and count anew.
        self.scene.live = [session(1, to_target=50)]
        self.assertEqual(self.total()[0], 100)


class GaugeTests(MetricsTestCase):
    def test_limits(self) -> None:
        found = self.scene.scrape()
        for name, value in {**attrs.asdict(self.scene.limits), "ledger": 1000}.items():
            self.assertEqual(found[f'{P}limit{{limit="{name}"}}'], value)
        self.assertEqual(found[P + "handshakes"], 3)

    def test_admission(self) -> None:
        self.assertEqual((self.value("admitting"), self.value("ready")), (1, 1))
        self.scene.admitting = False
        self.assertEqual((self.value("admitting"), self.value("ready")), (0, 0))

    def test_ledger(self) -> None:
        self.assertEqual(self.value("ledger_size"), 7)
        self.scene.ledger = LedgerRefused(LedgerRefusal.UNAVAILABLE)
        self.scene.pass_time(2)
        found = self.scene.scrape()
        self.assertNotIn(P + "ledger_size", found)
        self.assertEqual((found[P + "ledger_failures_total"], found[P + "ready"]), (1, 0))
        self.scene.ledger = 8
        self.scene.pass_time(2)
        self.assertEqual((self.value("ledger_size"), self.value("ready")), (8, 1))

    def test_slow_ledger(self) -> None:
        """Everything else is still told in time."""
        self.scene.ledger = defer.Deferred()
        conversation = Conversation(self.scene.metrics.resource)
        self.scene.pass_time(0.5)
        self.assertIsNone(conversation.answer)
        self.scene.pass_time(0.6)
        assert conversation.answer is not None
        self.assertNotIn(b"\nconsole_gateway_ledger_size ", conversation.answer.body)
        self.assertIn(b"\nconsole_gateway_ledger_failures_total 1.0", conversation.answer.body)

    def test_certificates(self) -> None:
        self.assertEqual(self.value("certificate_expiry_timestamp_seconds"), NOW + 90 * DAY)
        self.assertNotIn(P + "target_certificate_expiry_timestamp_seconds", self.scene.scrape())
        self.scene.expires = None
        self.scene.targets = [NOW + days * DAY for days in (-3, 0, 1, 7, 8, 30, 31, 400)]
        found = self.scene.scrape()
        self.assertNotIn(P + "certificate_expiry_timestamp_seconds", found)
        self.assertEqual(found[P + "target_certificate_expiry_timestamp_seconds"], NOW - 3 * DAY)
        counts = {
            name: found[f'{P}target_certificates{{expires="{name}"}}']
            for name in ("expired", "within_7_days", "within_30_days", "later")
        }
        self.assertEqual(counts, {"expired": 2, "within_7_days": 2, "within_30_days": 2, "later": 2})

    def test_event_loop(self) -> None:
        self.scene.lag.start()
        self.scene.pass_time(1.2)
        self.scene.pass_time(1.0)
        found = self.scene.scrape()
        self.assertEqual(found[P + "event_loop_lag_latest_seconds"], 0)
        self.assertEqual(found[P + "event_loop_lag_seconds_count"], 2)
        self.assertEqual(found[P + 'event_loop_lag_seconds_bucket{le="0.1"}'], 1)
        self.assertEqual(found[P + 'event_loop_lag_seconds_bucket{le="0.25"}'], 2)

    def test_abuse(self) -> None:
        self.scene.abuse.closed["client-rate"] = 7
        self.scene.abuse.remembered["failed-tickets"] = 3
        found = self.scene.scrape()
        name = "console_gateway_connections_closed_total"
        self.assertEqual(
            (found[f'{name}{{reason="client-rate"}}'], found[f'{name}{{reason="full"}}']), (7, 0)
        )
        self.assertEqual(found['console_gateway_watched_addresses{for="failed-tickets"}'], 3)

    def test_audit(self) -> None:
        self.scene.audit.available, self.scene.audit.failures = False, 4
        self.scene.audit.waiting, self.scene.audit.lost = 3, 2
        found = self.scene.scrape()
        names = ("audit_available", "audit_failures_total", "audit_waiting", "audit_lost_total")
        self.assertEqual([found[P + name] for name in names], [0, 4, 3, 2])
