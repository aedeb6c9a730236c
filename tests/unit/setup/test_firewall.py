"""firewalld is opened for one port and closed again; other managers get an explanation."""

from __future__ import annotations

from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from gateway.setup import places
from gateway.setup.errors import SetupError
from gateway.setup.host.firewall import Manager, detect, explanation, firewall_plan, open_zones
from gateway.setup.host.plan import Plan, Step
from gateway.setup.host.system import System
from gateway.setup.host.transaction import carry_out
from tests.unit.setup.faults import scratch
from tests.unit.setup.programs import Programs

_STAMP = "20300101000000"
_NAME = "ovirt-websocket-proxy"


class _Broken(Step):
    description = "Breaking"

    def apply(self, system: System) -> None:
        raise SetupError("broken")

    def revert(self, system: System) -> None:
        pass


class FirewallTest(SynchronousTestCase):
    def setUp(self) -> None:
        base = scratch(self)
        self.root = base / "root"
        self.root.mkdir()
        self.programs = Programs(self, base / "bin", "firewall-cmd")
        self.system = System(self.root, live=True, owners=False)

    def carry_out(self, *more: Step) -> None:
        files, steps = firewall_plan(self.system, Manager.FIREWALLD, 6100)
        carry_out(self.system, Plan(files=files, after=(*steps, *more)), stamp=_STAMP)

    def test_the_service_file(self) -> None:
        self.carry_out()
        for place in (places.FIREWALLD_SERVICE, places.FIREWALLD_EXAMPLE):
            tree = ElementTree.fromstring(self.system.read(place) or b"")
            ports = [(port.get("protocol"), port.get("port")) for port in tree.findall("port")]
            self.assertEqual((tree.tag, ports), ("service", [("tcp", "6100")]))
            self.assertTrue(tree.findtext("short"))
            self.assertTrue(tree.findtext("description"))

    def test_active_zones_are_opened(self) -> None:
        zones = "public (default)\n  interfaces: eth0\ndmz\n  sources: 10.0.0.0/8\n"
        self.programs.answer("firewall-cmd --get-active-zones", zones)
        self.programs.set_zones({"public": [_NAME]})
        self.carry_out()
        self.assertEqual(self.programs.zones, {"public": [_NAME, "ssh"], "dmz": [_NAME], "trusted": []})
        self.assertEqual(
            self.programs.changes,
            [
                "firewall-cmd --reload",
                f"firewall-cmd --permanent --zone=dmz --add-service={_NAME}",
                "firewall-cmd --reload",
            ],
        )

    def test_without_active_zones(self) -> None:
        self.programs.answer("firewall-cmd --get-active-zones", "")
        self.programs.answer("firewall-cmd --get-default-zone", "dmz\n")
        self.carry_out()
        self.assertEqual(self.programs.zones["dmz"], [_NAME])

    def test_it_is_undone(self) -> None:
        zones = "public\n  interfaces: eth0\ndmz\n  sources: 10.0.0.0/8\n"
        self.programs.answer("firewall-cmd --get-active-zones", zones)
        before = {"public": [_NAME, "ssh"], "dmz": [], "trusted": []}
        self.programs.set_zones(before)
        with self.assertRaisesRegex(SetupError, "^broken; everything is as it was before$"):
            self.carry_out(_Broken())
        self.assertEqual(self.programs.zones, before)
        self.assertEqual(self.programs.changes[-1], "firewall-cmd --reload")
        self.assertIsNone(self.system.read(places.FIREWALLD_SERVICE))
        self.assertEqual(list(self.root.iterdir()), [])

    def test_refusals_are_undone(self) -> None:
        self.programs.answer("firewall-cmd --permanent --zone=public --add", "Error: COMMAND_FAILED\n", 13)
        with self.assertRaisesRegex(SetupError, r"COMMAND_FAILED; everything is as it was before"):
            self.carry_out()
        self.assertEqual(self.programs.zones["public"], ["ssh"])
        self.assertEqual(list(self.root.iterdir()), [])

    def test_a_firewall_that_does_not_come_back(self) -> None:
        self.programs.answer("firewall-cmd --reload", "Error: timeout\n", 1)
        with self.assertRaises(SetupError) as caught:
            self.carry_out()
        self.assertIn("could not be put back: Opening the port in firewalld (", str(caught.exception))
        self.assertEqual(list(self.root.iterdir()), [])

    def test_strange_zones(self) -> None:
        for text in ("--permanent\n", "a;b\n", "x\n" * 200, " \n"):
            self.programs.answer("firewall-cmd --get-active-zones", text)
            self.programs.answer("firewall-cmd --get-default-zone", "")
            with self.assertRaisesRegex(SetupError, "nothing sensible"):
                self.carry_out()
        self.assertEqual(open_zones({"firewall.zones": "public --reload a;b dmz"}), ["public", "dmz"])

    def test_detection(self) -> None:
        self.assertIn(Manager.FIREWALLD, detect(self.system))
        for version, expected in (("0.2.5", False), ("0.2.6\n", True), ("2.1", True), ("?", False)):
            self.programs.answer("firewall-cmd --version", version)
            self.assertEqual(Manager.FIREWALLD in detect(self.system), expected, version)
        self.programs.answer("firewall-cmd --state", "not running\n", 252)
        self.assertNotIn(Manager.FIREWALLD, detect(self.system))
        with self.assertRaisesRegex(SetupError, "does not run; start it"):
            self.carry_out()
        self.assertEqual(self.programs.changes, [])

    def test_a_host_that_does_not_run(self) -> None:
        image = System(self.root, owners=False)
        self.assertEqual(detect(image), ())
        (self.root / "usr/sbin").mkdir(parents=True)
        for name in ("firewall-cmd", "nft", "iptables"):
            (self.root / "usr/sbin" / name).touch()
        self.assertEqual(detect(image), (Manager.FIREWALLD, Manager.NFTABLES, Manager.IPTABLES))
        files, steps = firewall_plan(image, Manager.FIREWALLD, 443)
        self.assertEqual((len(files), steps), (2, ()))
        self.assertEqual(self.programs.changes, [])

    def test_others_are_explained(self) -> None:
        for manager in (Manager.NFTABLES, Manager.IPTABLES, Manager.SKIP):
            files, steps = firewall_plan(self.system, manager, 8443)
            self.assertEqual([file.place for file in files], [places.FIREWALLD_EXAMPLE])
            self.assertEqual(steps, ())
            self.assertIn("8443", "\n".join(explanation(manager, 8443)))
        self.assertEqual(explanation(Manager.FIREWALLD, 6100), [])
        for port in (0, 65536, -1):
            with self.assertRaises(ValueError):
                explanation(Manager.SKIP, port)
