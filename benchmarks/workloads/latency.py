"""How long things take, alone and among many sessions."""

from __future__ import annotations

from benchmarks.contenders import Contender
from benchmarks.stage import Stage
from benchmarks.vocabulary import BenchmarkError, Metric, Scale, Transport
from benchmarks.workloads.base import MaybeSecured, Reading, Workload

__all__ = ["LATENCY", "SECURED_SESSIONS"]

# Parts of the time that updates to many sessions get.
_ECHO, _ISOLATED = 0.5, 0.9
_PERCENTILES = ("p50", "p99", "p999")


def _percentile_metrics(name: str, title: str, unit: str, decimals: int) -> tuple[Metric, ...]:
    return tuple(
        Metric(f"{name}_{key}", f"{title} {'p99.9' if key == 'p999' else key}, {unit}", decimals)
        for key in _PERCENTILES
    )


def _percentiles(
    result: dict[str, dict[str, float]], source: str, name: str, scale: float
) -> dict[str, float]:
    if not result[source]["count"]:
        raise BenchmarkError("nothing came back")
    return {f"{name}_{key}": result[source][key] * scale for key in _PERCENTILES}


class _Echo(Workload):
    name = "echo"
    title = "echo, one session"
    metrics = (*_percentile_metrics("echo", "round trip", "µs", 0), Metric("cpu", "CPU µs/echo", 1))

    def suits(self, contender: Contender, transport: Transport, scale: Scale) -> bool:
        return True

    def seconds(self, contender: Contender, transport: Transport, scale: Scale) -> float:
        return 0.6 + scale.seconds * _ECHO

    def measure(self, stage: Stage, contender: Contender, transport: Transport, scale: Scale) -> Reading:
        instance = stage.instance(contender, transport)
        with stage.client(instance, "echo", f"--seconds={scale.seconds * _ECHO}") as client:
            run = stage.measure(instance, client)
        figures = _percentiles(run.result, "echo_us", "echo", 1)
        if contender.proxied:
            figures["cpu"] = run.cpu * 1e6 / run.result["echo_us"]["count"]
        # One round trip at a time: nobody is saturated, whoever computes.
        return figures, False


class _Sessions(MaybeSecured):
    """Updates to many browsers; each asks for the next, and sends an input now and then."""

    _SESSIONS = 200
    _RATE = 30
    name = "sessions"
    title = f"{_SESSIONS} sessions x {_RATE}/s x 10 KB"
    metrics = (
        Metric("cpu", "% of a core", 1),
        Metric("update", "CPU µs/update", 1),
        *_percentile_metrics("echo", "input echo", "ms", 2),
        *_percentile_metrics("delay", "update delay", "ms", 2),
        Metric("updates", "updates/s delivered", 0, compared=False),
    )

    def suits(self, contender: Contender, transport: Transport, scale: Scale) -> bool:
        return contender.secures or not self.secured

    def seconds(self, contender: Contender, transport: Transport, scale: Scale) -> float:
        return scale.seconds + (4.0 if contender.name == "websockify" else 1.2)

    def measure(self, stage: Stage, contender: Contender, transport: Transport, scale: Scale) -> Reading:
        instance = stage.instance(contender, transport, secured=self.secured)
        options = (
            f"--sessions={self._SESSIONS}",
            "--size=10000",
            f"--interval={1_000_000 // self._RATE}",
            "--inputs=333",
            "--requests",
            f"--seconds={scale.seconds}",
        )
        with stage.client(instance, "updates", *options, paths=self._SESSIONS) as client:
            run = stage.measure(instance, client)
        figures = {
            **_percentiles(run.result, "echo_us", "echo", 1e-3),
            **_percentiles(run.result, "delay_us", "delay", 1e-3),
            "updates": run.result["updates"] / run.result["seconds"],
        }
        if contender.proxied:
            figures["cpu"] = 100 * run.cpu / run.result["seconds"]
            # Who is overloaded delivers less, which must not look cheap.
            figures["update"] = 1e6 * run.cpu / run.result["updates"]
        return figures, run.saturated


class _Isolated(Workload):
    """Small updates far apart, to show that nothing waits for company."""

    name = "isolated"
    # Whatever gathers updates does so on the side of the target.
    transports = (Transport.WSS,)
    title = "isolated updates, 300 B every 20-50 ms"
    metrics = _percentile_metrics("delay", "delay", "µs", 0)

    def suits(self, contender: Contender, transport: Transport, scale: Scale) -> bool:
        return True

    def seconds(self, contender: Contender, transport: Transport, scale: Scale) -> float:
        return 0.8 + scale.seconds * _ISOLATED

    def measure(self, stage: Stage, contender: Contender, transport: Transport, scale: Scale) -> Reading:
        instance = stage.instance(contender, transport)
        # Four sessions for more samples: to each of them, its own updates are far apart.
        options = ("--sessions=4", "--size=300", "--interval=20000", "--jitter=30000")
        with stage.client(
            instance, "updates", *options, f"--seconds={scale.seconds * _ISOLATED}", paths=4
        ) as client:
            run = stage.measure(instance, client)
        return _percentiles(run.result, "delay_us", "delay", 1), run.saturated


LATENCY: tuple[Workload, ...] = (_Echo(), _Sessions(), _Isolated())
SECURED_SESSIONS: tuple[Workload, ...] = (_Sessions(secured=True),)
