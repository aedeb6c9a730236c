from __future__ import annotations

import os
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gateway.settings import (
    ListenSettings,
    LogFormat,
    LogSettings,
    Settings,
    SettingsError,
    TicketSettings,
    TlsSettings,
    TlsVersion,
    check_settings,
    examine_settings,
    load_settings,
)

MINIMAL = '[tls]\ncertificate = "server.pem"\n[tickets]\ncertificate = "/etc/engine.pem"\n'
LEVELS = "one of 'debug', 'info', 'warn', 'error'"


class LoaderTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)
        self.path = self.directory / "gateway.toml"

    def load(self, text: str | bytes) -> Settings:
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_settings(self.path)

    def problems(self, text: str | bytes) -> list[str]:
        """The problems of the file *text*, without the file's name."""
        with self.assertRaises(SettingsError) as caught:
            self.load(text)
        lines = str(caught.exception).split("\n")
        self.assertEqual(len(lines), len(caught.exception.problems))
        for line in lines:
            self.assertTrue(line.startswith(f"{self.path}: "), line)
            self.assertTrue(line.isprintable(), line)
        return [line.removeprefix(f"{self.path}: ") for line in lines]

    def problem(self, extra: str) -> str:
        """The only problem when *extra* is added to a minimal file."""
        (line,) = self.problems(MINIMAL + extra)
        return line


class LoadTests(LoaderTestCase):
    def test_minimal(self) -> None:
        self.assertEqual(
            self.load(MINIMAL),
            Settings(
                tls=TlsSettings(certificate=self.directory / "server.pem"),
                tickets=TicketSettings(certificate=Path("/etc/engine.pem")),
            ),
        )

    def test_every_kind_of_value(self) -> None:
        settings = self.load(
            MINIMAL + "skew = 0\nmax_size = 2048\n"
            '[listen]\ntls = ["tcp:1", "tcp:2"]\n'
            '[targets]\nsockets = { "vm1:5900" = "/run/vm1" }\n'
            "[pages]\nenabled = true\n"
            '[log]\nformat = "json"\nfile = "log/gateway.log"\n'
        )
        self.assertEqual(settings.tickets.skew, 0.0)
        self.assertIs(type(settings.tickets.skew), float)
        self.assertEqual(settings.tickets.max_size, 2048)
        self.assertEqual(settings.listen.tls, ("tcp:1", "tcp:2"))
        self.assertEqual(settings.targets.sockets, {"vm1:5900": "/run/vm1"})
        self.assertIs(settings.pages.enabled, True)
        self.assertEqual(
            settings.log, LogSettings(format=LogFormat.JSON, file=self.directory / "log/gateway.log")
        )

    def test_enum(self) -> None:
        settings = self.load(MINIMAL.replace("[tls]", '[tls]\nmin_version = "TLSv1.3"'))
        self.assertIs(settings.tls.min_version, TlsVersion.TLS_1_3)

    def test_relative_paths_belong_to_the_file(self) -> None:
        self.path.write_text(MINIMAL)
        before = Path.cwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.directory)
        settings = load_settings(Path("gateway.toml"))
        os.chdir(before)
        self.assertEqual(settings.tls.certificate, self.directory / "server.pem")

    def test_defaults_need_no_disk_and_no_checks(self) -> None:
        self.assertEqual(Settings().listen.tls, ("tcp:6100",))


class WrongFileTests(LoaderTestCase):
    def test_missing(self) -> None:
        with self.assertRaises(SettingsError) as caught:
            load_settings(self.path)
        self.assertEqual(
            str(caught.exception),
            f"{self.path}: cannot be read: No such file or directory; check its name and permissions",
        )

    def test_not_a_file(self) -> None:
        fifo = self.directory / "fifo"
        os.mkfifo(fifo)
        for path in (self.directory, fifo, Path("/dev/zero")):
            with self.assertRaises(SettingsError) as caught:
                load_settings(path)
            (problem,) = caught.exception.problems
            self.assertRegex(str(problem), "is not a regular file|Is a directory")

    def test_name_with_nul(self) -> None:
        with self.assertRaises(SettingsError) as caught:
            load_settings(Path("a\0b"))
        self.assertTrue(str(caught.exception).startswith("a\\x00b: cannot be read"))

    def test_too_large(self) -> None:
        (line,) = self.problems("#" * (1024 * 1024 + 1))
        self.assertEqual(line, "is larger than 1048576 bytes; name a settings file in TOML")

    def test_syntax(self) -> None:
        (line,) = self.problems("[tls]\nkey = = 3\n")
        self.assertEqual(line, "line 2, column 7: Invalid value; correct the syntax")

    def test_syntax_at_the_end(self) -> None:
        (line,) = self.problems("[tls]\nkey = ")
        self.assertTrue(line.startswith("line 2, column 7: Invalid value"), line)

    def test_duplicate_key(self) -> None:
        (line,) = self.problems("[tls]\nkey = 'a'\nkey = 'b'\n")
        self.assertTrue(line.startswith("line 3, column 10: Cannot overwrite a value"), line)

    def test_not_utf8(self) -> None:
        (line,) = self.problems(b"[tls]\nkey = 'a\xff'\n")
        self.assertEqual(line, "line 2, column 9: is not UTF-8; save the file as UTF-8")

    def test_nested_too_deeply(self) -> None:
        for text in (
            "a = " + "[" * 100_000,
            "a." * 300_000 + "b = 1",
            "[" + "'a' . " * 100_000 + "b]",
            '"a"."b".' * 100_000 + "b = 1",
        ):
            (line,) = self.problems(text)
            self.assertTrue(line.startswith("is nested too deeply"), line)

    def test_endless_number(self) -> None:
        (line,) = self.problems("a = " + "9" * 10_000)
        self.assertTrue(line.startswith("has a number that is too long"), line)


class WrongKeyTests(LoaderTestCase):
    def test_unknown_key(self) -> None:
        self.assertEqual(
            self.problem("max_liftime = 5"), "tickets.max_liftime: unknown key; did you mean 'max_lifetime'?"
        )

    def test_unknown_table(self) -> None:
        self.assertEqual(
            self.problem("[limit]\nsessions = 5"), "limit: unknown table or key; did you mean 'limits'?"
        )

    def test_key_of_another_table(self) -> None:
        self.assertEqual(
            self.problem("[relay]\nskew = 5"), "relay.skew: unknown key; move it under [tickets]"
        )

    def test_key_like_nothing(self) -> None:
        self.assertEqual(
            self.problem("[pages]\nxyz = 5"), "pages.xyz: unknown key; remove it; known here: enabled"
        )

    def test_key_with_line_break(self) -> None:
        self.assertEqual(
            self.problem('[pages]\n"a\\nb\\u001b" = 5'),
            r"pages.'a\nb\x1b': unknown key; remove it; known here: enabled",
        )

    def test_thousands_of_unknown_keys(self) -> None:
        lines = self.problems("".join(f"sesions{i} = 1\n" for i in range(20_000)) + MINIMAL)
        self.assertEqual(len(lines), 20_000)


class WrongValueTests(LoaderTestCase):
    def test_types(self) -> None:
        for extra, expected in {
            "skew = '5'": "tickets.skew: number expected, string found; write it in digits, without quotes",
            "skew = true": "tickets.skew: number expected, true or false found",
            "max_size = 2048.0": "tickets.max_size: whole number expected, number found",
            "max_size = true": "tickets.max_size: whole number expected, true or false found",
            "max_size = 1979-05-27": "tickets.max_size: whole number expected, date or time found",
            "[pages]\nenabled = 1": "pages.enabled: true or false expected, whole number found",
            "[pages]\nenabled = 'yes'": "pages.enabled: true or false expected, string found",
            "[listen]\nplain = 'tcp:1'": "listen.plain: list of strings expected, string found",
            "[listen]\nplain = {}": "listen.plain: list of strings expected, table found",
            "[targets]\nports = ['1', 2]": "targets.ports: item 2: string expected, whole number found",
            "[targets]\nsockets = []": "targets.sockets: table of strings expected, list found",
            "[targets]\nsockets = {'a:1' = 2}": "targets.sockets: item 'a:1': string expected",
            "[log]\nfile = 3": "log.file: path expected, whole number found; put the value in quotes",
            "[log]\nfile = ''": "log.file: '' is not a path",
            '[log]\nfile = "a\\u0000"': r"log.file: 'a\x00' is not a path",
            "[log]\nlevel = 3": f"log.level: {LEVELS} expected, whole number found",
            "[log]\nlevel = []": f"log.level: {LEVELS} expected, list found",
            "[log]\nlevel = 'INFO'": f"log.level: is not {LEVELS}; did you mean",
            "[log]\nlevel = 'xyz'": f"log.level: is not {LEVELS}; write {LEVELS}",
        }.items():
            line = self.problem(extra)
            self.assertTrue(line.startswith(expected), line)

    def test_thousands_of_wrong_items(self) -> None:
        self.assertEqual(len(self.problems(MINIMAL + f"[targets]\nports = [{'1,' * 10_000}]")), 50)

    def test_too_many_items(self) -> None:
        line = self.problem(f"[targets]\nports = [{'1,' * 100_000}]")
        self.assertEqual(line, "targets.ports: more than 10000 items; write fewer")

    def test_table_that_is_none(self) -> None:
        (line,) = self.problems("log = 3\n" + MINIMAL)
        self.assertTrue(
            line.startswith("log: table expected, whole number found; give it a line of its own"), line
        )

    def test_array_of_tables(self) -> None:
        line = self.problem("[[log]]\nlevel = 'info'")
        self.assertTrue(line.startswith("log: table expected, list found"), line)

    def test_numbers_that_are_none(self) -> None:
        for value in ("nan", "inf", "-inf", "9" * 400):
            line = self.problem(f"skew = {value}")
            self.assertEqual(line, "tickets.skew: is not a finite number; write an ordinary number")

    def test_bounds(self) -> None:
        for extra, expected in {
            "skew = -1": "tickets.skew: -1.0 is out of bounds; use 0 to 300 seconds",
            "skew = 300.5": "tickets.skew: 300.5 is out of bounds; use 0 to 300 seconds",
            "[limits]\nsessions = 0": "limits.sessions: 0 is out of bounds; use 1 to 1000000",
            "[limits]\nsessions = "
            + "9" * 4000: "limits.sessions: the number is out of bounds; use 1 to 1000000",
        }.items():
            self.assertEqual(self.problem(extra), expected)
        self.load(MINIMAL + "skew = 300\n[limits]\nsessions = 1")

    def test_everything_at_once(self) -> None:
        lines = self.problems(
            "[limits]\nsessions = 'x'\nnothing = 1\nhandshakes = 0\n"
            "[listen]\ntls = ['tcp:x', 'tcp:y']\n"
            "[targets]\nports = [1, 2]\nnetworks = ['10.0.0.1/8']\n"
            "[nowhere]\nx = 1\n"
        )
        keys = sorted(line.partition(":")[0] for line in lines)
        self.assertEqual(
            keys,
            [
                "limits.handshakes",
                "limits.nothing",
                "limits.sessions",
                "listen.tls",
                "listen.tls",
                "nowhere",
                "targets.networks",
                "targets.ports",
                "targets.ports",
                "tickets.certificate",
                "tls.certificate",
            ],
        )

    def test_what_was_not_understood_is_not_said_to_be_missing(self) -> None:
        lines = self.problems("[tls]\ncertificate = 3\n[tickets]\ncertificate = ''\n")
        self.assertEqual(len(lines), 2)

    def test_examine_gives_what_was_understood(self) -> None:
        self.path.write_text(MINIMAL + "skew = 'x'\nmax_size = 2048")
        settings, problems = examine_settings(self.path)
        assert settings is not None
        self.assertEqual([problem.key for problem in problems], ["tickets.skew"])
        self.assertEqual(settings.tickets.max_size, 2048)
        self.assertEqual(settings.tickets.skew, 5.0)


class CheckTests(LoaderTestCase):
    def test_values(self) -> None:
        for extra, expected in {
            "[listen]\nplain = ['tcp:99999']": "listen.plain: endpoint 'tcp:99999' has no valid port",
            "[listen]\nplain = ['tcp:6100']": "listen.plain: 'tcp:6100' clashes with 'tcp:6100'",
            "[listen]\ntls = ['tcp:1', 'tcp:1:interface=127.0.0.1']": "listen.tls: 'tcp:1:interface=127",
            "[front]\norigins = ['https://a/']": "front.origins: 'https://a/' is not a web origin",
            "[targets]\nnetworks = ['10.1.0.0/8']": "targets.networks: network '10.1.0.0/8' has bits",
            "[abuse]\nexempt = ['10.0.0.0/33']": "abuse.exempt: '10.0.0.0/33' is not a network",
            "[abuse]\nfailed_tickets_rate = 0": "abuse.failed_tickets_rate: 0.0 is out of bounds",
            "[targets]\nnames = ['192.0.2.1']": "targets.names: '192.0.2.1' is an address",
            "[targets]\nports = ['0']": "targets.ports: port '0' is out of range",
            "[targets]\nsockets = {a = '/x'}": "targets.sockets: 'a' is not a host and port",
            "[targets]\nsockets = {'a:1' = 'x'}": "targets.sockets: socket path 'x' is not absolute",
            "[targets]\nsockets = {'a:1' = '/x', 'A:01' = '/y'}": "targets.sockets: 'A:01' is listed twice",
            "[listen]\ntls = []": "listen.tls: there is no endpoint to listen on; add one here",
        }.items():
            line = self.problem(extra)
            self.assertTrue(line.startswith(expected), line)

    def test_plain_endpoints_alone_need_no_tls_certificate(self) -> None:
        self.load("[listen]\ntls = []\nplain = ['unix:/run/x']\n[tickets]\ncertificate = 'a'")

    def test_what_is_needed(self) -> None:
        self.assertEqual(
            self.problems(""),
            [
                (
                    "tls.certificate: is not set, but listen.tls has endpoints; "
                    "name the PEM file of the server certificate, or move the endpoints to listen.plain"
                ),
                "tickets.certificate: is not set; name the PEM file of the engine's certificate",
            ],
        )

    def test_thousands_of_endpoints(self) -> None:
        endpoints = ", ".join(f"'tcp:{port}'" for port in range(1, 9_001))
        self.assertEqual(
            self.problem(f"[listen]\ntls = [{endpoints}]"), "listen: more than 64 endpoints; remove some"
        )

    def test_settings_made_in_code(self) -> None:
        settings = Settings(
            listen=ListenSettings(tls=(), plain=("tcp:0",)),
            tickets=TicketSettings(certificate=Path("x"), skew=float("nan"), max_size=10**5000),
        )
        problems = check_settings(settings, Path("embedded"))
        self.assertEqual(
            [str(problem) for problem in problems],
            [
                "embedded: tickets.skew: the number is out of bounds; use 0 to 300 seconds",
                "embedded: tickets.max_size: the number is out of bounds; use 1024 to 65536 characters",
            ],
        )
