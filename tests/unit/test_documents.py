"""Documents that must keep up with the code."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import click
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from gateway.cli import main
from gateway.control.address import DEFAULT_SOCKET
from gateway.reasons import EndReason, Refusal
from gateway.settings import Settings
from tests.unit.control.scene import NOW, Scene, ask

ROOT = Path(__file__).resolve().parents[2]


class CodesDocumentTests(SynchronousTestCase):
    """docs/codes.md lists what gateway/reasons.py defines, and nothing else."""

    def setUp(self) -> None:
        text = (ROOT / "docs" / "codes.md").read_text(encoding="utf-8")
        ends, refusals = text.split("## Refusals before the upgrade")
        self.ends = self.rows(ends)
        self.refusals = self.rows(refusals)

    def rows(self, text: str) -> list[tuple[str, str, str]]:
        return re.findall(r"^\| ([\w ]+) \| `([\w-]+)` \| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE)

    def test_ends(self) -> None:
        expected = [
            (
                "own code" if end is EndReason.CLIENT_CLOSED else str(end.code or "none"),
                end.label,
                end.public or "-",
            )
            for end in EndReason
        ]
        self.assertEqual(self.ends, expected)

    def test_refusals(self) -> None:
        expected = [(str(each.status), each.label, each.public) for each in Refusal]
        self.assertEqual(self.refusals, expected)

    def test_private_codes_are_distinct(self) -> None:
        private = [end.code for end in EndReason if end.code and end.code >= 4000]
        self.assertEqual(len(private), len(set(private)))
        self.assertTrue(all(code <= 4999 for code in private))

    def test_public_texts_fit_a_close_frame(self) -> None:
        for end in EndReason:
            self.assertLessEqual(len(end.public.encode()), 123)


class OperationsDocumentTests(SynchronousTestCase):
    """docs/operations.md knows every metric, limit, command and reason that there is, and no others."""

    def setUp(self) -> None:
        self.text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        self.prose = re.sub(r"^```.*?^```$", "", self.text, flags=re.MULTILINE | re.DOTALL)

    def section(self, title: str) -> str:
        match = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", self.text, re.MULTILINE | re.DOTALL)
        assert match is not None, f"there is no section {title!r}"
        return match[1]

    def test_metrics(self) -> None:
        scene = Scene()
        scene.targets = [NOW + 86400]  # without one, not all metrics are there
        scrape = ask(scene.metrics.resource, {})
        assert scrape is not None
        expected = {}
        for family in text_string_to_metric_families(scrape.body.decode()):
            if family.name.startswith("console_gateway_"):
                name = f"{family.name}_total" if family.type == "counter" else family.name
                labels = {label for sample in family.samples for label in sample.labels} - {"le"}
                expected[name] = labels
        rows = re.findall(r"^\| `(console_gateway_\w+)` \|([^|]*)\|", self.section("Metrics"), re.MULTILINE)
        found = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
        self.assertEqual(found, expected)
        self.assertEqual(len(rows), len(found))

    def test_values_of_labels(self) -> None:
        section = self.section("Metrics")
        scene = Scene()
        for sample in scene.samples():
            for label in ("limit", "expires", "direction", "kind"):
                if label in sample.labels:
                    self.assertIn(f"`{sample.labels[label]}`", section)

    def test_limits(self) -> None:
        rows = re.findall(r"^\| (`[^|]+`) \| ([^|]+) \| [^|]+ \|$", self.section("Limits"), re.MULTILINE)
        found = {key: default for keys, default in rows for key in re.findall(r"`([\w.]+)`", keys)}
        values = attrs.asdict(Settings(), recurse=True)
        for table in ("limits", "uses", "sessions"):
            for name in values[table]:
                self.assertIn(f"{table}.{name}", found)
        for key, default in found.items():
            table, _, name = key.partition(".")
            self.assertEqual(default, _shown(values[table][name]), key)

    def test_commands(self) -> None:
        commands = set(
            re.findall(r"^\| `console-gateway ([a-z -]+?)(?: --| [A-Z]|`)", self.text, re.MULTILINE)
        )
        self.assertEqual(commands, set(_commands(main)))

    def test_reasons(self) -> None:
        linked = re.findall(r"\[`([a-z-]+)`\]\[(ends|refusals)\]", self.prose)
        ends, refusals = {each.label for each in EndReason}, {each.label for each in Refusal}
        self.assertEqual({label for label, where in linked if where == "ends"}, ends)
        # It is among the ends as well, and means the same.
        self.assertEqual(
            {label for label, where in linked if where == "refusals"}, refusals - {"internal-error"}
        )
        for label in ends | refusals:
            # A reason in the log without a link is one that was renamed, or forgotten.
            self.assertIsNone(re.search(rf"(?<!\[)`{label}`", self.prose), label)
        for where, anchor in (("ends", "ends-of-sessions"), ("refusals", "refusals-before-the-upgrade")):
            self.assertIn(f"\n[{where}]: codes.md#{anchor}\n", self.text)

    def test_codes(self) -> None:
        codes = {each.label: each.code for each in EndReason}
        statuses = {each.label: each.status for each in Refusal}
        for number, label in re.findall(r"code (\d{4}), \[`([a-z-]+)`\]\[ends\]", self.prose):
            self.assertEqual(codes[label], int(number), label)
        for number, label in re.findall(r"status (\d{3}), \[`([a-z-]+)`\]\[refusals\]", self.prose):
            self.assertEqual(statuses[label], int(number), label)

    def test_examples_of_the_log(self) -> None:
        labels = {each.label for each in EndReason} | {each.label for each in Refusal}
        self.assertLessEqual(set(re.findall(r" reason=([a-z-]+)", self.text)), labels)

    def test_job_of_the_alerts(self) -> None:
        self.assertIn("job_name: console-gateway\n", self.text)
        rules = (ROOT / "etc" / "prometheus" / "console-gateway.rules.yml").read_text(encoding="utf-8")
        self.assertEqual(set(re.findall(r'job="([^"]*)"', rules)), {"console-gateway"})


def _commands(group: click.Group, before: str = "") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield before + name
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")


def _shown(value: object) -> str:
    """A default, in the words of the table."""
    if value is None:
        return "none"
    if isinstance(value, enum.Enum):
        return f"`{value.value}`"
    if isinstance(value, float):
        return f"{value:g} s" if value else "off"
    if isinstance(value, int) and value and value % 1024 == 0:
        return f"{value >> 20} MiB" if value % (1 << 20) == 0 else f"{value >> 10} KiB"
    return str(value)


class UnitTests(SynchronousTestCase):
    """The unit gives the service the directories that documents and defaults name."""

    def test_directories(self) -> None:
        unit = (ROOT / "etc" / "console-gateway.service").read_text(encoding="utf-8")
        keys = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
        text = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
        for key, parent in (("Runtime", "/run"), ("State", "/var/lib"), ("Logs", "/var/log")):
            directory = f"{parent}/{keys[f'{key}Directory']}"
            self.assertIn(f"| `{directory}` | `{key}Directory=` |", text)
        self.assertEqual(f"/run/{keys['RuntimeDirectory']}/control.sock", str(DEFAULT_SOCKET))
        # Behind it, the kernel would name every operator but root as 65534.
        self.assertNotIn("PrivateUsers", keys)

    def test_rotation(self) -> None:
        rotation = (ROOT / "etc" / "console-gateway.logrotate").read_text(encoding="utf-8")
        settings = (ROOT / "etc" / "console-gateway.toml").read_text(encoding="utf-8")
        for path in re.findall(r'^#file = "(/var/log/[^"]+)"$', settings, re.MULTILINE):
            self.assertIn(f"\n{path}\n", rotation)
        self.assertIn("--signal=SIGUSR1 console-gateway.service\n", rotation)


class LinkTests(SynchronousTestCase):
    """Relative links between documents lead somewhere."""

    def test_links(self) -> None:
        documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
        for document in documents:
            for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
                self.assertTrue((document.parent / link).exists(), f"{document.name}: {link}")
