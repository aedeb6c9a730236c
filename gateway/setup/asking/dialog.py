"""How setup talks: the interface of a dialect, and the one for people at a terminal.

Dialects only carry questions and answers; whether an answer will do is decided in
:mod:`gateway.setup.asking.interview`.
"""

from __future__ import annotations

import abc
import enum
import io
import os
import select
import shutil
import signal
import termios
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, ClassVar, Final, TextIO

import attrs

from gateway.setup.errors import Cancelled, SetupError

__all__ = ["BOUNDARY", "Dialog", "HumanDialog", "Level", "Query", "plain", "read_line", "read_lines"]

BOUNDARY: Final = "--=451b80dc-996f-432e-9e4f-2b29ef6d1141=--"
"""The line that ends several lines of text, in both directions."""
_MAX_LINE: Final = 65536
"""Bytes of an answer."""
_MAX_LINES: Final = 10000
_HEARING: Final = 0.3
"""Seconds after which a signal is heard in any case."""
_MARGIN: Final = " " * 10
_SPARE: Final = 16
"""Columns of the terminal that text leaves free."""
_NARROWEST: Final = 20


class Level(enum.Enum):
    """How much a message matters."""

    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


_PREFIXES: Final = {
    Level.INFO: "[ INFO  ] ",
    Level.WARNING: "[WARNING] ",
    Level.ERROR: "[ ERROR ] ",
}


@attrs.frozen
class Query:
    """A question as it is put."""

    name: str
    prompt: str
    default: str | None = None
    choices: tuple[str, ...] = ()
    hidden: bool = False


class Dialog(abc.ABC):
    """Who asks, and how."""

    forgiving: ClassVar[bool]
    """Whether a wrong answer may be given again."""

    @abc.abstractmethod
    def note(self, text: str) -> None:
        """Tell something; lines are separated by line feeds."""

    @abc.abstractmethod
    def log(self, level: Level, text: str) -> None:
        """Tell what happened."""

    @abc.abstractmethod
    def query(self, query: Query) -> str:
        """Put a question and return the line that comes, without its end.

        :raises SetupError: if no line comes any more.
        """

    @abc.abstractmethod
    def show(self, name: str, lines: Sequence[str]) -> None:
        """Show lines that are to be taken as they are."""

    @abc.abstractmethod
    def collect(self, name: str, prompt: str) -> list[str]:
        """Ask for lines, which end with :data:`BOUNDARY`.

        :raises SetupError: if the input ends before, or is too much.
        """

    def value(self, name: str, value: str) -> None:  # noqa: B027  (not every dialect has this)
        """Hand out a result, to programs; people are told in a note."""

    def end(self) -> None:  # noqa: B027
        """Say that nothing more will come."""


class HumanDialog(Dialog):
    """Questions on a terminal, or on a pipe that stands for one."""

    forgiving = True

    def __init__(self, source: BinaryIO, sink: TextIO, columns: Callable[[], int] | None = None) -> None:
        """:param columns: tells how wide the terminal is."""
        self._source = source
        self._sink = sink
        self._columns = columns or (lambda: shutil.get_terminal_size().columns)

    def note(self, text: str) -> None:
        self._write("".join(f"{line}\n" for line in self._wrapped(text)))

    def log(self, level: Level, text: str) -> None:
        first, *rest = plain(text).split("\n")
        self._write("\n".join([_PREFIXES[level] + first, *(_MARGIN + line for line in rest)]) + "\n")

    def query(self, query: Query) -> str:
        text = query.prompt
        if query.choices:
            text += f" ({', '.join(query.choices)})"
        if query.default and not query.hidden:
            text += f" [{query.default}]"
        seen = False
        try:
            # Before the question: whoever answers at once is not seen either.
            with self._unseen(query.hidden):
                self._write("\n".join(self._wrapped(text + ":")) + " ")
                answer = read_line(self._source, query.name)
            seen = not query.hidden and self._source.isatty()
            return answer
        finally:
            # Where nobody typed a line feed that can be seen.
            if not seen:
                self._write("\n")

    def show(self, name: str, lines: Sequence[str]) -> None:
        self._write("\n".join([f"D:MULTI-STRING {name} {BOUNDARY}", *map(plain, lines), BOUNDARY]) + "\n")

    def collect(self, name: str, prompt: str) -> list[str]:
        self.note(prompt)
        self.note(f"The end is a line with this alone: {BOUNDARY}")
        try:
            return list(read_lines(self._source, name))
        except KeyboardInterrupt:
            # Behind what the terminal shows of Ctrl-C.
            self._write("\n")
            raise

    def _wrapped(self, text: str) -> list[str]:
        width = max(self._columns() - _SPARE, _NARROWEST)
        found: list[str] = []
        for line in plain(text).split("\n"):
            # What is indented is a command or a table: it stays in one piece.
            pieces = [line] if line.startswith(" ") else _wrap(line, width)
            found += (f"{_MARGIN}{piece}".rstrip() for piece in pieces or [""])
        return found

    def _write(self, text: str) -> None:
        self._sink.write(text)
        self._sink.flush()

    @contextmanager
    def _unseen(self, hidden: bool) -> Iterator[None]:
        """Input is not echoed meanwhile, if it is from a terminal."""
        if not hidden or not self._source.isatty():
            yield
            return
        descriptor = self._source.fileno()
        before = termios.tcgetattr(descriptor)
        silent = termios.tcgetattr(descriptor)
        silent[3] &= ~termios.ECHO
        try:
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, silent)
            with _resuming(lambda: termios.tcsetattr(descriptor, termios.TCSADRAIN, silent)):
                yield
        finally:
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


@contextmanager
def _resuming(again: Callable[[], None]) -> Iterator[None]:
    """Do ``again`` what a shell undoes while it has the terminal, between Ctrl-Z and ``fg``."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGCONT, lambda *_: again())
    try:
        yield
    finally:
        signal.signal(signal.SIGCONT, before)


def read_line(source: BinaryIO, name: str) -> str:
    """The next line of the input, without its end.

    :param name: the question, for messages.
    :raises SetupError: if there is none, or it is too long or not UTF-8.
    """
    try:
        data = _read_line(source)
    except OSError as error:
        raise SetupError(f"cannot read the answer to {name}: {os.strerror(error.errno or 0)}") from None
    if not data:
        raise SetupError(
            f"the input ended when {name} was asked; answer it at a terminal, or in an answer file "
            "(--config-append)"
        )
    if len(data) > _MAX_LINE:
        raise SetupError(f"the answer to {name} is longer than {_MAX_LINE} bytes")
    try:
        return data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SetupError(f"the answer to {name} is not UTF-8") from None


def _read_line(source: BinaryIO) -> bytes:
    """As much of a line as may come; without a buffer, the next one is still there to be waited for."""
    if not isinstance(source, io.RawIOBase):
        return source.readline(_MAX_LINE + 1)
    line = bytearray()
    while len(line) <= _MAX_LINE and not line.endswith(b"\n"):
        # Python hears a signal that comes right before it begins to read only when the read is over.
        while not select.select([source], [], [], _HEARING)[0]:
            pass
        piece = source.read(1)
        if not piece:
            break
        line += piece
    return bytes(line)


def read_lines(source: BinaryIO, name: str, abort: str | None = None) -> Iterator[str]:
    """Lines up to the boundary, blanks and carriage returns at their ends aside.

    :param abort: a line that ends everything.
    :raises SetupError: if the input ends before, or is too much, or is ``abort``.
    """
    for _ in range(_MAX_LINES):
        line = read_line(source, name).rstrip()
        # Whatever a terminal or a mail put before it.
        if line.strip() == BOUNDARY:
            return
        if abort is not None and line.strip() == abort:
            raise Cancelled(f"{name} was aborted")
        yield line
    raise SetupError(f"more than {_MAX_LINES} lines for {name}, and no end; it is the line {BOUNDARY}")


def plain(text: str) -> str:
    """``text`` without anything that commands a terminal."""
    return "".join(
        character if character in "\n\t" or character.isprintable() else repr(character)[1:-1]
        for character in text.replace("\r\n", "\n")
    )


def _wrap(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
