"""The service stops before its files change and starts after, or is reloaded; what fails is undone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import attrs
from twisted.trial.unittest import SynchronousTestCase

from gateway.setup import places
from gateway.setup.errors import SetupError
from gateway.setup.host.plan import Plan, PlannedFile, Step
from gateway.setup.host.service import (
    has_systemd,
    last_words,
    replaced_unit,
    service_link,
    service_steps,
)
from gateway.setup.host.system import System
from gateway.setup.host.transaction import carry_out
from tests.unit.setup.faults import scratch
from tests.unit.setup.programs import Programs

_UNIT = places.SERVICE
_UNIT_FILE = PlannedFile(places.UNIT, b"[Service]\n")
_SETTINGS = PlannedFile(places.CONFIGURATION, b"PROXY_PORT=6100\n")
_CERTIFICATE = PlannedFile(places.CERTIFICATE, b"renewed\n")


class _Broken(Step):
    description = "Breaking"

    def __init__(self, first: Callable[[], None] = lambda: None) -> None:
        self._first = first

    def apply(self, system: System) -> None:
        self._first()
        raise SetupError("broken")

    def revert(self, system: System) -> None:
        pass


class ServiceTest(SynchronousTestCase):
    def setUp(self) -> None:
        base = scratch(self)
        self.root = base / "root"
        (self.root / "run/systemd/system").mkdir(parents=True)
        self.programs = Programs(self, base / "bin", "systemctl", "journalctl")
        self.programs.answer("journalctl", "-- No entries --\n")
        self.system = System(self.root, live=True, owners=False)

    def carry_out(self, *more: Step) -> None:
        before, after = service_steps(self.system)
        plan = Plan(
            files=(_UNIT_FILE,),
            links=(service_link(),),
            before=before,
            after=(*after, *more),
        )
        carry_out(self.system, plan, stamp="20300101000000")

    def test_it_starts(self) -> None:
        self.carry_out()
        self.assertEqual(self.programs.changes, ["systemctl daemon-reload", f"systemctl start {_UNIT}"])
        link = self.root.joinpath(*places.UNIT_WANTED.parts[1:])
        self.assertEqual(link.readlink(), Path(places.UNIT))

    def test_it_stops_first(self) -> None:
        self.programs.set_service("active")
        self.carry_out()
        self.assertEqual(
            self.programs.changes,
            [f"systemctl stop {_UNIT}", "systemctl daemon-reload", f"systemctl start {_UNIT}"],
        )

    def test_it_does_not_start(self) -> None:
        self.programs.answer("systemctl start", f"Job for {_UNIT} failed.\n", 1)
        self.programs.answer("journalctl", "cannot bind port 6100: in use\n")
        with self.assertRaises(SetupError) as caught:
            self.carry_out()
        self.assertEqual(
            str(caught.exception),
            f"systemctl start {_UNIT} failed (exit status 1): Job for {_UNIT} failed.; its log ends with: "
            "cannot bind port 6100: in use; everything is as it was before",
        )
        self.assertEqual(list(self.root.iterdir()), [self.root / "run"])

    def test_it_starts_and_ends(self) -> None:
        self.programs.answer("systemctl start", "")
        with self.assertRaisesRegex(SetupError, "was started but does not run; its log ends with: nothing;"):
            self.carry_out()

    def test_what_ran_runs_again(self) -> None:
        for service in ("active", "inactive"):
            self.programs.set_service(service)
            self.programs.forget()
            with self.assertRaisesRegex(SetupError, "^broken; everything is as it was before$"):
                self.carry_out(_Broken())
            self.assertEqual(self.programs.service, service)
            last = self.programs.changes[-2:]
            again = ["systemctl daemon-reload", f"systemctl start {_UNIT}"]
            self.assertEqual(last == again, service == "active", last)
            self.assertIn("systemctl daemon-reload", last)

    def test_it_does_not_stop(self) -> None:
        self.programs.set_service("active")
        self.programs.answer("systemctl stop", "Access denied\n", 4)
        with self.assertRaisesRegex(SetupError, "Access denied; everything is as it was before"):
            self.carry_out()
        self.assertEqual(self.programs.service, "active")

    def test_without_systemd(self) -> None:
        (self.root / "run/systemd/system").rmdir()
        self.assertFalse(has_systemd(self.system))
        self.assertEqual(service_steps(self.system), ((), ()))
        (self.root / "run/systemd/system").mkdir()
        self.assertFalse(has_systemd(System(self.root, owners=False)))
        self.assertEqual(self.programs.changes, [])

    def test_units_of_packages(self) -> None:
        self.assertIsNone(replaced_unit(self.system))
        (self.root / "usr/lib/systemd/system").mkdir(parents=True)
        (self.root / "usr/lib/systemd/system" / _UNIT).touch()
        self.assertEqual(replaced_unit(self.system), PurePosixPath("/usr/lib/systemd/system") / _UNIT)

    def test_the_last_words_are_the_services_own(self) -> None:
        """Not systemd's, which are about it; and of no length."""
        self.programs.answer("journalctl", "first\nport \x1b[1m6100 is in use\n\n")
        self.assertEqual(last_words(self.system, 7.5), "port ?[1m6100 is in use")
        (call,) = self.programs.calls
        self.assertIn(f" _SYSTEMD_UNIT={_UNIT} ", call)
        self.assertIn(" --since=@7.500000 ", call)
        self.assertNotIn("--unit", call)
        self.programs.answer("journalctl", "x" * 1000)
        self.assertEqual(last_words(self.system), "x" * 300)
        self.programs.answer("journalctl", "no journal\n", 1)
        self.assertEqual(last_words(self.system), "")


class ReloadTest(SynchronousTestCase):
    """A service that runs gets another certificate."""

    def setUp(self) -> None:
        base = scratch(self)
        self.root = base / "root"
        (self.root / "run/systemd/system").mkdir(parents=True)
        self.programs = Programs(self, base / "bin", "systemctl", "journalctl")
        self.programs.answer("journalctl", "")
        self.system = System(self.root, live=True, owners=False)
        former = PlannedFile(places.CERTIFICATE, b"former\n")
        there = Plan(files=(_UNIT_FILE, _SETTINGS, former), links=(service_link(),))
        carry_out(self.system, there, stamp="20290101000000")
        self.programs.set_service("active")

    def plan(self, *more: Step, settings: PlannedFile = _SETTINGS, unit: PlannedFile = _UNIT_FILE) -> Plan:
        files, links = (unit, settings, _CERTIFICATE), (service_link(),)
        before, after = service_steps(self.system, Plan(files=files, links=links).changes(self.system))
        self.programs.forget()
        return Plan(files, links, before, (*after, *more))

    def carry_out(self, plan: Plan) -> None:
        carry_out(self.system, plan, stamp="20300101000000")

    @property
    def certificate(self) -> bytes | None:
        return self.system.read(places.CERTIFICATE)

    def restarts(self, plan: Plan) -> bool:
        return [step.description for step in (*plan.before, *plan.after)] == [
            "Stopping the service",
            "Starting the service",
        ]

    def test_it_goes_on(self) -> None:
        plan = self.plan()
        self.assertEqual([step.description for step in plan.after], ["Reloading the service"])
        self.carry_out(plan)
        self.assertEqual(self.programs.changes, [f"systemctl reload {_UNIT}"])
        self.assertEqual(self.certificate, b"renewed\n")

    def test_what_needs_a_restart(self) -> None:
        port = PlannedFile(places.CONFIGURATION, b"PROXY_PORT=7443\n")
        self.assertTrue(self.restarts(self.plan(settings=port)))
        unit = PlannedFile(places.UNIT, b"[Service]\nUser=ovirt\n")
        self.assertTrue(self.restarts(self.plan(unit=unit)))
        link = self.root.joinpath(*places.UNIT_WANTED.parts[1:])
        link.unlink()
        self.assertTrue(self.restarts(self.plan()))
        link.symlink_to("/elsewhere")
        self.assertTrue(self.restarts(self.plan()))

    def test_services_that_are_not_reloaded(self) -> None:
        for state in ("inactive", "failed", "activating", "reloading"):
            self.programs.set_service(state)
            self.assertTrue(self.restarts(self.plan()), state)
        self.programs.set_service("active")
        # One that runs by a unit without ExecReload=, and one by a unit that has been replaced.
        self.programs.set_loaded(can_reload=False)
        self.assertTrue(self.restarts(self.plan()))
        self.programs.set_loaded(stale=True)
        self.assertTrue(self.restarts(self.plan()))
        self.programs.set_loaded()
        self.assertFalse(self.restarts(self.plan()))

    def test_a_reload_that_fails(self) -> None:
        plan = self.plan()
        self.programs.answer("systemctl reload", "Job failed.\n", 1)
        self.programs.answer(
            "journalctl", "reloading\nthe key does not belong to it\nError: nothing was changed\n"
        )
        with self.assertRaises(SetupError) as caught:
            self.carry_out(plan)
        said = str(caught.exception)
        log = "the key does not belong to it; Error: nothing was changed"
        failed = f"systemctl reload {_UNIT} failed (exit status 1): Job failed."
        self.assertTrue(said.startswith(f"{failed}; its log ends with: {log}; "), said)
        self.assertTrue(said.endswith("; everything is as it was before"), said)
        self.assertEqual(self.certificate, b"former\n")
        self.assertEqual(self.programs.changes, [f"systemctl reload {_UNIT}"] * 2)

    def test_it_reads_again_what_was_there(self) -> None:
        with self.assertRaisesRegex(SetupError, "^broken; everything is as it was before$"):
            self.carry_out(self.plan(_Broken()))
        self.assertEqual(self.programs.changes, [f"systemctl reload {_UNIT}"] * 2)
        self.assertEqual(self.certificate, b"former\n")

    def test_it_does_not_read_again_what_was_there(self) -> None:
        """It may go on with what it read before, and that is told."""
        plan = self.plan()
        with self.assertRaisesRegex(SetupError, "^broken; could not be put back: Reloading the service"):
            self.carry_out(attrs.evolve(plan, after=(*plan.after, _Broken(self.refuse_reloads))))

    def refuse_reloads(self) -> None:
        self.programs.answer("systemctl reload", "Job failed.\n", 1)

    def test_it_ends_over_a_reload(self) -> None:
        """It is started again, with the files that it had."""
        plan = self.plan()
        self.programs.end_on_reload()
        with self.assertRaisesRegex(SetupError, "was reloaded but does not run; .*; everything is as it was"):
            self.carry_out(plan)
        self.assertEqual(self.programs.changes[1:], [f"systemctl start {_UNIT}"])
        self.assertEqual((self.programs.service, self.certificate), ("active", b"former\n"))

    def test_it_ends_before(self) -> None:
        plan = self.plan()
        self.programs.set_service("inactive")
        with self.assertRaisesRegex(SetupError, "does not run any more; run setup again .*as it was before"):
            self.carry_out(plan)
        self.assertEqual(self.programs.changes, [])
        self.assertEqual(self.certificate, b"former\n")
