"""Connections: TCP, TLS, upgrade and ticket where there are any, up to the target's first byte and back."""

from __future__ import annotations

from benchmarks.contenders import Contender
from benchmarks.stage import Stage
from benchmarks.vocabulary import Key, Metric, Scale, Transport
from benchmarks.workloads.base import Reading, Workload

__all__ = ["CONNECT"]

_SETTLE = 0.3


class _Connect(Workload):
    metrics = (
        Metric("cpu", "CPU ms/connection"),
        Metric("first_byte", "first byte p50, ms", 2),
        Metric("resumed", "% resumed", 0, compared=False),
    )

    def __init__(self, key: Key, *, resume: bool) -> None:
        self._key = key
        self._resume = resume
        self.name = f"connect-{key.value}" + ("-resume" if resume else "")
        self.title = f"connect, {key.name} key" + (", resumption" if resume else "")
        self.transports = (Transport.WSS,)

    def seconds(self, contender: Contender, transport: Transport, scale: Scale) -> float:
        each = 0.011 if contender.name == "websockify" else 0.0015
        return 0.8 + each * scale.connections

    def measure(self, stage: Stage, contender: Contender, transport: Transport, scale: Scale) -> Reading:
        instance = stage.instance(contender, transport, key=self._key)
        options = [f"--sessions={scale.connections}", "--parallel=8", *(["--resume"] if self._resume else [])]
        with stage.client(instance, "connect", *options, paths=scale.connections) as client:
            run = stage.measure(instance, client, settle=_SETTLE)
        count = run.result["connections"]
        figures = {
            "cpu": 1000 * run.cpu / count,
            "first_byte": run.result["first_byte_us"]["p50"] / 1000,
        }
        if self._resume:
            figures["resumed"] = 100 * run.result["resumed"] / count
        return figures, run.saturated


class _PlainConnect(_Connect):
    def __init__(self) -> None:
        super().__init__(Key.ECDSA, resume=False)
        self.name = "connect-plain"
        self.title = "connect"
        self.transports = (Transport.WS,)


CONNECT: tuple[Workload, ...] = (
    *(_Connect(key, resume=resume) for resume in (False, True) for key in (Key.RSA, Key.ECDSA)),
    _PlainConnect(),
)
