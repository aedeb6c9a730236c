"""Dashboard and alerts name what the gateway exposes; whether they work, Prometheus says in tests/e2e."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.control.scene import NOW, Scene

ETC = Path(__file__).resolve().parents[3] / "etc"
DASHBOARD = ETC / "grafana" / "console-gateway.json"
RULES = ETC / "prometheus" / "console-gateway.rules.yml"

_SELECTOR = re.compile(r"\b((?:console_gateway|process|python)_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)(=~|!=|=|!~)"((?:[^"\\]|\\.)*)"')
_TARGET_LABELS = {"job", "instance"}
"""Added by Prometheus."""


class ExpressionTests(SynchronousTestCase):
    def setUp(self) -> None:
        scene = Scene()
        scene.targets = [NOW]
        self.labels: dict[str, dict[str, set[str]]] = {}
        for sample in scene.samples():
            known = self.labels.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                known.setdefault(name, set()).add(value)

    def check(self, text: str) -> int:
        """Every metric, label and label value is one that there is; returns how many metrics are named."""
        count = 0
        for metric, matchers in _SELECTOR.findall(text):
            count += 1
            self.assertIn(metric, self.labels, text)
            for label, operator, value in _MATCHER.findall(matchers):
                if label in _TARGET_LABELS:
                    continue
                known = self.labels[metric][label]
                if "~" not in operator:
                    self.assertIn(value, known, text)
                    continue
                for alternative in value.split("|"):
                    self.assertTrue([each for each in known if re.fullmatch(alternative, each)], alternative)
        return count

    def test_alerts(self) -> None:
        text = RULES.read_text(encoding="utf-8")
        self.assertGreater(self.check(text), 20)
        self.assertEqual(text.count("- alert:"), text.count("summary:"))
        self.assertEqual(text.count("- alert:"), text.count("description:"))
        self.assertEqual(text.count("- alert:"), text.count("severity:"))

    def test_dashboard(self) -> None:
        for panel in panels():
            for target in panel["targets"]:
                self.assertGreater(self.check(target["expr"]), 0)
                # Whoever selects one gateway sees one gateway.
                self.assertEqual(
                    len(_SELECTOR.findall(target["expr"])),
                    target["expr"].count('job=~"$job", instance=~"$instance"'),
                )

    def test_everything_is_shown(self) -> None:
        """What is measured is on the dashboard, or is the basis of an alert."""
        text = RULES.read_text(encoding="utf-8") + " ".join(
            target["expr"] for panel in panels() for target in panel["targets"]
        )
        shown = {metric for metric, _ in _SELECTOR.findall(text)}
        histograms = {name.removesuffix("_bucket") for name in shown if name.endswith("_bucket")}
        ours = {name for name in self.labels if name.startswith("console_gateway_")}
        hidden = {name for name in ours - shown if re.sub("_(sum|count)$", "", name) not in histograms}
        # Readiness says more.
        self.assertEqual(hidden, {"console_gateway_admitting"})


class LayoutTests(SynchronousTestCase):
    def test_panels(self) -> None:
        found = list(panels())
        self.assertEqual(len({panel["id"] for panel in found}), len(found))
        taken: set[tuple[int, int]] = set()
        for panel in found:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24)
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            self.assertEqual(cells & taken, set(), panel["title"])
            taken |= cells
            for each in (panel, *panel["targets"]):
                self.assertEqual(each["datasource"], {"type": "prometheus", "uid": "${datasource}"})
            self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])

    def test_variables(self) -> None:
        dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
        self.assertGreaterEqual(dashboard["schemaVersion"], 38)
        names = [variable["name"] for variable in dashboard["templating"]["list"]]
        self.assertEqual(names, ["datasource", "job", "instance"])
        # Those of Grafana's own begin with two underscores.
        used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(dashboard)))
        self.assertEqual(used, set(names))


def panels() -> Iterator[dict[str, Any]]:
    """The panels that show something."""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        if panel["type"] != "row":
            yield panel
