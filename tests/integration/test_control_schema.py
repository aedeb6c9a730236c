"""The OpenAPI document is true: a stranger who knows nothing else finds no difference to the running API.

Streams of events have no end, which the stranger would wait for; what is special about them is in
``tests/unit/control/test_stream.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from tests.integration.control import ControlGatewayTestCase
from tests.support.process import ROOT
from tests.support.targets import echo


class SchemaTests(ControlGatewayTestCase):
    def explore(self, *arguments: str) -> None:
        with tempfile.TemporaryDirectory(prefix="console-gateway-test-") as directory:
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "schemathesis.cli",
                    "run",
                    f"http://127.0.0.1:{self.control_port}/api/v1/openapi.json",
                    "--header",
                    f"Authorization: Bearer {self.token}",
                    "--exclude-path=/api/v1/events",
                    "--phases=coverage,fuzzing",
                    "--request-timeout=10",
                    "--generation-database=none",
                    "--no-color",
                    "--seed=1",
                    *arguments,
                ],
                cwd=directory,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "SCHEMATHESIS_HOOKS": "tests.support.openapi_hooks",
                },
                capture_output=True,
                text=True,
                timeout=110,
                check=False,
            )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertNotIn("Traceback", self.gateway.output)

    def test_reading(self) -> None:
        """With sessions to be seen and events to be told of."""
        self.call("/api/v1/admission", {"admitting": True})
        self.take_back_drains()
        target = self.target(echo)
        tickets = [self.installation.ticket(target.port) for _ in range(3)]
        connections = [self.open(ticket) for ticket in tickets]
        connections[0].close()
        self.explore("--include-method=GET", "--max-examples=15")
        for connection in connections[1:]:
            connection.send(b"x")
            self.assertEqual(connection.recv(timeout=5), b"x")
        for ticket in tickets:
            self.assertNotIn(ticket, self.gateway.output)

    def test_acting(self) -> None:
        """Without a hand-over, which would replace the gateway that is explored."""
        self.explore(
            "--include-method=POST",
            "--include-method=DELETE",
            "--exclude-path=/api/v1/hand-over",
            "--max-examples=25",
        )

    def take_back_drains(self) -> None:
        connection = self.unix()
        connection.request("DELETE", "/api/v1/drain")
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()
