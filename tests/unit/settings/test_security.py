from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.settings import (
    PasswordMode,
    Problem,
    RuleSettings,
    SecuritySettings,
    Settings,
    TargetSecurity,
    TicketSettings,
    TlsSettings,
    Verification,
    check_settings,
    resolve_rule,
)
from tests.unit.settings.test_loader import MINIMAL, LoaderTestCase

DIGEST = bytes(range(32)).hex()
PINNED = f"verify = 'fingerprint'\nfingerprints = ['{DIGEST}']\n"
RULE = "[rules.lab]\ntargets = ['a']\n"


class LoadSecurityTests(LoaderTestCase):
    def test_defaults(self) -> None:
        settings = self.load(MINIMAL)
        self.assertEqual(settings.security, SecuritySettings())
        self.assertEqual(settings.rules, {})
        self.assertEqual(settings.security.mode, TargetSecurity.TICKET)
        self.assertEqual(settings.security.verify, Verification.NAME)
        self.assertEqual(settings.security.password, PasswordMode.BROWSER)
        self.assertIs(settings.security.anonymous, False)

    def test_every_key(self) -> None:
        settings = self.load(
            MINIMAL + "[security]\nmode = 'auto'\nca = 'ca.pem'\n"
            "server_names = { 'a' = 'b', '10.0.0.1' = '2001:db8::1' }\n"
            "certificate = 'c.pem'\nkey = 'k.pem'\nanonymous = true\npassword = 'gateway'\n"
            "secrets = '/s.toml'\nhandshake_timeout = 5\nsilence = 0.5\n" + PINNED
        )
        self.assertEqual(
            settings.security,
            SecuritySettings(
                mode=TargetSecurity.AUTO,
                verify=Verification.FINGERPRINT,
                ca=self.directory / "ca.pem",
                fingerprints=(DIGEST,),
                server_names={"a": "b", "10.0.0.1": "2001:db8::1"},
                certificate=self.directory / "c.pem",
                key=self.directory / "k.pem",
                anonymous=True,
                password=PasswordMode.GATEWAY,
                secrets=Path("/s.toml"),
                handshake_timeout=5.0,
                silence=0.5,
            ),
        )

    def test_rules_keep_their_order(self) -> None:
        settings = self.load(
            MINIMAL + "[rules.z]\ntargets = ['*.z']\nca = 'ca.pem'\n"
            "[rules.a]\ntargets = ['10.0.0.0/8', '[::1]:5900']\nports = ['5900-5910']\nmode = 'tls'\n"
            "[rules.0-9]\ntargets = ['x']\nserver_names = {}\nfingerprints = []\nanonymous = false\n"
        )
        self.assertEqual(
            list(settings.rules.items()),
            [
                ("z", RuleSettings(targets=("*.z",), ca=self.directory / "ca.pem")),
                (
                    "a",
                    RuleSettings(
                        targets=("10.0.0.0/8", "[::1]:5900"), ports=("5900-5910",), mode=TargetSecurity.TLS
                    ),
                ),
                ("0-9", RuleSettings(targets=("x",), server_names={}, fingerprints=(), anonymous=False)),
            ],
        )

    def test_wrong_types(self) -> None:
        for extra, expected in {
            "[security]\nmode = 'plain'": "security.mode: is not one of 'ticket', 'auto', 'vencrypt', 'tls'",
            "[security]\nmode = true": "security.mode: one of 'ticket', 'auto', 'vencrypt', 'tls' expected",
            "[security]\nverify = 'none'": "security.verify: is not one of 'name', 'chain', 'fingerprint'",
            "[security]\nfingerprints = 'x'": "security.fingerprints: list of strings expected, string found",
            "[security]\nserver_names = ['x']": "security.server_names: table of strings expected, list",
            "[security]\nsilence = 0": "security.silence: 0.0 is out of bounds; use 0.1 to 30 seconds",
            RULE + "ca = 3": "rules.lab.ca: path expected, whole number found",
            RULE + "ca = ''": "rules.lab.ca: '' is not a path",
            RULE + "mode = 'Tls'": "rules.lab.mode: is not one of",
            RULE + "anonymous = 'no'": "rules.lab.anonymous: true or false expected, string found",
            RULE + "fingerprints = 'abc'": "rules.lab.fingerprints: list of strings expected, string found",
            RULE + "fingerprints = [1]": "rules.lab.fingerprints: item 1: string expected, whole number",
            RULE + "server_names = 'abc'": "rules.lab.server_names: table of strings expected, string",
            RULE + "server_names = {a = 1}": "rules.lab.server_names: item 'a': string expected, whole",
            RULE + "ports = 5900": "rules.lab.ports: list of strings expected, whole number found",
            "[rules.lab]\ntargets = 'a'": "rules.lab.targets: list of strings expected, string found",
            "[rules]\nlab = 3": "rules.lab: table expected, whole number found",
            "[rules]\ntargets = ['a']": "rules.targets: table expected, list found",
            "[[rules]]\ntargets = ['a']": "rules: table of tables expected, list found; give each a line of",
            "[[rules.lab]]\ntargets = ['a']": "rules.lab: table expected, list found",
        }.items():
            line = self.problem(extra)
            self.assertTrue(line.startswith(expected), line)

    def test_unknown_keys(self) -> None:
        for extra, expected in {
            "[security]\nmodes = 'tls'": "security.modes: unknown key; did you mean 'mode'?",
            RULE + "silence = 1": "rules.lab.silence: unknown key; move it under [security]",
            RULE + "handshake_timeout = 1": (
                "rules.lab.handshake_timeout: unknown key; move it under [front] or [security]"
            ),
            RULE + "verfy = 'name'": "rules.lab.verfy: unknown key; did you mean 'verify'?",
            RULE + "[rules.lab.more]\nca = 'x'": "rules.lab.more: unknown key; did you mean 'mode'?",
            "[security]\nports = []": "security.ports: unknown key; move it under [targets] or [rules.NAME]",
        }.items():
            self.assertEqual(self.problem(extra), expected)

    def test_many_rules_with_one_mistake_each(self) -> None:
        lines = self.problems(MINIMAL + "".join(f"[rules.r{n}]\ntargets = 3\n" for n in range(2000)))
        self.assertEqual(len(lines), 2001)
        self.assertTrue(lines[0].startswith("rules.r0.targets: list of strings expected"), lines[0])
        self.assertTrue(lines[-1].startswith("rules: more than 1000 rules"), lines[-1])


class CheckSecurityTests(LoaderTestCase):
    def test_values(self) -> None:
        for extra, expected in {
            "[security]\nfingerprints = ['ab']\nverify = 'fingerprint'": (
                "security.fingerprints: 'ab' is no SHA-256 fingerprint; write what 'openssl"
            ),
            "[security]\nserver_names = {'a b' = 'x'}": "security.server_names: 'a b' is not a host name",
            "[security]\nserver_names = {a = 'x:1'}": "security.server_names: 'x:1' is not a host name",
            "[security]\nserver_names = {a = '*.x'}": "security.server_names: '*.x' is not a host name",
            "[security]\nserver_names = {a = 'x', 'A.' = 'y'}": (
                "security.server_names: 'A.' is listed twice in different spellings; keep one of them"
            ),
            "[rules.lab]\nca = 'x'": "rules.lab.targets: is empty; list the targets that the rule is for",
            "[rules.lab]\ntargets = []": "rules.lab.targets: is empty",
            "[rules.lab]\ntargets = ['a b']": "rules.lab.targets: 'a b' is no target",
            "[rules.lab]\ntargets = ['*.a:1']": "rules.lab.targets: '*.a:1' has no valid host",
            RULE + "ports = ['0']": "rules.lab.ports: port '0' is out of range",
            RULE + "server_names = {'' = 'x'}": "rules.lab.server_names: '' is not a host name",
            "[rules.Lab]\ntargets = ['a']": "rules.Lab: is no name of a rule; use 1 to 64 lower-case letters",
            "[rules.security]\ntargets = ['a']": "rules.security: has the name that logs use where no rule",
            "[rules.'']\ntargets = ['a']": "rules.'': is no name of a rule",
            "[rules.\"a\\n\"]\ntargets = ['a']": r"rules.'a\n': is no name of a rule",
            f"[rules.{'a' * 65}]\ntargets = ['a']": f"rules.{'a' * 65}: is no name of a rule",
        }.items():
            line = self.problem(extra)
            self.assertTrue(line.startswith(expected), line)

    def test_fingerprints_and_verify(self) -> None:
        unused = f"fingerprints = ['{DIGEST}']\n"
        for extra, expected in {
            "[security]\nverify = 'fingerprint'": "security.fingerprints: is empty, but verify is 'fingerpr",
            RULE + "verify = 'fingerprint'": "rules.lab.fingerprints: is empty, but verify is 'fingerprint'",
            f"[security]\n{PINNED}{RULE}fingerprints = []": "rules.lab.fingerprints: is empty, but verify",
            f"[security]\n{unused}": "security.verify: is 'name', which looks at no fingerprints, but some",
            RULE + unused: "rules.lab.verify: is 'name', which looks at no fingerprints, but some are",
            f"[security]\n{PINNED}{RULE}verify = 'chain'\n{unused}": "rules.lab.verify: is 'chain', which",
        }.items():
            line = self.problem(extra)
            self.assertTrue(line.startswith(expected), line)
        for extra in (
            RULE + PINNED,
            f"[security]\n{PINNED}{RULE}verify = 'name'",
            f"[security]\n{PINNED}{RULE}{unused}",
            f"[security]\n{unused}{RULE}verify = 'fingerprint'",
        ):
            self.load(MINIMAL + extra)

    def test_missing_fingerprints_are_said_once(self) -> None:
        line = self.problem("[security]\nverify = 'fingerprint'\n" + RULE)
        self.assertTrue(line.startswith("security.fingerprints: "), line)

    def test_key_without_certificate(self) -> None:
        for extra, place in {
            "[security]\nkey = 'k'": "security",
            RULE + "key = 'k'": "rules.lab",
            "[security]\ncertificate = 'c'\n" + RULE + "key = 'k'": "rules.lab",
        }.items():
            line = self.problem(extra)
            self.assertEqual(
                line, f"{place}.certificate: is not set, but key is; name the certificate of this key"
            )
        self.load(MINIMAL + "[security]\ncertificate = 'c'\n")

    def test_silence_must_be_over_in_time(self) -> None:
        line = self.problem("[security]\nhandshake_timeout = 1\nsilence = 1\n")
        self.assertTrue(line.startswith("security.handshake_timeout: is over before"), line)
        never = "[security]\nmode = 'tls'\nhandshake_timeout = 1\nsilence = 1\n"
        self.load(MINIMAL + never)
        self.problem(never + RULE + "mode = 'auto'")

    def test_targets_of_no_effect(self) -> None:
        for extra, expected in {
            "[rules.lab]\ntargets = ['a', 'A.']": (
                "rules.lab.targets: 'A.' is already in this rule, which comes first; keep one of them"
            ),
            RULE + "[rules.b]\ntargets = ['b', 'A']": (
                "rules.b.targets: 'A' is already in rules.lab, which comes first; keep one of them"
            ),
            RULE
            + "[rules.b]\ntargets = ['a']\nports = ['1']": "rules.b.targets: 'a' is already in rules.lab",
            RULE + "ports = ['1-2']\n[rules.b]\ntargets = ['a']\nports = ['2', '1']": (
                "rules.b.targets: 'a' is already in rules.lab"
            ),
            "[rules.lab]\ntargets = ['a:5900']\nports = ['1']": (
                "rules.lab.targets: 'a:5900' has a port that is not in ports"
            ),
        }.items():
            line = self.problem(extra)
            self.assertTrue(line.startswith(expected), line)
        for extra in (
            RULE + "ports = ['1']\n[rules.b]\ntargets = ['a']",
            RULE + "[rules.b]\ntargets = ['a:1', '*.a', 'b.a']",
            "[rules.lab]\ntargets = ['a:5900']\nports = ['5900']",
        ):
            self.load(MINIMAL + extra)

    def test_too_many_rules(self) -> None:
        text = "".join(f"[rules.r{n}]\ntargets = ['h{n}']\n" for n in range(1001))
        self.assertEqual(
            self.problem(text),
            "rules: more than 1000 rules; give those that say the same one list of targets",
        )
        self.load(MINIMAL + text.partition("[rules.r1000]")[0])

    def test_nothing_is_said_of_what_was_not_understood(self) -> None:
        for extra, key in {
            f"[security]\nverify = 3\nfingerprints = ['{DIGEST}']": "security.verify",
            f"[security]\nverify = 3\n{RULE}fingerprints = ['{DIGEST}']": "security.verify",
            "[security]\nverify = 'fingerprint'\nfingerprints = 3": "security.fingerprints",
            "[security]\ncertificate = 3\nkey = 'k'": "security.certificate",
            "[security]\nhandshake_timeout = 'x'\nsilence = 20": "security.handshake_timeout",
            "[rules.lab]\ntargets = 3": "rules.lab.targets",
            "[rules]\nlab = 3": "rules.lab",
        }.items():
            self.assertEqual(self.problem(extra).partition(":")[0], key)

    def test_a_certificate_of_another_table_is_still_missed(self) -> None:
        lines = self.problems("[security]\ncertificate = 3\n[tls]\ncertificate = 'x'\n")
        self.assertEqual(
            [line.partition(":")[0] for line in lines], ["security.certificate", "tickets.certificate"]
        )

    @given(
        st.builds(
            Settings,
            tls=st.just(TlsSettings(certificate=Path("x"))),
            tickets=st.just(TicketSettings(certificate=Path("x"))),
            security=st.builds(
                SecuritySettings,
                verify=st.sampled_from(Verification),
                fingerprints=st.lists(st.sampled_from([DIGEST, "x"]), max_size=2).map(tuple),
                server_names=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
            ),
            rules=st.dictionaries(
                st.text(max_size=5),
                st.builds(
                    RuleSettings,
                    targets=st.lists(st.text(max_size=9), max_size=3).map(tuple),
                    ports=st.lists(st.text("0123-", max_size=5), max_size=3).map(tuple),
                    fingerprints=st.none() | st.lists(st.text(max_size=9), max_size=2).map(tuple),
                ),
                max_size=3,
            ),
        )
    )
    def test_any_settings_are_checked(self, settings: Settings) -> None:
        for problem in check_settings(settings, Path("embedded")):
            self.assertIsInstance(problem, Problem)
            self.assertTrue(str(problem).isprintable())
            self.assertIn(problem.key.partition(".")[0], ("security", "rules"))


class ResolveTests(LoaderTestCase):
    def test_times_are_those_of_all(self) -> None:
        security = SecuritySettings(handshake_timeout=3.0, silence=0.5)
        resolved = resolve_rule(security, RuleSettings(targets=("a",), anonymous=True))
        self.assertEqual((resolved.handshake_timeout, resolved.silence), (3.0, 0.5))
        self.assertIs(resolved.anonymous, True)
