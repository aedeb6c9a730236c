"""A console server that speaks WebSocket, and a session with it: both legs framed."""

from __future__ import annotations

import socket
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from gateway.net import Channel, SocketChannel
from gateway.relay import Leg, RemoteWebSocketLeg
from tests.unit.relay.wires import Browser, End, RelayCase, Session, tls_pair

__all__ = ["ConsoleServer", "RemoteSession", "unmasked"]


def unmasked(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame as a server sends it."""
    return Frame(opcode, data, fin=fin).serialize(mask=False)


class ConsoleServer(Browser):
    """The server's end; it ends the connection when both sides have said close, as RFC 6455 has it."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.ws = Protocol(Side.SERVER, max_size=None)
        self.wire = bytearray()
        """All that was received, as it came."""
        self.hangs_up = True

    @property
    def sizes(self) -> list[int]:
        """Of every data frame received."""
        reader = Protocol(Side.SERVER, max_size=None)
        reader.receive_data(bytes(self.wire))
        frames = [frame for frame in reader.events_received() if isinstance(frame, Frame)]
        return [len(frame.data) for frame in frames if frame.opcode in (Opcode.BINARY, Opcode.CONT)]

    def frame(self, opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> None:
        self.send(unmasked(opcode, data, fin=fin))

    def took(self, data: bytes) -> None:
        self.wire += data
        super().took(data)

    def step(self) -> bool:
        moved = super().step()
        ws = self.ws
        if self.hangs_up and ws.close_rcvd and ws.close_sent and not self.out:
            self.sock.close()
        return moved


class RemoteSession(Session):
    """A relay between a browser and a console server that speaks WebSocket."""

    server: ConsoleServer
    remote: RemoteWebSocketLeg

    def __init__(
        self, case: RelayCase, *, target_tls: bool = False, behind: bytes = b"", **options: Any
    ) -> None:
        """
        :param target_tls: speak TLS with the console.
        :param behind: what came behind the response to the opening handshake.
        """
        self._target_tls = target_tls
        self._behind = behind
        super().__init__(case, **options)

    def make_target(self, *, tcp: bool, small: bool) -> tuple[Leg, End]:
        near, far = self.case.wire(tcp=tcp or self._target_tls, small=small)
        channel: Channel = SocketChannel(near)
        if self._target_tls:
            channel, far = tls_pair(near, far)
            self.case.sockets.append(far)
        self.server = ConsoleServer(far)
        self.case.ends.append(self.server)
        self.remote = RemoteWebSocketLeg(channel, self.case.poller, early=self._behind)
        return self.remote, self.server
