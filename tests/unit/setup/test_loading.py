"""What is known before the first question, and which of it counts."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from twisted.trial import unittest

from gateway.setup.asking.environment import Environment
from gateway.setup.asking.loading import load_environment, read_file
from gateway.setup.errors import SetupError
from gateway.setup.host.system import System

DEFAULT = "[environment:default]\n"


class LoadingTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.base = Path(temporary.name)
        self.root = self.base / "root"
        (self.root / "etc/ovirt-engine-setup.conf.d").mkdir(parents=True)

    def host(self, name: str, text: str) -> None:
        (self.root / "etc" / name).write_text(text)

    def file(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.base / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def load(self, *append: Path, config: Path | None = None, settings: str = "") -> Environment:
        system = System(self.root, owners=False)
        self.environment, self.warnings = load_environment(
            system, config=config, append=append, settings=settings
        )
        return self.environment

    def test_nothing(self) -> None:
        self.assertEqual(list(self.load().keys()), [])

    def test_the_latest_file_counts(self) -> None:
        keys = "ABCDE"
        for number, name in enumerate(
            (
                "ovirt-engine-setup.conf",
                "ovirt-engine-setup.conf.d/10-a.conf",
                "ovirt-engine-setup.conf.d/9.conf",
            )
        ):
            self.host(name, DEFAULT + "".join(f"{key}=str:{name}\n" for key in keys[number:]))
        self.host("ovirt-engine-setup.conf.d/99-ignored.conf.rpmsave", "nonsense")
        config = self.file("config", DEFAULT + "D=str:config\nE=str:config\n")
        environment = self.load(self.file("append", DEFAULT + "E=str:append\n"), config=config)
        self.assertEqual(
            [environment.get(key) for key in keys],
            [
                "ovirt-engine-setup.conf",
                "ovirt-engine-setup.conf.d/10-a.conf",
                "ovirt-engine-setup.conf.d/9.conf",
                "config",
                "append",
            ],
        )
        self.assertEqual(
            [environment.entry(key).remembered for key in keys], [True, True, True, False, False]
        )
        self.assertEqual(environment.entry("E").origin, f"{self.base}/append, line 2")

    def test_an_image_names_no_files_of_the_host_that_prepares_it(self) -> None:
        """Its maker could otherwise have root write a request over any of them."""
        keys = [f"OVESETUP_CONFIG/{name}" for name in ("pkiWSPCSRFilename", "remoteEngineHostClientKey")]
        lines = "".join(f"{key}=str:/etc/x\n" for key in keys)
        for section in ("default", "init", "override", "enforce"):
            self.host("ovirt-engine-setup.conf", f"[environment:{section}]\nA=str:a\n{lines}")
            environment = self.load()
            self.assertEqual([environment.get(key) for key in ["A", *keys]], ["a", None, None])
            self.assertEqual(len(self.warnings), 2)
            self.assertIn("conf, line 3: OVESETUP_CONFIG/pkiWSPCSRFilename is left aside", self.warnings[0])
        environment = self.load(self.file("append", DEFAULT + lines))
        self.assertEqual([environment.get(key) for key in keys], ["/etc/x"] * 2)

    def test_sections(self) -> None:
        path = self.file(
            "append",
            "[environment:default]\nA=str:default\nB=str:default\nC=str:default\nD=str:default\nE=str:default\n"
            "[environment:init]\nB=str:init\nC=str:init\nD=str:init\nE=str:init\n"
            "[environment:override]\nD=str:override\nE=str:override\n"
            "[environment:enforce]\nE=str:enforce\n",
        )
        environment = self.load(path, settings="C=str:told D=str:told E=str:told")
        self.assertEqual(
            [environment.get(key) for key in "ABCDE"], ["default", "init", "told", "override", "enforce"]
        )

    def test_a_value_can_be_taken_back(self) -> None:
        self.host("ovirt-engine-setup.conf.d/20-setup-ovirt-post.conf", DEFAULT + "A=str:old\nB=str:old\n")
        environment = self.load(self.file("append", DEFAULT + "A=none:None\n"), settings="B=none:None")
        self.assertEqual([environment.get("A"), environment.get("B")], [None, None])

    def test_doubts(self) -> None:
        self.host("ovirt-engine-setup.conf", DEFAULT + "A=bool:no\n")
        self.load(self.file("append", DEFAULT + "B=bool:0\n"), settings="C=bool:off")
        self.assertEqual([warning.split(": ")[1] for warning in self.warnings], ["A", "B", "C"])

    def test_passwords_that_others_can_read(self) -> None:
        text = DEFAULT + "OVESETUP_CONFIG/remoteEngineHostRootPassword=str:hunter22\n"
        self.load(self.file("append", text, 0o640))
        (warning,) = self.warnings
        self.assertIn(f"chmod 600 {self.base}/append", warning)
        self.assertNotIn("hunter22", warning)
        self.load(self.file("append", text))
        self.assertEqual(self.warnings, ())

    def test_passwords_on_the_command_line(self) -> None:
        for key in ("A/password", "QUESTION/1/SSH_ACCESS_REMOTE_ENGINE_PASSWORD"):
            error = self.assertRaises(SetupError, self.load, settings=f"{key}=str:hunter22")
            self.assertIn(key, str(error))
            self.assertNotIn("hunter22", str(error))
            self.load(settings=f"{key}=none:None")

    def test_files_that_cannot_be_read(self) -> None:
        fifo = self.base / "fifo"
        os.mkfifo(fifo)
        self.assertEqual(read_file(fifo), (b"", 0o600))
        for path, word in (
            (self.base / "missing", "No such file"),
            (self.base, "directory"),
            (Path("/dev/zero"), "bytes"),
        ):
            error = self.assertRaises(SetupError, self.load, path)
            self.assertIn(str(path), str(error))
            self.assertIn(word, str(error))

    def test_a_pipe_of_the_shell(self) -> None:
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        os.write(writer, (DEFAULT + "A=str:piped\n").encode())
        os.close(writer)
        self.assertEqual(self.load(Path(f"/dev/fd/{reader}")).get("A"), "piped")

    def test_wrong_files_of_the_host(self) -> None:
        self.host("ovirt-engine-setup.conf.d/10-a.conf", "A=str:x\n")
        error = self.assertRaises(SetupError, self.load)
        self.assertIn("/etc/ovirt-engine-setup.conf.d/10-a.conf, line 1", str(error))
