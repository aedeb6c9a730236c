"""What is made of measured figures: statistics, gates, tables and the picture."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.gates import GATES, Gate, Verdict, judge
from benchmarks.plot import plot
from benchmarks.report import Report
from benchmarks.stats import median, paired_ratio, spread
from benchmarks.vocabulary import Outcome, Results, Transport, chosen_scale
from benchmarks.workloads import WORKLOADS

_POSITIVE = st.floats(min_value=1e-3, max_value=1e6)


def _results(**figures: dict[str, list[float]]) -> Results:
    return {("down-64k", Transport.WSS): {name: Outcome(values) for name, values in figures.items()}}


def _report(results: Results, notes: tuple[str, ...] = ()) -> Report:
    scale = chosen_scale(quick=True, rounds=None, seconds=None, mebibytes=None)
    headings = {name: workload.heading(scale) for name, workload in WORKLOADS.items()}
    versions = {
        "ours": {"version": "Console Gateway 1", "tls": "OpenSSL 4"},
        "websockify": {"version": "websockify 0", "tls": "OpenSSL 3"},
    }
    return Report({"CPU": "some | other"}, versions, headings, results, judge(results), notes)


class StatisticsTests(SynchronousTestCase):
    @given(st.lists(_POSITIVE, min_size=1, max_size=9))
    def test_the_median_lies_within_and_the_spread_covers_half_the_range(self, values: list[float]) -> None:
        middle = median(values)
        self.assertTrue(min(values) <= middle <= max(values))
        self.assertAlmostEqual(
            spread(values) * middle, (max(values) - min(values)) / 2, delta=1e-6 * max(values)
        )

    @given(st.lists(st.tuples(_POSITIVE, _POSITIVE), min_size=1, max_size=9), _POSITIVE)
    def test_a_mood_that_meets_both_sides_of_each_round_does_not_move_a_ratio(
        self, rounds: list[tuple[float, float]], factor: float
    ) -> None:
        moods = [factor if turn % 2 else 1.0 for turn in range(len(rounds))]
        calm = paired_ratio([a for a, _ in rounds], [b for _, b in rounds])
        moody = paired_ratio(
            [a * mood for (a, _), mood in zip(rounds, moods, strict=True)],
            [b * mood for (_, b), mood in zip(rounds, moods, strict=True)],
        )
        assert calm is not None
        assert moody is not None
        self.assertAlmostEqual(moody / calm, 1.0, places=6)

    def test_ratios_where_rounds_are_missing_or_zero(self) -> None:
        self.assertIsNone(paired_ratio([], [1.0]))
        self.assertIsNone(paired_ratio([1.0], [0.0]))
        self.assertIsNone(paired_ratio([1.0], [-1.0]))
        self.assertEqual(paired_ratio([4.0], [1.0, 2.0, 3.0]), 2.0)


class GateTests(SynchronousTestCase):
    def _judge(self, gate: Gate, ours: float, peer: float) -> Verdict:
        return gate.judge(_results(ours={"cpu": [ours]}, websockify={"cpu": [peer]}))[1]

    def test_a_ratio_passes_from_its_bound_on(self) -> None:
        gate = Gate("cheap", "down-64k", Transport.WSS, "cpu", peer="websockify", at_least=1.5)
        self.assertIs(self._judge(gate, 1.0, 1.5), Verdict.PASS)
        self.assertIs(self._judge(gate, 1.0, 1.49), Verdict.MISS)

    def test_an_absolute_figure_passes_up_to_its_bound(self) -> None:
        gate = Gate("small", "down-64k", Transport.WSS, "cpu", at_most=25)
        self.assertIs(self._judge(gate, 25.0, 0.0), Verdict.PASS)
        self.assertIs(self._judge(gate, 25.1, 0.0), Verdict.MISS)

    def test_what_was_not_measured_neither_passes_nor_misses(self) -> None:
        self.assertEqual({verdict for _, _, verdict in judge({})}, {Verdict.UNKNOWN})
        gate = Gate("cheap", "down-64k", Transport.WSS, "cpu", peer="websockify", at_least=1.5)
        self.assertIs(gate.judge(_results(ours={"cpu": [1.0]}))[1], Verdict.UNKNOWN)
        self.assertIs(gate.judge(_results(ours={}, websockify={"cpu": [1.0]}))[1], Verdict.UNKNOWN)

    def test_every_gate_names_a_workload_and_one_of_its_metrics(self) -> None:
        for gate in GATES:
            workload = WORKLOADS[gate.workload]
            self.assertIn(gate.metric, {metric.name for metric in workload.metrics}, gate.title)
            self.assertIn(gate.transport, workload.transports, gate.title)


class ReportTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.results = _results(
            ours={"cpu": [0.5, 0.5, 0.6], "rate": [900.0, 901.0, 902.0]},
            websockify={"cpu": [1.0, 1.0, 1.2]},
        )
        self.results["down-64k", Transport.WSS]["websockify"].saturated = 1

    def test_a_row_has_median_spread_ratio_and_flag(self) -> None:
        line = next(line for line in _report(self.results).text().splitlines() if "CPU s/GiB" in line)
        self.assertIn("wss to browser, 64 KiB writes", line)
        self.assertIn("0.50 ±10%", line)
        self.assertIn("1.00 ±10%* (2)", line)

    def test_a_failure_is_said_in_its_place(self) -> None:
        self.results["down-64k", Transport.WSS]["websockify"] = Outcome(failures=["lost"])
        text = _report(self.results, ("websockify: lost",)).text()
        self.assertIn("failed", text)
        self.assertIn("! websockify: lost", text)

    def test_markdown_tables_are_rectangular(self) -> None:
        lines = [line for line in _report(self.results).markdown().splitlines() if line.startswith("|")]
        bars = {line.replace("\\|", "").count("|") for line in lines}
        self.assertEqual(bars, {5, 4})

    def test_json_holds_every_round(self) -> None:
        data = json.loads(_report(self.results).json())
        ours = next(item for item in data["results"] if item["contender"] == "ours")
        self.assertEqual(ours["rounds"]["cpu"], [0.5, 0.5, 0.6])
        self.assertEqual(ours["medians"]["cpu"], 0.5)
        self.assertEqual(len(data["gates"]), len(GATES))

    def test_the_picture_is_well_formed_and_has_a_bar_for_each_peer_measured(self) -> None:
        report = _report(self.results)
        # Made by the function under test, a moment ago.
        root = ET.fromstring(plot(self.results, report.headings))
        titles = [item.text for item in root.iter("{http://www.w3.org/2000/svg}title")]
        self.assertEqual(titles, ["wss to browser, 64 KiB writes: websockify 2.00"])

    def test_a_picture_of_nothing_is_well_formed(self) -> None:
        ET.fromstring(plot({}, {}))
