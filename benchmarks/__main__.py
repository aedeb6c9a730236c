"""The benchmarks' command line."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

import attrs
import click

from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.gates import judge
from benchmarks.generator import build
from benchmarks.machine import Strangers, machine_facts
from benchmarks.plot import plot
from benchmarks.process import Cores, choose_cores
from benchmarks.report import Report
from benchmarks.stage import Stage
from benchmarks.vocabulary import BenchmarkError, Outcome, Results, Scale, Transport, chosen_scale
from benchmarks.workloads import WORKLOADS, Workload

_NOISY = 0.05
"""Share of the machine that other programs may take before figures are called unreliable."""


@click.command()
@click.option("--quick", is_flag=True, help="A few minutes, for development: rough figures from one round.")
@click.option(
    "-w",
    "--workload",
    "workloads",
    multiple=True,
    help="Run this one or, if none is named so, all whose names begin so; again for more. Default: all.",
)
@click.option(
    "-c",
    "--contender",
    "contenders",
    multiple=True,
    type=click.Choice(list(CONTENDERS)),
    help="Default: all.",
)
@click.option(
    "-t", "--transport", "transports", multiple=True, type=click.Choice([item.value for item in Transport])
)
@click.option("--rounds", type=click.IntRange(1, 50), help="Interleaved rounds of each measurement.")
@click.option("--seconds", type=click.FloatRange(0.2, 120), help="Length of timed measurements.")
@click.option("--mebibytes", type=click.IntRange(1, 16384), help="Size of bulk transfers.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write results.md, results.json and plot.svg to this directory.",
)
@click.option("--list", "listing", is_flag=True, help="Name the workloads and end.")
def main(
    quick: bool,
    workloads: tuple[str, ...],
    contenders: tuple[str, ...],
    transports: tuple[str, ...],
    rounds: int | None,
    seconds: float | None,
    mebibytes: int | None,
    output: Path | None,
    listing: bool,
) -> None:
    """Measure Console Gateway and its peers on this machine, interleaved, on loopback.

    The proxy has one CPU for itself, load generator and console server have the others. Compare figures
    of one run with each other, not with those of other machines. Needs a C compiler and OpenSSL's
    headers; nginx, HAProxy and Xtigervnc are measured where they are installed, websockify is installed
    from PyPI into build/bench.
    """
    if listing:
        for name, workload in WORKLOADS.items():
            click.echo(f"{name:<20} {workload.title}")
        return
    scale = chosen_scale(quick=quick, rounds=rounds, seconds=seconds, mebibytes=mebibytes)
    # As Ctrl-C, so that every process is ended and every directory removed.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        program = build()
    except BenchmarkError as error:
        raise click.ClickException(str(error)) from None
    run = _Run(scale, choose_cores(), _chosen(workloads), [Transport(t) for t in transports or ("wss", "ws")])
    run.prepare(contenders or CONTENDERS)
    interrupted = False
    strangers = Strangers()
    try:
        run.measure(program)
    except KeyboardInterrupt:
        interrupted = True
        click.echo("\ninterrupted", err=True)
    run.judge_quiet(strangers.cores())
    if run.results:
        _publish(run.report(), output)
    sys.exit(130 if interrupted else 0)


@attrs.define
class _Run:
    scale: Scale
    cores: Cores
    workloads: list[Workload]
    transports: list[Transport]
    contenders: list[Contender] = attrs.field(factory=list)
    versions: dict[str, dict[str, str]] = attrs.field(factory=dict)
    results: Results = attrs.field(factory=dict)
    notes: list[str] = attrs.field(factory=list)
    facts: dict[str, str] = attrs.field(factory=dict)

    def prepare(self, names: Iterable[str]) -> None:
        """Find the contenders; those that are not here are left out."""
        self.facts = machine_facts(self.cores)
        if self.cores.shared:
            self._note("there is only one CPU: proxy and load compete for it")
        for name in names:
            click.echo(f"looking for {name} ...", err=True)
            contender = CONTENDERS[name]
            try:
                self.versions[name] = contender.prepare()
            except BenchmarkError as error:
                self._note(f"without {name}: {error}")
            else:
                self.contenders.append(contender)

    def measure(self, program: Path) -> None:
        """Run everything."""
        plan = [
            (workload, transport, suitable)
            for workload in self.workloads
            for transport in self.transports
            if transport in workload.transports
            and (suitable := [c for c in self.contenders if workload.suits(c, transport, self.scale)])
        ]
        left = sum(self._seconds(*item) for item in plan)
        click.echo(f"{len(plan)} measurements will take about {left / 60:.1f} minutes", err=True)
        # What this program itself does must not take the proxy's time.
        os.sched_setaffinity(0, self.cores.load)
        with Stage(program, self.cores) as stage:
            for workload, transport, suitable in plan:
                title = f"{transport.value} {workload.heading(self.scale)}"
                click.echo(f"[{left / 60:4.1f} min left] {title}", err=True, nl=False)
                began = time.monotonic()
                try:
                    workload.prepare(stage)
                except BenchmarkError as error:
                    click.echo(err=True)
                    self._note(f"without {title}: {error}")
                else:
                    self._measure_one(stage, workload, transport, suitable)
                    click.echo(f" {time.monotonic() - began:.0f} s", err=True)
                left -= self._seconds(workload, transport, suitable)

    def judge_quiet(self, strangers: float) -> None:
        """Take down how many cores other programs kept busy."""
        self.facts["other programs"] = f"{strangers:.2f} cores on average"
        if strangers > _NOISY * (os.cpu_count() or 1):
            self._note(f"other programs kept {strangers:.2f} cores busy: do not trust these figures")

    def report(self) -> Report:
        """What came out."""
        headings = {name: workload.heading(self.scale) for name, workload in WORKLOADS.items()}
        return Report(self.facts, self.versions, headings, self.results, judge(self.results), self.notes)

    def _rounds(self, workload: Workload) -> int:
        return 1 if workload.once else self.scale.rounds

    def _seconds(self, workload: Workload, transport: Transport, suitable: list[Contender]) -> float:
        each_round = sum(workload.seconds(each, transport, self.scale) for each in suitable)
        return self._rounds(workload) * each_round

    def _measure_one(
        self, stage: Stage, workload: Workload, transport: Transport, suitable: list[Contender]
    ) -> None:
        outcomes = {contender.name: Outcome() for contender in suitable}
        self.results[workload.name, transport] = outcomes
        for turn in range(self._rounds(workload)):
            # Nobody always comes first.
            for contender in suitable[turn % len(suitable) :] + suitable[: turn % len(suitable)]:
                outcome = outcomes[contender.name]
                try:
                    reading, saturated = workload.measure(stage, contender, transport, self.scale)
                except BenchmarkError as error:
                    outcome.failures.append(str(error))
                    click.echo("x", err=True, nl=False)
                    self._note(f"{contender.name}, {transport.value} {workload.title}: {error}")
                else:
                    outcome.add(reading)
                    outcome.saturated += saturated
                    click.echo(".", err=True, nl=False)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            click.echo(f" ! {text}", err=True)


def _chosen(names: tuple[str, ...]) -> list[Workload]:
    for name in names:
        if not any(known.startswith(name) for known in WORKLOADS):
            raise click.BadParameter(f"no workload begins with '{name}'; see --list", param_hint="--workload")
    return [
        workload
        for known, workload in WORKLOADS.items()
        if not names
        or any(known == name or (name not in WORKLOADS and known.startswith(name)) for name in names)
    ]


def _publish(report: Report, directory: Path | None) -> None:
    click.echo(report.text())
    if directory is None:
        return
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.md").write_text(report.markdown(), encoding="utf-8")
    (directory / "results.json").write_text(report.json() + "\n", encoding="utf-8")
    (directory / "plot.svg").write_text(plot(report.results, report.headings), encoding="utf-8")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
