"""The command line of the service that is replaced: what is understood, and what is not."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from gateway.cli import serve as module
from gateway.cli.ovirt_websocket_proxy import ovirt_websocket_proxy
from gateway.settings import LogLevel, LogSettings


class CommandLineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.served: list[tuple[str, dict[str, Any]]] = []
        self.patch(module, "serve", lambda source, **others: self.served.append((str(source), others)))

    def run_with(self, *arguments: str, debug: str | None = None) -> int:
        self.served.clear()
        environ = {"OVIRT_SERVICE_DEBUG": debug}
        return CliRunner(env=environ).invoke(ovirt_websocket_proxy, list(arguments)).exit_code

    def test_understood(self) -> None:
        for arguments in (
            ["start"],
            ["--systemd=notify", "start"],
            ["--sys", "simple", "start"],
            ["--redirect-output", "start"],
            ["--red", "start"],
            ["start", "-d"],
            ["--pid=/tmp/x", "start"],
            ["--pidfile", "/tmp/x", "start"],
            ["--ovirt-conf=/x", "start"],
            ["--", "start"],
        ):
            self.assertEqual(self.run_with(*arguments), 0, arguments)
            (served,) = self.served
            expected = (
                "/x" if "--ovirt-conf=/x" in arguments else "/etc/ovirt-engine/ovirt-websocket-proxy.conf"
            )
            self.assertEqual(served[0], expected)

    def test_usage_errors(self) -> None:
        for arguments in (
            [],
            ["stop"],
            ["sta"],
            ["start", "start"],
            ["--unknown", "start"],
            ["--p", "start"],
            ["--systemd=always", "start"],
            ["--debug=1", "start"],
            ["--"],
            ["--=x", "start"],
        ):
            self.assertEqual(self.run_with(*arguments), 2, arguments)
            self.assertEqual(self.served, [])

    def test_debug(self) -> None:
        for arguments, environ, expected in (
            ([], None, None),
            ([], "0", None),
            ([], "1", LogLevel.DEBUG),
            ([], "", LogLevel.DEBUG),
            (["-d"], None, LogLevel.DEBUG),
            (["--deb"], "0", LogLevel.DEBUG),
        ):
            self.assertEqual(self.run_with(*arguments, "start", debug=environ), 0)
            self.assertIs(self.served[0][1]["level"], expected, (arguments, environ))

    def test_where_the_log_goes(self) -> None:
        for arguments, file, syslog in (
            ([], None, False),
            (["--redirect-output"], None, True),
            (["--redirect-output"], Path("/x"), False),
        ):
            self.assertEqual(self.run_with(*arguments, "start"), 0)
            stream = self.served[0][1]["stream"](LogSettings(file=file))
            self.assertEqual(stream is not None, syslog)
            if stream is not None:
                stream.close()

    def test_pid_file_lasts_as_long_as_the_gateway(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "pid")
            seen: list[bool] = []

            def serve(source: object, *, ready: Any, **others: object) -> None:
                seen.append(path.exists())
                ready()
                seen.append(path.exists())
                raise SystemExit(1)

            self.patch(module, "serve", serve)
            self.assertEqual(self.run_with(f"--pidfile={path}", "start"), 1)
            self.assertEqual([*seen, path.exists()], [False, True, False])
