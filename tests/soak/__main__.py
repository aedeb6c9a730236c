"""``python -m tests.soak``: a soak for as long as it should take."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from tests.soak.run import Plan, Report, soak

_ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts" / "soak"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--minutes",
    type=click.FloatRange(0.1, 10_000),
    default=3.0,
    show_default=True,
    help="Length of the load.",
)
@click.option(
    "--sessions", type=click.IntRange(1, 2000), default=40, show_default=True, help="Clients at once."
)
@click.option("--seed", type=int, default=1, show_default=True, help="What the clients do.")
@click.option(
    "--growth",
    type=click.FloatRange(0),
    default=8.0,
    show_default=True,
    help="Anonymous memory that may be gained after the warm-up, in MiB.",
)
def main(minutes: float, sessions: int, seed: int, growth: float) -> None:
    """Put a gateway under load, and compare what it is afterwards with what it was before."""
    directory = Path(tempfile.mkdtemp(prefix="console-gateway-soak-"))
    try:
        plan = Plan(seconds=60 * minutes, clients=sessions, seed=seed, growth=growth)
        report = soak(plan, directory, click.echo)
        _say(report)
        if report.differences:
            _ARTIFACTS.mkdir(parents=True, exist_ok=True)
            shutil.copy(directory / "gateway.log", _ARTIFACTS)
            click.echo(f"The gateway's log: {_ARTIFACTS / 'gateway.log'}")
            raise SystemExit(1)
    finally:
        shutil.rmtree(directory)


def _say(report: Report) -> None:
    click.echo(f"visits: {_counts(report.visits)}")
    click.echo(f"sessions: {report.sessions}; ended: {_counts(report.ended)}")
    if report.before is not None and report.after is not None:
        before, after = report.before.memory, report.after.memory
        click.echo(f"anonymous memory: {before:.1f} MiB before, {after:.1f} MiB after")
        click.echo(f"found by the garbage collector only: {_counts(report.after.garbage) or 'nothing'}")
    for difference in report.differences:
        click.echo(f"DIFFERENCE {difference}")
    click.echo("failed" if report.differences else "passed: nothing is left")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


main(prog_name="python -m tests.soak")
