"""Cleanup: what setup wrote goes, all of it or a part, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.setup import places
from tests.integration.preparedcase import PreparedTestCase
from tests.integration.setupcase import Ended
from tests.peers import needs
from tests.support.trees import Tree, difference
from tests.support.witness import Accident

pytestmark = needs("openssl")

_ALL = "Remove everything that setup of the gateway made"
_GATEWAY = "Remove the gateway"
_GROUP = r"Remove the files of '[^']+'"
_CHANGED = "Remove also the files that have changed"
_SURE = "Go on and remove this"
_NOTHING = 11


class CleanupTests(PreparedTestCase):
    """In a terminal."""

    done: Tree

    def setUp(self) -> None:
        super().setUp()
        self.set_up()
        self.done = self.look()

    def remove(self, *answers: tuple[str, str], options: Sequence[str] = ()) -> Ended:
        """Answer the questions, which have to come in this order."""
        terminal = self.start("cleanup", *options)
        for question, reply in answers:
            self.answer(terminal, question, reply)
        return self.finish(terminal)

    def assert_has(self, *places_there: object, gone: Sequence[object] = ()) -> None:
        self.assertTrue(all(self.gateway.path(place).exists() for place in places_there))
        self.assertFalse(any(self.gateway.path(place).exists() for place in gone))

    def test_all(self) -> None:
        """Asked twice; once it is done there is nothing more to do."""
        ended = self.remove((_ALL, ""), (_SURE, ""))
        self.assertEqual(ended.status, 130, ended.text)
        self.assertEqual(difference(self.done, self.look()), "")
        self.assert_succeeded(self.remove((_ALL, ""), (_SURE, "OK")))
        self.assert_unchanged(self.before)
        ended = self.remove()
        self.assertEqual((ended.status, len(ended.errors)), (_NOTHING, 1))
        self.assertRegex(ended.errors[0], "no setup of a gateway is recorded in .*nothing was changed$")
        self.assert_unchanged(self.before)

    def test_dry_run(self) -> None:
        ended = self.remove(options=["--dry-run", "--accept-defaults"])
        self.assert_succeeded(ended)
        for place in (places.CONFIGURATION, places.CERTIFICATE, places.UNIT, places.POST_INSTALL):
            self.assertIn(f"remove {place}", ended.text)
        self.assertEqual(difference(self.done, self.look()), "")

    def test_gateway_only(self) -> None:
        """Keys and certificates stay, for another setup, and can be removed by another cleanup."""
        ended = self.remove((_ALL, "no"), (_GATEWAY, "yes"), (_GROUP, "no"), (_SURE, "ok"))
        self.assert_succeeded(ended)
        self.assert_has(places.KEY, places.CERTIFICATE, gone=[places.CONFIGURATION, places.UNIT])
        self.assert_succeeded(self.clean_up())
        self.assert_unchanged(self.before)

    def test_keys_only(self) -> None:
        ended = self.remove((_ALL, "no"), (_GATEWAY, "no"), (_GROUP, "yes"), (_SURE, "ok"))
        self.assert_succeeded(ended)
        self.assertIn("will not start without its certificate", ended.text)
        self.assert_has(places.CONFIGURATION, places.UNIT, gone=[places.CERTIFICATE])
        self.assert_succeeded(self.clean_up())
        self.assert_unchanged(self.before)

    def test_nothing(self) -> None:
        ended = self.remove((_ALL, "no"), (_GATEWAY, "no"), (_GROUP, "no"))
        self.assert_succeeded(ended)
        self.assertEqual(difference(self.done, self.look()), "")

    def test_changed(self) -> None:
        """What was changed since may stay, and is asked for again the next time."""
        text = self.read(places.CONFIGURATION) + b"SSL_MIN_VERSION=TLSv1.3\n"
        self.write(str(places.CONFIGURATION), text)
        ended = self.remove((_ALL, "yes"), (_CHANGED, "no"), (_SURE, "ok"))
        self.assert_succeeded(ended)
        self.assertIn(f"{places.CONFIGURATION} has changed since setup wrote it", ended.text)
        self.assertEqual(self.read(places.CONFIGURATION), text)
        self.assert_has(places.RECORDS, gone=[places.UNIT, places.CERTIFICATE])
        self.assert_succeeded(self.remove((_ALL, "yes"), (_CHANGED, ""), (_SURE, "ok")))
        self.assert_unchanged(self.before)

    def test_interrupted_at_a_question(self) -> None:
        questions = [(_ALL, "no"), (_GATEWAY, "yes"), (_GROUP, "no"), (_SURE, "")]
        for number, (question, _) in enumerate(questions):
            with self.subTest(question):
                terminal = self.start("cleanup")
                for each, reply in questions[:number]:
                    self.answer(terminal, each, reply)
                terminal.expect(question)
                terminal.interrupt()
                ended = self.finish(terminal)
                self.assertEqual((ended.status, len(ended.errors)), (130, 1), ended.text)
                self.assertRegex(ended.errors[0], "nothing was changed$")
                self.assertEqual(difference(self.done, self.look()), "")


class FoundTests(PreparedTestCase):
    """What was there before setup."""

    def test_backups_stay(self) -> None:
        self.write(str(places.CONFIGURATION), "PROXY_PORT=6100\n")
        self.write(str(places.UNIT), "[Service]\nExecStart=/bin/true\n")
        self.set_up()
        ended = self.clean_up()
        self.assert_succeeded(ended)
        for place, text in (
            (places.CONFIGURATION, b"PROXY_PORT=6100\n"),
            (places.UNIT, b"[Service]\nExecStart=/bin/true\n"),
        ):
            directory = self.gateway.path(place).parent
            (backup,) = directory.iterdir()
            self.assertRegex(backup.name, rf"^{place.name}\.\d{{14}}$")
            self.assertEqual(backup.read_bytes(), text)
            self.assertIn(str(place.parent / backup.name), ended.text)

    def test_what_is_of_an_engine_stays(self) -> None:
        """A record of its own setup names its files, and does not go with ours."""
        record = str(places.RECORDS / "20250101000000-uninstall.conf")
        theirs = "/etc/ovirt-engine/engine.conf.d/10-setup-database.conf"
        self.write(theirs, "ENGINE_DB_HOST=localhost\n")
        self.write(
            record,
            "[file_group_core]\ndescription = Core files\noptional = False\n"
            f"file.000.name = {theirs}\nfile.000.md5 = 00\n\n[unremovable]\nfile.000.name = /etc/passwd\n",
        )
        remembered = "OVESETUP_ENGINE_CORE/enable=bool:True\n"
        self.write(str(places.POST_INSTALL), f"[environment:default]\n{remembered}")
        before = self.look()
        self.set_up()
        ended = self.clean_up()
        self.assert_succeeded(ended)
        self.assertIn("An engine is recorded on this host as well", ended.text)
        self.assertIn(remembered, self.read(places.POST_INSTALL).decode())
        own = str(places.POST_INSTALL).lstrip("/")
        after = {name: entry for name, entry in self.look().items() if not name.startswith(f"{own}.")}
        self.assert_unchanged_but(own, before, after)

    def test_accidents(self) -> None:
        """Whatever comes in between, another cleanup does the rest."""
        self.set_up()
        ended = self.clean_up()
        total = len(ended.run.changes)
        for number, at in enumerate(range(1, total + 1, 4)):
            what = ("SIGINT", "EIO", "SIGTERM", "EROFS")[number % 4]
            with self.subTest(at=at, what=what, change=ended.run.changes[at - 1]):
                self.set_up()
                options = ["--accept-defaults", "--otopi-environment", "OVESETUP_CORE/remove=bool:True"]
                first = self.unattended("cleanup", *options, accident=Accident(at, what))
                if first.status:
                    self.assertEqual(len(first.errors), 1, first.text)
                    self.assertIn(first.status, (1, 130))
                    second = self.unattended("cleanup", *options)
                    self.assertIn(second.status, (0, _NOTHING), second.text)
                self.assert_unchanged(self.before)

    def assert_unchanged_but(self, name: str, before: Tree, after: Tree) -> None:
        """Only the content of this one differs."""
        self.assertEqual(difference(before, {**after, name: before[name]}), "")
