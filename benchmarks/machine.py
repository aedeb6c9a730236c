"""What a reader must know of the machine, and nothing that identifies it."""

from __future__ import annotations

import datetime
import os
import platform
import re
import resource
import time
from pathlib import Path

from benchmarks.process import Cores

__all__ = ["Strangers", "machine_facts"]

_TICK = os.sysconf("SC_CLK_TCK")


def machine_facts(cores: Cores) -> dict[str, str]:
    """Facts for the head of a report."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB$", _read("/proc/meminfo"), re.MULTILINE)
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "CPU": cpu[1] if cpu else platform.machine(),
        "cores": f"{os.cpu_count()} ({len(cores.proxy)} for the proxy, {len(cores.load)} for the load"
        + (", the same)" if cores.shared else ")"),
        "memory": f"{int(memory[1]) / (1 << 20):.0f} GiB" if memory else "unknown",
        "kernel": f"Linux {platform.release().split('-')[0]}",
        "Python": platform.python_version(),
        "load average at start": f"{os.getloadavg()[0]:.1f}",
    }


class Strangers:
    """Watches what other programs take of the machine while a benchmark runs."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy = _busy() - _own()

    def cores(self) -> float:
        """How many cores they kept busy on average; children of ours must have ended."""
        return max(0.0, (_busy() - _own() - self._busy) / (time.monotonic() - self._began))


def _busy() -> float:
    """CPU seconds of all processes since the machine started."""
    user, nice, system, _idle, _wait, irq, softirq = map(int, _read("/proc/stat").split()[1:8])
    return (user + nice + system + irq + softirq) / _TICK


def _own() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")
