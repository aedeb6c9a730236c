"""What the service manager is told, and when."""

from __future__ import annotations

import os
import socket

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.systemd import ServiceManager


class ManagerTests(SynchronousTestCase):
    def setUp(self) -> None:
        name = f"console-gateway-test-{os.getpid()}-{os.urandom(4).hex()}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.bind(f"\0{name}")
        self.socket.setblocking(False)
        self.environ = {"NOTIFY_SOCKET": f"@{name}"}
        self.clock = Clock()
        self.status = "0 sessions"

    def manager(self, **environ: str) -> ServiceManager:
        manager = ServiceManager(self.clock, lambda: self.status, {**self.environ, **environ})
        self.addCleanup(manager.stop)
        return manager

    def heard(self) -> list[str]:
        said = []
        try:
            while True:
                said.append(self.socket.recv(1000).decode())
        except BlockingIOError:
            return said

    def test_nobody_listens(self) -> None:
        self.environ = {"WATCHDOG_USEC": "2000000"}
        manager = self.manager()
        manager.begin()
        manager.reloading()
        manager.reloaded()
        manager.stopping(5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ready(self) -> None:
        self.manager().begin()
        self.assertEqual(self.heard(), ["READY=1"])

    def test_who_takes_over_is_up_already(self) -> None:
        self.manager(WATCHDOG_USEC="2000000").begin(ready=False)
        self.assertEqual(self.heard(), ["WATCHDOG=1"])

    def test_status_is_said_when_it_changes(self) -> None:
        self.manager().begin()
        self.heard()
        self.clock.pump([1.0] * 4)
        self.assertEqual(self.heard(), [])
        self.clock.advance(1)
        self.assertEqual(self.heard(), ["STATUS=0 sessions"])
        self.clock.pump([5.0] * 3)
        self.assertEqual(self.heard(), [])
        self.status = "draining: 1 session left, 9 s for it"
        self.clock.pump([1.0] * 10)
        self.assertEqual(self.heard(), [f"STATUS={self.status}"])

    def test_watchdog(self) -> None:
        manager = self.manager(WATCHDOG_USEC="4000000", WATCHDOG_PID=str(os.getpid()))
        manager.begin()
        self.assertEqual(self.heard(), ["READY=1", "WATCHDOG=1"])
        self.clock.advance(1.9)
        self.assertEqual(self.heard(), [])
        self.clock.advance(0.1)
        self.assertEqual(self.heard(), ["WATCHDOG=1"])
        self.clock.pump([1.0] * 4)
        self.assertEqual(self.heard().count("WATCHDOG=1"), 2)
        manager.stop()
        self.clock.advance(10)
        self.assertEqual(self.heard(), [])

    def test_a_loop_that_hangs_feeds_no_watchdog(self) -> None:
        self.manager(WATCHDOG_USEC="4000000").begin()
        self.heard()
        # One turn that takes a minute: no timer comes until it is over, and then each once.
        self.clock.rightNow += 60
        self.assertEqual(self.heard(), [])
        self.clock.advance(0)
        self.assertEqual(self.heard().count("WATCHDOG=1"), 1)

    def test_watchdogs_of_others(self) -> None:
        for environ in (
            {"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"},
            {"WATCHDOG_USEC": "0"},
            {"WATCHDOG_USEC": "-4"},
            {"WATCHDOG_USEC": "x"},
            {"WATCHDOG_USEC": "9" * 30},
            {"WATCHDOG_USEC": "\u0664"},
            {},
        ):
            manager = self.manager(**environ)
            manager.begin()
            self.clock.pump([1.0] * 4)
            self.assertEqual(self.heard(), ["READY=1"], environ)
            manager.stop()

    def test_reload(self) -> None:
        manager = self.manager()
        manager.reloading()
        manager.reloaded()
        reloading, ready = self.heard()
        self.assertRegex(reloading, r"\ARELOADING=1\nMONOTONIC_USEC=\d+\Z")
        self.assertEqual(ready, "READY=1")

    def test_end(self) -> None:
        self.manager().stopping()
        self.assertEqual(self.heard(), ["STOPPING=1"])
        self.manager().stopping(60)
        stopping, longer = self.heard()
        self.assertEqual(stopping, "STOPPING=1")
        self.assertGreater(int(longer.removeprefix("EXTEND_TIMEOUT_USEC=")), 60_000_000)

    def test_another_process_is_the_service(self) -> None:
        manager = self.manager(WATCHDOG_USEC="4000000")
        manager.begin()
        self.heard()
        manager.succeeded(4711)
        self.clock.pump([1.0] * 10)
        self.assertEqual(self.heard(), ["MAINPID=4711"])
