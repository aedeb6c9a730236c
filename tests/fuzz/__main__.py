"""``python -m tests.fuzz``: run fuzz targets, or one input of one again."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import click

from tests.fuzz.engine import TARGETS, have_atheris, load, run_atheris, run_hypothesis

_ROOT = Path(__file__).resolve().parents[2]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("targets", nargs=-1, type=click.Choice(TARGETS))
@click.option(
    "--seconds", type=click.IntRange(1, 86400), default=60, show_default=True, help="Time for each target."
)
@click.option(
    "--engine",
    type=click.Choice(["atheris", "hypothesis"]),
    default="atheris" if have_atheris() else "hypothesis",
    show_default=True,
    help="atheris is guided by coverage; it has to be installed (pip install --group fuzz).",
)
@click.option(
    "--seed", type=click.IntRange(0), help="Try the same inputs again (hypothesis).  [default: time]"
)
@click.option(
    "--artifacts",
    type=click.Path(file_okay=False, path_type=Path),
    default=_ROOT / "artifacts" / "fuzz",
    help="Where failing inputs and the corpus go.  [default: artifacts/fuzz]",
)
@click.option(
    "--replay",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Only run this input of one target.",
)
def main(
    targets: tuple[str, ...],
    seconds: int,
    engine: str,
    seed: int | None,
    artifacts: Path,
    replay: Path | None,
) -> None:
    """Fuzz TARGETS (all by default), one after the other, and stop at the first failure."""
    if replay is not None:
        if len(targets) != 1:
            raise click.UsageError("--replay needs the one target that the input is for")
        load(targets[0])[0](replay.read_bytes())
        click.echo(f"{targets[0]}: passed")
        return
    if engine == "atheris" and not have_atheris():
        raise click.UsageError("atheris is not installed: pip install --group fuzz, or --engine hypothesis")
    targets = targets or TARGETS
    if engine == "hypothesis":
        if seed is None:
            seed = int(time.time())
        for target in targets:
            fuzz, seeds = load(target)
            tried, crash = run_hypothesis(fuzz, seeds, seconds, seed=seed)
            if crash is not None:
                crash.report(artifacts, target)
                raise SystemExit(1)
            click.echo(f"{target}: {tried} inputs passed (hypothesis, seed {seed})")
    elif len(targets) == 1:
        run_atheris(targets[0], seconds, artifacts, seed=seed or 0)
    else:
        # libFuzzer ends its process.
        again = [sys.executable, "-m", "tests.fuzz", "--seconds", str(seconds), "--engine", engine]
        for target in targets:
            status = subprocess.run(
                [*again, "--seed", str(seed or 0), "--artifacts", str(artifacts), target],
                cwd=_ROOT,
                check=False,
            ).returncode
            if status:
                raise SystemExit(status)
            click.echo(f"{target}: passed")


main(prog_name="python -m tests.fuzz")
