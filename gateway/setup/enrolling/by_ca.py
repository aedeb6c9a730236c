"""Enrolment at a CA of our own, in one step, for a gateway without an engine.

The CA is one of :mod:`gateway.pki`, in a directory of this host; it is made
if there is none.  Beside it lies the key pair that tickets are signed with,
made likewise: ``keys/engine.key.nopass`` and ``certs/engine.cer``, the names
that an engine has.

Nothing of this is written before setup's transaction: everything is done in
a private copy, and a :class:`gateway.setup.host.plan.Step` puts the outcome into
place, or takes it back.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import attrs

from gateway.pki import (
    Authority,
    PasswordNeeded,
    PkiError,
    generate_key,
    key_pem,
    make_request,
    parse_chain,
    read_file,
    same_key,
    write_private,
    write_public,
)
from gateway.pki.keys import load_key
from gateway.setup import places
from gateway.setup.asking.interview import Interview, Question
from gateway.setup.enrolling.askpass import explained
from gateway.setup.enrolling.commandline import common_name
from gateway.setup.errors import AnswerError, SetupError
from gateway.setup.host.authority_step import BookStep, refuse_links
from gateway.setup.host.system import System

__all__ = ["DIRECTORY_KEY", "Book", "OwnAuthority"]

DIRECTORY_KEY: Final = "OVESETUP_CONFIG/ownCaDirectory"
_KEY: Final = "keys/engine.key.nopass"
_CERTIFICATE: Final = "certs/engine.cer"
_COPIED: Final = (
    "ca.pem",
    "private/ca.pem",
    "serial.txt",
    "database.txt",
    "database.txt.attr",
    _KEY,
    _CERTIFICATE,
)
_MAX_FILE: Final = 16777216
_COPY: Final = "console-gateway-ca-"
_MEMORY: Final = ("/run", "/dev/shm")  # noqa: S108 - only where a private directory is made
"""Places that are on no disk: the copy of a key that a killed setup leaves there does not last."""
_TICKETS: Final = "1.3.6.1.5.5.7.3.36"
"""Key purpose of the ticket signer: it signs documents (RFC 9336) and must not serve TLS."""
_TICKET_DAYS: Final = 1827


@attrs.frozen
class OwnAuthority:
    """The CA's directory, and what opens its key."""

    system: System
    place: PurePosixPath
    fqdn: str
    _password: bytes | None = attrs.field(default=None, repr=False)

    @classmethod
    def ask(cls, interview: Interview, system: System, fqdn: str) -> OwnAuthority:
        """Ask for the directory, and for the password if the CA there has one.

        :param fqdn: this host, whose name a new CA gets.
        """
        question = Question(
            "OVESETUP_CONFIG_OWN_CA_DIRECTORY",
            "Directory of the CA; it is made if there is none",
            default=str(places.OWN_CA),
            check=lambda answer: _checked_place(system, answer),
            key=DIRECTORY_KEY,
        )
        place = PurePosixPath(interview.ask(question))
        base = system.locate(place)
        _refuse_links(system, place)
        authority = cls(system, place, fqdn)
        if not (base / "ca.pem").exists():
            return authority
        opened: list[bytes] = []

        def check(answer: str) -> str:
            _open(base, answer.encode("utf-8"))
            opened.append(answer.encode("utf-8"))
            return answer

        try:
            _open(base, None)
        except PasswordNeeded:
            password = Question(
                "OVESETUP_CONFIG_OWN_CA_PASSWORD",
                f"Password of the CA's key in {place}",
                hidden=True,
                check=check,
                key="OVESETUP_CONFIG/ownCaPassword",
            )
            interview.ask(password)
            return attrs.evolve(authority, password=opened[-1])
        except PkiError as error:
            raise SetupError(str(error)) from None
        return authority

    @contextlib.contextmanager
    def opened(self) -> Iterator[Book]:
        """A private copy of the CA, new or old, to work with."""
        base = self.system.locate(self.place)
        _refuse_links(self.system, self.place)
        before: dict[str, bytes] = {}
        with explained(), tempfile.TemporaryDirectory(prefix=_COPY, dir=_memory()) as name:  # 0700
            copy = Path(name) / "ca"
            try:
                if (base / "ca.pem").exists():
                    before = _copied(base, copy)
                    authority = Authority.open(copy, password=self._password)
                else:
                    subject = f"/O=Console Gateway/CN={self.fqdn[:50]} CA"
                    authority = Authority.create(copy, subject=subject)
                yield Book(authority, self.place, copy, before)
            except PkiError as error:
                raise SetupError(str(error).replace(str(copy), str(self.place))) from None


@attrs.define
class Book:
    """A working copy of a CA."""

    _authority: Authority
    _place: PurePosixPath
    _copy: Path
    _before: dict[str, bytes] = attrs.field(repr=False)

    @property
    def ca(self) -> bytes:
        """PEM of the CA's certificate."""
        return read_file(self._copy / "ca.pem", _MAX_FILE)

    def sign(self, request: bytes, fqdn: str) -> bytes:
        """A server's certificate, PEM."""
        return self._authority.sign(
            request, subject=f"/O=Console Gateway/CN={common_name(fqdn)}", san=f"DNS:{fqdn}"
        )

    def ticket_certificate(self) -> bytes:
        """The certificate that tickets are verified with; the pair is made if it is not there.

        :raises SetupError: half of the pair is there, or it does not fit.
        """
        key_path, path = self._copy / _KEY, self._copy / _CERTIFICATE
        if path.exists():
            data = read_file(path, _MAX_FILE)
            certificate = parse_chain(data)[0]
            if key_path.exists():
                key = load_key(read_file(key_path, _MAX_FILE))
                if not same_key(key.public_key(), certificate.public_key()):
                    raise SetupError(f"{self._place / _KEY} is not the key of {self._place / _CERTIFICATE}")
            return data
        key_path.parent.mkdir(mode=0o700, exist_ok=True)
        if key_path.exists():
            key = load_key(read_file(key_path, _MAX_FILE))
        else:
            key = generate_key()
            write_private(key_path, key_pem(key))
        request = make_request(key, "/O=Console Gateway/CN=Console tickets")
        data = self._authority.sign(request, ku="digitalSignature", eku=_TICKETS, days=_TICKET_DAYS)
        write_public(path, data)
        return data

    def plan(self) -> tuple[BookStep, ...]:
        """What puts the outcome into place; nothing if the CA is as it was."""
        after: dict[str, tuple[bytes, int]] = {}
        for path in sorted(self._copy.rglob("*")):
            found = path.lstat()
            if stat.S_ISREG(found.st_mode):
                name = path.relative_to(self._copy).as_posix()
                data = read_file(path, _MAX_FILE)
                if self._before.get(name) != data:
                    after[name] = (data, stat.S_IMODE(found.st_mode))
        if not after:
            return ()
        return (BookStep(self._place, self._before, after),)

    def summary(self) -> tuple[str, ...]:
        """What the user has to know about the keys."""
        lines = []
        if not self._before:
            lines.append(
                f"The CA is in {self._place}: have browsers trust its ca.pem, and keep its private/ca.pem "
                "secret and backed up."
            )
        if (self._copy / _KEY).exists():
            key = self._place / _KEY
            lines.append(
                f"Tickets are signed with {key}. It belongs to where tickets are made, so move it there: "
                f"console-gateway ticket sign --key {key.name} --host HOST --port PORT"
            )
        return tuple(lines)


def _checked_place(system: System, answer: str) -> str:
    place = PurePosixPath(answer.strip())
    if (
        not place.is_absolute()
        or ".." in place.parts
        or not answer.isprintable()
        or place == PurePosixPath("/")
    ):
        raise AnswerError("give the absolute path of a directory")
    base = system.locate(place)
    if base.exists() and not base.is_dir():
        raise AnswerError(f"{place} is no directory")
    if base.is_dir() and not (base / "ca.pem").exists() and any(base.iterdir()):
        raise AnswerError(f"{place} has files, but no CA; choose another directory")
    return str(place)


def _open(base: Path, password: bytes | None) -> None:
    """Whether the password opens the CA.

    :raises PasswordNeeded: there has to be one.
    :raises AnswerError: it is another one.
    :raises PkiError: the CA is damaged.
    """
    try:
        Authority.open(base, password=password)
    except PasswordNeeded as error:
        if password is None:
            raise
        raise AnswerError(str(error)) from None


def _memory() -> str | None:
    """Where a private copy is made; ``None`` for wherever temporary files are."""
    return next((place for place in _MEMORY if os.access(place, os.W_OK | os.X_OK)), None)


def _refuse_links(system: System, place: PurePosixPath) -> None:
    refuse_links(system, place, (*_COPIED, "requests/request"))


def _copied(base: Path, copy: Path) -> dict[str, bytes]:
    """Copy what signing needs, and return it by name."""
    found = {}
    for directory in ("", "private", "certs", "requests", "keys"):
        (copy / directory).mkdir(mode=0o700)
    for name in _COPIED:
        path = base / name
        if path.exists():
            found[name] = read_file(path, _MAX_FILE)
            write = write_private if stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 else write_public
            write(copy / name, found[name])
    # Where the next number's copy is there already, the CA has lost count, and has to notice.
    for path in (base / "certs").glob("*.pem"):
        found[f"certs/{path.name}"] = read_file(path, _MAX_FILE)
        write_public(copy / "certs" / path.name, found[f"certs/{path.name}"])
    return found
