"""Documents that must keep up with the code."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gateway.reasons import EndReason, Refusal

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


class LinkTests(SynchronousTestCase):
    """Relative links between documents lead somewhere."""

    def test_links(self) -> None:
        documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
        for document in documents:
            for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
                self.assertTrue((document.parent / link).exists(), f"{document.name}: {link}")
