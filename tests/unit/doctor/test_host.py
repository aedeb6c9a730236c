"""Findings, and checks of the host: each both ways."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from gateway.doctor.finding import Finding, Level, fail, ok, warn
from gateway.doctor.host import check_clock, check_descriptors, check_masker, check_name, check_user
from gateway.settings import LimitSettings

LIMITS = LimitSettings(sessions=10, handshakes=5)


class FindingTests(SynchronousTestCase):
    def test_what_is_not_well_has_a_remedy(self) -> None:
        self.assertEqual(ok("a", "b").remedy, "")
        self.assertEqual(warn("a", "b", "c").level, Level.WARN)
        for level, remedy in ((Level.FAIL, ""), (Level.WARN, ""), (Level.OK, "something")):
            self.assertRaises(AssertionError, Finding, "a", level, "b", remedy)

    def test_one_line(self) -> None:
        finding = fail("a", "b\nc\x1b[2J", "d\te")
        self.assertEqual((finding.detail, finding.remedy), (r"b\nc\x1b[2J", r"d\te"))

    def test_warnings_are_no_failure(self) -> None:
        self.assertFalse(Finding.any_failed([ok("a", "b"), warn("a", "b", "c")]))
        self.assertTrue(Finding.any_failed([ok("a", "b"), fail("a", "b", "c")]))


class HostTestCase(SynchronousTestCase):
    def assert_found(self, findings: Iterable[Finding], level: Level, *parts: str) -> None:
        (finding,) = findings
        self.assertEqual(finding.level, level, finding)
        for part in parts:
            self.assertIn(part, f"{finding.detail} {finding.remedy}")


class ClockTests(HostTestCase):
    def test_synchronised(self) -> None:
        for state in range(5):
            self.assert_found(check_clock(iter([state]).__next__), Level.OK, "is synchronised")

    def test_not_synchronised(self) -> None:
        self.assert_found(check_clock(lambda: 5), Level.WARN, "not synchronised", "chronyd")

    def test_not_known(self) -> None:
        self.assert_found(check_clock(lambda: None), Level.WARN, "cannot be found out")

    def test_the_kernel_is_asked(self) -> None:
        (finding,) = check_clock()
        self.assertIn("synchronised", finding.detail)


class NameTests(HostTestCase):
    def test_resolves(self) -> None:
        self.assert_found(check_name("gw", lambda name: ["192.0.2.1"]), Level.OK, "'gw'", "192.0.2.1")
        self.assert_found(check_name("localhost"), Level.OK, "localhost")

    def test_does_not(self) -> None:
        def resolve(name: str) -> list[str]:
            raise OSError(-2, "Name or service not known")

        self.assert_found(check_name("gw", resolve), Level.WARN, "not known", "resolv.conf")

    def test_no_host_name(self) -> None:
        self.assert_found(check_name("a" * 70 + "\n."), Level.WARN, "does not resolve")

    def test_hangs(self) -> None:
        free = threading.Event()
        self.addCleanup(free.set)

        def resolve(name: str) -> list[str]:
            free.wait(20)
            return []

        self.assert_found(check_name("gw", resolve, 0.01), Level.WARN, "no answer", "0.01 s")


class MaskerTests(HostTestCase):
    def test_both(self) -> None:
        self.assert_found(check_masker(True), Level.OK)
        self.assert_found(check_masker(False), Level.WARN, "slow", "install")


class DescriptorTests(HostTestCase):
    def test_enough(self) -> None:
        self.assert_found(check_descriptors(LIMITS, None, lambda pid: 125), Level.OK, "125")

    def test_too_few(self) -> None:
        found = check_descriptors(LIMITS, None, lambda pid: 124)
        self.assert_found(found, Level.WARN, "started here may open 124", "LimitNOFILE=125")

    def test_of_a_running_gateway(self) -> None:
        self.assert_found(
            check_descriptors(LIMITS, 7, lambda pid: pid), Level.WARN, "running gateway may open 7"
        )
        self.assert_found(check_descriptors(LIMITS, 7, lambda pid: None), Level.WARN, "cannot be read")
        self.assert_found(check_descriptors(LIMITS, 2**22 + 1), Level.WARN, "cannot be read")

    def test_real_limits(self) -> None:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        for pid in (None, os.getpid()):
            self.assert_found(check_descriptors(LIMITS, pid), Level.OK, str(soft))


class UserTests(HostTestCase):
    def test_both(self) -> None:
        self.assert_found(check_user(0), Level.OK, "root")
        self.assert_found(check_user(812), Level.OK, "812")
