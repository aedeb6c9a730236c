"""Tables for terminals and documents, and the whole run as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from benchmarks.gates import Verdicts
from benchmarks.stats import median, paired_ratio, spread
from benchmarks.vocabulary import Metric, Outcome, Results
from benchmarks.workloads import WORKLOADS

__all__ = ["Report"]

_TITLES = {"ours": "Console Gateway", "haproxy": "HAProxy", "direct": "no proxy"}
_SATURATED = "*"
_NOTE = (
    "Figures are medians over rounds, with half the spread; in brackets how many times ours a peer's is. "
    "CPU is that of the whole process tree of a proxy. nginx and HAProxy end TLS and pass on TCP, without "
    "WebSocket framing and tickets. An asterisk marks figures of a run in which the load generator was busy "
    "all the time, so that the proxy was not."
)


@attrs.frozen
class Report:
    """A run, to be written down."""

    facts: Mapping[str, str]
    versions: Mapping[str, Mapping[str, str]]
    """By contender, what ran."""
    headings: Mapping[str, str]
    """Titles of the workloads at this scale."""
    results: Results
    verdicts: Verdicts
    notes: Sequence[str] = ()
    """What was left out, and why."""

    def text(self) -> str:
        """For a terminal."""
        rows = list(self._rows())
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join(
                cell.ljust(width) if column < 2 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        lines.insert(1, "-" * max(map(len, lines)))
        gates = [f"{verdict:<12}  {figure:>22}  {title}" for title, figure, verdict in self._gate_rows()]
        return "\n".join(
            [*self._head(), "", *lines, "", _NOTE, "", "Gates", *gates, *(f"! {note}" for note in self.notes)]
        )

    def markdown(self) -> str:
        """For the documentation."""
        head, *rows = self._rows()
        lines = [
            "# Benchmark results",
            "",
            *(f"- {line}" for line in self._head()),
            "",
            _NOTE.replace("asterisk", "asterisk (\\*)"),
            "",
            *_markdown_table(head, rows),
            "",
            "## Gates",
            "",
            *_markdown_table(("aim", "measured", "verdict"), self._gate_rows()),
        ]
        if self.notes:
            lines += ["", "## Left out", "", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def json(self) -> str:
        """Everything, for programs."""
        return json.dumps(
            {
                "facts": dict(self.facts),
                "contenders": {name: dict(facts) for name, facts in self.versions.items()},
                "results": [
                    {
                        "workload": name,
                        "title": self.headings[name],
                        "transport": transport.value,
                        "contender": contender,
                        "rounds": outcome.values,
                        "medians": {metric: median(values) for metric, values in outcome.values.items()},
                        "rounds_with_saturated_load": outcome.saturated,
                        "failures": outcome.failures,
                    }
                    for (name, transport), outcomes in self.results.items()
                    for contender, outcome in outcomes.items()
                ],
                "gates": [
                    {"aim": title, "measured": value, "verdict": verdict.value}
                    for (gate, value, verdict), (title, _, _) in zip(
                        self.verdicts, self._gate_rows(), strict=True
                    )
                ],
                "notes": list(self.notes),
            },
            indent=1,
            ensure_ascii=False,
        )

    def _head(self) -> Iterator[str]:
        yield ", ".join(f"{name}: {text}" for name, text in self.facts.items())
        for name, versions in self.versions.items():
            yield f"{_TITLES.get(name, name)}: {versions['version']}, TLS: {versions['tls']}"

    def _rows(self) -> Iterator[tuple[str, ...]]:
        contenders = list(self.versions)
        yield ("workload", "metric", *(_TITLES.get(name, name) for name in contenders))
        for (name, transport), outcomes in self.results.items():
            for metric in WORKLOADS[name].metrics:
                cells = [_cell(metric, outcomes, contender) for contender in contenders]
                if any(cells):
                    yield f"{transport.value} {self.headings[name]}", metric.title, *cells

    def _gate_rows(self) -> Iterator[tuple[str, str, str]]:
        for gate, value, verdict in self.verdicts:
            if gate.peer is None:
                aim = f">= {gate.at_least:g}" if gate.at_least is not None else f"<= {gate.at_most:g}"
                figure = "" if value is None else f"{value:.3g}"
                title = gate.title
            elif gate.peer == "nginx":
                # Said the way round in which it was aimed at: our part of its figure.
                assert gate.at_least is not None
                aim = f"<= {1 / gate.at_least:g}x"
                figure = "" if not value else f"{1 / value:.2f}x"
                title = f"{gate.title}, of nginx's"
            else:
                aim = f">= {gate.at_least:g}x"
                figure = "" if value is None else f"{value:.3g}x"
                title = f"{gate.title}, {gate.peer} to ours"
            yield f"{title} {aim}", figure, verdict.value


def _cell(metric: Metric, outcomes: Mapping[str, Outcome], contender: str) -> str:
    outcome = outcomes.get(contender)
    if outcome is None:
        return ""
    values = outcome.values.get(metric.name)
    if not values:
        return "failed" if outcome.failures else ""
    text = f"{median(values):.{metric.decimals}f}"
    if len(values) > 1:
        text += f" ±{100 * spread(values):.0f}%"
    if outcome.saturated and metric.compared:
        text += _SATURATED
    if contender != "ours" and metric.compared and "ours" in outcomes:
        ratio = paired_ratio(values, outcomes["ours"].values.get(metric.name, []))
        if ratio is not None:
            text += f" ({ratio:.2g})" if ratio < 100 else f" ({ratio:.0f})"
    return text


def _markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "| " + " | ".join("---" for _ in head) + " |"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in row) + " |"
