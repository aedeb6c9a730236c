"""The file of --engine-ca is looked at before anything is asked."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from twisted.trial import unittest

from gateway.setup.outset import run_setup
from gateway.setup.session import Manner
from tests.unit.setup.enrolling import authority, certificate, dump, engine_certificate


class EngineCaTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        base = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.root, self.file = base / "root", base / "engine.cer"
        self.root.mkdir()

    def run_with(self, content: bytes) -> str:
        self.file.write_bytes(content)
        sink = io.StringIO()
        manner = Manner("setup", root=self.root, owners=False, logs=False)
        status = run_setup(manner, engine_ca=self.file, source=io.BytesIO(), sink=sink)
        self.assertEqual(status, 1)
        self.assertEqual(list(self.root.rglob("*")), [])
        return " ".join(sink.getvalue().split())

    def test_what_is_no_ca(self) -> None:
        for content, words in (
            (
                engine_certificate(),
                "is not that of a CA; name a file with the certificate of the engine's CA",
            ),
            (dump(authority().certificate) + certificate(), "is not that of a CA"),
            (b"", "there is no PEM certificate: it is empty"),
        ):
            text = self.run_with(content)
            self.assertIn(f"--engine-ca {self.file}: ", text)
            self.assertIn(words, text)
            self.assertNotIn("Set up the console gateway", text)

    def test_a_ca_is_taken(self) -> None:
        self.assertIn("Set up the console gateway", self.run_with(dump(authority().certificate)))
