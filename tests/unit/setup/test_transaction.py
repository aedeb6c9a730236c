"""One transaction: all files or none, whatever fails, wherever."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from twisted.trial.unittest import SynchronousTestCase

from gateway.setup import places
from gateway.setup.errors import Cancelled, SetupError
from gateway.setup.host.plan import ChangeKind, Plan, PlannedFile, PlannedLink, Step
from gateway.setup.host.record import parse_record
from gateway.setup.host.system import System
from gateway.setup.host.transaction import Outcome, carry_out
from gateway.setup.host.tree import Tree
from tests.unit.setup.faults import FaultyTree, scratch, state

_STAMP = "20301231235959"
_OLD = 1_700_000_000_123_456_789
_SECRET = b"-----BEGIN PRIVATE KEY-----"


class _Switch(Step):
    """Something that is on or off, kept in a file outside the tree."""

    def __init__(self, switch: Path, *, error: BaseException | None = None, late: bool = False) -> None:
        self.description = f"Turning {switch.name}"
        self._switch, self._error, self._late = switch, error, late
        self.settled = False

    def prepare(self, system: System) -> Mapping[str, str]:
        return {f"switch.{self._switch.name}": "on"}

    def apply(self, system: System) -> None:
        if self._error is not None and not self._late:
            raise self._error
        self._switch.write_text("on")
        if self._error is not None:
            raise self._error

    def revert(self, system: System) -> None:
        self._switch.write_text("off")

    def settle(self, system: System) -> None:
        self.settled = True


class _Never(Step):
    """A last step, which fails when all the others have not."""

    description = "Failing"
    applied = False

    def apply(self, system: System) -> None:
        self.applied = True
        assert isinstance(system.tree, FaultyTree)
        system.tree.at = -1
        raise SetupError("that was the last one")

    def revert(self, system: System) -> None:
        pass


class TransactionTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.base = scratch(self)
        self.root = self.base / "root"
        self.root.mkdir()
        self.last = _Never()
        (self.base / "before").write_text("off")
        (self.base / "after").write_text("off")

    def system(self, tree: Tree | None = None) -> System:
        return System(self.root, owners=False, tree=tree)

    def furnish(self) -> None:
        """A host on which everything is there already, and is to be something else."""
        for place, content, mode in (
            (places.CONFIGURATION, b"old configuration", 0o600),
            (places.KEY, b"old key", 0o644),
            (places.CERTIFICATE, b"certificate", 0o666),
            (places.UNIT, b"old unit", 0o640),
        ):
            path = self.path(place)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(mode)
            os.utime(path, ns=(_OLD, _OLD))
        link = self.path(places.UNIT_WANTED)
        link.parent.mkdir(parents=True)
        link.symlink_to("/usr/lib/systemd/system/x")
        os.utime(link, ns=(_OLD, _OLD), follow_symlinks=False)
        self.path(places.ENGINE_CERTIFICATE).symlink_to("/elsewhere")
        for directory, folders, _ in os.walk(self.root):
            for name in folders:
                os.utime(Path(directory, name), ns=(_OLD, _OLD))
        os.utime(self.root, ns=(_OLD, _OLD))

    def path(self, place: PurePosixPath) -> Path:
        return self.root.joinpath(*place.parts[1:])

    def plan(self, **others: object) -> Plan:
        arguments: dict[str, object] = {
            "files": (
                PlannedFile(places.CONFIGURATION, b"configuration"),
                PlannedFile(places.KEY, _SECRET, "ovirt", "ovirt", 0o600, "ca_pki_wsp"),
                PlannedFile(places.CERTIFICATE, b"certificate", "ovirt", "ovirt", 0o600, "ca_pki_wsp"),
                PlannedFile(places.ENGINE_CERTIFICATE, b"engine", "ovirt", "ovirt", 0o600, "ca_pki_wsp"),
                PlannedFile(places.UNIT, b"unit"),
            ),
            "links": (PlannedLink(places.UNIT_WANTED, str(places.UNIT)),),
            "before": (_Switch(self.base / "before"),),
            "after": (_Switch(self.base / "after"),),
        }
        return Plan(**{**arguments, **others})  # type: ignore[arg-type]

    def carry_out(self, plan: Plan | None = None, tree: Tree | None = None) -> Outcome:
        return carry_out(self.system(tree), plan or self.plan(), stamp=_STAMP)

    def switches(self) -> list[str]:
        return [(self.base / name).read_text() for name in ("before", "after")]

    def check_faults(self) -> None:
        """Fail at every operation, before or after it took effect: nothing is ever different."""
        before = state(self.root)
        errors = [OSError(number, os.strerror(number)) for number in (28, 30, 13)]
        for turn, error in enumerate([*errors, KeyboardInterrupt()]):
            # Each operation meets two of the failures: one that comes before it, one that comes after.
            for number in range(turn, 1000, 2):
                late = turn > 1
                tree = FaultyTree(self.root, error, number, late=late)
                with self.assertRaises(SetupError) as caught:
                    self.carry_out(self.plan(after=(_Switch(self.base / "after"), self.last)), tree)
                if self.last.applied:
                    self.last.applied = False
                    self.assertGreater(number, 20)
                    break
                self.assertIs(type(caught.exception) is Cancelled, turn == 3)
                self.assertIn("everything is as it was before", str(caught.exception))
                self.assertNotIn("PRIVATE", str(caught.exception))
                self.assertEqual(before, state(self.root), f"failure {error!r} at {number}, {late=}")
                self.assertEqual(self.switches(), ["off", "off"])

    def test_all_is_written(self) -> None:
        outcome = self.carry_out()
        self.assertEqual(self.path(places.KEY).read_bytes(), _SECRET)
        self.assertEqual(stat.S_IMODE(self.path(places.KEY).stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.path(places.CONFIGURATION).stat().st_mode), 0o644)
        self.assertEqual(os.readlink(self.path(places.UNIT_WANTED)), str(places.UNIT))
        self.assertEqual(stat.S_IMODE(self.path(places.KEY).parent.stat().st_mode), 0o755)
        self.assertEqual({change.kind for change in outcome.changes}, {ChangeKind.NEW})
        self.assertEqual(self.switches(), ["on", "on"])
        self.assertEqual(outcome.backups, ())
        self.assertIn(places.PKI / "keys", outcome.directories)
        assert outcome.record is not None
        record = parse_record(self.path(outcome.record).read_bytes(), "record")
        self.assertEqual(record.directories, outcome.directories)
        self.assertEqual(record.facts, {"switch.after": "on", "switch.before": "on"})
        self.assertEqual(len(record.files), 5)

    def test_what_is_there_is_kept(self) -> None:
        self.furnish()
        outcome = self.carry_out()
        kinds = {change.place: change.kind for change in outcome.changes}
        self.assertEqual(kinds[places.CONFIGURATION], ChangeKind.CHANGED)
        self.assertEqual(kinds[places.CERTIFICATE], ChangeKind.ACCESS)
        backup = self.path(places.CONFIGURATION.with_name(f"10-setup.conf.{_STAMP}"))
        self.assertEqual(backup.read_bytes(), b"old configuration")
        self.assertEqual(backup.stat().st_mtime_ns, _OLD)
        self.assertEqual(stat.S_IMODE(backup.stat().st_mode), 0o600)
        # A key that was open to all was no secret; its backup is one.
        kept = self.path(places.KEY.with_name(f"{places.KEY.name}.{_STAMP}"))
        self.assertEqual((kept.read_bytes(), stat.S_IMODE(kept.stat().st_mode)), (b"old key", 0o600))
        self.assertEqual(stat.S_IMODE(self.path(places.CERTIFICATE).stat().st_mode), 0o600)
        self.assertEqual(self.path(places.CERTIFICATE).stat().st_mtime_ns, _OLD)
        self.assertFalse(self.path(places.ENGINE_CERTIFICATE).is_symlink())
        assert outcome.record is not None
        record = parse_record(self.path(outcome.record).read_bytes(), "record")
        self.assertEqual([link.former for link in record.links], ["/usr/lib/systemd/system/x"])
        self.assertEqual(set(record.backups), set(outcome.backups))
        self.assertNotIn(places.CERTIFICATE, [file.place for file in record.files])

    def test_nothing_is_overwritten(self) -> None:
        self.carry_out()
        plan = self.plan(files=(PlannedFile(places.CONFIGURATION, b"second"),))
        self.carry_out(plan)
        plan = self.plan(files=(PlannedFile(places.CONFIGURATION, b"third"),))
        self.carry_out(plan)
        names = sorted(path.name for path in self.path(places.CONFIGURATION).parent.iterdir())
        self.assertEqual(names, ["10-setup.conf", f"10-setup.conf.{_STAMP}", f"10-setup.conf.{_STAMP}.1"])
        records = sorted(path.name for path in self.path(places.RECORDS).iterdir())
        ends = ["-uninstall.conf", ".1-uninstall.conf", ".2-uninstall.conf"]
        self.assertEqual(records, sorted(_STAMP + end for end in ends))

    def test_again_changes_nothing(self) -> None:
        self.carry_out(self.plan(before=(), after=()))
        before = state(self.root)
        outcome = self.carry_out(self.plan(before=(), after=()))
        self.assertEqual({change.kind for change in outcome.changes}, {ChangeKind.UNCHANGED})
        self.assertIsNone(outcome.record)
        self.assertEqual(before, state(self.root))

    def test_failure_at_every_operation(self) -> None:
        self.check_faults()

    def test_failure_at_every_operation_where_all_was_there(self) -> None:
        self.furnish()
        self.check_faults()

    def test_a_file_system_without_hard_links(self) -> None:
        self.furnish()
        os.utime(self.root, ns=(_OLD, _OLD))
        before = state(self.root)
        for number in range(0, 1000, 2):
            tree = FaultyTree(self.root, KeyboardInterrupt(), number, late=bool(number % 4))
            tree.hard_link = self.refuse  # type: ignore[method-assign]
            try:
                self.carry_out(tree=tree)
            except Cancelled:
                self.assertEqual(before, state(self.root), f"after an interrupt at {number}")
            else:
                break
        backup = self.path(places.CONFIGURATION.with_name(f"10-setup.conf.{_STAMP}"))
        self.assertEqual((backup.read_bytes(), backup.stat().st_mtime_ns), (b"old configuration", _OLD))
        self.assertEqual(stat.S_IMODE(backup.stat().st_mode), 0o600)
        kept = self.path(places.ENGINE_CERTIFICATE.with_name(f"engine.cer.{_STAMP}"))
        self.assertEqual(os.readlink(kept), "/elsewhere")

    def refuse(self, place: PurePosixPath, other: PurePosixPath) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def test_steps_that_fail(self) -> None:
        self.furnish()
        before = state(self.root)
        for late in (False, True):
            for name in ("before", "after"):
                for error in (SetupError("the service does not start"), KeyboardInterrupt(), OSError(5, "x")):
                    step = _Switch(self.base / name, error=error, late=late)
                    with self.assertRaises(SetupError) as caught:
                        self.carry_out(self.plan(**{name: (step,)}))
                    self.assertIn("everything is as it was before", str(caught.exception))
                    self.assertIs(type(caught.exception) is Cancelled, isinstance(error, KeyboardInterrupt))
                    self.assertEqual(before, state(self.root))
                    self.assertEqual(self.switches(), ["off", "off"])
                    self.assertTrue(step.settled)

    def test_a_mistake_of_ours_is_undone_and_told(self) -> None:
        before = state(self.root)
        step = _Switch(self.base / "after", error=ZeroDivisionError("oh"))
        with self.assertRaises(ZeroDivisionError):
            self.carry_out(self.plan(after=(step,)))
        self.assertEqual(before.keys(), state(self.root).keys())

    def test_what_cannot_be_undone_does_not_stop_the_rest(self) -> None:
        class Stuck(_Switch):
            def revert(self, system: System) -> None:
                raise SetupError("it does not stop")

        steps = (Stuck(self.base / "after"), _Switch(self.base / "x", error=SetupError("x is broken")))
        with self.assertRaises(SetupError) as caught:
            self.carry_out(self.plan(after=steps))
        self.assertEqual(
            str(caught.exception), "x is broken; could not be put back: Turning after (it does not stop)"
        )
        self.assertEqual(list(self.root.iterdir()), [])
        self.assertEqual((self.base / "before").read_text(), "off")

    def test_signals(self) -> None:
        """A real signal is obeyed between operations; a second one does not disturb what it caused."""
        before = state(self.root)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):

            class Hit(_Switch):
                def apply(self, system: System, number: int = number) -> None:
                    os.kill(os.getpid(), number)

                def revert(self, system: System, number: int = number) -> None:
                    os.kill(os.getpid(), number)

            former = signal.getsignal(number)
            with self.assertRaises(Cancelled) as caught:
                self.carry_out(self.plan(after=(Hit(self.base / "after"),)))
            self.assertIn(signal.Signals(number).name, str(caught.exception))
            self.assertIs(signal.getsignal(number), former)
            self.assertEqual(before.keys(), state(self.root).keys())

    def test_private_content_is_never_open(self) -> None:
        """Whatever the umask: looked at after every operation."""
        seen: set[int] = set()
        root = self.root

        class Watching(FaultyTree):
            def _faulty(self, method: object) -> object:
                inner = super()._faulty(method)

                def call(*arguments: object, **others: object) -> object:
                    result = inner(*arguments, **others)
                    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
                    secrets = (path for path in files if path.read_bytes() == _SECRET)
                    seen.update(stat.S_IMODE(path.stat().st_mode) for path in secrets)
                    return result

                return call

        former = os.umask(0)
        self.addCleanup(os.umask, former)
        self.furnish()
        self.carry_out(tree=Watching(self.root))
        self.assertEqual(seen, {0o600})
        os.umask(0o077)
        self.carry_out(self.plan(files=(PlannedFile(places.ANSWERS / f"{_STAMP}-setup.conf", b""),)))
        self.assertEqual(stat.S_IMODE(self.path(places.ANSWERS).stat().st_mode), 0o755)

    def test_the_names_of_others_are_one_line(self) -> None:
        """A link in an image may say anything, also what looks like more lines of the preview."""
        place = self.root / str(places.UNIT_WANTED)[1:]
        place.parent.mkdir(parents=True)
        place.symlink_to("x)\n  new      /etc/shadow\x1b[2J")
        (change,) = Plan(links=(PlannedLink(places.UNIT_WANTED, "/unit"),)).changes(
            System(self.root, owners=False)
        )
        self.assertTrue(change.detail.isprintable(), change.detail)

    def test_what_is_in_the_way(self) -> None:
        self.path(places.KEY).mkdir(parents=True)
        before = state(self.root)
        with self.assertRaisesRegex(SetupError, "not a regular file"):
            self.carry_out()
        self.assertEqual(before, state(self.root))
        self.path(places.KEY).rmdir()
        self.path(places.RECORDS.parent).write_text("a file")
        before = state(self.root)
        with self.assertRaisesRegex(SetupError, "Not a directory|File exists"):
            self.carry_out()
        self.assertEqual(before, state(self.root))

    def test_places_that_cleanup_would_not_remove(self) -> None:
        for place in ("/etc/passwd", "/etc/ovirt-engine/../passwd", "etc", "/"):
            with self.assertRaises(ValueError):
                PlannedFile(PurePosixPath(place), b"")
            with self.assertRaises(ValueError):
                Plan(traces=(PurePosixPath(place),))
        with self.assertRaises(ValueError):
            self.plan(files=(PlannedFile(places.KEY, b""), PlannedFile(places.KEY, b"")))

    def test_contents_are_not_shown(self) -> None:
        self.assertNotIn("PRIVATE", repr(self.plan()))

    def test_owners(self) -> None:
        """As root, files belong to whom they should, also those whose content is right."""
        if os.geteuid() != 0:
            with contextlib.suppress(SetupError):
                carry_out(System(self.root), self.plan(), stamp=_STAMP)
            self.assertEqual(list(self.root.iterdir()), [])
            return
        system = System(self.root)
        with self.assertRaisesRegex(SetupError, "useradd --root .* --user-group ovirt"):
            carry_out(system, self.plan(), stamp=_STAMP)
        self.assertEqual(list(self.root.iterdir()), [])
        (self.root / "etc").mkdir()
        (self.root / "etc/passwd").write_text("ovirt:x:108:110::/:/sbin/nologin\n")
        (self.root / "etc/group").write_text("ovirt:x:112:\n")
        carry_out(system, self.plan(), stamp=_STAMP)
        found = self.path(places.KEY).stat()
        self.assertEqual((found.st_uid, found.st_gid), (108, 112))
        self.assertEqual(self.path(places.CONFIGURATION).stat().st_uid, 0)
        for owner, shown in (((4321, 4322), "4321:4322"), ((0, 112), "root:ovirt")):
            os.chown(self.path(places.KEY), *owner)
            details = [c.detail for c in self.plan().changes(system) if c.kind is ChangeKind.ACCESS]
            self.assertEqual(details, [f"0600 {shown} -> 0600 ovirt:ovirt"])
        before = state(self.root)
        step = _Switch(self.base / "after", error=SetupError("no"))
        with self.assertRaises(SetupError):
            carry_out(system, self.plan(after=(step,)), stamp=_STAMP)
        self.assertEqual(before, state(self.root))
        carry_out(system, self.plan(), stamp=_STAMP)
        self.assertEqual(self.path(places.KEY).stat().st_uid, 108)
