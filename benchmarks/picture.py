"""``python -m benchmarks.picture DISPLAY``: paint a moving picture on a local X display until it is gone.

It speaks the few requests of the X11 protocol that this takes: connection
setup, CreateGC and PutImage (X11 protocol, sections 8 and 9, and appendix B).
A video of 640 x 360 at up to 30 frames a second: a drifting gradient, which
compresses, with a band of noise, which does not.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import time

_WIDTH, _HEIGHT = 640, 360
_STRIP = 90
"""Rows of one PutImage, so that a request stays below 256 KiB."""
_NOISE = range(150, 210)
_FRAMES = 8
_RATE = 30.0
_SETUP = struct.Struct("<BxHHHHxx")
_CREATE_GC, _PUT_IMAGE, _Z_PIXMAP = 55, 72, 2


def main() -> None:
    """Paint on the display of the command line."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"/tmp/.X11-unix/X{int(sys.argv[1])}")
        sock.sendall(_SETUP.pack(ord("l"), 11, 0, 0, 0))
        accepted, length = struct.unpack("<BxxxxxH", _receive(sock, 8))
        setup = _receive(sock, 4 * length)
        if accepted != 1:
            raise SystemExit("the X server refuses")
        root, depth, context = _first_screen(setup)
        sock.sendall(struct.pack("<BxHIII", _CREATE_GC, 4, context, root, 0))
        frames = [_frame(number, root, context, depth) for number in range(_FRAMES)]
        due = time.monotonic()
        number = 0
        while True:
            sock.sendall(frames[number % _FRAMES])
            number += 1
            due = max(due + 1 / _RATE, time.monotonic() - 1 / _RATE)
            time.sleep(max(0.0, due - time.monotonic()))


def _first_screen(setup: bytes) -> tuple[int, int, int]:
    """The root window, its depth, and the first identifier that is ours to give."""
    (base,) = struct.unpack_from("<I", setup, 4)
    (vendor,) = struct.unpack_from("<H", setup, 16)
    formats = setup[21]
    screen = 32 + (vendor + 3) // 4 * 4 + 8 * formats
    (root,) = struct.unpack_from("<I", setup, screen)
    return root, setup[screen + 38], base


def _frame(number: int, root: int, context: int, depth: int) -> bytes:
    """The requests that paint one frame."""
    gradient = b"".join(bytes((x * 255 // _WIDTH, 255 - x * 255 // _WIDTH, 96, 0)) for x in range(_WIDTH)) * 2
    rows = []
    for y in range(_HEIGHT):
        start = 4 * ((y + 24 * number) % _WIDTH)
        rows.append(os.urandom(4 * _WIDTH) if y in _NOISE else gradient[start : start + 4 * _WIDTH])
    requests = []
    for top in range(0, _HEIGHT, _STRIP):
        pixels = b"".join(rows[top : top + _STRIP])
        head = struct.pack(
            "<BBHIIHHhhBBxx",
            _PUT_IMAGE,
            _Z_PIXMAP,
            6 + len(pixels) // 4,
            root,
            context,
            _WIDTH,
            _STRIP,
            100,
            100 + top,
            0,
            depth,
        )
        requests.append(head + pixels)
    return b"".join(requests)


def _receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise SystemExit("the X server hung up")
        data += piece
    return data


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        main()
