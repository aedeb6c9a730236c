"""A real QEMU with a VNC server and no guest: its firmware's screen is what there is to see."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from PIL import Image

from tests.peers import PEERS

__all__ = ["Qemu"]


class Qemu:
    """A QEMU process; a context manager that ends it."""

    def __init__(self, directory: Path, password: str) -> None:
        program = PEERS["qemu"].find()
        assert program is not None
        self._directory = directory
        self._control = directory / "qmp.sock"
        secret = directory / "qemu-password"
        secret.write_text(password, encoding="ascii")
        self.port = _free_display_port()
        self._process = subprocess.Popen(
            [
                program,
                *("-accel", "tcg", "-m", "32", "-nodefaults", "-display", "none", "-vga", "std"),
                *("-object", f"secret,id=vnc,file={secret}"),
                *("-vnc", f"127.0.0.1:{self.port - 5900},password-secret=vnc"),
                *("-qmp", f"unix:{self._control},server=on,wait=off"),
            ],
            stdin=subprocess.DEVNULL,
        )
        self._wait_for_port()

    def screen(self) -> Image.Image:
        """The screen as QEMU itself sees it."""
        picture = self._directory / "screen.ppm"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(self._control))
            stream = sock.makefile("rw", encoding="utf-8")
            stream.readline()
            for command in (
                {"execute": "qmp_capabilities"},
                {"execute": "screendump", "arguments": {"filename": str(picture)}},
            ):
                stream.write(json.dumps(command) + "\n")
                stream.flush()
                while True:
                    answer = json.loads(stream.readline())
                    if "event" not in answer:
                        break
                assert "return" in answer, answer
        return Image.open(picture).convert("RGB")

    def __enter__(self) -> Qemu:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_for_port(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert self._process.poll() is None, "QEMU ended"
                assert time.monotonic() < deadline, "QEMU's VNC server did not come up"
                time.sleep(0.05)
            else:
                return


def _free_display_port() -> int:
    for port in range(5910, 5990):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free VNC display")
