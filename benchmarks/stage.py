"""The stage: the target and the contenders' instances, kept for a run, and measured calls on them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from benchmarks.contenders import Contender, Job
from benchmarks.generator import Client, running_client, running_target
from benchmarks.keys import Keys, make_keys
from benchmarks.process import Cores, Memory, spawn, tree_cpu, tree_memory
from benchmarks.vocabulary import BenchmarkError, Key, Transport

__all__ = ["Instance", "Measured", "Stage", "free_port"]

_START_TIMEOUT = 20.0
_SATURATED = 0.95


@attrs.frozen
class Instance:
    """A contender that runs."""

    contender: Contender
    job: Job
    pid: int | None
    """Of the process whose tree is measured; ``None`` where there is no proxy."""

    def cpu(self) -> float:
        return 0.0 if self.pid is None else tree_cpu(self.pid)

    def memory(self) -> Memory:
        return Memory(0, 0) if self.pid is None else tree_memory(self.pid)


@attrs.frozen
class Measured:
    """A measured part of a client's run."""

    result: dict[str, Any]
    cpu: float
    """CPU seconds of the proxy's process tree."""
    wall: float
    saturated: bool
    """The load generator had no idle time: it may have been what limited the run."""


class Stage:
    """Where everything runs. Use as a context manager; leaving it ends every process."""

    def __init__(self, program: Path, cores: Cores) -> None:
        """:param program: the compiled load generator."""
        self.cores = cores
        self._program = program
        self._stack = contextlib.ExitStack()
        self._instances: dict[tuple[str, Transport, Key, int], Instance] = {}
        self._secured: tuple[int, int] | None = None

    def __enter__(self) -> Stage:
        with contextlib.ExitStack() as stack:
            self.directory = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="console-gateway-bench-"))
            )
            self.keys: Keys = make_keys(self.directory)
            self._target_pid, self.target = stack.enter_context(
                running_target(self._program, self.cores.load)
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def instance(
        self,
        contender: Contender,
        transport: Transport,
        *,
        key: Key = Key.ECDSA,
        target: int | None = None,
        secured: bool = False,
    ) -> Instance:
        """The instance for this purpose, started when it is first asked for.

        :param secured: for the console server that speaks TLS.
        """
        if secured:
            _, target = self._secured_target()
        purpose = (contender.name, transport, key, target or self.target)
        instance = self._instances.get(purpose)
        if instance is None:
            instance = self._instances[purpose] = self._stack.enter_context(
                self.fresh(contender, transport, key=key, target=target, secured=secured)
            )
        return instance

    @contextlib.contextmanager
    def fresh(
        self,
        contender: Contender,
        transport: Transport,
        *,
        key: Key = Key.ECDSA,
        target: int | None = None,
        secured: bool = False,
    ) -> Iterator[Instance]:
        """An instance that served nobody before."""
        target = target or self.target
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self.directory)))
            port = free_port() if contender.proxied else target
            job = Job(transport, key, port, target, self.keys, directory, secured)
            if not contender.proxied:
                yield Instance(contender, job, None)
                return
            log = stack.enter_context((directory / "output").open("wb"))
            process = stack.enter_context(
                spawn(
                    contender.command(job),
                    cores=self.cores.proxy,
                    stdin=subprocess.DEVNULL,
                    stdout=log.fileno(),
                    stderr=subprocess.STDOUT,
                )
            )
            _wait_until_listening(process, port, directory / "output", contender.name)
            yield Instance(contender, job, process.pid)

    @contextlib.contextmanager
    def client(
        self, instance: Instance, workload: str, *options: str, paths: int = 1, limit: float = 60
    ) -> Iterator[Client]:
        """A client of an instance, made ready."""
        job, contender = instance.job, instance.contender
        arguments = [f"--port={job.port}", f"--limit={int(limit)}"]
        if contender.proxied and job.tls:
            arguments.append("--tls")
        if not contender.framed:
            arguments.append("--raw")
        with running_client(
            self._program, self.cores.load, [*arguments, *options, workload], contender.paths(job, paths)
        ) as client:
            client.wait_ready()
            yield client

    def measure(self, instance: Instance, client: Client, settle: float = 0.0) -> Measured:
        """Let a ready client run its measured part.

        :param settle: seconds for the proxy to finish what the part left to do.
        """
        target = self._secured_target()[0] if instance.job.secured else self._target_pid
        proxy, load = instance.cpu(), client.cpu() + tree_cpu(target)
        began = time.monotonic()
        client.go()
        result = client.result()
        wall = time.monotonic() - began
        busy = client.cpu() + tree_cpu(target) - load
        if settle:
            time.sleep(settle)
        share = busy / (wall * len(self.cores.load))
        return Measured(result, instance.cpu() - proxy, wall, share > _SATURATED)

    def keep(self, command: Sequence[str], **pipes: int) -> subprocess.Popen[bytes]:
        """Run another program on the side of the load until the stage is left."""
        return self._stack.enter_context(spawn(command, cores=self.cores.load, **pipes))

    def _secured_target(self) -> tuple[int, int]:
        """Process id and port of the console server that speaks TLS, started when it is first asked for."""
        if self._secured is None:
            target = running_target(self._program, self.cores.load, self.keys.console)
            self._secured = self._stack.enter_context(target)
        return self._secured


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert isinstance(port, int)
        return port


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path, name: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    wanted = f"0100007F:{port:04X} 00000000:0000 0A"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise BenchmarkError(f"{name} did not start: {lines[-1] if lines else 'no output'}")
        # Looked up, not tried: some contenders take a connection for a session.
        if wanted in Path("/proc/net/tcp").read_text(encoding="ascii"):
            return
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    raise BenchmarkError(f"{name} did not start in time")
