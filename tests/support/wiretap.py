"""A listener between gateway and console server, which keeps what either said."""

from __future__ import annotations

import contextlib
import socket
import threading

from tests.support.targets import TargetServer

__all__ = ["Wiretap"]


class Wiretap(TargetServer):
    """Passes connections on to a TCP port on loopback.

    :ivar from_client: every byte of the client.
    :ivar from_server: every byte of the server.
    """

    def __init__(self, port: int) -> None:
        self.from_client = bytearray()
        self.from_server = bytearray()
        self._server_port = port
        super().__init__(self._pass_on)

    def _pass_on(self, client: socket.socket, stop: threading.Event) -> None:
        with socket.create_connection(("127.0.0.1", self._server_port), 10) as server:
            answers = threading.Thread(target=_copy, args=(server, client, self.from_server), daemon=True)
            answers.start()
            _copy(client, server, self.from_client)
            answers.join(10)


def _copy(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        source.settimeout(None)
        while data := source.recv(65536):
            kept += data
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
