"""Commands on the engine's host, over one connection of OpenSSH's own ``ssh``.

It is run as a program, not replaced by a library: the rules for host keys,
the agent, keys in hardware, jump hosts and the crypto policy of the host are
then the ones that the operator has configured and knows.  A first connection,
without credentials, finds out about the host key; the second one logs in and
is kept open, and every command is a session inside of it (ControlMaster).

Only an existing entry of a file of known hosts, or a key whose fingerprint
was confirmed, lets a connection come about.  A changed key never does.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import attrs

from gateway.pki.errors import printable
from gateway.setup.enrolling.askpass import explained, offered_password, private_directory
from gateway.setup.enrolling.hostkey import HOST_ALIAS, HostKey, parse_scan
from gateway.setup.enrolling.tools import Tools
from gateway.setup.errors import SetupError
from gateway.setup.host.commands import Finished, TookTooLong, run_child, start_child, stop_child

__all__ = ["Destination", "LoginDenied", "NoConnection", "Remote"]

_CHANGED: Final = ("REMOTE HOST IDENTIFICATION HAS CHANGED", "REVOKED HOST KEY", "is revoked")
_UNKNOWN: Final = ("host key is known for", "Host key verification failed")
_DENIED: Final = ("Permission denied (", "Too many authentication failures", "No more authentication methods")
_PAUSE: Final = 0.05
_MAX_COMPLAINTS: Final = 8192
_SSH_FAILED: Final = 255


class NoConnection(SetupError):
    """The host was not reached, or the connection broke; another try may do."""


class LoginDenied(SetupError):
    """The host does not accept the password, or none of the keys."""


@attrs.frozen
class Destination:
    """Whom to log in to, and with which files."""

    host: str
    port: int
    user: str = "root"
    """Anybody but ``root`` has to be allowed ``sudo`` without a password."""
    client_key: str | None = None
    """A private key; the user's own keys and agent by default."""
    known_hosts: str | None = None
    """A file of known hosts besides the user's and the system's."""


class Remote:
    """The engine's host.  A context manager: leaving it closes the connection.

    Call :meth:`identify`, :meth:`pin` if the host is not known, :meth:`log_in`, and then :meth:`run`.
    """

    def __init__(self, destination: Destination, tools: Tools) -> None:
        self.destination = destination
        self._tools = tools
        self._opened = contextlib.ExitStack()
        self._directory = Path()
        self._known: tuple[str, ...] = ()
        self._master: subprocess.Popen[bytes] | None = None
        self._configured: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        self._directory = self._opened.enter_context(private_directory())
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._close()
        finally:
            self._opened.close()

    @property
    def direct(self) -> bool:
        """Whether the host is reached without a jump host or another detour."""
        configured = self._configuration()
        return all(configured.get(name, "none") == "none" for name in ("proxyjump", "proxycommand"))

    def identify(self) -> tuple[HostKey, ...]:
        """Connect without credentials and look at the host key.

        :returns: nothing if the host is known, else the keys that it shows; one is to be confirmed, then
            given to :meth:`pin`.
        :raises NoConnection: the host is not reached.
        :raises SetupError: its key is not the one that is known.
        """
        files = self._configuration().get("userknownhostsfile", "~/.ssh/known_hosts").split()
        if self.destination.known_hosts is not None:
            files.append(self.destination.known_hosts)
        self._known = ("-o", f"UserKnownHostsFile={' '.join(map(_quoted, files))}")
        command = self._command("-o", "BatchMode=yes", "-o", "PreferredAuthentications=none", remote="true")
        done = run_child(command, _environment(), timeout=self._tools.timeout + 5)
        if done.status != _SSH_FAILED or _says(done.complaints, _DENIED):
            return ()
        if _says(done.complaints, _CHANGED):
            raise self._changed("its host key is not the one that is known")
        if not _says(done.complaints, _UNKNOWN):
            raise self._unreached(done.reason)
        if self._has_other_keys(files):
            raise self._changed("its host key is of another kind than those that are known")
        return self._scan()

    def pin(self, key: HostKey) -> None:
        """From now on accept this host key and nothing else."""
        path = self._directory / "known"
        with explained():
            path.write_text(key.line, encoding="ascii")
        self._known = (
            *("-o", f"UserKnownHostsFile={_quoted(str(path))}"),
            *("-o", "GlobalKnownHostsFile=/dev/null"),
            *("-o", f"HostKeyAlias={HOST_ALIAS}"),
            *("-o", f"HostKeyAlgorithms={key.algorithms}"),
            *("-o", "IgnoreUnknown=KnownHostsCommand", "-o", "KnownHostsCommand=none"),
        )

    def log_in(self, password: str) -> None:
        """Open the connection.

        :param password: or empty for keys and agent.
        :raises LoginDenied: it was not accepted.
        :raises NoConnection: the host is not reached.
        :raises SetupError: it showed another host key.
        """
        self._close()
        with contextlib.ExitStack() as offered:
            environment, offer = _environment(), None
            if password:
                offer = offered.enter_context(offered_password(self._directory, password))
                environment |= offer.environment
                methods = "keyboard-interactive,password"
                if self.destination.client_key is not None:
                    methods = f"publickey,{methods}"
                options = ["-o", "BatchMode=no", "-o", f"PreferredAuthentications={methods}"]
            else:
                options = ["-o", "BatchMode=yes"]
            command = self._command("-M", "-N", *options)
            self._master = start_child(command, environment, stdin=subprocess.DEVNULL, lasting=True)
            if offer is not None:
                offer.to(self._master.pid)
            self._wait_for_login(self._master)

    def run(self, command: Sequence[str], *, data: bytes = b"", timeout: float | None = None) -> Finished:
        """Run a command there, as root.

        :param command: words; none of them is looked at by a shell.
        :param data: what it reads.
        :param timeout: time for it, in seconds.
        :raises NoConnection: the connection broke.
        :raises SetupError: it took too long, or said too much.
        """
        words = list(command) if self.destination.user == "root" else ["sudo", "-n", *command]
        local = self._command("-o", "BatchMode=yes", remote=shlex.join(words))
        try:
            done = run_child(local, _environment(), data=data, timeout=timeout or self._tools.timeout)
        except TookTooLong:
            text = f"{self.destination.host}: {os.path.basename(command[0])} did not end in time"
            raise SetupError(text) from None
        if done.status == _SSH_FAILED:
            raise self._unreached(done.reason)
        return done

    def _command(self, *options: str, remote: str | None = None) -> list[str]:
        to = self.destination
        key: tuple[str, ...] = ()
        if to.client_key is not None:
            key = ("-o", f"IdentityFile={_quoted(to.client_key)}", "-o", "IdentitiesOnly=yes")
        return [
            self._tools.ssh,
            *self._tools.ssh_options,
            *("-T", "-x", "-a", "-p", str(to.port), "-l", to.user),
            *("-o", "LogLevel=ERROR", "-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no"),
            *("-o", "RemoteCommand=none", "-o", "PermitLocalCommand=no", "-o", "ClearAllForwardings=yes"),
            *("-o", f"ConnectTimeout={max(int(self._tools.timeout), 1)}", "-o", "ConnectionAttempts=1"),
            *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3"),
            *("-o", "NumberOfPasswordPrompts=1", "-o", "ControlPersist=no"),
            *("-o", f"ControlPath={_quoted(str(self._directory / 'c'))}"),
            *self._known,
            *key,
            *options,
            "--",
            to.host,
            *([] if remote is None else [remote]),
        ]

    def _configuration(self) -> Mapping[str, str]:
        """What ssh's own configuration files say of the host."""
        if not self._configured:
            done = run_child([*self._command("-G")], _environment(), timeout=self._tools.timeout)
            if done.status != 0:
                raise SetupError(f"ssh does not accept its configuration: {done.reason}")
            lines = done.output.decode("utf-8", "replace").splitlines()
            self._configured = {name: value for name, _, value in (line.partition(" ") for line in lines)}
        return self._configured

    def _has_other_keys(self, files: Sequence[str]) -> bool:
        to, configured = self.destination, self._configuration()
        name = configured.get("hostkeyalias", "none")
        if name == "none":
            name = to.host if to.port == 22 else f"[{to.host}]:{to.port}"
        for file in (*files, *configured.get("globalknownhostsfile", "").split()):
            path = os.path.expanduser(file)
            if os.path.isfile(path):
                command = [self._tools.ssh_keygen, "-F", name, "-f", path]
                if run_child(command, _environment(), timeout=self._tools.timeout).output.strip():
                    return True
        return False

    def _scan(self) -> tuple[HostKey, ...]:
        to = self.destination
        limit = max(int(self._tools.timeout), 1)
        command = [self._tools.ssh_keyscan, "-T", str(limit), "-p", str(to.port)]
        command += ["-t", "ed25519,ecdsa,rsa", "--", to.host]
        done = run_child(command, _environment(), timeout=self._tools.timeout + 5)
        keys = parse_scan(done.output)
        if not keys:
            raise NoConnection(
                f"{to.host} port {to.port}: its key is not known and cannot be read; add it to known_hosts"
            )
        return keys

    def _wait_for_login(self, master: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + self._tools.timeout + 15
        while not (self._directory / "c").exists():
            if master.poll() is not None:
                raise self._refusal(master)
            if time.monotonic() > end:
                self._close()
                raise self._unreached("no answer in time")
            time.sleep(_PAUSE)

    def _refusal(self, master: subprocess.Popen[bytes]) -> SetupError:
        assert master.stderr is not None
        os.set_blocking(master.stderr.fileno(), False)
        said = (master.stderr.read(_MAX_COMPLAINTS) or b"").decode("utf-8", "replace")
        self._close()
        if _says(said, _DENIED):
            to = self.destination
            return LoginDenied(f"{to.host} does not let {to.user} in")
        if _says(said, (*_CHANGED, *_UNKNOWN)):
            return self._changed("it showed another host key than before")
        return self._unreached(Finished(_SSH_FAILED, b"", said).reason)

    def _changed(self, what: str) -> SetupError:
        to = self.destination
        return SetupError(
            f"{to.host} port {to.port}: {what}. Either the host is a new one, or somebody is in between; "
            "find out which, and correct known_hosts"
        )

    def _unreached(self, reason: str) -> NoConnection:
        to = self.destination
        return NoConnection(f"{to.host} port {to.port}: no ssh connection: {printable(reason)}")

    def _close(self) -> None:
        if self._master is not None:
            stop_child(self._master)
            self._master = None
        if self._directory != Path():
            (self._directory / "c").unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    """Ours, with messages in English, and nobody who is asked for passwords."""
    leave = {"SSH_ASKPASS", "SSH_ASKPASS_REQUIRE"}
    kept = {name: value for name, value in os.environ.items() if name not in leave}
    return kept | {"LC_ALL": "C", "SSH_ASKPASS_REQUIRE": "never"}


def _says(text: str, phrases: Sequence[str]) -> bool:
    return any(phrase in text for phrase in phrases)


def _quoted(path: str) -> str:
    """A file name as a value of ssh's configuration.

    :raises SetupError: there is no way to write it.
    """
    if '"' in path or "\\" in path or not path.isprintable():
        raise SetupError(f"ssh cannot use the file name {printable(path)}; give it a plainer one")
    # ``~`` and tokens of -G are already those of ssh itself; in quotes, a blank is part of the name.
    return f'"{path}"'
