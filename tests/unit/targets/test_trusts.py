"""Rules with what they name: read once, shared, and every problem told once."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.rfb import Credentials
from gateway.settings import (
    PasswordMode,
    RuleSettings,
    SecuritySettings,
    Settings,
    SettingsError,
    TargetSecurity,
    Verification,
)
from gateway.targets import Trusts
from gateway.tickets import Target
from tests.support.pki import CLIENT
from tests.unit.net.samples import DAY, NOW
from tests.unit.targets.securing import authority, leaf
from tests.unit.tickets.test_properties import HOSTS


def trusts(rules: dict[str, RuleSettings] | None = None, **security: Any) -> Trusts:
    return Trusts(Settings(security=SecuritySettings(**security), rules=rules or {}))


def target(host: str, port: int = 5900) -> Target:
    return Target(host, port)


class TrustsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.ca = authority().save(self.directory, "ca")

    def secrets(self, text: str, name: str = "secrets.toml") -> Path:
        path = self.directory / name
        path.write_text(text)
        os.chmod(path, 0o600)
        return path


class SharingTests(TrustsCase):
    def test_rules_with_the_same_files_share_what_is_made_of_them(self) -> None:
        made = trusts(
            {
                "a": RuleSettings(targets=("a",), mode=TargetSecurity.TLS),
                "b": RuleSettings(targets=("b",), password=PasswordMode.GATEWAY, server_names={"b": "c"}),
                "c": RuleSettings(targets=("c",), verify=Verification.CHAIN),
                "d": RuleSettings(targets=("d",), ca=authority().save(self.directory, "other")),
            },
            ca=self.ca,
        )
        general, a, b, c, d = (made.tls(made.rule(target(host))) for host in ("x", "a", "b", "c", "d"))
        self.assertIs(general, a)
        self.assertIs(general, b)
        self.assertEqual(3, len({general, c, d}))
        self.assertIs(Verification.CHAIN, c.verification)

    def test_fingerprints_are_not_mixed_up(self) -> None:
        pins = {
            name: RuleSettings(targets=(name,), verify=Verification.FINGERPRINT, fingerprints=(digit * 64,))
            for name, digit in (("a", "a"), ("b", "b"), ("c", "a"))
        }
        made = trusts(pins, ca=self.ca)
        a, b, c = (made.tls(made.rule(target(host))) for host in ("a", "b", "c"))
        self.assertIs(a, c)
        self.assertIsNot(a, b)

    def test_a_secrets_file_is_read_once(self) -> None:
        path = self.secrets('["a"]\npassword = "1"\n["b"]\npassword = "2"\n')
        made = trusts(
            {"a": RuleSettings(targets=("a",)), "b": RuleSettings(targets=("b",), anonymous=True)},
            secrets=path,
        )
        path.unlink()
        for host, password in (("a", "1"), ("b", "2")):
            found = made.credentials(made.rule(target(host)), target(host))
            self.assertEqual(Credentials(None, password), found)

    def test_the_anonymous_context(self) -> None:
        made = trusts({"a": RuleSettings(targets=("a",), anonymous=True)}, ca=self.ca)
        self.assertIs(made.anonymous(), made.anonymous())
        self.assertRaises(AssertionError, trusts(ca=self.ca).anonymous)


class SecretsTests(TrustsCase):
    def test_lookups(self) -> None:
        general = self.secrets(
            '["10.0.0.0/8"]\npassword = "net"\n["a:5901"]\nusername = "u"\npassword = "one"\n'
        )
        own = self.secrets('["*.example.com"]\npassword = "own"\n', "own.toml")
        made = trusts(
            {"own": RuleSettings(targets=("*.example.com",), secrets=own)}, ca=self.ca, secrets=general
        )
        for host, port, expected in (
            ("10.1.2.3", 5900, Credentials(None, "net")),
            ("::ffff:10.1.2.3", 5900, Credentials(None, "net")),
            ("a", 5901, Credentials("u", "one")),
            ("A", 5901, Credentials("u", "one")),
            ("a", 5900, None),
            ("b.example.com", 5900, Credentials(None, "own")),
            ("example.com", 5900, None),
        ):
            to = target(host, port)
            self.assertEqual(expected, made.credentials(made.rule(to), to), host)

    def test_a_file_of_a_rule_is_not_added_to_the_general_one(self) -> None:
        general = self.secrets('["a"]\npassword = "general"\n')
        own = self.secrets('["b"]\npassword = "own"\n', "own.toml")
        made = trusts({"own": RuleSettings(targets=("a", "b"), secrets=own)}, ca=self.ca, secrets=general)
        self.assertIsNone(made.credentials(made.rule(target("a")), target("a")))
        self.assertIsNotNone(made.credentials(made.rule(target("b")), target("b")))

    def test_none(self) -> None:
        made = trusts(ca=self.ca)
        self.assertIsNone(made.credentials(made.rule(target("a")), target("a")))


class GrammarTests(TrustsCase):
    @given(HOSTS, st.integers(1, 65535))
    def test_every_host_of_a_ticket_has_a_rule_and_a_name(self, host: str, port: int) -> None:
        made = trusts(ca=self.ca)
        rule = made.rule(target(host, port))
        self.assertIsNone(made.credentials(rule, target(host, port)))
        near, far = socket.socketpair()
        with near, far:
            made.tls(rule).connection(near, rule.server_name(host))
            made.tls(rule).connection(near, host)


class ProblemTests(TrustsCase):
    def problems(self, rules: dict[str, RuleSettings] | None = None, **security: Any) -> list[str]:
        error = self.assertRaises(SettingsError, trusts, rules, **security)
        return [str(problem) for problem in error.problems]

    def test_each_file_and_each_problem_once(self) -> None:
        """However many rules inherit it."""
        certificate, key = (
            authority().issue("gateway", purposes=CLIENT, end=NOW - DAY / 2).save(self.directory, "expired")
        )
        secrets = self.secrets('["a"]\npassword = 1\n["b c"]\npassword = "x"\n')
        others = {
            f"r{number}": RuleSettings(targets=(f"h{number}",), password=PasswordMode.GATEWAY)
            for number in range(5)
        }
        lines = self.problems(
            {
                **others,
                "own": RuleSettings(targets=("x",), ca=self.directory / "missing.pem"),
                "both": RuleSettings(targets=("y",), secrets=self.directory / "missing.toml"),
            },
            certificate=certificate,
            key=key,
            ca=self.ca,
            secrets=secrets,
        )
        self.assertEqual(sorted(set(lines)), sorted(lines))
        text = "\n".join(lines)
        for name, count in (
            ("missing.pem", 1),
            ("missing.toml", 1),
            ("secrets.toml", 2),
        ):
            self.assertEqual(count, sum(name in line for line in lines), text)
        self.assertTrue(any("expired" in line for line in lines), text)
        self.assertNotIn('"x"', text)

    def test_all_of_them_at_once(self) -> None:
        lines = self.problems(
            {"a": RuleSettings(targets=("a",), ca=self.directory / "one")},
            ca=self.directory / "two",
            secrets=self.directory / "three",
        )
        self.assertEqual(3, len(lines))
        for name in ("one", "two", "three"):
            self.assertEqual(1, sum(name in line for line in lines), lines)

    def test_time(self) -> None:
        """A client certificate has to be valid now, whenever that is."""
        certificate, key = authority().issue("gateway", purposes=CLIENT).save(self.directory, "client")
        settings = Settings(security=SecuritySettings(ca=self.ca, certificate=certificate, key=key))
        Trusts(settings)
        Trusts(settings, now=NOW)
        self.assertRaises(SettingsError, Trusts, settings, now=NOW + 2 * DAY)

    def test_unchecked_settings(self) -> None:
        self.assertRaises(ValueError, trusts, {"a": RuleSettings(targets=("a b",))}, ca=self.ca)

    def test_the_certificate_of_a_server_is_no_authority(self) -> None:
        """It is trusted as it stands all the same: whatever the file has counts."""
        certificate, _ = leaf().save(self.directory, "leaf")
        trusts(ca=certificate)
