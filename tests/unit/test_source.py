from __future__ import annotations

import tempfile
from pathlib import Path

import click
from click.testing import CliRunner
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from gateway.cli.check_config import check_config
from gateway.cli.doctor import doctor
from gateway.cli.run import run
from gateway.doctor import Level, load
from gateway.settings import SettingsError
from gateway.source import DEFAULT_CONFIG, OvirtSource, TomlSource, choose_source
from gateway.tap import Options
from tests.support.pki import Authority


class ChoiceTests(SynchronousTestCase):
    def test_sources(self) -> None:
        usual = choose_source()
        self.assertIsInstance(usual, TomlSource)
        self.assertEqual(str(usual), DEFAULT_CONFIG)
        self.assertEqual(str(choose_source(Path("x.toml"))), "x.toml")
        self.assertEqual(str(choose_source(ovirt=True)), "/etc/ovirt-engine/ovirt-websocket-proxy.conf")
        named = choose_source(ovirt_conf=Path("x.conf"))
        self.assertIsInstance(named, OvirtSource)
        self.assertEqual(str(named), str(Path.cwd() / "x.conf"))

    def test_one_of_them(self) -> None:
        for config, ovirt, conf in (
            ("a", True, None),
            ("a", False, "b"),
            (None, True, "b"),
            ("a", True, "b"),
        ):
            with self.assertRaises(ValueError):
                choose_source(
                    None if config is None else Path(config),
                    ovirt=ovirt,
                    ovirt_conf=None if conf is None else Path(conf),
                )

    def test_commands_refuse_several(self) -> None:
        several = ["--ovirt", "--ovirt-conf", "x"]
        cases: list[tuple[click.Command, list[str]]] = [
            (run, several),
            (run, ["--config", "x", "--ovirt"]),
            (doctor, several),
            (check_config, several),
            (check_config, ["x", "--ovirt"]),
        ]
        for command, arguments in cases:
            result = CliRunner().invoke(command, arguments)
            self.assertEqual(result.exit_code, 2, (command.name, arguments))

    def test_plug_in(self) -> None:
        for arguments, expected in (
            ([], DEFAULT_CONFIG),
            (["--config", "x.toml"], "x.toml"),
            (["-c", "x.toml"], "x.toml"),
            (["--ovirt"], "/etc/ovirt-engine/ovirt-websocket-proxy.conf"),
            (["--ovirt-conf=/x.conf"], "/x.conf"),
        ):
            options = Options()
            options.parseOptions(arguments)
            self.assertEqual(str(options.source()), expected)
        with self.assertRaises(UsageError):
            Options().parseOptions(["--config=x", "--ovirt"])


class WarningTests(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.conf = Path(temporary.name) / "x.conf"
        Authority().save(Path(temporary.name), "ca")
        self.base = (
            f"SSL_ONLY=1\nSSL_CERTIFICATE=/x\nCERT_FOR_DATA_VERIFICATION={temporary.name}/certs/engine.cer\n"
        )
        self.events: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            self.events.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def test_each_is_logged_when_there_is_new_cause(self) -> None:
        source = OvirtSource(self.conf)
        for text, expected in (
            ("TRACE_ENABLE=1\n", ["TRACE_ENABLE"]),
            ("TRACE_ENABLE=1\nLOG_FILE=x\n", ["LOG_FILE"]),
            ("", []),
            ("TRACE_ENABLE=1\n", ["TRACE_ENABLE"]),
        ):
            self.conf.write_text(self.base + text)
            self.events.clear()
            source.load()
            self.assertEqual(
                [name for name in ("TRACE_ENABLE", "LOG_FILE") if name in str(self.events)], expected
            )
            self.assertEqual(len(self.events), len(expected))

    def test_problems_are_raised(self) -> None:
        self.conf.write_text(f"{self.base}PROXY_PORT=x\nPROXY_HOST=\n")
        with self.assertRaises(SettingsError) as caught:
            OvirtSource(self.conf).load()
        self.assertIn("line 4, PROXY_PORT: ", str(caught.exception))
        self.assertEqual(self.events, [])

    def test_doctor_has_them(self) -> None:
        self.conf.write_text(f"{self.base}TRACE_ENABLE=1\nPROXY_PORT=x\n")
        settings, findings = load(OvirtSource(self.conf))
        self.assertIsNone(settings)
        self.assertEqual([each.level for each in findings], [Level.WARN, Level.FAIL])
        self.assertIn("TRACE_ENABLE: sessions are not recorded", findings[0].detail)
        self.assertEqual(findings[0].remedy, "remove it")

    def test_check_config_has_them(self) -> None:
        self.conf.write_text(f"{self.base}TRACE_ENABLE=1\n")
        result = CliRunner().invoke(check_config, ["--ovirt-conf", str(self.conf)])
        lines = result.stderr.splitlines()
        self.assertEqual(
            lines[0], f"warning: {self.conf}: line 4, TRACE_ENABLE: sessions are not recorded; remove it"
        )
        # The files that the variables name do not exist.
        self.assertEqual(
            [line.split(": ")[1].split(" in ")[0] for line in lines[1:]],
            ["SSL_CERTIFICATE", "CERT_FOR_DATA_VERIFICATION"],
        )
        self.assertEqual(result.exit_code, 1)
        self.conf.write_text("SSL_ONLY=1\n")
        result = CliRunner().invoke(check_config, ["--ovirt-conf", str(self.conf)])
        names = [line.split(": ")[1] for line in result.stderr.splitlines()]
        self.assertEqual(names, ["SSL_CERTIFICATE", "CERT_FOR_DATA_VERIFICATION"])
