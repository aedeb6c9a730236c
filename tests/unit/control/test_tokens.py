from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.cli.token import token
from gateway.control.tokens import find_token, load_tokens, new_token, token_line
from gateway.settings import Role, SettingsError

DIGEST = "ab" * 32


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="console-gateway-test-"))
        self.addCleanup(shutil.rmtree, directory)
        self.path = directory / "tokens"

    def problems(self, text: str | bytes) -> str:
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with self.assertRaises(SettingsError) as caught:
            load_tokens(self.path)
        return str(caught.exception)

    def test_found(self) -> None:
        secrets = [new_token() for _ in range(3)]
        lines = [token_line(f"n{number}", Role.READ, secret) for number, secret in enumerate(secrets)]
        self.path.write_text("# comment\n\n  " + "\r\n".join(lines) + "\n")
        tokens = load_tokens(self.path)
        self.assertEqual([each.name for each in tokens], ["n0", "n1", "n2"])
        for secret, each in zip(secrets, tokens, strict=True):
            self.assertIs(find_token(tokens, secret), each)
            self.assertEqual(each.digest, hashlib.sha256(secret.encode()).digest())
        for wrong in (new_token(), "", secrets[0][:-1], secrets[0] + "x", secrets[0].upper(), "cgt_é"):
            self.assertIsNone(find_token(tokens, wrong))

    def test_bad_lines(self) -> None:
        secret = new_token()
        for line, text in {
            "x": "is no line of a token",
            f"name read {secret}": "is no line of a token",
            f"name read {DIGEST} x": "is no line of a token",
            f"name read {DIGEST.upper()}": "is no line of a token",
            f"na/me read {DIGEST}": "is no line of a token",
            f"{'n' * 65} read {DIGEST}": "is no line of a token",
            f"name admin {DIGEST}": "has no known role",
        }.items():
            said = self.problems(f"\n{line}\n")
            self.assertIn(f"control.tokens: line 2: {text}", said)
            self.assertNotIn(secret, said)

    def test_twice(self) -> None:
        said = self.problems(f"a read {DIGEST}\na read {'cd' * 32}\nb read {DIGEST}\n")
        self.assertIn("line 2: has a name", said)
        self.assertIn("line 3: has the SHA-256", said)

    def test_bad_files(self) -> None:
        self.assertIn("does not exist", str(self.failure(self.path)))
        self.assertIn("cannot be read", str(self.failure(self.path.parent)))
        os.mkfifo(self.path)
        self.assertIn("is not a regular file", str(self.failure(self.path)))
        self.path.unlink()
        self.assertIn("is not UTF-8", self.problems(b"\xff"))
        self.assertIn("larger than 1 MiB", self.problems("#" * (1 << 20) + "\n"))
        many = "".join(f"n{number} read {number:064x}\n" for number in range(1001))
        self.assertIn("more than 1000", self.problems(many))
        self.path.write_text("")
        self.path.chmod(0o606)
        self.assertIn("every user can write to it (mode 0606)", str(self.failure(self.path)))
        self.path.chmod(0o664)
        self.assertEqual(load_tokens(self.path), ())

    def failure(self, path: Path) -> SettingsError:
        try:
            load_tokens(path)
        except SettingsError as error:
            return error
        raise AssertionError("it was read")

    @given(st.text(max_size=200) | st.binary(max_size=200))
    def test_anything(self, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
        self.path.write_bytes(data)
        try:
            load_tokens(self.path)
        except SettingsError as error:
            self.assertEqual(len(str(error).splitlines()), len(error.problems))

    @given(st.text(max_size=100))
    def test_any_token(self, text: str) -> None:
        self.assertIsNone(find_token((), text))


class CommandTests(SynchronousTestCase):
    def test_line_is_for_the_token(self) -> None:
        shown = set()
        for name, role in (("monitoring", "read"), ("a.b_c@d-1", "operate")):
            result = CliRunner().invoke(token, [name, "--role", role])
            self.assertEqual(result.exit_code, 0, result.output)
            _, secret, _, line = result.output.splitlines()
            self.assertRegex(secret, r"^  cgt_[A-Za-z0-9_-]{43}$")
            digest = hashlib.sha256(secret.strip().encode()).hexdigest()
            self.assertEqual(line, f"  {name} {role} {digest}")
            shown.add(secret)
        self.assertEqual(len(shown), 2)

    def test_usage(self) -> None:
        for arguments in (["x"], ["x", "--role", "admin"], ["a b", "--role", "read"], ["", "--role", "read"]):
            result = CliRunner().invoke(token, arguments)
            self.assertEqual(result.exit_code, 2)
            self.assertNotIn("cgt_", result.output)
