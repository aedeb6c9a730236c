"""One soak: warm up, look, load, look again, compare."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs

from tests.soak.behaviours import MAX_MESSAGE
from tests.soak.inspected import ALIVE, FREED
from tests.soak.knocks import PER_CLIENT, PING_INTERVAL, TIME_LIMIT
from tests.soak.ledger import Ledger
from tests.soak.load import Load
from tests.soak.targets import UNIX_HOST, UNIX_PORT, Stage
from tests.support.pki import Installation, install
from tests.support.process import GatewayProcess, write_settings

__all__ = ["Plan", "Reading", "Report", "compare", "soak"]

_MIB: Final = 1 << 20
_SETTLE: Final = 45.0
"""Seconds in which a gateway without clients must be idle: longer than its longest limit."""
_MAX_BLOCKS: Final = 2000
"""Pieces of memory that caches of the language may gain; a session that left one would leave thousands."""
_IDLE_CPU: Final = 0.05
"""Share of one processor that an idle gateway may use."""

Say = Callable[[str], None]


@attrs.frozen
class Plan:
    """What to do."""

    seconds: float
    """Length of the load, without warm-up and waits."""
    clients: int = 40
    """How many clients there are at once."""
    seed: int = 1
    growth: float = 8.0
    """Anonymous memory that the gateway may gain after the warm-up, in MiB."""
    progress: float = 5.0
    """Seconds between two lines of progress."""

    @property
    def warm_up(self) -> float:
        """Length of the load before the first reading, in seconds."""
        return max(4.0, min(60.0, self.seconds / 4))


@attrs.frozen
class Reading:
    """A gateway at rest."""

    descriptors: int
    memory: float
    """Anonymous memory, in MiB."""
    timers: int
    readers: int
    writers: int
    blocks: int
    """Pieces of memory that Python objects have, of any type."""
    places: int
    """Sessions and clients that count against the limits."""
    objects: dict[str, int]
    """Live objects by type."""
    garbage: dict[str, int]
    """Those that only the garbage collector found."""
    targets: int
    """Connections to console servers."""


@attrs.define
class Report:
    """What came of it; passed where there are no differences."""

    differences: list[str] = attrs.field(factory=list)
    before: Reading | None = None
    after: Reading | None = None
    sessions: int = 0
    ended: dict[str, int] = attrs.field(factory=dict)
    visits: dict[str, int] = attrs.field(factory=dict)


def soak(plan: Plan, directory: Path, say: Say) -> Report:
    """Run a soak.

    :param directory: where keys, settings and the gateway's log go; must exist.
    :param say: takes lines of progress.
    """
    installation = install(directory)
    log = directory / "gateway.log"
    report = Report()
    with Stage(directory) as stage:
        settings = _settings(installation, stage, log)
        command = [sys.executable, "-m", "tests.soak.inspected", "run", "--config", str(settings)]
        with GatewayProcess(settings, command=command) as gateway:
            run = _Run(plan, installation, stage, gateway, Ledger(log), report, say)
            run.whole()
            status = gateway.stop()
            run.ledger.read()
            if status != 0 or gateway.output:
                said = gateway.output[-500:]
                report.differences.append(f"the gateway ended with {status} and said {said!r}")
        report.differences += run.ledger.faults
        if run.ledger.live:
            report.differences.append(f"sessions without an end: {sorted(run.ledger.live)[:5]}")
        report.sessions = run.ledger.started
        report.ended = dict(run.ledger.ended)
    return report


def _settings(installation: Installation, stage: Stage, log: Path) -> Path:
    tables = installation.settings()
    sockets = {f"{UNIX_HOST}:{UNIX_PORT}": str(stage.unix_path)}
    tables["targets"] |= {"connect_timeout": 2.0, "sockets": sockets}
    # In a file, so that what is remembered of tickets is no memory that grows.
    tables["uses"]["file"] = str(installation.directory / "uses.sqlite")
    tables["relay"] |= {"ping_interval": PING_INTERVAL, "max_message": MAX_MESSAGE}
    return write_settings(
        installation.directory / "soak.toml",
        {
            **tables,
            "front": {
                "head_timeout": TIME_LIMIT,
                "handshake_timeout": TIME_LIMIT,
                "origins": ["https://engine.example.com"],
            },
            "limits": {"sessions_per_client": PER_CLIENT, "users_per_console": 10000},
            "pages": {"enabled": True},
            "log": {"format": "json", "file": str(log)},
        },
    )


@attrs.define
class _Run:
    """The parts of one soak while it runs."""

    plan: Plan
    installation: Installation
    stage: Stage
    gateway: GatewayProcess
    ledger: Ledger
    report: Report
    say: Say
    _readings: int = 0

    def whole(self) -> None:
        ports = self.ledger.wait_for_ports(30)
        plan, report = self.plan, self.report
        self._load(ports, plan.warm_up, "warm-up")
        report.before = self._settled("warm-up")
        self._load(ports, plan.seconds, "load")
        report.after = self._settled("load")
        report.differences += compare(report.before, report.after, plan.growth)
        used = self._idle_share(1.0)
        if used > _IDLE_CPU:
            report.differences.append(f"idle, it uses {used:.0%} of a processor")

    def _load(self, ports: dict[str, int], seconds: float, name: str) -> None:
        load = Load(self.installation, self.stage, ports, self.plan.clients, f"{self.plan.seed}/{name}")
        begun = time.monotonic()
        load.start()
        try:
            while (left := begun + seconds - time.monotonic()) > 0:
                time.sleep(min(left, self.plan.progress))
                self.say(f"{name} {time.monotonic() - begun:5.0f} s  {self._line()}")
        finally:
            load.stop()
        self.report.differences += load.complaints
        for behaviour, count in load.visits.items():
            self.report.visits[behaviour] = self.report.visits.get(behaviour, 0) + count

    def _line(self) -> str:
        self.ledger.read()
        ledger = self.ledger
        ended = ", ".join(f"{reason} {count}" for reason, count in ledger.ended.most_common())
        rss, anonymous = _memory(self.gateway.pid)
        return (
            f"live {len(ledger.live)}, started {ledger.started}, refused {ledger.refused.total()}; "
            f"RSS {rss:.1f} MiB, anonymous {anonymous:.1f} MiB, "
            f"{self.gateway.descriptors()} descriptors; {ended}"
        )

    def _settled(self, name: str) -> Reading:
        """Wait until nothing is left of the clients, and look."""
        end = time.monotonic() + _SETTLE
        while True:
            reading = self._reading()
            self.ledger.read()
            busy = self.ledger.live or reading.places or reading.targets
            if not busy and "gateway.net.stream.Stream" not in reading.objects:
                break
            if time.monotonic() > end:
                self.report.differences.append(f"after the {name} it never came to rest: {reading}")
                break
            time.sleep(0.5)
        self.say(
            f"after the {name}: anonymous {reading.memory:.1f} MiB, {reading.descriptors} descriptors, "
            f"{reading.timers} timers, {sum(reading.objects.values())} objects, {reading.blocks} blocks"
        )
        return reading

    def _reading(self) -> Reading:
        self._readings += 1
        self.gateway.signal(signal.SIGRTMIN)
        census: dict[str, Any] = self.ledger.wait_for_census(self._readings, 30)
        return Reading(
            descriptors=self.gateway.descriptors(),
            memory=_memory(self.gateway.pid)[1],
            timers=census["timers"],
            readers=census["readers"],
            writers=census["writers"],
            blocks=census["blocks"],
            places=census["places"],
            objects={name.removeprefix(ALIVE): n for name, n in census.items() if name.startswith(ALIVE)},
            garbage={name.removeprefix(FREED): n for name, n in census.items() if name.startswith(FREED)},
            targets=self.stage.live,
        )

    def _idle_share(self, seconds: float) -> float:
        before = _processor_time(self.gateway.pid)
        time.sleep(seconds)
        return (_processor_time(self.gateway.pid) - before) / seconds


def compare(before: Reading, after: Reading, growth: float) -> list[str]:
    """What is different, other than memory within its bound."""
    found = []
    for name in ("descriptors", "timers", "readers", "writers", "places", "targets"):
        was, now = getattr(before, name), getattr(after, name)
        if was != now:
            found.append(f"{name}: {was} before, {now} after")
    for name in sorted(before.objects.keys() | after.objects.keys()):
        was, now = before.objects.get(name, 0), after.objects.get(name, 0)
        if was != now:
            found.append(f"objects of {name}: {was} before, {now} after")
    if after.blocks - before.blocks > _MAX_BLOCKS:
        found.append(f"blocks of memory: {before.blocks} before, {after.blocks} after")
    if after.memory - before.memory > growth:
        found.append(
            f"anonymous memory: {before.memory:.1f} MiB before, {after.memory:.1f} MiB after; "
            f"{growth:g} MiB of growth are allowed"
        )
    return found


def _memory(pid: int) -> tuple[float, float]:
    """Resident and anonymous memory of a process, in MiB."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, size = line.split()[:2]
        sizes[name] = int(size) * 1024 / _MIB
    return sizes["Rss:"], sizes["Pss_Anon:"]


def _processor_time(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
