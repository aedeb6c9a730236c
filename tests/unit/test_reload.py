"""What a reload changes, and what waits for a restart; what is told of it to whom."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import attrs
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from gateway.net import BindError
from gateway.reload import RESTART, Reloader, ReloadReport, compare
from gateway.settings import (
    LimitSettings,
    LogLevel,
    LogSettings,
    Problem,
    RelaySettings,
    RuleSettings,
    Settings,
    SettingsError,
)
from gateway.settings.keys import sections
from gateway.systemd import ServiceManager
from gateway.web import PageError


class CompareTests(SynchronousTestCase):
    def test_nothing(self) -> None:
        settings, report = compare(Settings(), Settings())
        self.assertEqual((Settings(), (), ()), (settings, report.changed, report.needs_restart))

    def test_both_kinds(self) -> None:
        new = Settings(
            limits=LimitSettings(sessions=7),
            relay=RelaySettings(ping_interval=7.0, close_timeout=8.0),
            log=LogSettings(level=LogLevel.DEBUG),
        )
        settings, report = compare(Settings(), new)
        self.assertEqual(("limits.sessions", "relay.close_timeout"), report.changed)
        self.assertEqual(("relay.ping_interval", "log.level"), report.needs_restart)
        self.assertEqual(RelaySettings(close_timeout=8.0), settings.relay)
        self.assertEqual((7, LogSettings()), (settings.limits.sessions, settings.log))
        # What is not in force yet is found again the next time.
        self.assertEqual(report.needs_restart, compare(settings, new)[1].needs_restart)

    def test_tables_of_many(self) -> None:
        old = Settings(rules={"a": RuleSettings(targets=("a",)), "b": RuleSettings(targets=("b",))})
        new = attrs.evolve(old, rules={"b": RuleSettings(targets=("x",)), "c": RuleSettings(targets=("c",))})
        settings, report = compare(old, new)
        self.assertEqual(("rules.a", "rules.b", "rules.c"), report.changed)
        self.assertEqual(new, settings)

    def test_what_needs_a_restart_exists(self) -> None:
        paths = {key.path for section in sections() for key in section.keys}
        self.assertLessEqual(RESTART, paths)


class ReloaderTests(SynchronousTestCase):
    def setUp(self) -> None:
        address = f"\0{self.mktemp()}"
        self.heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.heard.close)
        self.heard.bind(address)
        self.heard.setblocking(False)
        self.manager = ServiceManager(Clock(), lambda: "", {"NOTIFY_SOCKET": "@" + address[1:]})
        self.lines: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("log_namespace") == "gateway.reload.Reloader":
                self.lines.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.put: list[Settings] = []

    def reload(
        self,
        way: Callable[[], Callable[[], Settings]] = lambda: Settings,
        error: Exception | None = None,
    ) -> ReloadReport:
        def put_in_force(settings: Settings) -> ReloadReport:
            if error is not None:
                raise error
            self.put.append(settings)
            return ReloadReport(("limits.sessions",), ("log.level",))

        return Reloader(way, put_in_force, self.manager).reload()

    def told(self) -> list[str]:
        """What the service manager was told, by its first words."""
        messages = []
        while True:
            try:
                messages.append(self.heard.recv(1000).decode().split("=")[0])
            except BlockingIOError:
                return messages

    def test_done(self) -> None:
        report = self.reload()
        self.assertEqual(ReloadReport(("limits.sessions",), ("log.level",)), report)
        self.assertEqual([Settings()], self.put)
        self.assertEqual(["RELOADING", "READY"], self.told())
        self.assertEqual(
            ["settings are reloaded; changed: limits.sessions; in force after a restart: log.level"],
            self.lines,
        )

    def test_refused(self) -> None:
        wrong = SettingsError(
            [Problem(Path("x.toml"), name, "is wrong", "mend it") for name in ("a.b", "c.d")]
        )

        def unreadable() -> Settings:
            raise wrong

        for error, way, count in (
            (wrong, lambda: Settings, 2),
            (None, lambda: unreadable, 2),
            (BindError("tcp:1: cannot listen"), lambda: Settings, 1),
            (PageError("a page is missing"), lambda: Settings, 1),
        ):
            self.lines.clear()
            report = self.reload(way, error)
            self.assertEqual(((), (), count), (report.changed, report.needs_restart, len(report.problems)))
            self.assertEqual(
                [f"reload refused, nothing is changed: {problem}" for problem in report.problems], self.lines
            )
            self.assertEqual(["RELOADING", "READY"], self.told())
        self.assertEqual([], self.put)

    def test_not_now(self) -> None:
        """The service manager does not hear of what is not begun."""

        def way() -> Callable[[], Settings]:
            raise SettingsError([Problem(Path("settings"), "", "not now", "wait")])

        self.assertEqual(1, len(self.reload(way).problems))
        self.assertEqual([], self.told())

    def test_what_nobody_expected(self) -> None:
        """The service manager waits for no end that does not come."""
        self.assertRaises(ZeroDivisionError, self.reload, error=ZeroDivisionError())
        self.assertEqual(["RELOADING", "READY"], self.told())
