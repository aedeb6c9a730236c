"""A stand-in for systemd on a host of tests: ``systemctl`` and ``journalctl``, as far as setup uses them.

Containers have no systemd that runs.  This starts what a unit says, as the
user that it says, waits until the service is ready, and stops it; nothing of
the sandbox.  What it is told is kept in a file.

As a program it is ``systemctl ARGUMENTS...`` on the host, or ``journalctl``.
"""

from __future__ import annotations

import os
import pwd
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

__all__ = ["PROGRAMS", "SystemdStandIn"]

PROGRAMS: Final = "/run/stand-in"
"""Where its programs are, on the host: to be put into ``PATH``."""

_BOOTED = Path("/run/systemd/system")
_UNITS = Path("/etc/systemd/system")
_STATE = Path("/run/stand-in")
_PACKAGED = _STATE / "packaged"
_WAIT = 20.0


class SystemdStandIn:
    """Makes a host one on which systemd seems to run, until it is closed."""

    def __init__(self, root: Path) -> None:
        """:param root: the host's root directory."""
        self._root = root
        self._state = root / str(_STATE).lstrip("/")
        (root / str(_BOOTED).lstrip("/")).mkdir(parents=True)
        self._state.mkdir(parents=True)
        for name in ("systemctl", "journalctl"):
            program = self._state / name
            program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {Path(__file__)} {name} "$@"\n')
            program.chmod(0o755)

    @property
    def told(self) -> list[str]:
        """What ``systemctl`` was told, but for questions."""
        path = self._state / "told"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def running(self) -> list[str]:
        """Units whose process is there."""
        return [path.stem for path in self._state.glob("*.pid") if _is_there(int(path.read_text()))]

    @property
    def processes(self) -> list[int]:
        """Processes of these."""
        found = [int(path.read_text()) for path in self._state.glob("*.pid")]
        return [pid for pid in found if _is_there(pid)]

    def fail(self, *verbs: str) -> None:
        """Have these verbs fail from now on."""
        (self._state / "fail").write_text(" ".join(verbs))

    def package(self, unit: str, text: str) -> None:
        """Have a unit that comes with a package: what ``/etc/systemd/system`` has goes before it."""
        packaged = self._root / str(_PACKAGED).lstrip("/")
        packaged.mkdir(exist_ok=True)
        (packaged / unit).write_text(text)

    def close(self) -> None:
        """Stop what runs, and be no longer there."""
        for path in self._state.glob("*.pid"):
            _stop(int(path.read_text()))
        for name in ("run/stand-in", "run/systemd", "run/console-gateway"):
            subprocess.run(["rm", "-rf", str(self._root / name)], check=True)


# -- on the host -----------------------------------------------------------------------------


def _main(program: str, arguments: list[str]) -> int:
    if program == "journalctl":
        journal = _STATE / "journal"
        sys.stdout.write((journal.read_text().splitlines() or [""])[-1] + "\n" if journal.exists() else "")
        return 0
    verb, unit = arguments[0], f"{arguments[-1].removesuffix('.service')}.service"
    pid_file = _STATE / f"{unit}.pid"
    if verb == "show":
        _show(unit, pid_file, arguments[arguments.index("--property") + 1].split(","))
        return 0
    with (_STATE / "told").open("a") as told:
        told.write(" ".join(arguments) + "\n")
    refused = _STATE / "fail"
    if refused.exists() and verb in refused.read_text().split():
        sys.stderr.write(f"Job for {unit} failed because of a test.\n")
        return 1
    now = "--now" in arguments
    if (verb in {"stop", "restart"} or (verb == "disable" and now)) and pid_file.exists():
        _stop(int(pid_file.read_text()))
        pid_file.unlink()
    if verb in {"start", "restart"} or (verb == "enable" and now):
        return _start(unit, pid_file)
    if verb == "reload":
        return _reload(unit)
    return 0


def _show(unit: str, pid_file: Path, names: list[str]) -> None:
    active = pid_file.exists() and _is_there(int(pid_file.read_text()))
    facts = {
        "ActiveState": "active" if active else "inactive",
        "CanReload": "yes" if "ExecReload" in _said(unit) else "no",
        "NeedDaemonReload": "no",
    }
    sys.stdout.write("".join(f"{name}={facts[name]}\n" for name in names))


def _said(unit: str) -> dict[str, str]:
    """What its file says, the last of each name."""
    found = [path for path in (_UNITS / unit, _PACKAGED / unit) if path.exists()]
    lines = found[0].read_text().splitlines() if found else []
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def _reload(unit: str) -> int:
    said = _said(unit)
    account = pwd.getpwnam(said["User"])
    done = subprocess.run(
        shlex.split(said["ExecReload"]),
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(_STATE / "journal").open("ab"),
        check=False,
    )
    if done.returncode:
        sys.stderr.write(f"Job for {unit} failed because the control process exited with error code.\n")
    return 1 if done.returncode else 0


def _start(unit: str, pid_file: Path) -> int:
    said = _said(unit)
    account = pwd.getpwnam(said["User"])
    if "RuntimeDirectory" in said:
        directory = Path("/run") / said["RuntimeDirectory"]
        directory.mkdir(mode=0o755, exist_ok=True)
        os.chown(directory, account.pw_uid, account.pw_gid)
    command = [word for word in shlex.split(said["ExecStart"]) if not word.startswith("$")]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(f"\0stand-in-{os.getpid()}")
        notify.settimeout(0.05)
        process = subprocess.Popen(
            command,
            env={**os.environ, "NOTIFY_SOCKET": f"@stand-in-{os.getpid()}"},
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(_STATE / "journal").open("ab"),
            start_new_session=True,
        )
        pid_file.write_text(str(process.pid))
        deadline = time.monotonic() + _WAIT
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if b"READY=1" in notify.recv(65536):
                    return 0
            except TimeoutError:
                continue
    sys.stderr.write(f"Job for {unit} failed because the control process exited with error code.\n")
    return 1


def _stop(pid: int) -> None:
    deadline = time.monotonic() + _WAIT
    number = signal.SIGTERM
    while _is_there(pid):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        time.sleep(0.02)
        if time.monotonic() > deadline:
            number = signal.SIGKILL


def _is_there(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], sys.argv[2:]))
