"""Two hosts on one machine: an engine's and a gateway's.

Where the kernel allows it each is a network namespace, joined to the other by
a cable, and a mount namespace whose root directory has this machine's
programs and nothing else of it.  Elsewhere each is a root directory only, and
names and ports are mapped for the processes that tests start.
``CONSOLE_GATEWAY_TEST_HOSTS=directories`` asks for the latter.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import attrs

from tests.support.process import ROOT

__all__ = [
    "ENGINE",
    "GATEWAY",
    "MOUNTED",
    "OVIRT",
    "Host",
    "Hosts",
    "how",
    "namespaces_allowed",
    "two_hosts",
]

ENGINE: Final = "engine.example.org"
GATEWAY: Final = "wsp.example.org"
OVIRT: Final = 108
"""User and group of the service."""
MOUNTED: Final = ("dev", "proc", "sys", "usr")
"""What of a host's root directory is this machine's."""

_ADDRESSES = {ENGINE: "10.77.0.1", GATEWAY: "10.77.0.2"}
_PROGRAMS = ("bin", "lib", "lib32", "lib64", "libexec", "local", "sbin")
_ROOTS = ("bin", "lib", "lib32", "lib64", "sbin")
_CLONE_NEWNET = 0x40000000


@attrs.frozen
class Host:
    """One of the two."""

    name: str
    address: str
    root: Path
    """Its root directory, as this machine sees it."""
    holder: int | None
    """The process whose namespaces it is."""

    def command(self, *command: str, user: int | None = None) -> list[str]:
        """What runs a command there, with the checkout as its working directory.

        :param user: who runs it, instead of root; asked for only where hosts have namespaces.
        """
        if self.holder is None:
            return list(command)
        identity = [] if user is None else [f"--userspec={user}:{user}"]
        enter = ["nsenter", "-t", str(self.holder), "-m", "-n", "--", "chroot", *identity, str(self.root)]
        return [*enter, "env", "-C", str(ROOT), *command]

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Have what this thread opens, and the processes that it starts, in this host's network."""
        if self.holder is None:
            yield
            return
        with Path("/proc/thread-self/ns/net").open("rb") as own:
            with Path(f"/proc/{self.holder}/ns/net").open("rb") as other:
                _enter(other)
            try:
                yield
            finally:
                _enter(own)

    def path(self, place: object) -> Path:
        """Where a file of this host is on this machine."""
        return self.root / str(place).lstrip("/")


@attrs.frozen
class Hosts:
    """An engine's host, and a gateway's."""

    engine: Host
    gateway: Host
    isolated: bool
    """Whether they have namespaces."""


@functools.cache
def namespaces_allowed() -> str:
    """Why hosts cannot have namespaces; empty where they can."""
    if os.environ.get("CONSOLE_GATEWAY_TEST_HOSTS") == "directories":
        return "CONSOLE_GATEWAY_TEST_HOSTS=directories"
    lost = [name for name in ("unshare", "nsenter", "chroot", "ip", "mount") if shutil.which(name) is None]
    if lost:
        return f"no {', '.join(lost)}"
    trial = "mount -t tmpfs none /mnt && ip link set lo up && ip link add type veth"
    done = subprocess.run(["unshare", "-m", "-n", "sh", "-c", trial], capture_output=True, check=False)
    return done.stderr.decode("utf-8", "replace").strip().replace("\n", "; ") if done.returncode else ""


def how() -> str:
    """What tests of two hosts use here, in words."""
    reason = namespaces_allowed()
    return f"two root directories ({reason})" if reason else "mount and network namespaces"


@contextlib.contextmanager
def two_hosts(directory: Path, *, isolated: bool | None = None) -> Iterator[Hosts]:
    """Make both hosts' root directories in ``directory``, and namespaces as far as they are to be had."""
    isolated = not namespaces_allowed() if isolated is None else isolated
    with contextlib.ExitStack() as stack:
        made: dict[str, Host] = {}
        for name, address in _ADDRESSES.items():
            root = directory / name.partition(".")[0]
            _make_root(root, name, isolated)
            holder = stack.enter_context(_namespaces(root)).pid if isolated else None
            made[name] = Host(name, address if isolated else "127.0.0.1", root, holder)
        hosts = Hosts(made[ENGINE], made[GATEWAY], isolated)
        if isolated:
            _connect(hosts)
        yield hosts


def _make_root(root: Path, name: str, isolated: bool) -> None:
    """A system with few files, all of its own."""
    for below in ("etc/ssl", "root", "run", "tmp", "var/lib", "var/log", *MOUNTED):
        (root / below).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    texts = {
        "hostname": f"{name}\n",
        "hosts": "127.0.0.1 localhost\n::1 localhost\n"
        + "".join(f"{address} {host}\n" for host, address in _ADDRESSES.items()),
        "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
        "resolv.conf": "",
        "passwd": "root:x:0:0::/root:/bin/sh\n"
        f"ovirt:x:{OVIRT}:{OVIRT}::/:/usr/sbin/nologin\n"
        "sshd:x:109:65534::/run/sshd:/usr/sbin/nologin\nnobody:x:65534:65534::/:/usr/sbin/nologin\n",
        "group": f"root:x:0:\novirt:x:{OVIRT}:\nnogroup:x:65534:\n",
    }
    for file, text in texts.items():
        (root / "etc" / file).write_text(text)
    for copied in ("etc/ssl/openssl.cnf", "etc/ld.so.cache"):
        if (Path("/") / copied).is_file():
            shutil.copy(Path("/") / copied, root / copied)
    if isolated:
        _make_mount_points(root)


def _make_mount_points(root: Path) -> None:
    for name in _PROGRAMS:
        if (Path("/usr") / name).is_dir():
            (root / "usr" / name).mkdir()
    (root / "usr/share").mkdir()
    for name in _ROOTS:
        path = Path("/") / name
        if path.is_symlink():
            (root / name).symlink_to(os.readlink(path))
        elif path.is_dir():
            (root / name).mkdir()


def _mounts(root: Path) -> Iterator[str]:
    """Commands that let a root directory see this machine's programs, and Python."""
    for name in _PROGRAMS:
        if (root / "usr" / name).is_dir():
            yield f"mount --rbind /usr/{name} {root}/usr/{name}"
    for name in _ROOTS:
        if (root / name).is_dir() and not (root / name).is_symlink():
            yield f"mount --rbind /{name} {root}/{name}"
    for name in ("dev", "proc", "sys"):
        yield f"mount --rbind /{name} {root}/{name}"
    # Whatever this machine has, these hosts have no firewall.
    for name in ("firewall-cmd", "nft", "iptables"):
        found = shutil.which(name)
        if found is not None and found.startswith("/usr/"):
            yield f"mount --bind /dev/null {root}{found}"
    # Where they are on this machine; what leads there is the mount namespace's alone.
    for path in dict.fromkeys([str(ROOT), sys.prefix, sys.base_prefix]):
        if not path.startswith("/usr"):
            yield f"mkdir -p {root}{path} && mount --bind {path} {root}{path}"


@contextlib.contextmanager
def _namespaces(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a network of its own and a view of ``root``, until its input ends."""
    script = " && ".join([*_mounts(root), "ip link set lo up", "echo ready", "exec cat >/dev/null"])
    with subprocess.Popen(
        ["unshare", "-m", "-n", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _connect(hosts: Hosts) -> None:
    """A cable between the two."""
    link = f"ip link add cable type veth peer name cable netns {hosts.gateway.holder}"
    subprocess.run(["nsenter", "-t", str(hosts.engine.holder), "-n", *link.split()], check=True)
    for host in (hosts.engine, hosts.gateway):
        for change in (f"address add {host.address}/24 dev cable", "link set cable up"):
            subprocess.run(["nsenter", "-t", str(host.holder), "-n", "ip", *change.split()], check=True)


def _enter(namespace: IO[bytes]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace.fileno(), _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
