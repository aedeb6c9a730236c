"""A gateway process with a control API, and clients for it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from gateway.control.tokens import new_token, token_line
from gateway.settings import Role
from tests.integration.case import GatewayTestCase, InstallationTestCase, Table, changed_settings
from tests.support.process import GatewayProcess
from tests.support.targets import TargetServer

__all__ = ["ControlGatewayTestCase", "UnixConnection"]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))


class ControlGatewayTestCase(GatewayTestCase):
    """A gateway whose control API is on a Unix socket and on a loopback port."""

    token: ClassVar[str]
    reader: ClassVar[str]
    socket_path: ClassVar[Path]
    changes: ClassVar[Mapping[str, Table]] = {}

    @classmethod
    def setUpClass(cls) -> None:
        # Not GatewayTestCase's: the settings name files of the installation.
        InstallationTestCase.setUpClass.__func__(cls)  # type: ignore[attr-defined]
        directory = cls.installation.directory
        cls.token, cls.reader = new_token(), new_token()
        tokens = directory / "tokens"
        tokens.write_text(
            f"{token_line('ops', Role.OPERATE, cls.token)}\n{token_line('eve', Role.READ, cls.reader)}\n"
        )
        cls.socket_path = directory / "control.sock"
        control = {
            "listen": [f"unix:{cls.socket_path}", "tcp:0:interface=127.0.0.1"],
            "tokens": str(tokens),
        }
        changes = {**cls.changes, "control": {**control, **cls.changes.get("control", {})}}
        cls.gateway = GatewayProcess(changed_settings(cls.installation, "settings.toml", changes))
        cls.addClassCleanup(cls.gateway.stop)
        cls.gateway.ready()

    @property
    def control_port(self) -> int:
        return int(self.gateway.wait_for(r"control API is served on .*127\.0\.0\.1:(\d+) \(plain\)")[1])

    def target(self, behaviour: Any) -> TargetServer:
        server = TargetServer(behaviour)
        self.addCleanup(server.close)
        return server

    def unix(self) -> UnixConnection:
        connection = UnixConnection(self.socket_path)
        self.addCleanup(connection.close)
        return connection

    def call(self, path: str, body: Any = None, *, status: int = 200) -> Any:
        """The JSON that a call over the Unix socket is answered with."""
        connection = self.unix()
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        data = response.read()
        connection.close()
        self.assertEqual(response.status, status, data)
        return json.loads(data)
