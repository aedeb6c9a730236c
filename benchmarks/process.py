"""Child processes: started on chosen cores, measured with their descendants, ended by process id."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

__all__ = ["Cores", "Memory", "choose_cores", "spawn", "tree_cpu", "tree_memory"]

_TICK = os.sysconf("SC_CLK_TCK")
_PR_SET_PDEATHSIG = 1
_PATIENCE = 10.0
_libc = ctypes.CDLL(None)


@attrs.frozen
class Cores:
    """Which CPUs do what."""

    proxy: frozenset[int]
    load: frozenset[int]

    @property
    def shared(self) -> bool:
        """Whether proxy and load compete for the same CPU."""
        return bool(self.proxy & self.load)


@attrs.frozen
class Memory:
    """Memory of a process tree in bytes, shared pages in proportion."""

    total: int
    anonymous: int
    """Without file pages, whose share changes whenever another process maps the same file."""


def choose_cores() -> Cores:
    """One CPU for the proxy, all others for the load; the same one where there is no other."""
    available = sorted(os.sched_getaffinity(0))
    return Cores(frozenset(available[-1:]), frozenset(available[:-1] or available))


@contextmanager
def spawn(
    command: Sequence[str], *, cores: frozenset[int], **pipes: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command on these CPUs and end it, with its descendants, when the context is left.

    :param pipes: ``stdin``, ``stdout`` and ``stderr`` as of :class:`subprocess.Popen`.
    """

    def prepare() -> None:
        os.sched_setaffinity(0, cores)
        # If this program is killed outright, its children must not stay.
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    process = subprocess.Popen(
        command,
        preexec_fn=prepare,
        # Ctrl-C in a terminal is for this program, which ends its children itself.
        start_new_session=True,
        **pipes,  # type: ignore[call-overload]
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    descendants = list(_descendants(process.pid)) if process.poll() is None else []
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in descendants:
        _end_orphan(pid, process.pid)


def _end_orphan(pid: int, session: int) -> None:
    """End a descendant that outlived its ancestor, if it is still what it was."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for _ in range(20):
            try:
                if os.getsid(pid) != session:
                    return
            except ProcessLookupError:
                return
            time.sleep(0.01)
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return


def tree_cpu(root: int) -> float:
    """CPU seconds, user and system, of a process and all its descendants, dead ones included."""
    ticks = 0
    for pid in (root, *_descendants(root)):
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        # utime, stime, and the same of children that were waited for.
        ticks += sum(int(field) for field in text.rpartition(")")[2].split()[11:15])
    return ticks / _TICK


def tree_memory(root: int) -> Memory:
    """Proportional memory of a process and its descendants."""
    total = anonymous = 0
    for pid in (root, *_descendants(root)):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = dict(re.findall(r"^(Pss|Pss_Anon):\s+(\d+) kB$", text, re.MULTILINE))
        total += int(fields["Pss"])
        anonymous += int(fields["Pss_Anon"])
    return Memory(total * 1024, anonymous * 1024)


def _descendants(root: int) -> Iterator[int]:
    try:
        for task in Path(f"/proc/{root}/task").iterdir():
            for text in (task / "children").read_text(encoding="ascii").split():
                yield int(text)
                yield from _descendants(int(text))
    except (FileNotFoundError, ProcessLookupError):
        return
