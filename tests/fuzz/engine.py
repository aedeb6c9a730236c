"""Runs a fuzz target for a time: coverage-guided with atheris, or with hypothesis alone.

Both engines end a run at the first failure, write the input to a file and say
how to repeat it.  Hypothesis finds a small input; atheris finds more.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import attrs
import click
import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

__all__ = ["MAX_INPUT", "TARGETS", "Crash", "have_atheris", "load", "run_atheris", "run_hypothesis"]

TARGETS: Final = ("frames", "tickets", "head", "door", "handshakes", "remote", "inputs", "proxies")
MAX_INPUT: Final = 4096
"""Longest input that an engine makes, in bytes."""

_ROUND: Final = 200
"""Inputs between two looks at the clock, and between two seeds of hypothesis."""
_HANG: Final = 10
"""Seconds after which one input counts as a hang."""

Fuzz = Callable[[bytes], None]


@attrs.frozen
class Crash:
    """An input that a target failed on."""

    data: bytes
    error: BaseException

    def write(self, directory: Path, target: str) -> Path:
        """Save the input, and return the file."""
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / f"{target}-{hashlib.sha256(self.data).hexdigest()[:16]}"
        file.write_bytes(self.data)
        return file

    def report(self, directory: Path, target: str) -> None:
        """Save the input, and say what happened and how to repeat it."""
        file = self.write(directory, target)
        click.echo("".join(traceback.format_exception(self.error)), err=True)
        click.echo(f"{target} failed on {len(self.data)} bytes: {self.data[:64]!r}", err=True)
        click.echo(f"input:  {file}", err=True)
        click.echo(f"replay: python -m tests.fuzz {target} --replay {file}", err=True)


def have_atheris() -> bool:
    """Whether the coverage-guided engine is installed."""
    return importlib.util.find_spec("atheris") is not None


def load(target: str) -> tuple[Fuzz, Sequence[bytes]]:
    """The function and the seeds of a target."""
    module = importlib.import_module(f"tests.fuzz.{target}")
    return module.fuzz, module.SEEDS


def run_hypothesis(
    fuzz: Fuzz, seeds: Sequence[bytes], seconds: float, *, seed: int = 0
) -> tuple[int, Crash | None]:
    """Try inputs until the time is over or one fails, and then a smaller one that fails, too.

    :param seconds: roughly how long; making a failing input smaller comes on top.
    :param seed: other seeds try other inputs.
    :returns: inputs tried, and the failure.
    """
    end = time.monotonic() + seconds
    tried = 0
    failed: Crash | None = None

    def one(data: bytes) -> None:
        nonlocal tried, failed
        if failed is None and time.monotonic() > end:
            return
        tried += 1
        try:
            fuzz(data)
        except Exception as error:
            # The last one to be tried is the smallest.
            failed = Crash(data, error)
            raise

    inputs = st.binary(max_size=MAX_INPUT) | _altered(seeds)
    while time.monotonic() < end:
        attempt = hypothesis.seed(seed)(hypothesis.given(inputs)(one))
        attempt = hypothesis.settings(
            max_examples=_ROUND,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )(attempt)
        try:
            attempt()
        except BaseException:
            if failed is None:
                raise
            return tried, failed
        seed += 1
    return tried, None


def _altered(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """A seed with a piece of it replaced."""
    return st.builds(
        lambda seed, place, size, piece: seed[: place % (len(seed) + 1)] + piece + seed[place + size :],
        st.sampled_from(seeds),
        st.integers(0, MAX_INPUT),
        st.integers(0, 8),
        st.binary(max_size=16),
    )


def run_atheris(target: str, seconds: int, directory: Path, *, seed: int = 0) -> NoReturn:
    """Fuzz with libFuzzer's coverage guidance; the process ends with the run, with status 1 on a failure.

    :param directory: where a failing input goes, and the inputs that reached new code, for the next run.
    :param seed: 0 for a new one each time.
    """
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["gateway", "autobahn.websocket", "twisted.web.http"]):
        fuzz, seeds = load(target)
    directory.mkdir(parents=True, exist_ok=True)

    def one(data: bytes) -> None:
        try:
            fuzz(data)
        except Exception as error:
            Crash(data, error).report(directory, target)
            sys.stderr.flush()
            # libFuzzer would write the input once more.
            os._exit(1)

    for data in seeds:
        one(data)
    corpus = directory / f"corpus-{target}"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(data)
    options = {
        "max_total_time": seconds,
        "max_len": MAX_INPUT,
        "timeout": _HANG,
        "artifact_prefix": f"{directory}/{target}-",
        "seed": seed,
        "print_final_stats": 1,
    }
    atheris.Setup([target, *(f"-{name}={value}" for name, value in options.items()), str(corpus)], one)
    atheris.Fuzz()
    raise SystemExit(0)
