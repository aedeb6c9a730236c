"""Signals that come while the gateway is still being imported: they are answered as soon as somebody can."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

from tests.integration.case import InstallationTestCase
from tests.support.process import GatewayProcess

_START = """
import os, signal, sys

class Sender:
    \"\"\"Sends signals to this process when a module is about to be imported.\"\"\"

    def find_spec(self, name, path=None, target=None):
        if name == "gateway.service":
            sys.meta_path.remove(self)
            for number in os.environ["EARLY"].split():
                os.kill(os.getpid(), int(number))

# Not in the process that takes over, which has the same command line.
if "CONSOLE_GATEWAY_READY" not in os.environ:
    sys.meta_path.insert(0, Sender())
"""
_OURS = "from gateway.cli import main; main(prog_name='console-gateway')"
_TWISTD = "from twisted.scripts.twistd import run; sys.exit(run())"


class EarlySignalTests(InstallationTestCase):
    def start(
        self, number: signal.Signals, *others: signal.Signals, run: str, arguments: list[str]
    ) -> GatewayProcess:
        """A process that gets these signals before it can answer."""
        early = " ".join(str(int(each)) for each in (number, *others))
        command = [sys.executable, "-c", _START + run, *arguments]
        gateway = GatewayProcess(Path(), command=command, environ={"EARLY": early})
        self.addCleanup(gateway.stop)
        return gateway

    def run_with(self, number: signal.Signals, *others: signal.Signals) -> GatewayProcess:
        """``console-gateway run``, likewise."""
        arguments = ["run", "--config", str(self.settings_file())]
        return self.start(number, *others, run=_OURS, arguments=arguments)

    def check_reload_and_rotation(self, gateway: GatewayProcess) -> None:
        gateway.ready().wait_for("settings are reloaded; changed: no setting")
        self.assertLess(gateway.output.index("listens on"), gateway.output.index("settings are reloaded"))
        # What comes later is answered as ever.
        self.assertEqual(1, gateway.output.count("settings are reloaded"))
        gateway.signal(signal.SIGHUP)
        gateway.wait_for(r"(?s)settings are reloaded.*settings are reloaded")
        self.assertNotIn("Traceback", gateway.output)

    def test_reload_and_rotation(self) -> None:
        gateway = self.run_with(signal.SIGHUP, signal.SIGUSR1, signal.SIGHUP)
        self.check_reload_and_rotation(gateway)
        self.assertEqual(0, gateway.stop())

    def test_under_twistd(self) -> None:
        pid = str(self.installation.directory / f"twistd-{os.urandom(4).hex()}.pid")
        arguments = ["-n", "--pidfile", pid, "console-gateway", "--config", str(self.settings_file())]
        gateway = self.start(signal.SIGHUP, signal.SIGUSR1, run=_TWISTD, arguments=arguments)
        self.check_reload_and_rotation(gateway)
        self.assertEqual(-signal.SIGTERM, gateway.stop())

    def test_under_the_name_of_another_service(self) -> None:
        conf, pki = self.installation.directory / "proxy.conf", self.installation.pki
        conf.write_text(
            f"PROXY_PORT=0\nPROXY_HOST=127.0.0.1\nSSL_ONLY=True\nSSL_CERTIFICATE={pki.certificate_file}\n"
            f"SSL_KEY={pki.key_file}\nCERT_FOR_DATA_VERIFICATION={self.installation.engine_file}\n"
        )
        arguments = ["ovirt-websocket-proxy", "--ovirt-conf", str(conf), "start"]
        gateway = self.start(signal.SIGHUP, signal.SIGUSR1, run=_OURS, arguments=arguments)
        self.check_reload_and_rotation(gateway)
        self.assertEqual(0, gateway.stop())

    def test_nothing_is_reloaded_where_nothing_runs(self) -> None:
        broken = self.settings_file(uses={"file": "/nowhere/uses.sqlite"})
        gateway = self.start(
            signal.SIGHUP, signal.SIGUSR1, run=_OURS, arguments=["run", "--config", str(broken)]
        )
        self.assertEqual(1, gateway.wait())
        self.assertIn("uses.file", gateway.output)
        self.assertNotIn("Traceback", gateway.output)

    def test_hand_over(self) -> None:
        gateway = self.run_with(signal.SIGUSR2)
        pid = int(gateway.wait_for(r"hand-over: process (\d+) accepts connections")[1])
        # Its output is that of the first one, which has no sessions to wait for.
        self.addCleanup(_end, pid)
        gateway.wait_for("has no session left and ends")
        self.assertTrue(Path(f"/proc/{pid}").exists())

    def test_an_end_is_not_held(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            gateway = self.run_with(number)
            self.assertNotEqual(0, gateway.wait())
            self.assertNotIn("listens on", gateway.output)


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
