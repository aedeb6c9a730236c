"""TigerVNC's server, which offers several security types at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from gateway.rfb import vnc_response
from tests.peers import PEERS
from tests.support.pki import Leaf
from tests.support.process import ROOT, GatewayProcess
from tests.unit.net.samples import write

__all__ = ["TigerVnc"]

_FILE_KEY = bytes([23, 82, 107, 6, 35, 78, 88, 7])
"""What password files are encrypted with: no secret, the same everywhere."""
_NAME = "tiger"


class TigerVnc:
    """An X server that is a VNC server, on loopback; a context manager that ends it.

    :ivar name: of its desktop.
    """

    name = _NAME
    size = (640, 480)

    def __init__(self, directory: Path, types: Sequence[str], password: str, leaf: Leaf) -> None:
        """
        :param types: security types, in the order in which they are offered.
        :param leaf: what it shows where certificates are used.
        """
        program = PEERS["tigervnc"].find()
        assert program is not None
        certificate, key = leaf.save(directory, "tigervnc")
        padded = password.encode("ascii")[:8].ljust(8, b"\0")
        secret = write(directory / "tigervnc-password", vnc_response(padded * 2, _FILE_KEY)[:8])
        width, height = self.size
        self._process = GatewayProcess(
            ROOT,
            command=[
                program,
                *("-displayfd", "1", "-nolisten", "tcp", "-localhost", "-desktop", _NAME),
                *("-geometry", f"{width}x{height}", "-depth", "24", "-SecurityTypes", ",".join(types)),
                *("-PasswordFile", str(secret), "-X509Cert", str(certificate), "-X509Key", str(key)),
            ],
        )
        self.port = int(self._process.wait_for(r"Listening for VNC connections .* port (\d+)$")[1])

    def close(self) -> None:
        self._process.stop()

    def __enter__(self) -> TigerVnc:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
