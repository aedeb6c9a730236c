"""The process that forks for each run of a :class:`tests.support.rehearsal.Rehearsal`.

The child has the terminal, the environment and the umask that it is given,
and runs the same function as the program does.  On Linux and with one thread
only, that is no different from a process of its own.

It is run as ``python -m tests.support.stage FD``, where the orders come from.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import importlib
import io
import json
import os
import pkgutil
import signal
import socket
import sys
import tempfile
import termios
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.witness import Witness

_ROOMS = ("gateway.cli", "gateway.pki", "gateway.setup")
_LARGEST = 1 << 20
_LONGEST = 0.02
"""Seconds that a pause takes in a run."""


def _serve(orders: socket.socket) -> None:
    """Fork for each order, until there are no more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    size = array.array("i").itemsize
    while True:
        data, ancillary, _, _ = orders.recvmsg(_LARGEST, socket.CMSG_SPACE(2 * size))
        if not data:
            return
        slave, report = array.array("i", ancillary[0][2][: 2 * size])
        pid = os.fork()
        if pid == 0:
            orders.close()
            _run(json.loads(data), slave, report)
        pidfd = os.pidfd_open(pid)
        rights = array.array("i", [pidfd])
        orders.sendmsg([str(pid).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        for number in (slave, report, pidfd):
            os.close(number)


def _run(order: dict[str, Any], slave: int, report: int) -> None:
    """One run; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(slave, number)
    os.close(slave)
    # As Python itself would open them, now that they are a terminal.
    sys.stdin, sys.stdout = io.TextIOWrapper(io.BufferedReader(io.FileIO(0))), _text(1)
    sys.stderr = _text(2)
    os.set_inheritable(report, False)
    os.umask(0)
    os.environ.update(order["environ"])
    if order["cwd"]:
        os.chdir(order["cwd"])
    if order["addresses"]:
        _resolve(order["addresses"])
    witness = Witness(order["accident"], order["secrets"], order["watched"])
    status = _status(order["arguments"], witness)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    outcome = {"status": status, "changes": witness.changes, "exposed": witness.exposed}
    data = memoryview(json.dumps(outcome).encode())
    while data:
        data = data[os.write(report, data) :]
    # Nothing of the process that was forked is to be tidied up.
    os._exit(status & 0xFF)


def _text(number: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "w")), line_buffering=True)


def _resolve(addresses: Mapping[str, Sequence[Any]]) -> None:
    """Put a table before the resolver."""
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode("ascii") if isinstance(host, bytes) else host
        found = addresses.get(f"{name}:{port}") or addresses.get(str(name))
        return real(found[0], found[1] or port, *rest, **more) if found else real(host, port, *rest, **more)

    socket.getaddrinfo = look_up


def _status(arguments: Sequence[str], witness: Witness) -> int:
    from gateway.cli import main

    sys.argv = ["console-gateway", *arguments]
    sys.addaudithook(witness.hear)
    try:
        main(args=list(arguments), prog_name="console-gateway")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        witness.look("the end")
    return 0


def _main() -> None:
    # Nobody waits for an engine that comes back in ten seconds: here it does at once.
    really = time.sleep

    def sleep(seconds: float, /) -> None:
        really(min(seconds, _LONGEST))

    time.sleep = sleep  # type: ignore[assignment]
    for room in _ROOMS:
        path = importlib.import_module(room).__path__
        for module in pkgutil.iter_modules(path, f"{room}."):
            importlib.import_module(module.name)
    # Looking for a place, it makes a file there once, and an interrupt at that moment leaves it.
    tempfile.gettempdir()
    # A reactor must not be shared by those that are forked.
    assert "twisted.internet.reactor" not in sys.modules
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        _serve(orders)


if __name__ == "__main__":
    _main()
