"""Memory: idle sessions, and a side that stops reading."""

from __future__ import annotations

import time

from benchmarks.contenders import Contender
from benchmarks.stage import Stage
from benchmarks.vocabulary import BenchmarkError, Metric, Scale, Transport
from benchmarks.workloads.base import Reading, Workload

__all__ = ["MEMORY"]

_SETTLE = 0.8
_OFFERED = 300 << 20
_MIB = 1 << 20


class _Idle(Workload):
    once = True

    def __init__(self, place: int) -> None:
        self._place = place
        self.name = ("idle-few", "idle-some", "idle-many")[place]
        self.title = f"idle sessions, {('100', '1000', '5000')[place]}"
        self.metrics = (
            Metric("memory", "KiB/session", 1),
            Metric("cpu", "idle CPU, % of a core", 2, compared=False),
            Metric("held", "sessions held", 0, compared=False),
            Metric("lost", "sessions lost", 0, compared=False),
        )

    def _sessions(self, scale: Scale) -> int | None:
        return scale.sessions[self._place] if self._place < len(scale.sessions) else None

    def heading(self, scale: Scale) -> str:
        return f"{self._sessions(scale) or 'no'} idle sessions"

    def suits(self, contender: Contender, transport: Transport, scale: Scale) -> bool:
        sessions = self._sessions(scale)
        return contender.proxied and sessions is not None and sessions <= contender.most_sessions

    def seconds(self, contender: Contender, transport: Transport, scale: Scale) -> float:
        sessions = self._sessions(scale) or 0
        each = 0.02 if contender.name == "websockify" else 0.002
        return 4.5 + sessions * each + self._watch(contender, transport, scale)

    def _watch(self, contender: Contender, transport: Transport, scale: Scale) -> float:
        # Whoever sends pings gets the time for one to every session.
        most = self._place == len(scale.sessions) - 1 and transport is Transport.WSS
        return scale.idle if most and contender.name == "ours" else min(scale.idle, 1.0)

    def measure(self, stage: Stage, contender: Contender, transport: Transport, scale: Scale) -> Reading:
        sessions = self._sessions(scale)
        assert sessions is not None
        with stage.fresh(contender, transport) as instance:
            # The first sessions load code and fill caches that all share.
            with stage.client(instance, "hold", "--sessions=20", paths=20):
                time.sleep(_SETTLE)
            time.sleep(_SETTLE)
            before = instance.memory().total
            options = (f"--sessions={sessions}", "--parallel=32")
            with stage.client(instance, "hold", *options, paths=sessions, limit=240) as client:
                time.sleep(_SETTLE)
                memory = instance.memory().total - before
                cpu, began = instance.cpu(), time.monotonic()
                time.sleep(self._watch(contender, transport, scale))
                share = (instance.cpu() - cpu) / (time.monotonic() - began)
                client.go()
                result = client.result()
        return {
            "memory": memory / sessions / 1024,
            "cpu": 100 * share,
            "held": result["held"],
            "lost": result["lost"],
        }, False


class _Stall(Workload):
    once = True
    metrics = (Metric("growth", "MiB grown", 1, compared=False),)

    def __init__(self, side: str) -> None:
        self._client_mode = {"browser": "stall-down", "target": "stall-up"}[side]
        self.name = f"stalled-{side}"
        self.title = f"{side} stalls, 300 MiB offered"

    def seconds(self, contender: Contender, transport: Transport, scale: Scale) -> float:
        return 2.0 + self._watch(scale)

    @staticmethod
    def _watch(scale: Scale) -> float:
        return min(3.0, 2 * scale.seconds)

    def measure(self, stage: Stage, contender: Contender, transport: Transport, scale: Scale) -> Reading:
        instance = stage.instance(contender, transport)
        with stage.client(instance, self._client_mode, "--size=65536", f"--total={_OFFERED}") as client:
            time.sleep(_SETTLE / 2)
            before = peak = instance.memory().anonymous
            client.go()
            end = time.monotonic() + self._watch(scale)
            while time.monotonic() < end:
                time.sleep(0.2)
                peak = max(peak, instance.memory().anonymous)
            client.go()
            client.result()
        if peak == 0:
            raise BenchmarkError("its memory cannot be read")
        return {"growth": (peak - before) / _MIB}, False


MEMORY: tuple[Workload, ...] = (
    *(_Idle(place) for place in range(3)),
    _Stall("browser"),
    _Stall("target"),
)
