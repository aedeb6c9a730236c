"""Ctrl-C, and the end of the input, at every question; and disks that are full or cannot be written."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from gateway.setup import places
from tests.integration.preparedcase import CERTIFICATE, PreparedTestCase
from tests.integration.setupcase import Ended
from tests.peers import needs
from tests.support.hosts import ENGINE, GATEWAY
from tests.support.terminal import Terminal
from tests.support.trees import difference, snapshot

pytestmark = needs("openssl", "ssh", "sshd")

_COMMON = (
    (r"Set up the console gateway on this host\?", "yes"),
    ("name of this host", GATEWAY),
    ("name of the engine's host", ENGINE),
)
_STYLE = "How is it to be obtained"
_CONFIRM = ("Set up the gateway like this", "")


class QuestionsTests(PreparedTestCase):
    with_sshd = True

    def reach(self, answered: Sequence[tuple[str, str]], question: str) -> Terminal:
        """Answer questions up to this one."""
        terminal = self.start("setup", *self.port_option(), "--otopi-environment", _NO_FIREWALL)
        for each, reply in answered:
            self.answer(terminal, each, reply)
        if question.startswith("Paste"):
            terminal.expect(question)
        else:
            self.await_question(terminal, question)
        return terminal

    def script(self, style: str) -> list[tuple[str, str]]:
        """Questions and answers from the style on."""
        assert self.sshd is not None
        rest = {
            "1": [
                ("Port of the ssh server", str(self.sshd.port)),
                ("Is this the right fingerprint", self.sshd.fingerprint),
                ("Password of root", ""),
            ],
            "2": [("File here with the signed certificate", self.seen(CERTIFICATE)), _CONFIRM],
            "3": [("Paste the certificate", "")],
            "4": [],
        }
        return [(_STYLE, style), *rest[style]]

    def test_interrupted_at_every_question(self) -> None:
        told = 0
        for style in "213":
            script = [*_COMMON, *self.script(style)]
            # What is asked before the style is the same for each.
            for number in range(0 if style == "2" else len(_COMMON) + 1, len(script)):
                question, _ = script[number]
                with self.subTest(question):
                    terminal = self.reach(script[:number], question)
                    terminal.interrupt()
                    self.assert_cancelled(self.finish(terminal))
                    told += 1
        self.assertEqual(told, 6 + 3 + 1)

    def test_interrupted_while_it_waits(self) -> None:
        """For an engine that does not answer."""
        self.engine.delay = 5
        terminal = self.reach([*_COMMON, (_STYLE, "2")], "File here with the signed certificate")
        terminal.type_line(self.seen(CERTIFICATE))
        while not self.engine.requests:
            self.assertNotIn("ERROR", terminal.text)
        terminal.interrupt()
        self.assert_cancelled(self.finish(terminal))

    def test_the_input_ends(self) -> None:
        script = [*_COMMON, *self.script("2")]
        for number in (0, 4, 5):
            with self.subTest(script[number][0]):
                terminal = self.reach(script[:number], script[number][0])
                terminal.end_of_input()
                ended = self.finish(terminal)
                self.assertEqual((ended.status, len(ended.errors)), (1, 1), ended.text)
                self.assertRegex(ended.errors[0], "the input ended .*nothing was changed$")
                self.assert_unchanged(self.before)

    def assert_cancelled(self, ended: Ended) -> None:
        self.assertEqual((ended.status, len(ended.errors)), (130, 1), ended.text)
        self.assertRegex(ended.errors[0], "nothing was changed$")
        self.assert_unchanged(self.before)


class DisksTests(PreparedTestCase):
    """Real ones, which the kernel refuses to write."""

    def setUp(self) -> None:
        super().setUp()
        if not self.hosts.isolated:
            self.skipTest("without namespaces nothing can be mounted")

    def mount(self, place: str, *options: str) -> Path:
        """Mount something on the gateway's host, and return where it can be seen from here."""
        holder = self.gateway.holder
        there = self.gateway.path(place)
        enter = ["nsenter", "-t", str(holder), "-m"]
        subprocess.run([*enter, "mount", *options, str(there)], check=True)
        if "remount" not in " ".join(options):
            self.addCleanup(subprocess.run, [*enter, "umount", str(there)], check=True)
        return Path(f"/proc/{holder}/root{there}")

    def refuse(self, reason: str) -> None:
        ended = self.unattended("setup", *self.answered())
        self.assertEqual((ended.status, len(ended.errors)), (1, 1), ended.text)
        self.assertRegex(ended.errors[0], f"{reason}.*everything is as it was before$")
        self.assert_unchanged(self.before)

    def test_no_space(self) -> None:
        """For a directory, for a name, and for the content of a file."""
        for inodes in range(1, 6):
            with self.subTest(inodes=inodes):
                disk = self.mount("/var/lib", "-t", "tmpfs", "-o", f"size=4k,nr_inodes={inodes + 1}", "none")
                (disk / "filler").write_bytes(bytes(4096))
                before = snapshot(disk)
                self.refuse("No space left on device")
                self.assertEqual(difference(before, snapshot(disk)), "")

    def test_read_only(self) -> None:
        for place in ("/etc/systemd/system", str(places.PKI), "/var/lib"):
            with self.subTest(place):
                self.gateway.path(place).mkdir(parents=True, exist_ok=True)
                self.before = self.look()
                there = str(self.gateway.path(place))
                self.mount(place, "--bind", there)
                self.mount(place, "-o", "remount,ro,bind")
                self.refuse("Read-only file system")


_NO_FIREWALL = "OVESETUP_CONFIG/updateFirewall=bool:False"
