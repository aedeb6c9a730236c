"""Ours in the place of the original, and back: what docs/migration.md says, on hosts as oVirt makes them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from typing import ClassVar, Final

from gateway.setup import places
from tests.integration.setupcase import SetupTestCase
from tests.peers import needs
from tests.support.hostgateway import Signer, assert_console_is_seen, hypervisor, serve
from tests.support.original import install_original
from tests.support.process import ROOT, GatewayProcess
from tests.support.qemu import Qemu
from tests.support.systemd import PROGRAMS
from tests.support.trees import difference

pytestmark = needs("openssl", "qemu")

_PACKAGED: Final = """\
# In the place of the one of oVirt's package: it says that it is ready, and waits.
[Service]
User=ovirt
ExecStart={python} -I -S -c "import os, socket, time; s = socket.socket(1, 2); \
s.sendto(b'READY=1', chr(0) + os.environ['NOTIFY_SOCKET'][1:]); time.sleep(1000)"
"""


class MigrationTestCase(SetupTestCase):
    with_systemd = True
    qemu: ClassVar[Qemu]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.qemu = cls.enterClassContext(hypervisor(cls.engine, cls.directory / "qemu"))

    def setUp(self) -> None:
        super().setUp()
        install_original(self.gateway, self.engine, self.port)
        self.addCleanup(shutil.rmtree, self.gateway.path("/usr/share/ovirt-engine"))
        self.before = self.look()

    def assert_console_is_seen(self) -> None:
        signer = Signer.of(self.engine.pki)
        assert_console_is_seen(signer, self.engine.host, self.gateway, self.port, self.qemu)


class SameHostTests(MigrationTestCase):
    def test_served_in_its_place_without_a_trace(self) -> None:
        """So that the way back is to start the other one again."""
        with serve(self.gateway, self.directory) as gateway:
            self.assertEqual(gateway.tls_port, self.port)
            self.assert_console_is_seen()
        self.assertEqual(difference(self.before, self.look()), "")


class DocumentTests(MigrationTestCase):
    """Every command that is not oVirt's."""

    def setUp(self) -> None:
        super().setUp()
        if self.systemd is None:
            self.skipTest("without namespaces they would change this machine")
        self.service = self.systemd
        program = self.gateway.path(f"{PROGRAMS}/console-gateway")
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m gateway "$@"\n')
        program.chmod(0o755)
        self.environ = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        self.service.package(places.SERVICE, _PACKAGED.format(python=sys.executable))

    def do(self, command: str) -> str:
        """Run it on the gateway's host, in a shell, and return what it printed."""
        done = subprocess.run(
            self.gateway.command("sh", "-c", command),
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 0, f"{command}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def command_line(self) -> str:
        """What runs as the service."""
        (pid,) = self.service.processes
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read().replace("\0", " ")

    def test_gateways_host(self) -> None:
        look, trial, verify, setup, *back = _commands("same-host", "The engine's host")
        self.do("systemctl start ovirt-websocket-proxy")
        self.assertIn("time.sleep", self.command_line())
        (check,) = look
        self.assertIn("no problems found", self.do(check))
        *prepare, run = trial
        for command in prepare:
            self.do(command)
        # Setup has not fetched it yet.
        authority = self.write(str(places.CA_CERTIFICATE), self.engine.ca_file.read_bytes())
        with GatewayProcess(
            self.directory, command=self.gateway.command("sh", "-c", f"exec {run}"), environ=self.environ
        ) as gateway:
            gateway.ready()
            (shown,) = verify
            self.do(shown)
            gateway.signal(signal.SIGINT)
            self.assertEqual(gateway.wait(), 0)
        for place in (authority, "/root/trial.conf"):
            self.gateway.path(place).unlink()
        self.assertEqual(difference(self.before, self.look()), "")
        (install,) = setup
        self.assertIn("The gateway works", self.do(install))
        self.assertIn("gateway ovirt-websocket-proxy", self.command_line())
        self.assert_console_is_seen()
        for command in back[0]:
            self.do(command)
        self.assertIn("time.sleep", self.command_line())
        for name, entry in self.before.items():
            if not name.endswith(places.POST_INSTALL.name):
                self.assertEqual(self.look()[name], entry, name)
        self.do("systemctl stop ovirt-websocket-proxy")

    def test_engines_host(self) -> None:
        """The unit alone."""
        (commands,) = _commands("The engine's host", "separate-host")
        self.gateway.path("/etc/systemd/system").mkdir(parents=True)
        self.do("systemctl start ovirt-websocket-proxy")
        for command in commands:
            installed = command.replace("/opt/console-gateway/bin/python", sys.executable)
            self.do(installed.replace("/opt/console-gateway/bin/", f"{PROGRAMS}/"))
        self.assertIn("gateway ovirt-websocket-proxy", self.command_line())
        self.assert_console_is_seen()
        self.do("systemctl stop ovirt-websocket-proxy")

    def test_settings_file(self) -> None:
        (commands,) = _commands("From shell-like files to a settings file", None)
        for command in commands:
            self.do(command)
        tables = tomllib.loads(self.read("/etc/console-gateway/console-gateway.toml").decode())
        self.assertEqual(tables["tls"]["certificate"], str(places.CERTIFICATE))
        self.assertEqual(tables["tickets"]["certificate"], str(places.ENGINE_CERTIFICATE))

    def test_all_commands_are_run(self) -> None:
        """Here, but for what the tests of setup and cleanup do as well."""
        others = _commands("separate-host", "Answer files")
        self.assertEqual(others, [["console-gateway setup"], ["console-gateway cleanup"]])
        self.assertEqual(len(_commands(None, None)), 5 + 1 + 1 + len(others))

    def test_cleanup_removes_it_whoever_set_it_up(self) -> None:
        self.do("console-gateway setup --accept-defaults")
        self.assert_succeeded(self.clean_up())
        self.assertFalse(self.gateway.path(places.KEY).exists())
        self.assertFalse(self.gateway.path(places.CONFIGURATION).exists())


def _commands(begin: str | None, end: str | None) -> list[list[str]]:
    """The commands of each block between two titles or anchors of the document."""
    text = (ROOT / "docs/migration.md").read_text()
    first = 0 if begin is None else _position(text, begin)
    return list(_blocks(text[first : len(text) if end is None else _position(text, end)]))


def _position(text: str, title: str) -> int:
    found = re.search(rf"^(\({re.escape(title)}\)=|#+ {re.escape(title)})$", text, re.MULTILINE)
    assert found is not None, title
    return found.start()


def _blocks(text: str) -> Iterator[list[str]]:
    for block in re.findall(r"^ *```console\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        yield [line.strip().removeprefix("# ") for line in block.splitlines()]
