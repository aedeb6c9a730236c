from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.settings import (
    LogSettings,
    RuleSettings,
    Settings,
    TargetSecurity,
    TlsSettings,
    Verification,
    examine_settings,
    load_settings,
)
from gateway.settings.describe import describe, example, reference
from gateway.settings.keys import Key, Section, sections
from gateway.targets.rules import SecurityRules
from gateway.targets.secrets import load_secrets

ROOT = Path(__file__).parents[3]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
PATHS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30).map(
    lambda t: Path("/", t)
)


def values_of(key: Key) -> st.SearchStrategy[Any]:
    """Any value that the type of *key* has."""
    if key.type is float:
        return st.floats(key.low, key.high)
    if key.type is int:
        return st.integers(int(key.low or 0), int(key.high or 0))
    if key.type is Path:
        return st.one_of(st.none(), PATHS)
    known = {
        bool: st.booleans(),
        str: TEXT,
        tuple[str, ...]: st.lists(TEXT, max_size=5).map(tuple),
        tuple[Path, ...]: st.lists(PATHS, max_size=5).map(tuple),
        dict[str, str]: st.dictionaries(TEXT, TEXT, max_size=5),
    }
    return known[key.type] if key.type in known else st.sampled_from(key.type)


def tables_of(section: Section) -> st.SearchStrategy[Any]:
    """Anything that *section* can hold."""
    values = {
        key.name: st.one_of(st.none(), values_of(key)) if key.inherited else values_of(key)
        for key in section.keys
    }
    table = st.builds(section.cls, **values)
    return st.dictionaries(TEXT, table, max_size=3) if section.many else table


ANY_SETTINGS = st.builds(Settings, **{section.name: tables_of(section) for section in sections()})


def load(text: str) -> tuple[Settings | None, set[str]]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "gateway.toml")
        path.write_bytes(text.encode())
        settings, problems = examine_settings(path)
        return settings, {problem.key for problem in problems}


class DescribeTests(SynchronousTestCase):
    @hypothesis_settings(deadline=None)
    @given(ANY_SETTINGS)
    def test_reads_back(self, settings: Settings) -> None:
        self.assertEqual(load(describe(settings))[0], settings)

    def test_defaults_read_back(self) -> None:
        settings, problems = load(describe(Settings()))
        self.assertEqual(settings, Settings())
        self.assertEqual(problems, {"tls.certificate", "tickets.certificate"})

    def test_unset_is_a_comment(self) -> None:
        self.assertIn("\n# file is not set\n", describe(Settings()))

    def test_a_lone_surrogate_still_makes_toml(self) -> None:
        tomllib.loads(describe(Settings(tls=TlsSettings(certificate=Path("/a\udc80")))))

    def test_rules_say_what_differs(self) -> None:
        rule = RuleSettings(targets=("a",), verify=Verification.CHAIN, anonymous=False)
        self.assertIn(
            '\n\n[rules.lab]\ntargets = ["a"]\nports = []\nverify = "chain"\nanonymous = false\n\n',
            describe(Settings(rules={"lab": rule})),
        )

    def test_secrets_are_hidden(self) -> None:
        @attrs.frozen
        class WithSecret(LogSettings):
            token: str = attrs.field(default="s3cret", metadata={"secret": True})

        text = describe(Settings(log=WithSecret()))
        self.assertNotIn("s3cret", text)
        self.assertIn("\n# token is set, but not shown\n", text)


class GeneratedFileTests(SynchronousTestCase):
    def test_reference_is_up_to_date(self) -> None:
        self.assertEqual(
            (ROOT / "docs/configuration.md").read_text(), reference(), "see gateway/settings/describe.py"
        )

    def test_example_is_up_to_date(self) -> None:
        self.assertEqual(
            (ROOT / "etc/console-gateway.toml").read_text(), example(), "see gateway/settings/describe.py"
        )

    def test_reference_names_every_key(self) -> None:
        text = reference()
        for section in sections():
            body = text.partition(f"## `[{section.title}]`")[2].partition("\n## ")[0]
            rows = [row for row in body.splitlines() if row.startswith("| `")]
            own = [key for key in section.keys if not key.inherited]
            self.assertEqual([row.split("`")[1] for row in rows], [key.name for key in own])
            for key in section.keys:
                self.assertIn(f"`{key.name}`", body)
            for row, key in zip(rows, own, strict=True):
                self.assertTrue(key.doc, key.path)
                self.assertEqual(len(re.split(r"(?<!\\)\|", row)), 7, row)

    def test_minimal_file_of_the_reference_loads(self) -> None:
        toml = reference().partition("```toml\n")[2].partition("```")[0]
        self.assertEqual(load(toml)[1], set())

    def test_example_loads(self) -> None:
        settings = load_settings(ROOT / "etc/console-gateway.toml")
        self.assertEqual(settings.tls.certificate, Path("/etc/console-gateway/server.pem"))
        self.assertEqual(settings.limits, Settings().limits)

    def test_example_with_every_key_turned_on(self) -> None:
        text = re.sub(r"(?m)^#(?! |$)", "", example())
        settings, problems = load(text)
        assert settings is not None
        self.assertEqual(problems, set())
        self.assertEqual(list(settings.rules), ["example"])
        self.assertEqual(list(settings.certificates), ["example"])
        for section in sections():
            if section.many:
                continue
            table = tomllib.loads(text)[section.name]
            self.assertEqual(list(table), [key.name for key in section.keys])
            for key in section.keys:
                value = getattr(getattr(settings, section.name), key.name)
                if key.default is None:
                    self.assertIsInstance(value, Path)
                else:
                    self.assertEqual(value, key.default, key.path)

    def test_every_example_of_a_rule_is_of_use(self) -> None:
        example_of_a_rule = example().partition("\n#[rules.example]\n")[2].partition("\n[relay]")[0]
        text = "[rules.example]\n" + re.sub(r"(?m)^#(?! |$)", "", example_of_a_rule)
        settings, problems = load(text)
        assert settings is not None
        self.assertEqual(problems, {"tls.certificate", "tickets.certificate"})
        rule = SecurityRules(settings).for_target("a.lab.example.com", 5900)
        self.assertEqual((rule.name, rule.mode), ("example", TargetSecurity.AUTO))

    def test_secrets_file_of_the_reference_loads(self) -> None:
        toml = reference().partition("## Secrets file")[2].partition("```toml\n")[2].partition("```")[0]
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "secrets.toml")
            path.touch(0o600)
            path.write_text(toml)
            secrets = load_secrets(path)
        found = secrets.find("vnc.example.com", 5901)
        assert found is not None
        self.assertEqual(found.username, "console")
        self.assertEqual(len(secrets), 3)

    def test_lines_of_the_example_fit(self) -> None:
        self.assertLessEqual(max(map(len, example().splitlines())), 100)

    def test_module_prints_them(self) -> None:
        for what, text in (("reference", reference()), ("example", example())):
            command = [sys.executable, "-W", "error", "-m", "gateway.settings.describe", what]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
            self.assertEqual(done.stdout, text)
