"""Proxies for tests: what they send, byte by byte, and real ones."""

from __future__ import annotations

import ipaddress
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["SIGNATURE", "RealProxy", "binary_header", "crc32c", "text_header"]

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


def text_header(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """A header in version 1."""
    family = f"TCP{ipaddress.ip_address(source[0]).version}"
    return f"PROXY {family} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n".encode("ascii")


def binary_header(
    source: tuple[str, int] | bytes = b"",
    destination: tuple[str, int] | bytes = b"",
    *,
    command: int = 0x21,
    family: int | None = None,
    extensions: Iterable[tuple[int, bytes]] = (),
    checksum: bool = False,
) -> bytes:
    """A header in version 2.

    :param source: an address, or the bytes that stand there.
    :param family: what the addresses are by default.
    :param checksum: begin with an extension that holds the right one.
    """
    kind, block = 0, b""
    if isinstance(source, tuple) and isinstance(destination, tuple):
        addresses = [ipaddress.ip_address(host) for host, _ in (source, destination)]
        kind = 0x11 if addresses[0].version == 4 else 0x21
        block = addresses[0].packed + addresses[1].packed + struct.pack("!HH", source[1], destination[1])
    elif isinstance(source, bytes) and isinstance(destination, bytes):
        block = source + destination
    listed = [*([(3, bytes(4))] if checksum else []), *extensions]
    rest = block + b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in listed)
    header = SIGNATURE + struct.pack("!BBH", command, kind if family is None else family, len(rest)) + rest
    if checksum:
        at = 16 + len(block) + 3
        header = header[:at] + struct.pack("!I", crc32c(header)) + header[at + 4 :]
    return header


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum, bit by bit from its polynomial, highest bit first (RFC 9260, appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        for place in range(8):
            crc <<= 1
            if (crc >> 32) ^ (byte >> place & 1):
                crc ^= 0x1_1EDC6F41 if crc >> 32 else 0x1EDC6F41
            crc &= 0xFFFFFFFF
    return int(f"{crc ^ 0xFFFFFFFF:032b}"[::-1], 2)


class RealProxy:
    """HAProxy or nginx with a configuration; a context manager that stops it."""

    def __init__(self, program: str, configuration: str, port: int) -> None:
        """
        :param configuration: the text of its file, with ``{directory}`` for one of its own.
        :param port: on which it listens, on loopback.
        """
        self._directory = tempfile.TemporaryDirectory(prefix="console-gateway-proxy-")
        directory = Path(self._directory.name)
        file = directory / "configuration"
        file.write_text(configuration.replace("{directory}", str(directory)), encoding="utf-8")
        options = ["-db", "-f"] if Path(program).name == "haproxy" else ["-e", "stderr", "-c"]
        self._output = (directory / "output").open("w+b")
        self._process = subprocess.Popen(
            [program, *options, str(file)], stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output
        )
        self.port = port

    def ready(self) -> Self:
        """Wait until it listens."""
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    self._output.seek(0)
                    raise AssertionError(self._output.read().decode("utf-8", "replace")) from None
                time.sleep(0.02)
            else:
                return self

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._output.close()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self.ready()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
