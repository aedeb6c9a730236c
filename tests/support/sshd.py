"""OpenSSH's server on an engine's host, for whoever signs requests there."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.peers import PEERS
from tests.support.enginepki import PKI
from tests.support.hosts import Host
from tests.support.targets import closed_port

__all__ = ["Sshd"]

_SSH: Final = """\
#!/bin/sh
exec {program} -F '{configuration}' "$@"
"""
_KEYSCAN: Final = """\
#!/bin/sh
for argument; do
    shift
    [ "$argument" = '{name}' ] && argument='{address}'
    set -- "$@" "$argument"
done
exec {program} "$@"
"""

_WRAPPER: Final = """\
#!/bin/sh
# Where this host is a directory only, its files are found below that.
export ENGINE_PKI='{root}/{pki}'
command=$(printf '%s' "$SSH_ORIGINAL_COMMAND" |
    sed -e 's#/usr/share/ovirt-engine#{root}/usr/share/ovirt-engine#g' -e 's#/{pki}#{root}/{pki}#g')
exec /bin/sh -c "$command"
"""


class Sshd:
    """A server with a host key of its own; a context manager that ends it.

    :ivar port: where it listens: 22 where the host has a network of its own.
    :ivar identity: a private key with which the user may log in.
    """

    def __init__(self, host: Host, *, password: str | None = None) -> None:
        """
        :param password: what the user root may log in with as well; only where the host has namespaces.
        """
        program = PEERS["sshd"].find()
        assert program is not None
        self.host = host
        self.directory = host.root / "etc/ssh"
        self._made: Path | None = None
        self.port = 22 if host.holder is not None else closed_port()
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self._host_key = self.directory / "host_key"
        self.identity = self.directory / "identity"
        for path in (self._host_key, self.identity):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)]
            subprocess.run(make, check=True)
        if password is not None:
            self._set_password(password)
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                host.command(program, "-D", "-e", "-f", self._seen(self._configure(password is not None))),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> str:
        """What it wrote."""
        return (self.directory / "log").read_text("utf-8", "replace")

    @property
    def known_host(self) -> str:
        """A line of ``known_hosts``; without the port, which is the usual one or has an alias before it."""
        kind, key, _ = self._host_key.with_suffix(".pub").read_text().split(" ", 2)
        return f"{self.host.name} {kind} {key}\n"

    @property
    def fingerprint(self) -> str:
        """``SHA256:...`` of its key."""
        show = ["ssh-keygen", "-l", "-f", str(self._host_key.with_suffix(".pub"))]
        return subprocess.run(show, check=True, capture_output=True, text=True).stdout.split()[1]

    def programs(self, directory: Path) -> dict[str, str]:
        """What a process that is in no namespace needs in its environment to find this server by its name.

        :param directory: for what goes before its programs.
        """
        if self.host.holder is not None:
            return {}
        directory.mkdir(exist_ok=True)
        configuration = directory / "ssh_config"
        configuration.write_text(
            f"HostName {self.host.address}\nHostKeyAlias {self.host.name}\nIdentityAgent none\n"
            f"IdentityFile {directory}/identity\nUserKnownHostsFile {directory}/known_hosts\n"
        )
        texts = {
            "ssh": _SSH.format(program=shutil.which("ssh"), configuration=configuration),
            "ssh-keyscan": _KEYSCAN.format(
                program=shutil.which("ssh-keyscan"), name=self.host.name, address=self.host.address
            ),
        }
        for name, text in texts.items():
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)
        return {"PATH": f"{directory}:{os.environ['PATH']}"}

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        if self._made is not None:
            with contextlib.suppress(OSError):
                self._made.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _configure(self, passwords: bool) -> Path:
        lines = {
            "ListenAddress": f"{self.host.address}:{self.port}",
            "HostKey": self._seen(self._host_key),
            "AuthorizedKeysFile": self._seen(self.identity.with_suffix(".pub")),
            "PidFile": "none",
            "StrictModes": "no",
            "PermitRootLogin": "yes",
            "PasswordAuthentication": "yes" if passwords else "no",
            "KbdInteractiveAuthentication": "no",
            "UsePAM": "no",
            "LogLevel": "VERBOSE",
            "Subsystem": "sftp internal-sftp",
        }
        if self.host.holder is None:
            wrapper = self.directory / "command"
            wrapper.write_text(_WRAPPER.format(root=self.host.root, pki=PKI))
            wrapper.chmod(0o755)
            lines["ForceCommand"] = str(wrapper)
            # Where it goes to be nobody; packages make it when the service starts.
            self._make(Path("/run/sshd"))
        else:
            self._make(self.host.root / "run/sshd")
        path = self.directory / "sshd_config"
        path.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
        return path

    def _seen(self, path: Path) -> str:
        """A file's path as the server sees it."""
        return str(path) if self.host.holder is None else f"/{path.relative_to(self.host.root)}"

    def _make(self, directory: Path) -> None:
        if not directory.exists():
            directory.mkdir(mode=0o755)
            self._made = directory

    def _set_password(self, password: str) -> None:
        make = ["openssl", "passwd", "-6", "-stdin"]
        hashed = subprocess.run(
            make, input=password, check=True, capture_output=True, text=True
        ).stdout.strip()
        shadow = self.host.root / "etc/shadow"
        shadow.write_text(f"root:{hashed}:20000:0:99999:7:::\nsshd:*:20000:0:99999:7:::\n")
        shadow.chmod(0o600)

    def _wait(self) -> None:
        deadline = time.monotonic() + 15
        while True:
            assert self._process.poll() is None, f"sshd ended:\n{self.log}"
            with contextlib.suppress(OSError), self.host.network():
                socket.create_connection((self.host.address, self.port), 1).close()
                return
            assert time.monotonic() < deadline, f"sshd does not listen:\n{self.log}"
            time.sleep(0.02)
