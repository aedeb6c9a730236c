"""A real VNC server with a moving picture, and a client that asks for all it can get and decodes nothing."""

from __future__ import annotations

import select
import shutil
import subprocess
import sys

from benchmarks.contenders import Contender
from benchmarks.stage import Stage, free_port
from benchmarks.vocabulary import BenchmarkError, Metric, Scale, Transport
from benchmarks.workloads.base import Reading, Workload

__all__ = ["VNC"]

_GIB = 1 << 30
_START_TIMEOUT = 20.0
_ENCODINGS = {"ZRLE": 16, "raw": 0}


class _Server:
    """Xtigervnc and the program that paints on it; one for all workloads of a stage."""

    def __init__(self) -> None:
        self._stage: Stage | None = None
        self.port = 0

    def ensure(self, stage: Stage) -> None:
        if self._stage is stage:
            return
        program = shutil.which("Xtigervnc")
        if program is None:
            raise BenchmarkError("Xtigervnc was not found: apt install tigervnc-standalone-server")
        self.port = free_port()
        options = ["-SecurityTypes=None", f"-rfbport={self.port}", "-interface=127.0.0.1", "-localhost"]
        screen = ["-geometry", "1280x800", "-depth", "24", "-nolisten", "tcp", "-displayfd", "1"]
        server = stage.keep([program, *options, *screen], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert server.stdout is not None
        # It names its display when it listens.
        ready, _, _ = select.select([server.stdout], [], [], _START_TIMEOUT)
        display = server.stdout.readline().decode("ascii").strip() if ready else ""
        if not display.isdigit():
            raise BenchmarkError("Xtigervnc did not start")
        stage.keep([sys.executable, "-m", "benchmarks.picture", display], stderr=subprocess.DEVNULL)
        self._stage = stage


_server = _Server()


class _Vnc(Workload):
    transports = (Transport.WSS,)
    metrics = (
        Metric("cpu", "CPU s/GiB"),
        Metric("update", "CPU µs/update", 0),
        Metric("updates", "updates/s", 0, compared=False),
        Metric("rate", "MiB/s", 1, compared=False),
    )

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self.name = f"vnc-{encoding.lower()}"
        self.title = f"TigerVNC, moving picture, {encoding}"

    def prepare(self, stage: Stage) -> None:
        _server.ensure(stage)

    def seconds(self, contender: Contender, transport: Transport, scale: Scale) -> float:
        return 1.7 + scale.seconds * 0.8

    def measure(self, stage: Stage, contender: Contender, transport: Transport, scale: Scale) -> Reading:
        instance = stage.instance(contender, transport, target=_server.port)
        options = (f"--encoding={_ENCODINGS[self._encoding]}", f"--seconds={scale.seconds * 0.8}")
        with stage.client(instance, "rfb", *options) as client:
            run = stage.measure(instance, client)
        result = run.result
        if not result["updates"]:
            raise BenchmarkError("no update came")
        return {
            "cpu": run.cpu * _GIB / result["bytes"],
            "update": 1e6 * run.cpu / result["updates"],
            "updates": result["updates"] / result["seconds"],
            "rate": result["bytes"] / result["seconds"] / (1 << 20),
        }, run.saturated


VNC: tuple[Workload, ...] = tuple(_Vnc(encoding) for encoding in _ENCODINGS)
