"""The service stops before its files change and starts after; what fails leaves it as it was."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from twisted.trial.unittest import SynchronousTestCase

from gateway.setup import places
from gateway.setup.errors import SetupError
from gateway.setup.host.plan import Plan, PlannedFile, Step
from gateway.setup.host.service import has_systemd, replaced_unit, service_link, service_steps
from gateway.setup.host.system import System
from gateway.setup.host.transaction import carry_out
from tests.unit.setup.faults import scratch
from tests.unit.setup.programs import Programs

_UNIT = places.SERVICE


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
            files=(PlannedFile(places.UNIT, b"[Service]\n"),),
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
        class Broken(Step):
            description = "Breaking"

            def apply(self, system: System) -> None:
                raise SetupError("broken")

            def revert(self, system: System) -> None:
                pass

        for service in ("active", "inactive"):
            self.programs.set_service(service)
            self.programs.forget()
            with self.assertRaisesRegex(SetupError, "^broken; everything is as it was before$"):
                self.carry_out(Broken())
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
