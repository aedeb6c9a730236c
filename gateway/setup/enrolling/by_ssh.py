"""Enrolment over ssh: the request goes to the engine's host, is signed there, and the certificate comes back.

What runs there is the engine's own program, with the name, the subject and
the alternative name that oVirt's setup uses.  Nothing that comes from there is
ever looked at by a shell.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Final, TypeVar

import attrs

from gateway.pki import PkiError, dn_prefix, parse_chain
from gateway.setup.asking.interview import Interview, Question
from gateway.setup.enrolling.askpass import check_password
from gateway.setup.enrolling.commandline import enrol_command, request_name
from gateway.setup.enrolling.enrolment import Wanted, retried
from gateway.setup.enrolling.fingerprints import Shown, confirm
from gateway.setup.enrolling.hostkey import HostKey, same_fingerprint
from gateway.setup.enrolling.ssh import Destination, LoginDenied, NoConnection, Remote
from gateway.setup.enrolling.tools import Tools
from gateway.setup.errors import AnswerError, SetupError

__all__ = ["Signed", "enrol_over_ssh"]

_KEY: Final = "OVESETUP_CONFIG/remoteEngineHost"
_MAX_FILE: Final = 65536

_T = TypeVar("_T")


@attrs.frozen
class Signed:
    """What was found on the engine's host, PEM each; nothing of it is judged yet."""

    certificate: bytes = attrs.field(repr=False)
    ca: bytes = attrs.field(repr=False)
    engine: bytes = attrs.field(repr=False)


def enrol_over_ssh(interview: Interview, wanted: Wanted, request: bytes, tools: Tools) -> Signed:
    """Ask how to log in, do so, and have the request signed.

    :param request: PEM.
    :raises SetupError: it did not work; the engine's host may have kept the request.
    """
    destination = _destination(interview, wanted, tools)
    with Remote(destination, tools) as remote:
        _identify(interview, remote, tools)
        _log_in(interview, remote, tools)
        interview.info(f"Having {wanted.engine} sign the certificate")
        return _sign(remote, wanted, request, tools)


def _destination(interview: Interview, wanted: Wanted, tools: Tools) -> Destination:
    user = _setting(interview, "User") or "root"
    if not user.isascii() or not user.isprintable() or user.startswith("-") or " " in user:
        raise SetupError(f"{_KEY}User is no name of a user")

    def at(port: int) -> Destination:
        return Destination(
            wanted.engine,
            port,
            user,
            client_key=_setting(interview, "ClientKey"),
            known_hosts=_setting(interview, "KnownHosts"),
        )

    def check(answer: str) -> str:
        port = _port(answer)
        with Remote(at(port), tools) as remote:
            direct = remote.direct
        if direct:
            # Whoever sits there sees at once that it was the wrong port.
            delays = tools.delays() if interview.unattended else ()
            _reach(wanted.engine, port, tools, delays)
        return str(port)

    question = Question(
        "SSH_ACCESS_REMOTE_ENGINE_PORT",
        f"Port of the ssh server on {wanted.engine}",
        default="22",
        check=check,
        key=f"{_KEY}SshPort",
    )
    return at(int(interview.ask(question)))


def _setting(interview: Interview, name: str) -> str | None:
    value = interview.environment.get(_KEY + name)
    return str(value) if value else None


def _port(answer: str) -> int:
    text = answer.strip()
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) <= 65535):
        raise AnswerError("a port is a number from 1 to 65535")
    return int(text)


def _reach(host: str, port: int, tools: Tools, delays: Sequence[float]) -> None:
    for delay in (*delays, None):
        try:
            socket.create_connection((host, port), tools.timeout).close()
        except OSError as error:
            if delay is None:
                reason = error.strerror or "no answer in time"
                raise AnswerError(f"nothing is reached at port {port} of {host}: {reason}") from None
            tools.pause(delay)
        else:
            return


def _identify(interview: Interview, remote: Remote, tools: Tools) -> None:
    keys = _patiently(interview, tools, remote.identify)
    if not keys:
        return
    host = remote.destination.host
    shown = Shown(
        "SSH_ACCESS_REMOTE_ENGINE_FINGERPRINT",
        f"the host key of {host}",
        "on that host, this shows it:\n  cat /etc/ssh/ssh_host_*_key.pub | ssh-keygen -l -f -",
        tuple(key.fingerprint for key in keys),
        key=f"{_KEY}Fingerprint",
    )

    def match(answer: str) -> HostKey | None:
        return same_fingerprint(answer, keys)

    remote.pin(confirm(interview, shown, match, keys[0]))


def _log_in(interview: Interview, remote: Remote, tools: Tools) -> None:
    to = remote.destination

    def check(password: str) -> str:
        check_password(password)
        try:
            _patiently(interview, tools, lambda: remote.log_in(password))
        except LoginDenied as error:
            remedy = (
                "give the right password" if password else f"no key of {_me()} is accepted; give a password"
            )
            raise AnswerError(f"{error}: {remedy}") from None
        return password

    question = Question(
        "SSH_ACCESS_REMOTE_ENGINE_PASSWORD",
        f"Password of {to.user} on {to.host} (empty: keys and agent are used)",
        default="",
        hidden=True,
        check=check,
        key=f"{_KEY}RootPassword",
    )
    interview.ask(question)


def _me() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "this user"


def _patiently(interview: Interview, tools: Tools, attempt: Callable[[], _T]) -> _T:
    def again(error: SetupError) -> bool:
        if not isinstance(error, NoConnection):
            return False
        interview.info(f"{error}; trying again")
        return True

    return retried(tools, attempt, again)


def _sign(remote: Remote, wanted: Wanted, request: bytes, tools: Tools) -> Signed:
    pki = tools.remote_pki
    ca = _read(remote, pki / "ca.pem")
    try:
        prefix = dn_prefix(parse_chain(ca)[0])
    except PkiError as error:
        raise SetupError(f"{wanted.engine}: {pki / 'ca.pem'}: {error}") from None
    name = request_name(wanted.fqdn)
    place = pki / f"requests/{name}.req"
    done = remote.run(["tee", str(place)], data=request)
    # What tee repeats may come behind what the login shell says.
    if done.status != 0 or not done.output.endswith(request):
        raise SetupError(f"{wanted.engine}: {place} cannot be written: {done.reason}")
    command = enrol_command(wanted.fqdn, prefix, tools.remote_enrol)
    done = remote.run(command, timeout=tools.command_timeout)
    if done.status != 0:
        raise SetupError(
            f"{wanted.engine}: {tools.remote_enrol.name} failed with status {done.status}: {done.reason}"
        )
    certificate = _read(remote, pki / f"certs/{name}.cer")
    return Signed(certificate, ca, _read(remote, pki / "certs/engine.cer"))


def _read(remote: Remote, place: PurePosixPath) -> bytes:
    done = remote.run(["cat", str(place)])
    if done.status != 0:
        raise SetupError(f"{remote.destination.host}: {place} cannot be read: {done.reason}")
    if not 0 < len(done.output) <= _MAX_FILE:
        raise SetupError(
            f"{remote.destination.host}: {place} has {len(done.output)} bytes; it is no certificate"
        )
    return done.output
