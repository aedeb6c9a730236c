"""Enrolment with files: the request lies in one, and somebody brings the certificate in another.

Paths are those of the host that setup runs on, also where it prepares another
root directory: they are what whoever answers sees.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from gateway.pki import PkiError, read_file
from gateway.setup.asking.interview import Interview, Question
from gateway.setup.enrolling.commandline import enrol_text, own_sign_text, request_name
from gateway.setup.enrolling.enrolment import Judge, Wanted
from gateway.setup.enrolling.tools import Tools
from gateway.setup.errors import AnswerError, SetupError

__all__ = ["REQUEST_KEY", "enrol_with_files"]

REQUEST_KEY: Final = "OVESETUP_CONFIG/pkiWSPCSRFilename"
_QUESTION: Final = "ENROLL_CERT_MANUAL_FILES_websocket-proxy"
_OLD_QUESTION: Final = "WSP_T_CERT_FILENAME"
"""Its name in 3.5."""
_MAX: Final = 262144


def enrol_with_files(
    interview: Interview,
    wanted: Wanted,
    request: bytes,
    judge: Judge,
    tools: Tools,
    prefix: str | None = None,
) -> tuple[bytes, Callable[[], None]]:
    """Write the request, say what is to be done with it, and wait for the certificate.

    :param request: PEM.
    :param prefix: what subjects of the CA begin with, if that is known.
    :returns: the certificate's chain, PEM, and what takes the request back should setup fail later on.  A
        request at a place of setup's choice is gone already; one at the user's place stays otherwise.
    :raises SetupError: it did not work, and the request is gone.
    """
    asked = interview.environment.get(REQUEST_KEY)
    with contextlib.ExitStack() as undo:
        place = _own_place(interview, str(asked), request, undo) if asked else _temporary(request, undo)
        _instruct(interview, wanted, place, tools, prefix)
        found: list[bytes] = []

        def check(answer: str) -> str:
            path = _path(answer)
            if _is_directory(path):
                raise AnswerError(f"{path} is a directory; name the file in it with the certificate")
            try:
                found.append(judge.accept(read_file(path, _MAX)))
            except PkiError as error:
                raise AnswerError(str(error)) from None
            except AnswerError as error:
                raise AnswerError(f"{path}: {error}") from None
            return str(path)

        question = Question(
            _name_of_question(interview),
            "File here with the signed certificate",
            check=check,
        )
        interview.ask(question)
        if asked:
            return found[-1], undo.pop_all().close
        return found[-1], _nothing


def _path(answer: str) -> Path:
    """A path as a shell would take it."""
    path = Path(answer.strip())
    try:
        return path.expanduser()
    except RuntimeError:
        # There is no such user; then there is no such file, which is told.
        return path


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        # What cannot be looked at is explained when it is read.
        return False


def _nothing() -> None:
    """There is nothing to take back."""


def _name_of_question(interview: Interview) -> str:
    answered = interview.environment.get(f"QUESTION/1/{_OLD_QUESTION}") is not None
    new = interview.environment.get(f"QUESTION/1/{_QUESTION}") is not None
    return _OLD_QUESTION if answered and not new else _QUESTION


def _temporary(request: bytes, undo: contextlib.ExitStack) -> Path:
    with _explained("the request"):
        descriptor, name = tempfile.mkstemp(prefix="websocket-proxy-", suffix=".req")
        undo.callback(Path(name).unlink, missing_ok=True)
        with open(descriptor, "wb") as stream:
            stream.write(request)
    return Path(name)


def _own_place(interview: Interview, answer: str, request: bytes, undo: contextlib.ExitStack) -> Path:
    """The request where the user wants it; what is there is overwritten only if the user says so."""
    path = _path(answer)
    if not path.is_absolute() or not str(path).isprintable():
        raise SetupError(f"{REQUEST_KEY} must be an absolute path")
    with _explained(str(path)):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        except FileExistsError:
            before = _content(path)
            if before == request:
                return path
            if not interview.confirm(
                "OVESETUP_WSP_REQUEST_OVERWRITE",
                f"{path} exists. Overwrite it with the request",
                default=False,
            ):
                raise SetupError(
                    f"{path} exists and is kept; move it away, or name another file by {REQUEST_KEY}"
                ) from None
            undo.callback(_overwrite, path, before)
            _overwrite(path, request)
            return path
        undo.callback(path.unlink, missing_ok=True)
        with open(descriptor, "wb") as stream:
            stream.write(request)
    return path


def _content(path: Path) -> bytes:
    try:
        return read_file(path, _MAX)
    except PkiError as error:
        raise SetupError(str(error)) from None


def _overwrite(path: Path, data: bytes) -> None:
    """In place, so that owner and mode stay."""
    with open(os.open(path, os.O_WRONLY | os.O_NOFOLLOW), "wb") as stream:
        stream.write(data)
        stream.truncate()


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SetupError(f"{what} cannot be written: {error.strerror or 'input/output error'}") from None


def _instruct(interview: Interview, wanted: Wanted, place: Path, tools: Tools, prefix: str | None) -> None:
    pki, name = tools.remote_pki, request_name(wanted.fqdn)
    lines = [
        f"The request for the certificate of {wanted.fqdn} is in {place}.",
        f"Copy it to {wanted.engine}:",
        f"  scp {shlex.quote(str(place))} root@{wanted.engine}:{pki}/requests/{name}.req",
        f"Sign it there, as root on {wanted.engine}:",
        *(f"  {line}" for line in enrol_text(wanted.fqdn, prefix, tools)),
        "or, where console-gateway is installed there (--directory says where its CA is, if it has its own):",
        *(f"  {line}" for line in own_sign_text(wanted.fqdn, prefix)),
        "Copy the certificate to this host, and name the file:",
        f"  scp root@{wanted.engine}:{pki}/certs/{name}.cer ~/{name}.cer",
    ]
    interview.note("\n".join(lines))
