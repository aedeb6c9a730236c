"""The benchmarks' command line."""

from __future__ import annotations

import click

from benchmarks.load import raise_file_limit
from benchmarks.memory import measure_idle, measure_stall

_MIB = 1 << 20


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Measure the gateway on this machine. Without a command, everything runs.

    Loopback only. Compare figures of one run with each other, not with those of other machines.
    """
    raise_file_limit()
    if context.invoked_subcommand is None:
        context.invoke(idle)
        context.invoke(stall)


@main.command()
@click.option("--sessions", default=1000, show_default=True, type=click.IntRange(1, 20000))
def idle(sessions: int) -> None:
    """Memory and CPU of idle sessions in one process."""
    for name, tls in (("wss", True), ("ws", False)):
        click.echo(f"opening {sessions} idle {name} sessions ...", err=True)
        result = measure_idle(sessions, tls=tls)
        click.echo(
            f"{name:>4} idle: {result.sessions} sessions held, "
            f"{result.bytes_per_session / 1024:6.1f} KiB each, opened in {result.seconds:.1f} s, "
            f"{100 * result.cpu_share:.2f} % of a core while idle"
        )


@main.command()
@click.option("--offered", default=300, show_default=True, type=click.IntRange(1, 4096), help="MiB to send.")
def stall(offered: int) -> None:
    """Growth of the process under a browser that stops reading."""
    for name, tls in (("wss", True), ("ws", False)):
        click.echo(f"offering {offered} MiB to a stalled {name} client ...", err=True)
        result = measure_stall(offered * _MIB, tls=tls)
        click.echo(
            f"{name:>4} stall: target offered {offered} MiB, process grew {result.growth / _MIB:.2f} MiB"
        )


if __name__ == "__main__":
    main()
