"""A setup as the command line orders it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final, TextIO

import attrs

from gateway.setup.asking.answerfile import render_answers
from gateway.setup.asking.environment import Value
from gateway.setup.asking.loading import read_file
from gateway.setup.enrolling.credentials import Wishes
from gateway.setup.enrolling.suitable import parse_authorities
from gateway.setup.errors import SetupError
from gateway.setup.session import Manner, Session, converse
from gateway.setup.wizard import Errand, set_up

__all__ = ["run_setup"]

_OFFLINE_KEY: Final = "OVESETUP_CORE/offlinePackager"


def run_setup(
    manner: Manner,
    *,
    generate: Path | None = None,
    engine_ca: Path | None = None,
    offline: bool = False,
    new_key: bool = False,
    renew: bool = False,
    errand: Errand | None = None,
    source: BinaryIO | None = None,
    sink: TextIO | None = None,
) -> int:
    """Set up a gateway, and return the exit status.

    :param generate: the answer file to write.
    :param engine_ca: the file with the engine's CA certificate.
    :param offline: whether no name is looked up.
    :param errand: what setup uses of the world.
    :param source: where answers come from, standard input by default.
    :param sink: where questions go, standard output by default.
    """

    def work(session: Session) -> None:
        if generate is not None:
            _check_directory(generate)
        authority = read_file(engine_ca)[0] if engine_ca is not None else None
        if authority is not None:
            parse_authorities(authority, f"--engine-ca {engine_ca}")
        given = set_up(
            session,
            attrs.evolve(
                errand or Errand(),
                wishes=Wishes(new_key=new_key, renew=renew, engine_ca=authority),
                offline=offline or session.environment.get(_OFFLINE_KEY) is True,
            ),
        )
        if generate is not None and given:
            _write_answers(generate, given)
            session.interview.info(f"The answers are in {generate}")

    return converse(manner, work, source, sink)


def _check_directory(path: Path) -> None:
    """See that the answers can be written, before anything else is."""
    directory = path.absolute().parent
    if not os.access(directory, os.W_OK | os.X_OK) or path.is_dir():
        raise SetupError(f"cannot write {path}; name a file in a directory that is there")


def _write_answers(path: Path, values: Sequence[tuple[str, Value]]) -> None:
    """Write an answer file that only its owner can read, in place of what was there."""
    data = render_answers(values, "Answers to console-gateway setup, for --config-append")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise SetupError(f"cannot write {path}: {error.strerror}") from None
        raise
