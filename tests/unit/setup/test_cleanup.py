"""Cleanup takes away what setup recorded, as far as it is wanted, and nothing else."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from unittest import mock

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from gateway.cli import main
from gateway.setup import places
from gateway.setup.asking.environment import Value
from gateway.setup.cleanup import NO_RECORD, clean_up
from gateway.setup.errors import Cancelled, SetupError
from gateway.setup.host.authority_step import BookStep
from gateway.setup.host.firewall import Manager, firewall_plan
from gateway.setup.host.made_ca import MadeCa
from gateway.setup.host.plan import Plan, PlannedFile
from gateway.setup.host.records import read_records
from gateway.setup.host.service import service_link, service_steps
from gateway.setup.host.system import System
from gateway.setup.host.transaction import carry_out
from gateway.setup.host.tree import Tree
from gateway.setup.session import Session
from tests.support.interview import ScriptedInterview
from tests.support.trees import difference, snapshot
from tests.unit.setup.faults import FaultyTree, scratch, state
from tests.unit.setup.programs import Programs

_STAMP = "20300101000000"
_LOG = places.LOGS / f"ovirt-engine-setup-{_STAMP}-abc123.log"
_ANSWERS = places.ANSWERS / f"{_STAMP}-setup.conf"
_CA_FILES = {
    "ca.pem": (b"certificate", 0o644),
    "private/ca.pem": (b"key", 0o600),
    "keys/engine.key.nopass": (b"ticket key", 0o600),
    "serial.txt": (b"1000", 0o644),
}
_ALL = {"OVESETUP_REMOVE_ALL": ["Yes"], "OVESETUP_CORE_REMOVE": ["OK"]}


class CleanupTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.base = scratch(self)
        self.root = self.base / "root"
        (self.root / "etc/systemd").mkdir(parents=True)
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        self.live = False

    def system(self, tree: Tree | None = None) -> System:
        return System(self.root, live=self.live, owners=False, tree=tree)

    def path(self, place: PurePosixPath) -> Path:
        return self.root.joinpath(*place.parts[1:])

    def set_up(
        self,
        stamp: str = _STAMP,
        configuration: bytes = b"configuration",
        tree: Tree | None = None,
        ca: PurePosixPath | None = None,
    ) -> None:
        """What setup does, log and answer file included."""
        system = self.system(tree)
        files, steps = firewall_plan(system, Manager.FIREWALLD, 6100)
        before, after = service_steps(system)
        missing = (parent for parent in [*_LOG.parents][-2::-1] if system.tree.stat(parent) is None)
        plan = Plan(
            files=(
                PlannedFile(places.CONFIGURATION, configuration),
                PlannedFile(places.KEY, b"key", "ovirt", "ovirt", 0o600, "ca_pki_wsp"),
                PlannedFile(places.CERTIFICATE, b"certificate", "ovirt", "ovirt", 0o600, "ca_pki_wsp"),
                PlannedFile(places.ENGINE_CERTIFICATE, b"engine", "ovirt", "ovirt", 0o600, "ca_pki_wsp"),
                PlannedFile(places.POST_INSTALL, b"[environment:default]\n"),
                PlannedFile(places.UNIT, b"[Service]\n"),
                PlannedFile(places.ANSWERS / f"{stamp}-setup.conf", b"", mode=0o600),
                *files,
            ),
            links=(service_link(),),
            before=(*before, *([] if ca is None else [BookStep(ca, {}, _CA_FILES)])),
            after=(*steps, *after),
            traces=(_LOG,),
            directories=tuple(missing),
        )
        carry_out(system, plan, stamp=stamp)
        system.make_directories(_LOG)
        self.path(_LOG).write_text("log of setup\n")

    def clean_up(
        self,
        answers: Mapping[str, Sequence[str]] = _ALL,
        values: Mapping[str, Value] | None = None,
        *,
        tree: Tree | None = None,
        dry_run: bool = False,
        **others: bool,
    ) -> int:
        self.interview = ScriptedInterview(answers, values, **others)
        session = Session(self.interview, self.system(tree), "20310101000000")
        return clean_up(session, dry_run=dry_run)

    @property
    def said(self) -> str:
        return "\n".join([*self.interview.dialog.notes, *(text for _, text in self.interview.dialog.logged)])

    def test_the_tree_is_as_it_was(self) -> None:
        before = snapshot(self.root)
        self.set_up()
        self.path(_LOG).write_text("log of setup\nand more\n")
        self.assertEqual(self.clean_up(), 0)
        self.assertEqual(difference(before, snapshot(self.root)), "")
        self.assertEqual(self.interview.dialog.left, {})
        self.assertEqual(self.clean_up(), NO_RECORD)
        self.assertIn("no setup of a gateway is recorded", self.said)

    def test_after_several_setups(self) -> None:
        before = snapshot(self.root)
        self.set_up()
        self.set_up("20300202000000", b"another configuration")
        backup = places.CONFIGURATION.with_name("10-setup.conf.20300202000000")
        self.assertEqual(self.clean_up(), 0)
        left = difference(before, snapshot(self.root))
        added = [line.split(": ")[0] for line in left.splitlines()]
        parents = [*backup.parents][-3::-1]
        self.assertEqual(added, [f"+ {place}" for place in (*parents, backup)])
        self.assertIn(str(backup), self.said)
        self.assertEqual(self.interview.warnings, [])

    def test_a_ca_that_setup_made(self) -> None:
        for ca in (places.OWN_CA, PurePosixPath("/srv/of ours/ca")):
            before = snapshot(self.root)
            self.set_up(ca=ca)
            self.assertEqual(self.clean_up(), 0)
            self.assertEqual(difference(before, snapshot(self.root)), "")
            self.assertIn(f"remove the CA in {ca}, with its keys", self.said)

    def test_a_ca_that_was_used_since(self) -> None:
        for ca in (places.OWN_CA, PurePosixPath("/srv/ca")):
            self.set_up(ca=ca)
            self.path(ca / "requests/other.req").write_text("of somebody else")
            self.assertEqual(self.clean_up(), 0)
            self.assertNotIn("remove the CA", self.said)
            self.assertIn(f"The CA in {ca} stays: it has been used since", self.said)
            self.assertEqual(self.path(ca / "private/ca.pem").read_bytes(), b"key")
            self.assertEqual(self.clean_up(), NO_RECORD)
            shutil.rmtree(self.path(ca))

    def test_a_ca_goes_with_the_keys(self) -> None:
        before = snapshot(self.root)
        self.set_up(ca=places.OWN_CA)
        gateway = {
            "OVESETUP_REMOVE_ALL": ["No"],
            "OVESETUP_REMOVE_WEBSOCKET_PROXY": ["Yes"],
            "OVESETUP_REMOVE_GROUP/ca_pki_wsp": ["No"],
            "OVESETUP_CORE_REMOVE": ["OK"],
        }
        self.assertEqual(self.clean_up(gateway), 0)
        self.assertTrue(self.path(places.OWN_CA / "private/ca.pem").exists())
        self.assertTrue(self.path(places.KEY).exists())
        keys = {
            "OVESETUP_REMOVE_ALL": ["No"],
            "OVESETUP_REMOVE_WEBSOCKET_PROXY": ["No"],
            "OVESETUP_REMOVE_GROUP/ca_pki_wsp": ["Yes"],
            "OVESETUP_CORE_REMOVE": ["OK"],
        }
        self.assertEqual(self.clean_up(keys), 0)
        self.assertEqual(difference(before, snapshot(self.root)), "")
        self.assertEqual(self.clean_up(), NO_RECORD)

    def test_a_ca_that_will_not_go(self) -> None:
        before = snapshot(self.root)
        self.set_up(ca=places.OWN_CA)
        failing = mock.patch.object(MadeCa, "remove", side_effect=SetupError("it is read-only"))
        told = self.assertRaisesRegex(SetupError, "it is read-only; all other files are gone; run cleanup")
        with failing, told:
            self.clean_up()
        self.assertEqual(self.clean_up(), 0)
        self.assertEqual(difference(before, snapshot(self.root)), "")

    def test_it_can_be_cancelled(self) -> None:
        self.set_up()
        before = state(self.root)
        for answers in ({**_ALL, "OVESETUP_CORE_REMOVE": ["Cancel"]}, {**_ALL, "OVESETUP_CORE_REMOVE": [""]}):
            with self.assertRaises(Cancelled):
                self.clean_up(answers)
        with self.assertRaises(Cancelled):
            self.clean_up({}, accept_defaults=True)
        with self.assertRaises(Cancelled):
            self.clean_up({}, {"OVESETUP_CORE/remove": False}, accept_defaults=True)
        self.assertEqual(before, state(self.root))

    def test_a_dry_run(self) -> None:
        self.set_up()
        before = state(self.root)
        self.assertEqual(self.clean_up({}, accept_defaults=True, dry_run=True), 0)
        self.assertEqual(before, state(self.root))
        for place in (places.KEY, places.UNIT_WANTED, _LOG, _ANSWERS, places.FIREWALLD_EXAMPLE):
            self.assertIn(f"remove {place}\n", self.said)
        self.assertIn("This would be done", self.said)
        self.assertEqual(self.interview.asked, [])

    def test_without_questions(self) -> None:
        before = snapshot(self.root)
        self.set_up()
        values: dict[str, Value] = {"OVESETUP_CORE/remove": True}
        self.assertEqual(self.clean_up({}, values, accept_defaults=True), 0)
        self.assertEqual(self.interview.asked, [])
        self.assertEqual(difference(before, snapshot(self.root)), "")

    def test_the_gateway_alone(self) -> None:
        """No to all, yes to the gateway, no to keys: what is left can go another time."""
        before = snapshot(self.root)
        self.set_up()
        answers = {
            "OVESETUP_REMOVE_ALL": ["No"],
            "OVESETUP_REMOVE_WEBSOCKET_PROXY": ["Yes"],
            "OVESETUP_REMOVE_GROUP/ca_pki_wsp": ["No"],
            "OVESETUP_CORE_REMOVE": ["OK"],
        }
        self.assertEqual(self.clean_up(answers), 0)
        self.assertEqual(self.interview.asked, list(answers))
        self.assertTrue(self.path(places.KEY).exists())
        for place in (places.CONFIGURATION, places.UNIT_WANTED, places.FIREWALLD_SERVICE, _LOG):
            self.assertFalse(os.path.lexists(self.path(place)), place)
        (record,) = read_records(self.system()).values()
        self.assertEqual({file.group for file in record.files}, {"ca_pki_wsp"})
        self.assertEqual(self.clean_up(), 0)
        self.assertEqual(difference(before, snapshot(self.root)), "")

    def test_keys_alone(self) -> None:
        before = snapshot(self.root)
        self.set_up()
        values: dict[str, Value] = {
            "OVESETUP_REMOVE/removeAll": False,
            "OVESETUP_REMOVE/removeWsp": False,
            "OVESETUP_REMOVE/enabledFileGroups": "ca_pki_wsp,other",
            "OVESETUP_CORE/remove": True,
        }
        self.assertEqual(self.clean_up({}, values), 0)
        self.assertFalse(self.path(places.PKI).exists())
        self.assertTrue(self.path(places.CONFIGURATION).exists())
        self.assertIn("will not start without", self.said)
        self.clean_up()
        self.assertEqual(difference(before, snapshot(self.root)), "")

    def test_nothing(self) -> None:
        self.set_up()
        before = state(self.root)
        answers = {
            "OVESETUP_REMOVE_ALL": ["No"],
            "OVESETUP_REMOVE_WEBSOCKET_PROXY": ["No"],
            "OVESETUP_REMOVE_GROUP/ca_pki_wsp": ["No"],
        }
        self.assertEqual(self.clean_up(answers), 0)
        self.assertIn("Nothing is to be removed", self.said)
        self.assertEqual(before, state(self.root))

    def test_changed_files(self) -> None:
        before = snapshot(self.root)
        self.set_up()
        self.path(places.CONFIGURATION).write_bytes(b"mine")
        self.path(places.UNIT_WANTED).unlink()
        self.path(places.UNIT_WANTED).symlink_to("/dev/null")
        self.path(places.UNIT).unlink()
        self.path(places.UNIT).symlink_to("/dev/null")
        with open(self.path(places.FIREWALLD_EXAMPLE), "wb") as file:
            file.truncate(1024 * 1024 + 1)
        self.clean_up({**_ALL, "OVESETUP_ENGINE_REMOVE_CHANGED": ["No"]})
        changed = [
            text for text in self.interview.warnings if text.endswith("has changed since setup wrote it")
        ]
        self.assertEqual(len(changed), 4)
        self.assertEqual(self.path(places.CONFIGURATION).read_bytes(), b"mine")
        self.assertTrue(self.path(places.UNIT).is_symlink())
        self.assertFalse(self.path(places.KEY).exists())
        self.clean_up({**_ALL, "OVESETUP_ENGINE_REMOVE_CHANGED": ["Yes"]})
        self.assertEqual(difference(before, snapshot(self.root)), "")

    def test_what_is_in_the_directories_stays(self) -> None:
        self.set_up()
        mine = self.path(places.CONFIGURATION.with_name("99-mine.conf"))
        mine.write_text("mine")
        self.clean_up()
        self.assertEqual(mine.read_text(), "mine")
        self.assertIn(f"Kept, as something is in them:\n  {places.CONFIGURATION.parent}", self.said)

    def test_a_failure_at_every_operation(self) -> None:
        """What is left is told, and goes the next time."""
        before = snapshot(self.root)
        self.set_up()
        shutil.copytree(self.root, self.base / "done", symlinks=True)
        for number in range(100):
            shutil.rmtree(self.root)
            shutil.copytree(self.base / "done", self.root, symlinks=True)
            error: BaseException = OSError(errno.EROFS, os.strerror(errno.EROFS))
            tree = FaultyTree(self.root, error, number)
            try:
                self.clean_up(tree=tree)
            except SetupError as raised:
                self.assertIn("run cleanup again", str(raised))
                self.assertEqual(self.clean_up(), 0)
            if "could not be removed: Read-only file system" in self.said:
                # The records are gone by then: their directory is all that can be left.
                self.path(places.RECORDS).rmdir() if self.path(places.RECORDS).exists() else None
                self.path(places.RECORDS.parent).rmdir()
            self.assertEqual(difference(before, snapshot(self.root)), "")
            if tree.count <= number:
                break
        self.assertGreater(number, 12)

    def test_an_interrupt(self) -> None:
        before = snapshot(self.root)
        self.set_up()
        case = self

        class Interrupting(FaultyTree):
            def __init__(self) -> None:
                super().__init__(case.root)
                remove = self.remove

                def and_interrupt(place: PurePosixPath) -> None:
                    remove(place)
                    if place == places.CONFIGURATION:
                        os.kill(os.getpid(), 2)

                self.remove = and_interrupt  # type: ignore[method-assign]

        with self.assertRaisesRegex(Cancelled, f"still there: .*{places.UNIT}.*run cleanup again"):
            self.clean_up(tree=Interrupting())
        self.assertTrue(self.path(places.UNIT).exists())
        self.clean_up()
        self.assertEqual(difference(before, snapshot(self.root)), "")

    def test_after_a_setup_that_was_killed(self) -> None:
        """No file of it is left, whenever that was; keys least of all."""
        case = self

        class Deadly(FaultyTree):
            def __init__(self, at: int) -> None:
                super().__init__(case.root, SystemExit(), at, late=True)

            def _faulty(self, method: object) -> object:
                inner = super()._faulty(method)

                def call(*arguments: object, **others: object) -> object:
                    try:
                        return inner(*arguments, **others)
                    except SystemExit:
                        os._exit(0)

                return call

        keys = 0
        for number in range(3, 60, 4):
            child = os.fork()
            if child == 0:
                try:
                    self.set_up(tree=Deadly(number))
                finally:
                    os._exit(1)
            os.waitpid(child, 0)
            keys += len(list(self.root.rglob(f".{places.KEY.name}.*")))
            self.clean_up()
            files = [path for path in self.root.rglob("*") if path.is_file() or path.is_symlink()]
            self.assertEqual(files, [self.root / "etc/hosts"], f"after {number}")
        self.assertGreater(keys, 0)

    def test_a_record_that_somebody_edited(self) -> None:
        self.set_up()
        victim = self.root / "etc/hosts"
        (record,) = self.path(places.RECORDS).iterdir()
        text = record.read_text()
        text = text.replace(str(places.KEY), "/etc/hosts").replace(
            str(_LOG), f"{_LOG.parent}/../../../../etc/hosts"
        )
        record.write_text(text.replace(str(places.PKI / "keys"), "/etc/../etc"))
        self.clean_up()
        self.assertEqual(victim.read_text(), "127.0.0.1 localhost\n")
        self.assertTrue(self.path(places.KEY).exists())

    def test_on_a_host_with_an_engine(self) -> None:
        self.set_up()
        others = self.path(places.RECORDS / "20200101000000-uninstall.conf")
        others.write_text(
            "[file_group_core]\ndescription = Core files\noptional = False\n"
            "file.001.name = /etc/ovirt-engine/engine.conf.d/10-setup-pki.conf\n"
            f"file.002.name = {places.CA_CERTIFICATE}\n"
        )
        self.path(places.CA_CERTIFICATE).write_text("CA")
        answers = {
            "OVESETUP_REMOVE_ALL": ["No"],
            "OVESETUP_REMOVE_ENGINE": ["Yes"],
            "OVESETUP_REMOVE_WEBSOCKET_PROXY": ["Yes"],
            "OVESETUP_REMOVE_GROUP/ca_pki_wsp": ["Yes"],
            "OVESETUP_CORE_REMOVE": ["OK"],
        }
        self.assertEqual(self.clean_up(answers), 0)
        self.assertEqual(self.interview.asked, list(answers))
        self.assertIn("The engine stays", self.said)
        self.assertFalse(self.path(places.KEY).exists())
        for place in (places.CA_CERTIFICATE, places.POST_INSTALL):
            self.assertTrue(self.path(place).exists())
        self.assertEqual([path.name for path in self.path(places.RECORDS).iterdir()], [others.name])
        self.assertEqual(self.clean_up(), NO_RECORD)

    def test_what_another_setup_recorded(self) -> None:
        """A gateway's host of its own, as it has always been recorded."""
        for place in (places.CONFIGURATION, places.KEY, places.POST_INSTALL, places.RECORDS / "x"):
            self.path(place).parent.mkdir(parents=True, exist_ok=True)
        for place in (places.CONFIGURATION, places.KEY, places.POST_INSTALL):
            self.path(place).write_text("x")
        digest = "9dd4e461268c8034f5c8564e155c67a6"
        self.path(places.RECORDS / "20200101000000-uninstall.conf").write_text(
            "[file_group_core]\ndescription=Core files\noptional=False\n"
            f"file.001.name={places.CONFIGURATION}\n"
            f"file.001.md5={digest}\nfile.002.name={places.POST_INSTALL}\nfile.002.md5={digest}\n"
            "[file_group_ca_pki_wsp]\ndescription=WSP PKI keys\noptional=True\n"
            f"file.001.name={places.KEY}\nfile.001.md5={digest}\n"
        )
        self.path(places.UNIT_WANTED).parent.mkdir(parents=True)
        self.path(places.UNIT_WANTED).symlink_to("/usr/lib/systemd/system/ovirt-websocket-proxy.service")
        answers = {
            "OVESETUP_REMOVE_ALL": ["No"],
            "OVESETUP_REMOVE_WEBSOCKET_PROXY": ["yes"],
            "OVESETUP_REMOVE_GROUP/ca_pki_wsp": ["YES"],
            "OVESETUP_CORE_REMOVE": ["ok"],
        }
        self.assertEqual(self.clean_up(answers), 0)
        left = [path for path in self.root.rglob("*") if path.is_file() or path.is_symlink()]
        self.assertEqual(left, [self.root / "etc/hosts"])

    def start(self) -> Programs:
        self.live = True
        (self.root / "run/systemd/system").mkdir(parents=True)
        return Programs(self, self.base / "bin")

    def test_on_the_running_host(self) -> None:
        programs = self.start()
        programs.set_zones({"public": [], "dmz": ["ovirt-websocket-proxy"]})
        before = snapshot(self.root)
        self.set_up()
        self.assertEqual(programs.service, "active")
        self.assertEqual(programs.zones["public"], ["ovirt-websocket-proxy", "ssh"])
        programs.forget()
        self.clean_up()
        self.assertEqual(programs.service, "inactive")
        self.assertEqual(programs.zones, {"public": ["ssh"], "dmz": ["ovirt-websocket-proxy"], "trusted": []})
        self.assertEqual(programs.changes[0], f"systemctl stop {places.SERVICE}")
        self.assertEqual(programs.changes[-2:], ["systemctl daemon-reload", "firewall-cmd --reload"])
        self.assertEqual(difference(before, snapshot(self.root)), "")

    def test_programs_that_fail(self) -> None:
        programs = self.start()
        before = snapshot(self.root)
        self.set_up()
        done = state(self.root)
        programs.answer("systemctl stop", "Access denied\n", 4)
        with self.assertRaisesRegex(SetupError, "Access denied; no file was removed; run cleanup again"):
            self.clean_up()
        self.assertEqual(done, state(self.root))
        programs.set_service("inactive")
        programs.answer("firewall-cmd --reload", "Error: timeout\n", 1)
        self.assertEqual(self.clean_up(), 0)
        self.assertIn("firewalld still goes by the files that are gone", self.said)
        self.assertEqual(difference(before, snapshot(self.root)), "")

    def run_command(self, *arguments: str, text: str = "") -> Result:
        return CliRunner().invoke(main, ["cleanup", "--root", str(self.root), *arguments], input=text)

    def test_the_command(self) -> None:
        if os.geteuid() != 0:
            result = self.run_command()
            self.assertEqual((result.exit_code, "only root" in result.output), (1, True))
            return
        result = self.run_command()
        self.assertEqual(result.exit_code, NO_RECORD, result.output)
        before = snapshot(self.root)
        self.set_up()
        self.assertEqual(self.run_command("--dry-run", "--accept-defaults").exit_code, 0)
        self.assertEqual(self.run_command("--accept-defaults").exit_code, 130)
        self.assertEqual(self.run_command("--accept-defaults", "--config-append", "/nowhere").exit_code, 1)
        self.assertEqual(self.run_command("--dialect", "morse").exit_code, 2)
        result = self.run_command(text="\nOK\n")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertEqual(difference(before, snapshot(self.root)), "")
