"""The gateway's log as it grows: what it says about sessions, and what it must not say."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from tests.soak.inspected import NAMESPACE

__all__ = ["Ledger"]

_SECRET: Final = re.compile(r"[A-Za-z0-9+/=_-]{48}|eyJzYWx0")
"""What tickets look like, however they were cut: nothing else in the log is so long without a space."""
_PORT: Final = re.compile(r":(\d+) \((TLS|plain)\)")
_MAX_FAULTS: Final = 20


class Ledger:
    """Follows a log of JSON lines.

    :ivar live: ids of sessions that started and did not end.
    :ivar started: sessions so far.
    :ivar ended: how many ended, by reason.
    :ivar refused: how many requests were refused, by reason.
    :ivar faults: what should not be there, the first few of it.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at = 0
        self._rest = b""
        self._over: set[str] = set()
        self._census: list[dict[str, Any]] = []
        self.ports: dict[str, int] = {}
        self.live: set[str] = set()
        self.started = 0
        self.ended: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.faults: list[str] = []

    def read(self) -> None:
        """Take in what was written since the last time."""
        if not self._file.exists():
            return
        with self._file.open("rb") as stream:
            stream.seek(self._at)
            data = self._rest + stream.read()
            self._at = stream.tell()
        *lines, self._rest = data.split(b"\n")
        for line in lines:
            self._take(line.decode("ascii"))

    def wait_for_ports(self, timeout: float) -> dict[str, int]:
        """Bound ports by kind, as soon as the gateway listens.

        :raises AssertionError: when it does not within ``timeout`` seconds.
        """
        end = time.monotonic() + timeout
        while not self.ports:
            assert time.monotonic() < end, "the gateway never listened"
            time.sleep(0.05)
            self.read()
        return self.ports

    def wait_for_census(self, number: int, timeout: float) -> dict[str, Any]:
        """What the ``number``-th census said.

        :raises AssertionError: when it does not come within ``timeout`` seconds.
        """
        end = time.monotonic() + timeout
        while len(self._census) < number:
            assert time.monotonic() < end, "no census came"
            time.sleep(0.05)
            self.read()
        return self._census[number - 1]

    def _take(self, line: str) -> None:
        record = json.loads(line)
        message = record["message"]
        if record["namespace"] == NAMESPACE:
            self._census.append(record)
            return
        if record["level"] in ("error", "critical") or "traceback" in record:
            self._fault(f"{record['level']} in the log: {message} {record.get('traceback', '')}".strip())
        if _SECRET.search(line):
            self._fault(f"what may be a ticket in the log: {line[:200]}")
        if message.startswith("session started "):
            self._started(record["id"])
        elif message.startswith("session ended "):
            self._ended(record["id"], record["reason"])
        elif message.startswith("request refused "):
            self.refused[record["reason"]] += 1
        elif " listens on " in message:
            self.ports = {kind: int(port) for port, kind in _PORT.findall(message)}

    def _started(self, key: str) -> None:
        self.started += 1
        if key in self.live or key in self._over:
            self._fault(f"session {key} started twice")
        self.live.add(key)

    def _ended(self, key: str, reason: str) -> None:
        self.ended[reason] += 1
        if key in self.live:
            self.live.remove(key)
            self._over.add(key)
        else:
            self._fault(f"session {key} ended {'twice' if key in self._over else 'without a start'}")

    def _fault(self, text: str) -> None:
        if len(self.faults) < _MAX_FAULTS:
            self.faults.append(text)
