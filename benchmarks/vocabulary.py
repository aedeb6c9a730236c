"""The benchmarks' words: transports, metrics, results."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

__all__ = ["BenchmarkError", "Key", "Metric", "Outcome", "Results", "Scale", "Transport", "chosen_scale"]


class BenchmarkError(Exception):
    """Something needed is missing or failed; the text is for the user."""


class Transport(enum.Enum):
    """How browsers reach the contender."""

    WSS = "wss"
    WS = "ws"


class Key(enum.Enum):
    """The kind of the server's key."""

    RSA = "rsa"
    ECDSA = "ecdsa"


@attrs.frozen
class Metric:
    """One figure that a workload yields."""

    name: str
    title: str
    decimals: int = 2
    compared: bool = True
    """Less is better, and ratios make sense; otherwise the figure only informs."""


@attrs.define
class Outcome:
    """All rounds of one contender at one workload over one transport."""

    values: dict[str, list[float]] = attrs.field(factory=dict)
    """Per metric one value a round."""
    saturated: int = 0
    """Rounds in which the load generator was busy all the time."""
    failures: list[str] = attrs.field(factory=list)

    def add(self, reading: Mapping[str, float]) -> None:
        """Take the figures of one round."""
        for name, value in reading.items():
            self.values.setdefault(name, []).append(value)


Results = dict[tuple[str, Transport], dict[str, Outcome]]
"""Outcomes by workload and transport, then by contender."""


@attrs.frozen
class Scale:
    """How much is measured."""

    rounds: int
    bulk: int
    """Bytes of a bulk transfer."""
    frames: int
    """Small frames of an upload."""
    seconds: float
    """Length of a timed measurement."""
    connections: int
    sessions: tuple[int, ...]
    """Counts of idle sessions."""
    idle: float
    """Seconds for which the CPU of the largest count is watched."""


_MIB = 1 << 20
_QUICK = Scale(1, 128 * _MIB, 131072, 1.0, 100, (50, 200), 2.0)
# 38 seconds of idling hold one ping of every session.
_FULL = Scale(3, 512 * _MIB, 3 << 18, 3.0, 300, (100, 1000, 5000), 38.0)


def chosen_scale(*, quick: bool, rounds: int | None, seconds: float | None, mebibytes: int | None) -> Scale:
    """The scale for command-line options."""
    scale = _QUICK if quick else _FULL
    if rounds is not None:
        scale = attrs.evolve(scale, rounds=rounds)
    if seconds is not None:
        scale = attrs.evolve(scale, seconds=seconds)
    if mebibytes is not None:
        scale = attrs.evolve(scale, bulk=mebibytes * _MIB)
    return scale
