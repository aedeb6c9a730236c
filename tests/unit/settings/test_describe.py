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
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.settings import LogSettings, Settings, TlsSettings, examine_settings, load_settings
from gateway.settings.describe import describe, example, reference
from gateway.settings.keys import Key, sections

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
        dict[str, str]: st.dictionaries(TEXT, TEXT, max_size=5),
    }
    return known[key.type] if key.type in known else st.sampled_from(key.type)


ANY_SETTINGS = st.builds(
    Settings,
    **{s.name: st.builds(s.cls, **{key.name: values_of(key) for key in s.keys}) for s in sections()},
)


def load(text: str) -> tuple[Settings | None, set[str]]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "gateway.toml")
        path.write_bytes(text.encode())
        settings, problems = examine_settings(path)
        return settings, {problem.key for problem in problems}


class DescribeTests(SynchronousTestCase):
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
            body = text.partition(f"## `[{section.name}]`")[2].partition("\n## ")[0]
            rows = [row for row in body.splitlines() if row.startswith("| `")]
            self.assertEqual([row.split("`")[1] for row in rows], [key.name for key in section.keys])
            for row, key in zip(rows, section.keys, strict=True):
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
        for section in sections():
            table = tomllib.loads(text)[section.name]
            self.assertEqual(list(table), [key.name for key in section.keys])
            for key in section.keys:
                value = getattr(getattr(settings, section.name), key.name)
                if key.default is None:
                    self.assertIsInstance(value, Path)
                else:
                    self.assertEqual(value, key.default, key.path)

    def test_lines_of_the_example_fit(self) -> None:
        self.assertLessEqual(max(map(len, example().splitlines())), 100)

    def test_module_prints_them(self) -> None:
        for what, text in (("reference", reference()), ("example", example())):
            command = [sys.executable, "-W", "error", "-m", "gateway.settings.describe", what]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
            self.assertEqual(done.stdout, text)
