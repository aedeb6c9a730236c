"""Many clients at once, each on a thread of its own, for as long as it is wanted."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.soak.behaviours import SESSIONS, Client
from tests.soak.console import PATIENCE, Door, Stopped
from tests.soak.knocks import KNOCKS
from tests.soak.targets import Stage
from tests.support.pki import Installation

__all__ = ["Load"]

_BEHAVIOURS: Final = {**SESSIONS, **KNOCKS}
_MAX_COMPLAINTS: Final = 20


class Load:
    """Clients that visit the gateway again and again.

    :ivar visits: visits so far, by behaviour.
    :ivar complaints: what the gateway did wrong, the first few of it.
    """

    def __init__(
        self, installation: Installation, stage: Stage, ports: dict[str, int], clients: int, seed: str
    ) -> None:
        """
        :param ports: the gateway's, ``TLS`` and ``plain``.
        :param clients: how many there are at once.
        :param seed: decides what each of them does.
        """
        self.visits: Counter[str] = Counter()
        self.complaints: list[str] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        stranger = rsa.generate_private_key(65537, 2048)
        context = installation.client_context()
        self._threads = []
        for number in range(clients):
            address = f"127.1.{number // 250}.{number % 250 + 1}"
            door = Door(ports["TLS"], ports["plain"], context, address, number % 3 == 0, self._stop)
            client = Client(door, installation, stage, stranger, random.Random(f"{seed}/{number}"))
            self._threads.append(threading.Thread(target=self._visit, args=(client,), daemon=True))

    def start(self) -> None:
        """Send them in."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Call them off, and wait until they have left."""
        self._stop.set()
        end = time.monotonic() + 2 * PATIENCE
        for thread in self._threads:
            thread.join(max(0, end - time.monotonic()))
        left = sum(thread.is_alive() for thread in self._threads)
        if left:
            self._complain(f"{left} clients did not come back")

    def _visit(self, client: Client) -> None:
        behaviours, weights = list(_BEHAVIOURS), list(_BEHAVIOURS.values())
        while not self._stop.is_set():
            (behaviour,) = client.chance.choices(behaviours, weights)
            try:
                behaviour(client)
            except Stopped:
                return
            except Exception as error:
                self._complain(f"{behaviour.__name__}: {type(error).__name__}: {error}"[:500])
            with self._lock:
                self.visits[behaviour.__name__] += 1

    def _complain(self, text: str) -> None:
        with self._lock:
            if len(self.complaints) < _MAX_COMPLAINTS:
                self.complaints.append(text)
