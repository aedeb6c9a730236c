"""Rules for the security of targets: which one counts, and what it inherits."""

from __future__ import annotations

import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.settings import (
    PasswordMode,
    RuleSettings,
    SecuritySettings,
    Settings,
    TargetSecurity,
    Verification,
    parse_ports,
    parse_target,
)
from gateway.targets.rules import SecurityRule, SecurityRules
from tests.unit.settings.test_patterns import FEW_PORTS, HOSTS, TARGETS, matches

DIGEST = bytes(range(32))


def rules(**named: RuleSettings) -> SecurityRules:
    return SecurityRules(Settings(rules=named))


class MatchTests(SynchronousTestCase):
    def test_without_rules(self) -> None:
        made = rules()
        self.assertIs(made.for_target("host", 5900), made.default)
        self.assertEqual(made.default.name, "security")
        self.assertEqual(list(made), [made.default])

    def test_first_of_the_file_wins(self) -> None:
        made = rules(
            exception=RuleSettings(targets=("a.example.com", "10.0.0.1:5900")),
            wide=RuleSettings(targets=("*.example.com", "10.0.0.0/8")),
            never=RuleSettings(targets=("b.example.com", "10.0.0.1")),
        )
        for host, port, name in (
            ("a.example.com", 5900, "exception"),
            ("A.EXAMPLE.COM.", 5900, "exception"),
            ("b.example.com", 5900, "wide"),
            ("10.0.0.1", 5900, "exception"),
            ("::ffff:10.0.0.1", 5900, "exception"),
            ("10.0.0.1", 5901, "wide"),
            ("11.0.0.1", 5900, "security"),
            ("example.com", 5900, "security"),
        ):
            self.assertEqual(made.for_target(host, port).name, name, host)

    def test_an_exact_target_does_not_jump_the_queue(self) -> None:
        made = rules(wide=RuleSettings(targets=("*.b",)), exact=RuleSettings(targets=("a.b:5900",)))
        self.assertEqual(made.for_target("a.b", 5900).name, "wide")

    def test_ports(self) -> None:
        made = rules(
            some=RuleSettings(targets=("*.b",), ports=("5900-5910", "6000")),
            others=RuleSettings(targets=("*.b",)),
        )
        for port, name in ((5900, "some"), (5910, "some"), (6000, "some"), (5911, "others")):
            self.assertEqual(made.for_target("a.b", port).name, name)

    def test_no_host(self) -> None:
        self.assertRaises(ValueError, rules().for_target, "a b", 5900)

    def test_iterates_over_all(self) -> None:
        made = rules(one=RuleSettings(targets=("a",)), two=RuleSettings(targets=("b",)))
        self.assertEqual([rule.name for rule in made], ["security", "one", "two"])
        table = {rule: rule.name for rule in made}
        self.assertEqual(table[made.for_target("b", 1)], "two")

    @given(
        st.lists(
            st.builds(
                RuleSettings,
                targets=st.lists(TARGETS, min_size=1, max_size=4).map(tuple),
                ports=st.lists(FEW_PORTS.map(str), max_size=2).map(tuple),
            ),
            max_size=8,
        ),
        HOSTS,
        FEW_PORTS,
    )
    def test_as_one_by_one(self, listed: list[RuleSettings], host: str, port: int) -> None:
        named = {f"r{number}": rule for number, rule in enumerate(listed)}
        expected = next(
            (
                name
                for name, rule in named.items()
                if (not rule.ports or port in parse_ports(rule.ports))
                and any(matches(parse_target(target), host, port) for target in rule.targets)
            ),
            "security",
        )
        made = rules(**named)
        found = made.for_target(host, port)
        self.assertEqual(found.name, expected)
        self.assertIs(made.for_target(host, port), found)

    def test_many_rules_are_found_fast(self) -> None:
        named = {
            f"r{n}": RuleSettings(targets=tuple(f"h{n}-{m}.example.com" for m in range(50)))
            for n in range(200)
        }
        made = rules(**named)
        begin = time.process_time()
        for _ in range(1000):
            found = made.for_target("h199-49.example.com", 5900)
        self.assertLess(time.process_time() - begin, 1)
        self.assertEqual(found.name, "r199")


class InheritanceTests(SynchronousTestCase):
    general = SecuritySettings(
        mode=TargetSecurity.AUTO,
        verify=Verification.CHAIN,
        ca=Path("/ca"),
        fingerprints=(DIGEST.hex(),),
        server_names={"A.": "B", "192.0.2.7": "2001:DB8::1"},
        certificate=Path("/certificate"),
        key=Path("/key"),
        anonymous=True,
        password=PasswordMode.GATEWAY,
        secrets=Path("/secrets"),
    )

    def rule(self, **keys: object) -> SecurityRule:
        rule = RuleSettings(targets=("a",), **keys)  # type: ignore[arg-type]
        return SecurityRules(Settings(security=self.general, rules={"it": rule})).for_target("a", 1)

    def test_everything_is_inherited(self) -> None:
        for rule in (self.rule(), SecurityRules(Settings(security=self.general)).default):
            self.assertEqual(rule.mode, TargetSecurity.AUTO)
            self.assertEqual(rule.verify, Verification.CHAIN)
            self.assertEqual(rule.ca, Path("/ca"))
            self.assertEqual(rule.fingerprints, {DIGEST})
            self.assertEqual(rule.server_names, {"a": "b", "192.0.2.7": "2001:db8::1"})
            self.assertEqual((rule.certificate, rule.key), (Path("/certificate"), Path("/key")))
            self.assertIs(rule.anonymous, True)
            self.assertEqual(rule.password, PasswordMode.GATEWAY)
            self.assertEqual(rule.secrets, Path("/secrets"))

    def test_each_key_can_be_replaced(self) -> None:
        for name, value in {
            "mode": TargetSecurity.TLS,
            "verify": Verification.NAME,
            "ca": Path("/other"),
            "anonymous": False,
            "password": PasswordMode.BROWSER,
            "secrets": Path("/other"),
        }.items():
            self.assertEqual(getattr(self.rule(**{name: value}), name), value)

    def test_lists_and_tables_are_replaced(self) -> None:
        self.assertEqual(self.rule(fingerprints=()).fingerprints, frozenset())
        self.assertEqual(self.rule(fingerprints=("00" * 32,)).fingerprints, {bytes(32)})
        self.assertEqual(self.rule(server_names={}).server_names, {})

    def test_key_belongs_to_certificate(self) -> None:
        rule = self.rule(certificate=Path("/other"))
        self.assertEqual((rule.certificate, rule.key), (Path("/other"), None))
        rule = self.rule(certificate=Path("/other"), key=Path("/own"))
        self.assertEqual((rule.certificate, rule.key), (Path("/other"), Path("/own")))

    def test_server_name(self) -> None:
        rule = self.rule()
        for host, expected in (
            ("a", "b"),
            ("A", "b"),
            ("c.example.com", "c.example.com"),
            ("C.Example.com.", "c.example.com"),
            ("192.0.2.7", "2001:db8::1"),
            ("2001:DB8:0::5", "2001:db8::5"),
        ):
            self.assertEqual(rule.server_name(host), expected)
        self.assertRaises(ValueError, rule.server_name, "")
