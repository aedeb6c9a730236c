"""The load generator: C code compiled here, run as one target and one client at a time."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.contenders import CACHE
from benchmarks.process import spawn, tree_cpu
from benchmarks.vocabulary import BenchmarkError

__all__ = ["Client", "build", "running_client", "running_target"]

_SOURCES = Path(__file__).resolve().parent / "load"


def build() -> Path:
    """Compile the generator unless this version of it is there.

    :raises BenchmarkError: the compiler or OpenSSL's headers are missing, or the compiler complains.
    """
    files = sorted(_SOURCES.glob("*.[ch]"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    program = CACHE / f"load-{digest}"
    if program.exists():
        return program
    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchmarkError("no C compiler: apt install gcc libc6-dev libssl-dev")
    CACHE.mkdir(parents=True, exist_ok=True)
    unfinished = program.with_suffix(".new")
    sources = [str(path) for path in files if path.suffix == ".c"]
    command = [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", *sources, "-o", str(unfinished)]
    done = subprocess.run([*command, "-lssl", "-lcrypto"], capture_output=True, text=True, check=False)
    if done.returncode:
        if "openssl/" in done.stderr or "-lssl" in done.stderr:
            raise BenchmarkError("OpenSSL's headers are missing: apt install libssl-dev")
        raise BenchmarkError(f"the load generator does not compile:\n{done.stderr}")
    unfinished.replace(program)
    return program


class Client:
    """A running client: ready, then measured, then done."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def wait_ready(self) -> None:
        """Wait until all its sessions are through to the target."""
        if self._line() != "ready":
            raise BenchmarkError("the client said something else than ready")

    def go(self) -> None:
        """Begin the measured part; a second time, end a workload that holds."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"go\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BenchmarkError(self._failure()) from None

    def result(self) -> dict[str, Any]:
        """Wait for what it measured; its sessions stay open."""
        result = json.loads(self._line())
        assert isinstance(result, dict)
        return result

    def cpu(self) -> float:
        """CPU seconds it used."""
        return tree_cpu(self._process.pid)

    def _line(self) -> str:
        # The client's own time limit bounds this.
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode("utf-8").strip()
        if not line:
            raise BenchmarkError(self._failure())
        return line

    def _failure(self) -> str:
        assert self._process.stderr is not None
        text = self._process.stderr.read(2000).decode("utf-8", "replace").strip()
        return text or f"the client ended with {self._process.wait()}"


@contextmanager
def running_client(
    program: Path, cores: frozenset[int], options: Sequence[str], paths: Sequence[str]
) -> Iterator[Client]:
    """Start a client; ``paths`` are what it requests, in turn."""
    command = [str(program), "client", *options]
    pipe = subprocess.PIPE
    with spawn(command, cores=cores, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        try:
            process.stdin.write("".join(f"{path}\n" for path in (*paths, "")).encode("ascii"))
            process.stdin.flush()
        except BrokenPipeError:
            pass  # It says why when it is asked for its result.
        yield Client(process)
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)


@contextmanager
def running_target(
    program: Path, cores: frozenset[int], identity: tuple[Path, Path] | None = None
) -> Iterator[tuple[int, int]]:
    """Start the console server; yields its process id and port.

    :param identity: files of the certificate and key with which it speaks TLS; without them, it does not.
    """
    command = [str(program), "target"]
    if identity is not None:
        command += ["--tls", f"--certificate={identity[0]}", f"--key={identity[1]}"]
    with spawn(command, cores=cores, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise BenchmarkError("the target did not start")
        yield process.pid, int(line)
