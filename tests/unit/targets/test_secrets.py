"""The secrets file: what is found in it, and that nothing of it is ever shown."""

from __future__ import annotations

import os
import tempfile
import traceback
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.rfb import Credentials
from gateway.settings import Problem, SettingsError
from gateway.targets.secrets import Secrets, load_secrets

FILE = """\
["*.hosts.example.com"]
password = "of all hosts"
["vnc.hosts.example.com:5901"]
username = "console"
password = "of one console"
["vnc.hosts.example.com"]
password = "never used"
["10.0.0.0/8"]
password = "of a network"
["2001:db8::1"]
password = "of an address"
"""
NO_SECRET = "hunter2"


class SecretsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.path = Path(temporary.name, "secrets.toml")

    def load(self, text: str | bytes, mode: int = 0o640) -> Secrets:
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.path.chmod(mode)
        return load_secrets(self.path)

    def problems(self, text: str | bytes, mode: int = 0o640) -> tuple[Problem, ...]:
        with self.assertRaises(SettingsError) as caught:
            self.load(text, mode)
        error = caught.exception
        told = "".join(traceback.format_exception(error)) + repr(error) + repr(error.problems)
        self.assertNotIn(NO_SECRET, told)
        problems: tuple[Problem, ...] = error.problems
        for problem in problems:
            self.assertEqual(problem.file, self.path)
            self.assertTrue(str(problem).isprintable())
        return problems

    def problem(self, text: str | bytes, mode: int = 0o640) -> str:
        (problem,) = self.problems(text, mode)
        return str(problem).removeprefix(f"{self.path}: ")


class FindTests(SecretsTestCase):
    def test_find(self) -> None:
        secrets = self.load(FILE)
        self.assertEqual(len(secrets), 5)
        for host, port, expected in (
            ("vnc.hosts.example.com", 5901, Credentials("console", "of one console")),
            ("VNC.hosts.example.com.", 5901, Credentials("console", "of one console")),
            ("vnc.hosts.example.com", 5902, Credentials(None, "of all hosts")),
            ("a.b.hosts.example.com", 1, Credentials(None, "of all hosts")),
            ("10.1.2.3", 1, Credentials(None, "of a network")),
            ("2001:DB8:0::1", 1, Credentials(None, "of an address")),
            ("hosts.example.com", 5901, None),
            ("11.1.2.3", 5901, None),
        ):
            self.assertEqual(secrets.find(host, port), expected, host)

    def test_no_host(self) -> None:
        self.assertRaises(ValueError, self.load(FILE).find, "a b", 1)

    def test_empty_file(self) -> None:
        self.assertIsNone(self.load("# nothing yet\n").find("a", 1))

    def test_repr(self) -> None:
        secrets = self.load(FILE)
        shown = f"{secrets!r} {secrets} {secrets.find('10.0.0.1', 1)!r} {secrets.find('10.0.0.1', 1)}"
        self.assertNotIn("network", shown)


class FileTests(SecretsTestCase):
    def test_open_to_every_user(self) -> None:
        for mode in (0o644, 0o641, 0o602, 0o607):
            line = self.problem(FILE, mode)
            self.assertEqual(line, f"is open to every user (mode {mode:04o}); chmod o= {self.path}")
        for mode in (0o600, 0o640, 0o660, 0o400):
            self.load(FILE, mode)
            self.path.unlink()

    def test_missing(self) -> None:
        with self.assertRaises(SettingsError) as caught:
            load_secrets(self.path)
        self.assertIn("cannot be read: No such file or directory", str(caught.exception))

    def test_not_a_file(self) -> None:
        os.mkfifo(self.path, 0o600)
        for path in (self.path, self.path.parent, Path("/dev/zero")):
            with self.assertRaises(SettingsError) as caught:
                load_secrets(path)
            self.assertRegex(str(caught.exception), "is not a regular file; name a secrets|Is a directory")

    def test_too_large(self) -> None:
        line = self.problem("#" * (1024 * 1024 + 1))
        self.assertEqual(line, "is larger than 1048576 bytes; name a secrets file in TOML")

    def test_syntax_errors_quote_nothing(self) -> None:
        for text, where in (
            (f'[a]\npassword = "{NO_SECRET}', "line 2, column 20: is not valid TOML; correct the syntax"),
            (f"[a]\npassword = {NO_SECRET}", "line 2, column 12: is not valid TOML"),
            (f'[a]\npassword = "{NO_SECRET}\\q"', "line 2, column 22: is not valid TOML"),
            (f'[a]\npassword = "{NO_SECRET}\x01"', "line 2, column 20: is not valid TOML"),
            (f'[a]\npassword = "{NO_SECRET}"\n[a]', "line 3, column 3: is not valid TOML"),
            (f'[a]\npassword = "{NO_SECRET}'.encode() + b'\xff"', "line 2, column 20: is not UTF-8"),
            ("a = " + "[" * 100_000, "is nested too deeply"),
            ("a = " + "9" * 10_000, "has a number that is too long"),
        ):
            line = self.problem(text)
            self.assertTrue(line.startswith(where), line)

    @given(st.one_of(st.binary(max_size=60), st.text('[]"a.:*/1=\n \\', max_size=60).map(str.encode)))
    def test_any_file_is_read_or_refused(self, data: bytes) -> None:
        try:
            self.load(data)
        except SettingsError as error:
            self.assertTrue(error.problems)


class EntryTests(SecretsTestCase):
    def test_entries(self) -> None:
        good = f'password = "{NO_SECRET}"\n'
        for text, expected in (
            ('["a"]', "a.password: is not set; add it, or remove the entry"),
            ('["a"]\npassword = 1234567', "a.password: is no string; put the value in quotes"),
            ('["a"]\npassword = ""', "a.password: has no usable length; use 1 to 1024 bytes of UTF-8"),
            (f'["a"]\npassword = "{"€" * 342}"', "a.password: has no usable length"),
            ('["a"]\npassword = "a\\u0000"', "a.password: has a NUL character in it; remove that"),
            (f'["a"]\n{good}username = [1]', "a.username: is no string; put the value in quotes"),
            (f'["a"]\n{good}username = ""', "a.username: has no usable length; use 1 to 255 bytes"),
            (f'["a"]\n{good}username = "{"u" * 256}"', "a.username: has no usable length"),
            (f'["a"]\n{good}user = "x"', "a.user: unknown key; remove it; known here: username, password"),
            (f'["a:0"]\n{good}', "'a:0': 'a:0' is not a host and port"),
            (f'["10.0.0.1/8"]\n{good}', "'10.0.0.1/8': network '10.0.0.1/8' has bits set"),
            (f'["a:1"]\n{good}["A:01"]\n{good}', "'A:01': is the same target as 'a:1'; keep one of them"),
            (good, 'password: is no table; write ["TARGET"] on a line of its own'),
            (f"[[a]]\n{good}", 'a: is no table; write ["TARGET"] on a line of its own'),
            (f"[host.example.com]\n{good}", "host: has a table in it; put the whole target in quotes: "),
            (f"[10.0.0.1]\n{good}", "10: has a table in it; put the whole target in quotes: "),
        ):
            line = self.problem(text)
            self.assertTrue(line.startswith(expected), line)

    def test_all_at_once(self) -> None:
        text = f'["a b"]\nx = "{NO_SECRET}"\n["b"]\npassword = 1\n["c"]\npassword = "{NO_SECRET}"\n["d"]\n'
        keys = [problem.key for problem in self.problems(text)]
        self.assertEqual(keys, ["'a b'.x", "'a b'.password", "'a b'", "b.password", "d.password"])

    def test_longest_values(self) -> None:
        secrets = self.load(f'["a"]\npassword = "{"p" * 1024}"\nusername = "{"€" * 85}"')
        self.assertEqual(secrets.find("a", 1), Credentials("€" * 85, "p" * 1024))

    def test_many_entries(self) -> None:
        text = "".join(f'["h{n}.example.com:5900"]\npassword = "p{n}"\n' for n in range(20_000))
        self.assertEqual(self.load(text).find("h19999.example.com", 5900), Credentials(None, "p19999"))
