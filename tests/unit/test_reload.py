"""What a reload changes, and what waits for a restart."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from gateway.reload import RESTART, compare
from gateway.settings import LimitSettings, LogLevel, LogSettings, RelaySettings, RuleSettings, Settings
from gateway.settings.keys import sections


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
