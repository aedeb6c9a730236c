"""``console-gateway pki``"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import stat
import sys
import tempfile
from pathlib import Path

import click
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from gateway.cli.pki import pki
from gateway.cli.pki_sign import NOTHING_DUE
from gateway.pki import key_pem, load_key, make_request, parse_chain, same_key
from gateway.pki.altnames import alt_names_text, names_of
from tests.unit.pki.samples import key

SECRET = "correct horse"


class PkiTests(SynchronousTestCase):
    """The commands, in a directory of their own."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="console-gateway-pki-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)

    def run_pki(self, *arguments: str, stdin: bytes | None = None, code: int = 0) -> Result:
        result = CliRunner().invoke(pki, arguments, input=stdin)
        self.assertEqual(result.exit_code, code, result.output)
        self.assertNotIn("Traceback", result.output)
        self.assertNotIn(SECRET, result.output)
        return result

    def failed(self, words: str, *arguments: str, stdin: bytes | None = None) -> None:
        result = self.run_pki(*arguments, stdin=stdin, code=1)
        self.assertIn(words, result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)

    def init(self, *arguments: str) -> None:
        self.run_pki("init-ca", "ca", "--key-kind", "ec", *arguments)

    def mode(self, name: str) -> int:
        return stat.S_IMODE(os.stat(name).st_mode)

    def test_from_nothing_to_a_certificate(self) -> None:
        self.init()
        self.run_pki("request", "gw.example.com", "192.0.2.1", "--key-kind", "ec")
        self.assertEqual(self.mode("gw.example.com.key"), 0o600)
        files = ("--in", "gw.example.com.req", "--out", "tls.pem")
        result = self.run_pki("sign", "--directory", "ca", *files, "--requested-names")
        self.assertIn("DNS:gw.example.com, IP:192.0.2.1", result.stderr)
        (made,) = parse_chain(Path("tls.pem").read_bytes())
        self.assertEqual(alt_names_text(names_of(made.extensions)), ["DNS:gw.example.com", "IP:192.0.2.1"])
        private = load_key(Path("gw.example.com.key").read_bytes())
        self.assertTrue(same_key(private.public_key(), made.public_key()))
        self.assertIn("397 days left", self.run_pki("show", "tls.pem").stdout)
        self.failed("ca/ca.pem", "init-ca", "ca")

    def test_what_a_request_says_does_not_command_the_terminal(self) -> None:
        self.init()
        evil = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a\x1b]0;b\x07\nc")])
        builder = x509.CertificateSigningRequestBuilder().subject_name(evil)
        request = builder.sign(key(), hashes.SHA256()).public_bytes(Encoding.PEM)
        options = ("--in", "-", "--out", "tls.pem", "--san", "DNS:gw.example.com")
        result = self.run_pki("sign", "--directory", "ca", *options, stdin=request)
        self.assertEqual(result.stderr.count("\n"), 1)
        self.assertTrue(result.stderr.rstrip("\n").isprintable(), result.stderr)

    def test_the_options_of_the_original(self) -> None:
        self.init("--subject", "/C=US/O=Example Inc./CN=ca")
        name = "websocket-proxy-gw.example.com"
        Path("ca/requests", f"{name}.req").write_bytes(make_request(key()))
        self.run_pki(
            *("sign", "--directory=ca", f"--name={name}", "--subject=/C=US/O=Example Inc./CN=gw.example.com"),
            *("--san=DNS:gw.example.com", "--days=1827", "--timeout=5", "--ca-file=ca", "--cert-dir=certs"),
            *("--req-dir=requests", "--ku=digitalSignature", "--eku=serverAuth,1.2.3"),
        )
        (made,) = parse_chain(Path("ca/certs", f"{name}.cer").read_bytes())
        self.assertEqual(alt_names_text(names_of(made.extensions)), ["DNS:gw.example.com"])

    def test_names_from_the_environment(self) -> None:
        self.init()
        Path("ca/requests/gw.req").write_bytes(make_request(key()))
        self.patch(os, "environ", {**os.environ, "OVIRT_SAN": "DNS:a.example.com, DNS:b.example.com"})
        result = self.run_pki("sign", "--directory", "ca", "--name", "gw")
        self.assertIn("DNS:a.example.com, DNS:b.example.com", result.stderr)
        result = self.run_pki("sign", "--directory", "ca", "--name", "gw", "--san", "DNS:c")
        self.assertNotIn("example", result.stderr)

    def test_streams(self) -> None:
        self.init()
        result = self.run_pki(
            "request", "gw.example.com", "--key", "tls.key", "--key-kind", "ec", "--out", "-"
        )
        options = ("sign", "--directory", "ca", "--in", "-", "--out", "-")
        self.failed("standard input: there is no PEM certificate request", *options, stdin=b"hello")
        signed = self.run_pki(*options, stdin=result.stdout.encode())
        self.assertEqual(len(parse_chain(signed.stdout.encode())), 1)
        self.assertTrue(signed.stdout.startswith("-----BEGIN"))

    def test_a_request_that_is_none(self) -> None:
        self.init()
        wrong = Path("wrong.req")
        for data, words in (
            (b"hello", "it begins with -----BEGIN CERTIFICATE REQUEST-----"),
            (b"", "it is empty"),
            (Path("ca/ca.pem").read_bytes(), "this is a certificate;"),
            (key_pem(key()), "this is a private key;"),
        ):
            wrong.write_bytes(data)
            options = ("--directory", "ca", "--in", "wrong.req", "--out", "tls.pem", "--san", "DNS:gw")
            self.failed("wrong.req: there is no PEM certificate request: ", "sign", *options)
            self.failed(words, "sign", *options)

    def test_existing_keys(self) -> None:
        Path("tls.key").write_bytes(key_pem(key()))
        before = os.stat("tls.key")
        result = self.run_pki("request", "gw", "--key", "tls.key")
        self.assertIn("kept", result.stdout)
        self.assertEqual(os.stat("tls.key"), before)
        self.failed("choose another --out", "request", "gw", "--key", "tls.key", "--out", "./tls.key")
        self.failed("choose another --out", "request", "gw", "--key", "new.key", "--out", "new.key")
        self.failed(
            "private key", "request", "gw", "--key", "new.key", "--key-kind", "ec", "--out", "tls.key"
        )
        self.assertFalse(Path("new.key").exists())
        Path("tls.key").write_bytes(key_pem(key(), SECRET.encode()))
        self.failed("encrypted", "request", "gw", "--key", "tls.key")
        Path("tls.key").write_bytes(b"hello")
        self.failed("tls.key: there is no PEM private key", "request", "gw", "--key", "tls.key")

    def test_a_certificate_does_not_replace_a_key(self) -> None:
        self.init()
        self.run_pki("request", "gw", "--key-kind", "ec")
        arguments = ("sign", "--directory", "ca", "--in", "gw.req", "--out", "gw.key")
        self.failed("gw.key: holds a private key", *arguments)
        self.assertEqual(Path("ca/serial.txt").read_text(), "1000\n")

    def test_long_names(self) -> None:
        name = ".".join(["x" * 40, "y" * 40])
        self.failed("--subject", "request", name, "--key-kind", "ec")
        self.run_pki(
            "request", name, "--key-kind", "ec", "--subject", "/O=Example", "--key", "k", "--out", "r"
        )
        self.failed("'a b' is not a DNS name; write gw.example.com or 192.0.2.1\n", "request", "a b")

    def test_renew(self) -> None:
        self.init()
        Path("ca/requests/gw.req").write_bytes(make_request(key(), "/CN=gw.example.com"))
        self.run_pki("sign", "--directory", "ca", "--name", "gw", "--days", "30")
        options = ("renew", "gw", "--directory", "ca", "--within")
        result = self.run_pki(*options, "20", code=NOTHING_DUE)
        self.assertIn("30 days left, not renewed", result.stdout)
        result = self.run_pki(*options, "40")
        self.assertIn("gw.cer: /CN=gw.example.com, DNS:gw.example.com, until", result.stderr)
        self.failed("none.cer", "renew", "none", "--directory", "ca")

    def test_passwords(self) -> None:
        Path("secret").write_text(f"{SECRET}\r\nmore\n")
        self.failed("chmod 600", "init-ca", "ca", "--password-file", "secret")
        os.chmod("secret", 0o600)
        self.init("--password-file", "secret")
        self.assertIn("ENCRYPTED", Path("ca/private/ca.pem").read_text())
        Path("gw.req").write_bytes(make_request(key(), "/CN=gw"))
        sign = ("sign", "--directory", "ca", "--in", "gw.req", "--out", "gw.pem")
        self.run_pki(*sign, "--password-file", "secret")
        read, write = os.pipe()
        os.write(write, f"{SECRET}\n".encode())
        self.run_pki(*sign, "--password-fd", str(read))
        os.close(read)
        os.close(write)
        self.failed("--password-file", *sign)
        Path("wrong").write_text("hunter2")
        os.chmod("wrong", 0o600)
        self.failed("ca/private/ca.pem: the password does not open", *sign, "--password-file", "wrong")
        for text in ("", "x" * 1024):
            Path("wrong").write_text(text)
            self.failed("1 to 1023 bytes", *sign, "--password-file", "wrong")
        self.failed("missing: No such file", *sign, "--password-file", "missing")
        self.failed("file descriptor 999", *sign, "--password-fd", "999")
        self.run_pki(*sign, "--password-fd", "1", "--password-file", "secret", code=2)
        self.failed("needs a password", "init-ca", "other", "--encrypt")
        self.assertIn("encrypted", self.run_pki("show", "ca").stdout)

    def test_password_from_the_terminal(self) -> None:
        """At a real terminal, which must not show it."""
        self.assertEqual(self.at_a_terminal("init-ca", "ca", "--key-kind", "ec", "--encrypt"), 0)
        Path("gw.req").write_bytes(make_request(key(), "/CN=gw"))
        self.assertEqual(
            self.at_a_terminal("sign", "--directory", "ca", "--in", "gw.req", "--out", "gw.pem"), 0
        )
        self.assertEqual(len(parse_chain(Path("gw.pem").read_bytes())), 1)

    def at_a_terminal(self, *arguments: str) -> int:
        """Run a command as a process of its own that answers prompts with the password; its exit code."""
        child, terminal = pty.fork()
        if child == 0:
            status = 1
            try:
                sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
                pki.main(arguments, standalone_mode=False)
                sys.stdout.flush()
                status = 0
            finally:
                os._exit(status)
        shown = b""
        with contextlib.suppress(OSError):  # what Linux says when the other side is gone
            while chunk := os.read(terminal, 1000):
                shown += chunk
                if shown.endswith(b": "):
                    os.write(terminal, f"{SECRET}\n".encode())
        os.close(terminal)
        self.assertIn(b"assword", shown)
        self.assertNotIn(SECRET.encode(), shown)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def test_no_password_in_arguments(self) -> None:
        context = click.Context(pki)
        for name in pki.list_commands(context):
            command = pki.get_command(context, name)
            assert command is not None
            options = {option for each in command.params for option in each.opts if "pass" in option}
            self.assertLessEqual(options, {"--password-file", "--password-fd"})
            for each in command.params:
                self.assertIsNone(each.envvar)

    def test_show_json(self) -> None:
        self.init("--subject", "/CN=ca")
        Path("gw.req").write_bytes(make_request(key(), "/CN=gw", ["DNS:gw.example.com"]))
        self.run_pki("sign", "--directory", "ca", "--in", "gw.req", "--out", "gw.pem", "--requested-names")
        found = json.loads(self.run_pki("show", "--json", "gw.pem").stdout)
        (made,) = found["certificates"]
        self.assertEqual((made["names"], made["serial"], made["ca"]), (["DNS:gw.example.com"], "1000", False))
        found = json.loads(self.run_pki("show", "--json", "gw.req").stdout)
        self.assertEqual(found["request"]["names"], ["DNS:gw.example.com"])
        found = json.loads(self.run_pki("show", "--json", "ca").stdout)
        self.assertEqual((found["next_serial"], found["encrypted"]), ("1001", False))
        self.assertEqual([(each["serial"], each["status"]) for each in found["issued"]], [("1000", "valid")])

    def test_show(self) -> None:
        self.init()
        self.assertIn("No certificates yet", self.run_pki("show", "ca").stdout)
        Path("gw.req").write_bytes(make_request(key(), "/CN=gw"))
        self.assertIn("/CN=gw", self.run_pki("show", "gw.req").stdout)
        self.failed("not shown", "show", "ca/private/ca.pem")
        self.failed("missing: ", "show", "missing")
        self.failed("ca.pem: ", "show", ".")
        shutil.copy("ca/ca.pem", "two.pem")
        with open("two.pem", "ab") as stream:
            stream.write(Path("ca/ca.pem").read_bytes())
        self.assertEqual(self.run_pki("show", "two.pem").stdout.count("SHA-256"), 2)

    def test_usage(self) -> None:
        for arguments in (
            ("sign",),
            ("sign", "--name", "gw", "--in", "x", "--out", "y"),
            ("sign", "--in", "x"),
            ("sign", "--out", "x", "--name", "gw"),
            ("sign", "--name", "gw", "--days", "5000"),
            ("sign", "--name", "gw", "--ca-file", "other"),
            ("request",),
            ("init-ca", "ca", "--days", "9999"),
        ):
            self.run_pki(*arguments, code=2)
        self.failed("/missing/ca.pem", "sign", "--directory", "/missing", "--name", "gw")
