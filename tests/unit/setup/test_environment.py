"""Values by key, and passwords that stay in them."""

from __future__ import annotations

from twisted.trial import unittest

from gateway.setup.asking.environment import HIDDEN, Entry, Environment


class EnvironmentTests(unittest.SynchronousTestCase):
    def test_a_default_does_not_replace_a_key_without_value(self) -> None:
        environment = Environment()
        environment.set("a", None)
        environment.put_default("a", Entry("late"))
        environment.put_default("b", Entry(7, "there", remembered=True))
        self.assertIn("a", environment)
        self.assertIsNone(environment.get("a"))
        self.assertEqual(environment.entry("b"), Entry(7, "there", remembered=True))
        self.assertEqual(list(environment.keys()), ["a", "b"])

    def test_what_is_not_there(self) -> None:
        environment = Environment()
        self.assertNotIn("a", environment)
        self.assertIsNone(environment.get("a"))
        self.assertEqual(environment.entry("a").origin, "")

    def test_names_of_passwords(self) -> None:
        environment = Environment()
        for key in (
            "OVESETUP_CONFIG/remoteEngineHostRootPassword",
            "QUESTION/1/SSH_ACCESS_REMOTE_ENGINE_PASSWORD",
            "CONSOLE_GATEWAY/passphrase",
        ):
            self.assertTrue(environment.is_secret(key), key)
        self.assertFalse(environment.is_secret("OVESETUP_CONFIG/fqdn"))
        environment.conceal("OVESETUP_CONFIG/fqdn")
        self.assertTrue(environment.is_secret("OVESETUP_CONFIG/fqdn"))

    def test_passwords_are_covered_wherever_they_appear(self) -> None:
        environment = Environment()
        environment.set("some/password", "hunter22")
        environment.set("plain", "open sesame")
        environment.conceal("plain")
        environment.conceal_text("hunter22-and-more")
        text = environment.scrub("x hunter22 y hunter22-and-more z open sesame")
        self.assertEqual(text, f"x {HIDDEN} y {HIDDEN} z {HIDDEN}")
        self.assertNotIn("hunter22", repr(environment))
        self.assertNotIn("hunter22", repr(environment.entry("some/password")))

    def test_a_password_that_is_an_ordinary_word(self) -> None:
        environment = Environment()
        environment.set("some/password", "engine")
        text = environment.scrub(
            "root@engine.example.org:/etc/ovirt-engine: engine, 'engine' password=engine"
        )
        self.assertEqual(
            text, f"root@engine.example.org:/etc/ovirt-engine: {HIDDEN}, '{HIDDEN}' password={HIDDEN}"
        )

    def test_passwords_of_any_form(self) -> None:
        environment = Environment()
        environment.set("some/password", 31415926)
        environment.conceal_text("/slash/in/front")
        environment.conceal("answer")
        environment.set("answer", "/another")
        text = environment.scrub("31415926, /slash/in/front and /another")
        self.assertEqual(text, f"{HIDDEN}, {HIDDEN} and {HIDDEN}")

    def test_paths_and_short_words_are_left_alone(self) -> None:
        environment = Environment()
        environment.set("CONSOLE_GATEWAY/engineApiPasswordFile", "/root/password")
        environment.set("some/password", "on")
        self.assertEqual(environment.scrub("/root/password is on"), "/root/password is on")
