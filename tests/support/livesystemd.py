"""A host with a real systemd: a copy of this one in namespaces of its own, all of which is forgotten.

The root directory is an overlay over this machine's, so that programs are there and nothing reaches the
machine.  The gateway of this checkout is ``/opt/console-gateway/bin/console-gateway``, where its units expect
it; the interpreter and the packages are bound to places that a confined service may read.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.support.process import ROOT

__all__ = ["PYTHON", "LiveSystemd", "live_systemd", "why_not"]

PYTHON: Final = (
    *("env", "LD_LIBRARY_PATH=/opt/python/lib", "PYTHONPATH=/opt/packages"),
    "/opt/python/bin/python3",
)
"""A command of such a host that runs scripts with the tests' packages."""
_PROGRAM: Final = "/lib/systemd/systemd"
_PATH: Final = "/opt/console-gateway/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMESPACES: Final = ("--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork", "--kill-child")
_PATIENCE: Final = 30.0
_BOOT: Final = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs "$BASE"
mkdir "$BASE/upper" "$BASE/work" "$BASE/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$BASE/upper,workdir=$BASE/work" "$BASE/root"
cd "$BASE/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
else
    mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
fi
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
    touch "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
rm -rf opt/console-gateway
mkdir -p opt/console-gateway/bin opt/python opt/packages opt/source shared
mount --bind "$PYTHON" opt/python
mount --bind "$PACKAGES" opt/packages
mount --bind "$SOURCE" opt/source
mount --bind "$SHARED" shared
cat >opt/console-gateway/bin/console-gateway <<'END'
#!/bin/sh
export PYTHONPATH=/opt/source:/opt/packages PYTHONDONTWRITEBYTECODE=1 LD_LIBRARY_PATH=/opt/python/lib
exec /opt/python/bin/python3 -m gateway "$@"
END
chmod 755 opt/console-gateway/bin/console-gateway
rm -rf etc/systemd/system/*.wants etc/systemd/system/default.target
rm -f etc/systemd/system/console-gateway* etc/systemd/system/ovirt-websocket-proxy*
echo 0123456789abcdef0123456789abcdef >etc/machine-id
for name in systemd-udevd systemd-networkd systemd-resolved systemd-timesyncd systemd-logind; do
    ln -sf /dev/null "etc/systemd/system/$name.service"
done
ip link set lo up
mkdir machine
pivot_root . machine
umount --lazy machine
export container=test
exec /lib/systemd/systemd --system --unit=basic.target
"""


class LiveSystemd:
    """A running host.

    :ivar shared: a directory that both see, as ``/shared`` there.
    """

    def __init__(self, init: int, shared: Path) -> None:
        """:param init: the process that is its systemd."""
        self._init = init
        self.shared = shared

    def command(self, *command: str) -> list[str]:
        """What runs ``command`` there, as root."""
        environment = ("env", "-i", f"PATH={_PATH}", "HOME=/root", "LC_ALL=C.UTF-8")
        return ["nsenter", "--target", str(self._init), "--all", *environment, *command]

    def run(self, *command: str, data: str = "", fails: bool = False) -> str:
        """Run a command there and return what it printed.

        :param fails: it has to fail, instead of to succeed.
        """
        done = subprocess.run(
            self.command(*command),
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode != 0) is fails, f"{command}: status {done.returncode}\n{done.stdout}"
        return done.stdout

    def shell(self, script: str) -> str:
        """Run a shell script there, up to its first failure."""
        return self.run("bash", "-eu", "-o", "pipefail", "-c", script)

    def state(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--property", name, "--value", unit).strip()

    def wait_for_state(self, unit: str, name: str, unlike: Sequence[str]) -> str:
        """Wait until a property is none of ``unlike``, and return it."""
        deadline = time.monotonic() + _PATIENCE
        while (found := self.state(unit, name)) in unlike:
            assert time.monotonic() < deadline, f"{unit}: {name} is still {found}"
            time.sleep(0.1)
        return found

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "--no-pager", "--output", "cat", "--unit", unit)


@functools.cache
def why_not() -> str:
    """Why there can be none here; nothing where it can be."""
    if not Path(_PROGRAM).exists():
        return "systemd is not installed"
    if os.geteuid() != 0:
        return "namespaces with mounts need root"
    try:
        with tempfile.TemporaryDirectory() as base, live_systemd(Path(base)):
            return ""
    except (OSError, AssertionError, subprocess.SubprocessError) as error:
        return f"it does not start here: {str(error).strip()[-300:]}"


@contextlib.contextmanager
def live_systemd(directory: Path) -> Iterator[LiveSystemd]:
    """Boot a host.

    :param directory: an empty one.
    :raises AssertionError: it does not come up.
    """
    base, shared, log = directory / "host", directory / "shared", directory / "boot.log"
    base.mkdir()
    shared.mkdir()
    environ = {
        **os.environ,
        "BASE": str(base),
        "SHARED": str(shared),
        "SOURCE": str(ROOT),
        "PYTHON": sys.base_prefix,
        "PACKAGES": sysconfig.get_path("purelib"),
    }
    with log.open("wb") as output:
        outer = subprocess.Popen(
            ["unshare", *_NAMESPACES, "bash", "-c", _BOOT],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
        )
    try:
        yield LiveSystemd(_wait_for_boot(outer, log), shared)
    finally:
        # With its first process, all of a namespace's end (--kill-child).
        outer.kill()
        outer.wait()


def _wait_for_boot(outer: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + _PATIENCE
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    while True:
        assert outer.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < deadline, f"systemd does not come up\n{log.read_text(errors='replace')}"
        with contextlib.suppress(OSError, ValueError, IndexError):
            init = int(children.read_text().split()[0])
            if Path(f"/proc/{init}/comm").read_text().strip() == "systemd":
                state = subprocess.run(
                    ["nsenter", "--target", str(init), "--all", "systemctl", "is-system-running"],
                    capture_output=True,
                    text=True,
                    timeout=10,
                    check=False,
                )
                if state.stdout.strip() in ("running", "degraded"):
                    return init
        time.sleep(0.1)
