"""A moment of every fuzz target, and that a failure is kept and can be repeated."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.engine import TARGETS, load, run_hypothesis
from tests.support.process import ROOT


@pytest.mark.parametrize("target", TARGETS)
def test_a_moment(target: str) -> None:
    fuzz, seeds = load(target)
    for data in seeds:
        fuzz(data)
    tried, crash = run_hypothesis(fuzz, seeds, 2)
    assert crash is None, f"replay {crash.data!r}: {crash.error!r}"
    assert tried > 20


def test_a_failure_is_made_small_and_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def planted(data: bytes) -> None:
        if b"\x07" in data:
            raise ValueError("planted")

    tried, crash = run_hypothesis(planted, [b"abc"], 20, seed=1)
    assert crash is not None
    assert tried > 1
    assert crash.data == b"\x07"
    crash.report(tmp_path, "frames")
    (file,) = tmp_path.iterdir()
    assert file.read_bytes() == b"\x07"
    said = capfd.readouterr().err
    assert "ValueError: planted" in said
    assert f"python -m tests.fuzz frames --replay {file}" in said


def test_the_runner(tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "tests.fuzz", *arguments]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        return ended.returncode, ended.stdout + ended.stderr

    status, said = run("head", "--seconds", "1", "--engine", "hypothesis", "--artifacts", str(tmp_path))
    assert (status, "inputs passed" in said) == (0, True), said
    file = tmp_path / "input"
    file.write_bytes(load("frames")[1][0])
    assert run("frames", "--replay", str(file)) == (0, "frames: passed\n")
    assert run("--replay", str(file))[0] == 2
    assert run("nothing")[0] == 2
