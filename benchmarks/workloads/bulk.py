"""Bulk transfers in either direction over one session."""

from __future__ import annotations

from benchmarks.contenders import Contender
from benchmarks.stage import Stage
from benchmarks.vocabulary import Metric, Scale, Transport
from benchmarks.workloads.base import MaybeSecured, Reading, Workload

__all__ = ["BULK", "SECURED_BULK"]

_GIB = 1 << 30
_KIB = 1 << 10
_PATTERN = 65536


class _Down(MaybeSecured):
    metrics = (
        Metric("cpu", "CPU s/GiB"),
        Metric("rate", "MiB/s", 0, compared=False),
    )

    def __init__(self, size: int, *, secured: bool = False) -> None:
        self._size = size
        self.name = f"down-{size // _KIB}k"
        self.title = f"to browser, {size // _KIB} KiB writes"
        super().__init__(secured=secured)

    def seconds(self, contender: Contender, transport: Transport, scale: Scale) -> float:
        return 0.2 + self._total(scale) / _GIB * (1.2 if self._size > _KIB else 3.0)

    def _total(self, scale: Scale) -> int:
        # Writes of 1 KiB keep the target busier than any proxy.
        return scale.bulk if self._size > _KIB else scale.bulk // 2

    def measure(self, stage: Stage, contender: Contender, transport: Transport, scale: Scale) -> Reading:
        instance = stage.instance(contender, transport, secured=self.secured)
        total = self._total(scale)
        with stage.client(instance, "down", f"--size={self._size}", f"--total={total}") as client:
            run = stage.measure(instance, client)
        return {
            "cpu": run.cpu * _GIB / total,
            "rate": total / run.result["seconds"] / (1 << 20),
        }, run.saturated


class _Up(MaybeSecured):
    name = "up-64k"
    title = "from browser, 64 KiB frames"
    metrics = (
        Metric("cpu", "CPU s/GiB"),
        Metric("rate", "MiB/s", 0, compared=False),
    )

    def seconds(self, contender: Contender, transport: Transport, scale: Scale) -> float:
        return 0.2 + scale.bulk / _GIB * (3.0 if contender.name == "websockify" else 1.0)

    def measure(self, stage: Stage, contender: Contender, transport: Transport, scale: Scale) -> Reading:
        instance = stage.instance(contender, transport, secured=self.secured)
        total = scale.bulk // _PATTERN * _PATTERN
        with stage.client(instance, "up", "--size=65536", f"--total={total}") as client:
            run = stage.measure(instance, client)
        return {
            "cpu": run.cpu * _GIB / total,
            "rate": total / run.result["seconds"] / (1 << 20),
        }, run.saturated


class _SmallFrames(Workload):
    name = "up-32b"
    title = "from browser, 32-byte frames"
    metrics = (Metric("cpu", "CPU µs/frame"),)

    def suits(self, contender: Contender, transport: Transport, scale: Scale) -> bool:
        return contender.framed

    def seconds(self, contender: Contender, transport: Transport, scale: Scale) -> float:
        return 0.3 + scale.frames / 500_000

    def measure(self, stage: Stage, contender: Contender, transport: Transport, scale: Scale) -> Reading:
        instance = stage.instance(contender, transport)
        total = int(scale.frames * contender.frame_share) * 32 // _PATTERN * _PATTERN
        with stage.client(instance, "up", "--size=32", f"--total={total}") as client:
            run = stage.measure(instance, client)
        return {"cpu": run.cpu * 1e6 / run.result["frames"]}, run.saturated


BULK: tuple[Workload, ...] = (*(_Down(size * _KIB) for size in (64, 16, 4, 1)), _Up(), _SmallFrames())
SECURED_BULK: tuple[Workload, ...] = (_Down(64 * _KIB, secured=True), _Up(secured=True))
