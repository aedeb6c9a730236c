"""One gateway process for the tests of a class, and clients for it."""

from __future__ import annotations

import shutil
import socket
import ssl
import tempfile
import time
import unittest
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tests.support.client import WebSocketClient
from tests.support.http import Answer, read_answer
from tests.support.pki import Installation, install
from tests.support.process import GatewayProcess, write_settings

__all__ = ["GatewayTestCase", "InstallationTestCase", "Table", "eventually"]


Table = Mapping[str, object]
"""Keys of one table of the settings."""


def eventually(condition: Callable[[], object], timeout: float = 5) -> None:
    """Wait until ``condition`` holds.

    :raises AssertionError: when it does not within ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.01)


class InstallationTestCase(unittest.TestCase):
    """Files of an installation, made once per class."""

    installation: ClassVar[Installation]

    @classmethod
    def setUpClass(cls) -> None:
        directory = Path(tempfile.mkdtemp(prefix="console-gateway-test-"))
        cls.addClassCleanup(shutil.rmtree, directory)
        cls.installation = install(directory)

    def settings_file(self, name: str = "settings.toml", /, **changes: Table) -> Path:
        """A settings file; keywords change keys of tables, ``None`` removes one."""
        return changed_settings(self.installation, name, changes)


def changed_settings(installation: Installation, name: str, changes: Mapping[str, Table]) -> Path:
    tables = installation.settings()
    for table, keys in changes.items():
        merged = {**tables.get(table, {}), **keys}
        tables[table] = {key: value for key, value in merged.items() if value is not None}
    return write_settings(installation.directory / name, tables)


class GatewayTestCase(InstallationTestCase):
    """A gateway that runs for the whole class."""

    changes: ClassVar[Mapping[str, Table]] = {}
    gateway: ClassVar[GatewayProcess]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        settings = changed_settings(cls.installation, "settings.toml", cls.changes)
        cls.gateway = GatewayProcess(settings)
        cls.addClassCleanup(cls.gateway.stop)
        cls.gateway.ready()

    def open(self, ticket: str, *, subprotocols: Sequence[str] = ("binary",)) -> WebSocketClient:
        """A session of an independent WebSocket client, over TLS."""
        uri = f"wss://localhost:{self.gateway.tls_port}/{ticket}"
        return self.enterContext(WebSocketClient(self.raw(), uri, subprotocols=subprotocols))

    def raw(self, *, tls: bool = True) -> socket.socket:
        """A connection for the bytes of the test."""
        port = self.gateway.tls_port if tls else self.gateway.plain_port
        sock = socket.create_connection(("127.0.0.1", port), 10)
        self.addCleanup(sock.close)
        if tls:
            wrapped: ssl.SSLSocket = self.installation.client_context().wrap_socket(
                sock, server_hostname="localhost"
            )
            self.addCleanup(wrapped.close)
            return wrapped
        return sock

    def ask(self, data: bytes, *, tls: bool = True) -> Answer:
        """The answer to one request on a connection of its own."""
        sock = self.raw(tls=tls)
        sock.sendall(data)
        answer, _ = read_answer(sock)
        sock.close()
        return answer
