"""A run of setup or cleanup, from the command line to the exit status.

Whatever goes wrong in between becomes one message, and interrupts end it where it can be undone.
"""

from __future__ import annotations

import contextlib
import enum
import io
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, TextIO

import attrs

from gateway.setup.asking.dialog import Dialog, HumanDialog, Level
from gateway.setup.asking.environment import Environment
from gateway.setup.asking.interview import Interview
from gateway.setup.asking.loading import load_environment
from gateway.setup.asking.machine import MachineDialog
from gateway.setup.errors import Cancelled, SetupError
from gateway.setup.host.system import System
from gateway.setup.lock import alone
from gateway.setup.setuplog import SetupLog

__all__ = ["DIALECTS", "Manner", "Phase", "Session", "converse"]

DIALECTS: Final = ("human", "machine")
_DIALECT: Final = "DIALOG/dialect"
_ACCEPT: Final = "DIALOG/autoAcceptDefault"
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FAILED: Final = 1
_CANCELLED: Final = 130


class Phase(enum.Enum):
    """How far a run is, for what is said if it ends there."""

    ASKING = enum.auto()
    """Nothing is changed."""
    CHANGING = enum.auto()
    """Whatever fails says itself what became of the changes."""
    DONE = enum.auto()
    """The changes are made, and nothing takes them back."""


@attrs.frozen
class Manner:
    """What the command line says about how to go about it."""

    kind: str
    """``setup`` or ``cleanup``."""
    root: Path = Path("/")
    config: Path | None = None
    append: tuple[Path, ...] = ()
    settings: str = attrs.field(default="", repr=False)
    accept_defaults: bool = False
    dialect: str | None = None
    log: Path | None = None
    logs: bool = True
    """Whether there is a log even if nobody named a file for it."""
    owners: bool = True
    """Whether files get their owners; else they are left to whoever runs this, who need not be root then."""


@attrs.define
class Session:
    """What a run works with."""

    interview: Interview
    system: System
    stamp: str
    """When it began, ``YYYYMMDDhhmmss``: for names of files."""
    log: SetupLog | None = None
    phase: Phase = Phase.ASKING

    @property
    def environment(self) -> Environment:
        return self.interview.environment


def converse(
    manner: Manner,
    work: Callable[[Session], None],
    source: BinaryIO | None = None,
    sink: TextIO | None = None,
) -> int:
    """Do ``work`` in a conversation.

    :param source: where answers come from, standard input by default.
    :param sink: where questions go, standard output by default.
    :returns: the exit status: 0 done, 1 failed, 130 cancelled.  Nothing is changed unless it is 0, or the
        message says so.
    """
    run = _Run(manner, source or _standard_input(), sink or _standard_output())
    with _interrupts() as enough:
        status = run.run(work, enough)
        with contextlib.suppress(OSError):
            run.dialog.end()
    return status


class _Run:
    def __init__(self, manner: Manner, source: BinaryIO, sink: TextIO) -> None:
        self._manner = manner
        self._source = source
        self._sink = sink
        self._session: Session | None = None
        self._environment = Environment()
        self._log: SetupLog | None = None
        self._enough: Callable[[], None] = lambda: None
        self.dialog = self._dialect(manner.dialect or DIALECTS[0])

    def run(self, work: Callable[[Session], None], enough: Callable[[], None]) -> int:
        """Do it; ``enough`` is called before the end of a failure is told, which nothing is to cut short."""
        self._enough = enough
        try:
            with alone(self._manner.root):
                self._session = self._begin()
                work(self._session)
        except KeyboardInterrupt:
            return self._ended("Interrupted", _CANCELLED)
        except Cancelled as cancelled:
            return self._ended(f"Cancelled: {cancelled}", _CANCELLED)
        except SetupError as error:
            return self._ended(f"{self._manner.kind.capitalize()} failed: {error}", _FAILED)
        except OSError as error:
            what = f"{error.filename}: " if isinstance(error.filename, str) else ""
            reason = f"{what}{error.strerror or 'input or output error'}"
            return self._ended(f"{self._manner.kind.capitalize()} failed: {reason}", _FAILED)
        except Exception as error:
            if self._log is not None:
                self._log.write("TRACE", self._environment.scrub(traceback.format_exc()))
            name = type(error).__name__
            return self._ended(f"{self._manner.kind.capitalize()} failed, which is a defect: {name}", _FAILED)
        if self._log is not None:
            self._log.close()
        return 0

    def _begin(self) -> Session:
        manner = self._manner
        if manner.owners and os.geteuid() != 0:
            raise SetupError("only root can do this; use sudo or run it as root")
        system = System(manner.root, owners=manner.owners)
        self._environment, warnings = load_environment(
            system, config=manner.config, append=manner.append, settings=manner.settings
        )
        environment = self._environment
        dialect = manner.dialect or environment.get(_DIALECT) or DIALECTS[0]
        if dialect not in DIALECTS:
            origin = environment.entry(_DIALECT).origin
            raise SetupError(f"{origin}: {_DIALECT}: '{dialect}' is none of {', '.join(DIALECTS)}")
        self.dialog = self._dialect(str(dialect))
        stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime())
        if manner.logs or manner.log is not None:
            self._log = SetupLog(manner.kind, stamp, manner.log)
        accept = manner.accept_defaults or environment.get(_ACCEPT) is True
        interview = Interview(self.dialog, environment, accept_defaults=accept, journal=self._log)
        for warning in warnings:
            interview.warning(warning)
        return Session(interview, system, stamp, self._log)

    def _ended(self, what: str, status: int) -> int:
        """Say how it ended before its time."""
        self._enough()
        lines = [self._environment.scrub(what)]
        phase = self._session.phase if self._session is not None else Phase.ASKING
        if phase is Phase.ASKING:
            lines[0] += "; nothing was changed"
        elif phase is Phase.DONE:
            lines[0] += f"; {self._manner.kind} itself is complete"
        if self._log is not None:
            with contextlib.suppress(OSError):
                self._log.write(Level.ERROR.value, lines[0])
                if status == _FAILED:
                    lines.append(f"The log of it is {self._log.path}")
                    self._log.close()
                else:
                    self._log.discard()
        with contextlib.suppress(OSError):
            self.dialog.log(Level.ERROR, "\n".join(lines))
        return status

    def _dialect(self, name: str) -> Dialog:
        return MachineDialog(self._source, self._sink) if name == "machine" else self._human()

    def _human(self) -> HumanDialog:
        def columns() -> int:
            try:
                # Some terminals say that they have none.
                return os.get_terminal_size(self._sink.fileno()).columns or _COLUMNS
            except (OSError, io.UnsupportedOperation):
                return _COLUMNS

        return HumanDialog(self._source, self._sink, columns)


_COLUMNS: Final = 100
"""Of what is no terminal."""


def _standard_input() -> BinaryIO:
    # There is none where somebody closed it.
    buffered = sys.stdin.buffer if sys.stdin is not None else io.BytesIO()
    raw: BinaryIO = getattr(buffered, "raw", buffered)
    return raw


def _standard_output() -> TextIO:
    if sys.stdout is None:
        return io.StringIO()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character shows its code.
        sys.stdout.reconfigure(errors="backslashreplace")
    return sys.stdout


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], None]]:
    """Ctrl-C, SIGTERM and SIGHUP raise :exc:`KeyboardInterrupt` once; what that undoes is left alone.

    What it gives has them raise nothing any more.
    """
    heard = False

    def hear(*_: object) -> None:
        nonlocal heard
        if not heard:
            heard = True
            raise KeyboardInterrupt

    def enough() -> None:
        nonlocal heard
        heard = True

    before = {}
    for number in _SIGNALS if threading.current_thread() is threading.main_thread() else ():
        # What somebody chose not to hear (nohup) stays so.
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, hear)
    try:
        yield enough
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
