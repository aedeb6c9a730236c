"""``console-gateway ticket`` from the shell."""

from __future__ import annotations

import time
from pathlib import Path

from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from gateway.cli.ticket import ticket
from gateway.settings import Attach, TargetSecurity
from gateway.tickets import Kind, Target
from tests.unit.tickets import samples

PATH = "/apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/b/vnc"


class CliCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.key = self.file("key.pem", samples.pem_of(samples.engine_key()))
        self.certificate = self.file("engine.pem", self.certificate_pem(samples.engine_key()))
        self.other = self.file("other.pem", self.certificate_pem(samples.other_key()))

    @staticmethod
    def certificate_pem(key: samples.Key) -> bytes:
        return samples.certificate_of(key).public_bytes(Encoding.PEM)

    def file(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)

    def run_cli(self, *arguments: str, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(ticket, arguments, input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def sign(self, *arguments: str) -> str:
        result = self.run_cli("sign", "--key", self.key, "--host", "host1", "--port", "5900", *arguments)
        assert result.exit_code == 0, result.output
        text: str = result.stdout
        assert text.endswith("\n")
        return text[:-1]

    def inspect(
        self, text: str, *arguments: str, stdin: str | bytes | None = None
    ) -> tuple[int, dict[str, str]]:
        result = self.run_cli("inspect", *arguments, text, stdin=stdin)
        lines = result.stdout.splitlines()
        assert all(line[13] == " " and line[14] != " " for line in lines), result.stdout
        return result.exit_code, {line[:14].rstrip(): line[14:] for line in lines}


class Sign(CliCase):
    def test_ticket_alone_on_stdout(self) -> None:
        now = time.time()
        grant = samples.decoder(now=now + 2).decode(self.sign())
        assert grant.target == Target("host1", 5900)
        assert (grant.valid_to - grant.valid_from).total_seconds() == 120
        assert abs(grant.valid_from.timestamp() - now) < 5

    def test_options(self) -> None:
        for style in ("engine", "web-admin", "library"):
            text = self.sign("--tls", "--lifetime", "7", "--style", style, "--certificate", self.certificate)
            grant = samples.decoder(now=time.time()).decode(text)
            assert grant.target.tls
            assert (grant.valid_to - grant.valid_from).total_seconds() == 7

    def test_what_engines_do_not_say(self) -> None:
        for word in ("auto", "vencrypt", "tls"):
            text = self.sign("--security", word, "--server-name", "host2.example.com")
            target = samples.decoder(now=time.time()).decode(text).target
            assert target == Target(
                "host1", 5900, security=TargetSecurity(word), server_name="host2.example.com"
            )

    def test_who_and_how(self) -> None:
        for kind in Kind:
            for attach in Attach:
                text = self.sign("--kind", kind.value, "--attach", attach.value, "--subject", "Alice Doe")
                grant = samples.decoder(now=time.time()).decode(text)
                assert grant.target == Target("host1", 5900, kind=kind)
                assert (grant.subject, grant.attach) == ("Alice Doe", attach)

    def test_a_wrong_subject(self) -> None:
        target = ["--host", "host1", "--port", "5900"]
        for subject in ("", " alice", "h\u00f6st", "a" * 257, "a\x1b[31m"):
            result = self.run_cli("sign", "--key", self.key, *target, "--subject", subject)
            assert result.exit_code == 2
            assert "'--subject'" in result.stderr
            assert "1 to 256 characters of printable ASCII" in result.stderr
            assert "\x1b" not in result.stderr
            assert result.stdout == ""

    def test_a_wrong_server_name(self) -> None:
        target = ["--host", "host1", "--port", "5900"]
        result = self.run_cli("sign", "--key", self.key, *target, "--server-name", "127.1")
        assert result.exit_code == 2
        assert "'--server-name'" in result.stderr
        assert result.stdout == ""

    def test_usage_errors(self) -> None:
        base = ["sign", "--key", self.key]
        for arguments in (
            ["--host", "0x7f.1", "--port", "5900"],
            ["--host", "host1", "--port", "0"],
            ["--host", "host1", "--port", "65536"],
            ["--host", "host1"],
            ["--host", "host1", "--port", "1", "--lifetime", "0"],
            ["--host", "host1", "--port", "1", "--style", "other"],
            ["--host", "host1", "--port", "1", "--security", "ticket"],
            ["--host", "host1", "--port", "1", "--security", "none"],
            ["--host", "host1", "--port", "1", "--kind", "rfb"],
            ["--host", "host1", "--port", "1", "--attach", "takeover"],
        ):
            result = self.run_cli(*base, *arguments)
            assert result.exit_code == 2
            assert result.stdout == ""

    def test_file_errors(self) -> None:
        target = ["--host", "host1", "--port", "5900"]
        for arguments, message in (
            (["--key", "missing.pem"], "missing.pem: no such file"),
            (["--key", self.certificate], "no PEM private key"),
            (["--key", self.key, "--certificate", self.other], "not the certificate of the key"),
            (["--key", self.key, "--certificate", self.key], "no PEM certificate"),
        ):
            result = self.run_cli("sign", *arguments, *target)
            assert result.exit_code == 1
            assert message in result.stderr
            assert result.stdout == ""

    def test_help_teaches(self) -> None:
        assert "console-gateway ticket sign --key" in self.run_cli("sign", "--help").output
        assert "console-gateway ticket inspect --certificate" in self.run_cli("inspect", "--help").output


class Inspect(CliCase):
    def test_verified(self) -> None:
        code, rows = self.inspect(self.sign("--tls"), "--certificate", self.certificate)
        assert code == 0
        assert rows["Signature"] == "verified"
        assert rows["Verdict"] == "accepted"
        assert (rows["Host"], rows["Port"], rows["TLS"]) == ("host1", "5900", "true")
        assert rows["Lifetime"] == "120 s"
        assert rows["Now"].startswith("ends in 1")

    def test_how_it_is_secured(self) -> None:
        _, rows = self.inspect(self.sign())
        assert not {"Security", "Server name"} & rows.keys()
        code, rows = self.inspect(self.sign("--security", "vencrypt", "--server-name", "192.0.2.7"))
        assert code == 0
        assert (rows["TLS"], rows["Security"], rows["Server name"]) == ("false", "vencrypt", "192.0.2.7")

    def test_who_and_how(self) -> None:
        _, rows = self.inspect(self.sign())
        assert not {"Kind", "Attach", "Subject"} & rows.keys()
        text = self.sign("--kind", "serial", "--attach", "take-over", "--subject", "alice@example.com")
        code, rows = self.inspect(text, "--certificate", self.certificate)
        assert code == 0
        assert (rows["Kind"], rows["Attach"], rows["Subject"]) == ("serial", "take-over", "alice@example.com")

    def test_not_verified(self) -> None:
        code, rows = self.inspect(self.sign())
        assert code == 0
        assert rows["Signature"].startswith("NOT VERIFIED")
        assert rows["Verdict"].startswith("none")

    def test_ways_to_give_a_ticket(self) -> None:
        text = self.sign()
        for form in (
            f"/{text}",
            f"wss://gw.example.com:6100/{text}",
            f"ws://[::1]:6100/{text}?a=b#c",
            f" {text}\n",
        ):
            assert self.inspect(form, "--certificate", self.certificate)[0] == 0
            assert self.inspect("-", "--certificate", self.certificate, stdin=form)[0] == 0

    def test_several_certificates(self) -> None:
        both = ("--certificate", self.other, "--certificate", self.certificate)
        assert self.inspect(self.sign(), *both)[0] == 0

    def test_wrong_certificate(self) -> None:
        code, rows = self.inspect(self.sign(), "--certificate", self.other)
        assert code == 1
        assert rows["Signature"] == "WRONG"
        assert rows["Verdict"] == "refused with HTTP status 401, in the log: signature-mismatch"
        assert rows["Host"] == "host1"

    def test_time(self) -> None:
        code, rows = self.inspect(samples.genuine(validFrom="20200101000000", validTo="20200101000200"))
        assert code == 1
        assert "403, in the log: expired" in rows["Verdict"]
        assert rows["Now"].startswith("ended ")
        early = samples.genuine(validFrom="99980101000000", validTo="99980101000200")
        code, rows = self.inspect(early, "--certificate", self.certificate)
        assert code == 1
        assert "not-yet-valid" in rows["Verdict"]
        assert rows["Signature"] == "verified"
        assert rows["Now"].startswith("begins in ")

    def test_settings(self) -> None:
        text = self.sign("--lifetime", "100")
        code, rows = self.inspect(text, "--certificate", self.certificate, "--max-lifetime", "99")
        assert code == 1
        assert "lifetime-too-long" in rows["Verdict"]
        code, rows = self.inspect(text + "A" * 500, "--max-size", "1024")
        assert code == 1
        assert "too-long" in rows["Verdict"]
        assert self.run_cli("inspect", "--skew", "-1", text).exit_code == 2

    def test_secrets_are_not_shown(self) -> None:
        fields = samples.fields(data=samples.target_data(path=PATH, token="hidden-token"))
        result = self.run_cli("inspect", samples.pack(fields))
        assert "hidden-token" not in result.output
        assert fields["v2_signature"][:20] not in result.output
        assert "12 characters, not shown" in result.output
        assert PATH in result.output

    def test_values_that_cannot_be_used(self) -> None:
        for changes, label, shown in (
            ({"host": "a\x1b[31m"}, "Host", '"a\\u001b[31m"'),
            ({"host": ""}, "Host", '""'),
            ({"host": "\xe9" * 400}, "Host", "\\u00e9\\u00e9"),
            ({"host": None}, "Host", "null (not a string)"),
            ({"port": 5900}, "Port", "5900 (not a string)"),
            ({"ssl_target": "false"}, "TLS", '"false" (neither true nor false)'),
            ({"token": ["hidden"]}, "Token", "not a string"),
            ({"security": "x\x1b[2J"}, "Security", '"x\\u001b[2J"'),
            ({"security": 1}, "Security", "1 (not a string)"),
            ({"server_name": ""}, "Server name", '""'),
            ({"kind": "rfb\x1b[2J"}, "Kind", '"rfb\\u001b[2J"'),
            ({"attach": 1}, "Attach", "1 (not a string)"),
            ({"subject": "\u202ealice"}, "Subject", '"\\u202ealice"'),
            ({"subject": ""}, "Subject", '""'),
        ):
            code, rows = self.inspect(samples.genuine(data=samples.target_data(**changes)))
            assert code == 1
            assert shown in rows[label]
            assert rows["Reason"]
        code, rows = self.inspect(samples.genuine(data="hello"))
        assert rows["Target"] == "cannot be read"

    def test_malformed(self) -> None:
        code, rows = self.inspect(samples.pack("x" * 300))
        assert code == 1
        assert rows == {
            "Verdict": "refused with HTTP status 401, in the log: not-json",
            "Reason": "The decoded text is not JSON.",
        }

    def test_no_ticket(self) -> None:
        for text in ("abc", "!" * 300, "A B" * 100):
            result = self.run_cli("inspect", text)
            assert result.exit_code == 1
            assert "This is no ticket" in result.stderr
        result = self.run_cli("inspect", "-", stdin=b"\xff\xfe\0" * 200)
        assert "This is no ticket" in result.stderr

    def test_usage_errors(self) -> None:
        for arguments, stdin in (
            (["/"], None),
            ([""], None),
            (["-"], ""),
            (["wss://host"], None),
            (["ftp://host/x"], None),
            (["-"], "A" * 131073),
        ):
            assert self.run_cli("inspect", *arguments, stdin=stdin).exit_code == 2
        result = self.run_cli("inspect", "--certificate", "missing.pem", "x")
        assert result.exit_code == 1
        assert "missing.pem: no such file" in result.stderr
