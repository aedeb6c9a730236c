"""Metrics for Prometheus.

What lives is read when somebody asks, so that no byte and no frame costs
anything; what is over was counted from the events.  Each service has a
registry of its own, because several gateways can live in one process.

No label takes a value from outside: hosts, clients, subjects and tickets are
for the control API and the audit.  All series exist from the start, so that a
rate never misses the first of its kind.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import attrs
from prometheus_client import CollectorRegistry, GCCollector, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from twisted.web.resource import IResource

from gateway import __version__
from gateway.control.health import Health
from gateway.control.lag import LoopLag
from gateway.control.plain import Answer, PlainResource
from gateway.control.readings import Readings
from gateway.control.traffic import TrafficCount
from gateway.reasons import EndReason, Refusal
from gateway.relay import NATIVE
from gateway.sessions.events import Event, Events, RequestRefused, SessionEnded, SessionJoined, SessionOpened
from gateway.sessions.info import SessionInfo, SessionState
from gateway.tickets import Kind

__all__ = ["Metrics"]

_PREFIX: Final = "console_gateway_"
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"

_DAY: Final = 86400.0
_SOON: Final = (("expired", 0.0), ("within_7_days", 7 * _DAY), ("within_30_days", 30 * _DAY))
"""Names of the spans in which certificates expire, and their ends; what is later is ``later``."""

_UNKNOWN: Final = "unknown"
_KINDS: Final = (*(kind.value for kind in Kind), _UNKNOWN)

_MOMENTS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_DIALLING: Final = (*_MOMENTS, 30, 60, 120)
"""A user who is asked for a password takes longer than any network."""
_HOURS: Final = (1, 10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_LAGS: Final = (0.001, *_MOMENTS)


class Metrics:
    """Counts what happens, and collects what is.

    :ivar started: sessions so far, by kind as it was known when they began.
    :ivar ended: ends so far, by the label of their reason.
    :ivar refused: requests refused so far, by the label of the reason.
    """

    def __init__(
        self,
        events: Events,
        readings: Readings,
        health: Health,
        lag: LoopLag,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Counts from now on: make it before the first session is let in.

        :param now: the wall clock, in seconds since the epoch.
        """
        self._readings = readings
        self._health = health
        self._lag = lag
        self._now = now
        self.started = dict.fromkeys(_KINDS, 0)
        self.ended = {reason.label: 0 for reason in EndReason}
        self.refused = {refusal.label: 0 for refusal in Refusal}
        self._traffic = TrafficCount()
        self._ledger_size: int | None = None
        self._ready = False
        self._handshakes = _histogram(
            "handshake_duration_seconds",
            "From the accepted connection to the answered upgrade, of those that became sessions.",
            _MOMENTS,
        )
        self._diallings = _histogram(
            "dial_duration_seconds",
            "From the answered upgrade to the joined target: resolving, connecting, handshakes.",
            _DIALLING,
        )
        self._durations = _histogram(
            "session_duration_seconds", "Sessions that ended, from their start.", _HOURS, ("kind",)
        )
        for kind in _KINDS:
            self._durations.labels(kind)
        self._lags = _histogram("event_loop_lag_seconds", "By how much the event loop is late.", _LAGS)
        lag.observe(self._lags.observe)
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.resource: IResource = _MetricsResource(self)
        """Resource for ``/metrics``."""
        self.stop = events.subscribe(self._happened)
        """Count no more; idempotent."""

    async def ask(self) -> None:
        """Ask what takes time; :meth:`collect` says what was answered last."""
        self._ledger_size = await self._health.ledger.ask()
        self._ready = await self._health.why_not_ready() is None

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance, as the registry wants to hear it."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Everything, for the registry."""
        yield InfoMetricFamily(
            _PREFIX + "build", "The gateway that runs.", {"version": __version__, "masker": _masker()}
        )
        infos = list(self._readings.sessions())
        yield _sessions(infos)
        yield _counter(
            "sessions_started", "Sessions begun, by kind as far as it was known then.", "kind", self.started
        )
        yield _counter("sessions_ended", "Sessions ended, by reason.", "reason", self.ended)
        yield _counter("requests_refused", "Requests refused, by reason.", "reason", self.refused)
        yield from self._relayed(infos)
        for histogram in (self._handshakes, self._diallings, self._durations, self._lags):
            yield from _without_birthdays(histogram.collect())
        yield _gauge(
            "event_loop_lag_latest_seconds", "By how much the event loop was late last.", self._lag.latest
        )
        yield from self._admission()
        yield from self._abuse()
        yield from self._ledger()
        yield from self._certificates()
        yield from self._audit()

    # -- what happens ------------------------------------------------------------------

    def _happened(self, event: Event) -> None:
        what = event.what
        if isinstance(what, SessionOpened):
            self.started[_kind(what.session)] += 1
            self._traffic.opened(what.session)
            self._handshakes.observe(what.handshake)
        elif isinstance(what, SessionJoined):
            self._diallings.observe(what.dialling)
        elif isinstance(what, SessionEnded):
            self.ended[what.reason.label] += 1
            self._durations.labels(_kind(what.session)).observe(what.session.duration)
            self._traffic.ended(what.session)
        elif isinstance(what, RequestRefused):
            self.refused[what.reason.label] += 1

    # -- what is ----------------------------------------------------------------------

    def _relayed(self, infos: Iterable[SessionInfo]) -> Iterator[Metric]:
        total = self._traffic.total(infos)
        yield _counter(
            "relayed_bytes",
            "Bytes relayed, without framing.",
            "direction",
            {"to_target": total.to_target, "to_client": total.to_client},
        )
        yield _counter(
            "relayed_messages",
            "WebSocket data frames exchanged with clients.",
            "direction",
            {"to_target": total.messages_to_target, "to_client": total.messages_to_client},
        )

    def _admission(self) -> Iterator[Metric]:
        readings = self._readings
        yield _gauge("admitting", "Whether operators let sessions in.", readings.admitting())
        yield _gauge("ready", "Whether sessions are taken, as /readyz says it.", self._ready)
        yield _gauge(
            "handshakes", "Connections that are no session: handshakes, requests.", readings.handshakes()
        )
        limits = GaugeMetricFamily(_PREFIX + "limit", "Limits that are set.", labels=("limit",))
        for name, value in attrs.asdict(readings.limits()).items():
            limits.add_metric((name,), value)
        limits.add_metric(("ledger",), readings.ledger_limit())
        yield limits

    def _abuse(self) -> Iterator[Metric]:
        abuse = self._readings.abuse
        yield _counter(
            "connections_closed",
            "Connections closed when they were accepted, by why.",
            "reason",
            abuse.closed,
        )
        family = GaugeMetricFamily(
            _PREFIX + "watched_addresses", "Addresses that something is held against.", labels=("for",)
        )
        for name, count in abuse.remembered.items():
            family.add_metric((name,), count)
        yield family

    def _ledger(self) -> Iterator[Metric]:
        if self._ledger_size is not None:
            yield _gauge("ledger_size", "Tickets that the ledger remembers.", self._ledger_size)
        yield _total(
            "ledger_failures",
            "How often the ledger did not answer a probe or a scrape.",
            self._health.ledger.failures,
        )

    def _audit(self) -> Iterator[Metric]:
        audit = self._readings.audit
        yield _gauge("audit_available", "Whether what happens is recorded.", audit.available)
        yield _gauge("audit_waiting", "Audit records that wait to be written.", audit.waiting)
        yield _total("audit_failures", "Attempts to write the audit that failed.", audit.failures)
        yield _total("audit_lost", "Audit records that were lost, because too many waited.", audit.lost)

    def _certificates(self) -> Iterator[Metric]:
        expires = self._readings.certificate_expires()
        if expires is not None:
            yield _gauge(
                "certificate_expiry_timestamp_seconds",
                "When the first of the certificates that clients see expires, in seconds since the epoch.",
                expires,
            )
        targets, now = list(self._readings.targets_expire()), self._now()
        counts = dict.fromkeys((*(name for name, _ in _SOON), "later"), 0)
        for each in targets:
            counts[next((name for name, end in _SOON if each - now <= end), "later")] += 1
        family = GaugeMetricFamily(
            _PREFIX + "target_certificates",
            "Targets whose certificates were seen, by when they expire.",
            labels=("expires",),
        )
        for name, count in counts.items():
            family.add_metric((name,), count)
        yield family
        if targets:
            yield _gauge(
                "target_certificate_expiry_timestamp_seconds",
                "When the first of them expires, in seconds since the epoch.",
                min(targets),
            )


def _masker() -> str:
    return "native" if NATIVE else "slow"


def _kind(info: SessionInfo) -> str:
    return info.kind.value if info.kind is not None else _UNKNOWN


def _sessions(infos: Iterable[SessionInfo]) -> Metric:
    counts = {(kind, state.value): 0 for kind in _KINDS for state in SessionState}
    for info in infos:
        counts[_kind(info), info.state.value] += 1
    family = GaugeMetricFamily(_PREFIX + "sessions", "Sessions that live.", labels=("kind", "state"))
    for labels, count in counts.items():
        family.add_metric(labels, count)
    return family


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, documentation, value=value)


def _total(name: str, documentation: str, value: float) -> Metric:
    return CounterMetricFamily(_PREFIX + name, documentation, value=value)


def _counter(name: str, documentation: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, documentation, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value,), count)
    return family


def _histogram(
    name: str, documentation: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
) -> Histogram:
    return Histogram(_PREFIX + name, documentation, labels, registry=None, buckets=buckets)


def _without_birthdays(families: Iterable[Metric]) -> Iterator[Metric]:
    """Without the time each series was made: nobody asks, and process_start_time_seconds says the same."""
    for family in families:
        family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        yield family


class _MetricsResource(PlainResource):
    """``/metrics`` in the text format, or as OpenMetrics for those that ask for it."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self._metrics = metrics

    async def answer(self, request: Any) -> Answer:
        await self._metrics.ask()
        # The version that is asked for does not matter: no name or label of ours needs the newer ones.
        if "application/openmetrics-text" in _accepted(request, b"accept"):
            body, content_type = (
                openmetrics.generate_latest(self._metrics.registry),
                openmetrics.CONTENT_TYPE_LATEST,
            )
        else:
            body, content_type = generate_latest(self._metrics.registry), _TEXT
        fields: tuple[tuple[str, str], ...] = (("Vary", "Accept, Accept-Encoding"),)
        if "gzip" in _accepted(request, b"accept-encoding"):
            body = gzip.compress(body, compresslevel=1)
            fields = (*fields, ("Content-Encoding", "gzip"))
        return Answer(body, content_type=content_type, fields=fields)


def _accepted(request: Any, field: bytes) -> set[str]:
    """What a header field lists, without the parameters."""
    values = b",".join(request.requestHeaders.getRawHeaders(field, [])).decode("latin-1").lower()
    return {value.partition(";")[0].strip() for value in values.split(",")}
