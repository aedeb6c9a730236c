"""A short soak, and that a soak sees what it looks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.soak.ledger import Ledger
from tests.soak.run import Plan, Reading, compare, soak


@pytest.mark.alone
def test_a_short_soak(tmp_path: Path) -> None:
    lines: list[str] = []
    report = soak(Plan(seconds=8, clients=24, seed=7), tmp_path, lines.append)
    assert report.differences == [], "\n".join(lines)
    assert report.sessions > 20
    assert sum(report.ended.values()) == report.sessions
    assert len(report.visits) > 8
    assert lines


READING = Reading(
    descriptors=12,
    memory=40.0,
    timers=2,
    readers=5,
    writers=0,
    blocks=250_000,
    places=0,
    objects={"gateway.net.poller.Poller": 1},
    garbage={},
    targets=0,
)


def test_no_differences() -> None:
    assert compare(READING, attrs.evolve(READING, memory=47.9, blocks=252_000, garbage={"x": 1}), 8) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"descriptors": 13}, "descriptors: 12 before, 13 after"),
        ({"timers": 3}, "timers: 2 before, 3 after"),
        ({"readers": 6}, "readers: 5 before, 6 after"),
        ({"writers": 1}, "writers: 0 before, 1 after"),
        ({"places": 1}, "places: 0 before, 1 after"),
        ({"targets": 1}, "targets: 0 before, 1 after"),
        ({"objects": {**READING.objects, "Leg": 1}}, "objects of Leg: 0 before, 1 after"),
        ({"objects": {}}, "objects of gateway.net.poller.Poller: 1 before, 0 after"),
        ({"blocks": 252_001}, "blocks of memory: 250000 before, 252001 after"),
        ({"memory": 48.1}, "anonymous memory: 40.0 MiB before, 48.1 MiB after"),
    ],
)
def test_differences(changes: dict[str, Any], word: str) -> None:
    (difference,) = compare(READING, attrs.evolve(READING, **changes), 8)
    assert difference.startswith(word)


class Log:
    """A log that a test writes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.ledger = Ledger(file)

    def write(self, message: str, *, level: str = "info", **fields: object) -> Ledger:
        line = json.dumps({"level": level, "namespace": "gateway", "message": message, **fields})
        with self._file.open("a", encoding="ascii") as stream:
            stream.write(line + "\n")
        self.ledger.read()
        return self.ledger


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


def test_sessions_are_counted(log: Log) -> None:
    log.write("session started id=a", id="a")
    log.write("session started id=b", id="b")
    ledger = log.write("session ended id=a", id="a", reason="client-gone")
    assert (ledger.live, ledger.started, dict(ledger.ended)) == ({"b"}, 2, {"client-gone": 1})
    assert ledger.faults == []


@pytest.mark.parametrize(
    ("ids", "fault"),
    [
        (["+a", "-a", "-a"], "session a ended twice"),
        (["-a"], "session a ended without a start"),
        (["+a", "+a"], "session a started twice"),
        (["+a", "-a", "+a"], "session a started twice"),
    ],
)
def test_ends_that_do_not_fit(log: Log, ids: list[str], fault: str) -> None:
    for item in ids:
        what = "started" if item[0] == "+" else "ended"
        log.write(f"session {what} id={item[1]}", id=item[1], reason="x")
    assert log.ledger.faults == [fault]


def test_what_must_not_be_logged(log: Log) -> None:
    log.write("request refused client=127.0.0.1 ticket=0123456789abcdef", reason="ticket-refused")
    assert log.ledger.faults == []
    log.write("Unhandled Error", level="critical")
    log.write("note", traceback="Traceback ...")
    log.write("GET /" + "a1B2" * 20)
    log.write("eyJzYWx0IjoiQVB2")
    assert len(log.ledger.faults) == 4
