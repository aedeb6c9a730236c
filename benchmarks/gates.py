"""What the project aims at, and whether a run met it."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs

from benchmarks.stats import median, paired_ratio
from benchmarks.vocabulary import Results, Transport

__all__ = ["GATES", "Gate", "Verdict", "Verdicts", "judge"]


class Verdict(enum.Enum):
    """How a gate fared."""

    PASS = "pass"
    MISS = "miss"
    UNKNOWN = "not measured"


@attrs.frozen
class Gate:
    """One aim. With a peer the figure is *peer's / ours*, without one it is ours."""

    title: str
    workload: str
    transport: Transport
    metric: str
    peer: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def judge(self, results: Results) -> tuple[float | None, Verdict]:
        """The figure and the verdict."""
        value = self._value(results)
        if value is None:
            return None, Verdict.UNKNOWN
        low = self.at_least is None or value >= self.at_least
        high = self.at_most is None or value <= self.at_most
        return value, Verdict.PASS if low and high else Verdict.MISS

    def _value(self, results: Results) -> float | None:
        outcomes = results.get((self.workload, self.transport), {})
        ours = outcomes["ours"].values.get(self.metric, []) if "ours" in outcomes else []
        if not ours:
            return None
        if self.peer is None:
            return median(ours)
        if self.peer not in outcomes:
            return None
        return paired_ratio(outcomes[self.peer].values.get(self.metric, []), ours)


Verdicts = list[tuple[Gate, float | None, Verdict]]


def judge(results: Results, gates: Sequence[Gate] | None = None) -> Verdicts:
    """Every gate's figure and verdict."""
    return [(gate, *gate.judge(results)) for gate in (GATES if gates is None else gates)]


def _cheaper(
    title: str, workload: str, at_least: float, transport: Transport = Transport.WSS, metric: str = "cpu"
) -> Gate:
    return Gate(title, workload, transport, metric, peer="websockify", at_least=at_least)


def _no_dearer(title: str, workload: str, most: float) -> Gate:
    return Gate(title, workload, Transport.WSS, "cpu", peer="nginx", at_least=1 / most)


_SIZES = (64, 16, 4, 1)

GATES: tuple[Gate, ...] = (
    *(_cheaper(f"wss to browser, {n} KiB writes: CPU", f"down-{n}k", 1.5) for n in _SIZES),
    *(_cheaper(f"ws to browser, {n} KiB writes: CPU", f"down-{n}k", 1.3, Transport.WS) for n in _SIZES),
    _cheaper("wss from browser, 64 KiB frames: CPU", "up-64k", 3),
    _cheaper("wss from browser, 32-byte frames: CPU", "up-32b", 12),
    _cheaper("wss, 200 sessions: CPU", "sessions", 3),
    _cheaper("wss, 200 sessions: echo p99", "sessions", 4, metric="echo_p99"),
    _cheaper("wss connection with ticket, RSA key: CPU", "connect-rsa", 9),
    _cheaper("wss connection with ticket, ECDSA key: CPU", "connect-ecdsa", 9),
    _cheaper("memory per idle wss session", "idle-few", 200, metric="memory"),
    *(_no_dearer(f"wss to browser, {n} KiB writes: CPU", f"down-{n}k", 1.0) for n in _SIZES),
    _no_dearer("wss, 200 sessions: CPU", "sessions", 1.25),
    Gate("KiB per idle wss session", "idle-some", Transport.WSS, "memory", at_most=25),
    Gate("5000 wss sessions held", "idle-many", Transport.WSS, "held", at_least=5000),
    Gate("of them lost", "idle-many", Transport.WSS, "lost", at_most=0),
    Gate("their CPU while idle, % of a core", "idle-many", Transport.WSS, "cpu", at_most=1),
)
