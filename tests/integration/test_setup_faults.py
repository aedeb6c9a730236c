"""What goes wrong during setup: the host is as it was, and one clear message says why."""

from __future__ import annotations

from gateway.setup import places
from tests.integration.preparedcase import PreparedTestCase
from tests.integration.setupcase import PASSWORD, Ended
from tests.peers import needs
from tests.support.rehearsal import Run
from tests.support.trees import difference
from tests.support.witness import Accident

pytestmark = needs("openssl")

_CANCELLED = 130
_ACCIDENTS = (
    ("SIGINT", False),
    ("ENOSPC", False),
    ("SIGTERM", False),
    ("EIO", False),
    ("SIGINT", True),
    ("EROFS", False),
    ("ENOSPC", True),
)
"""What happens, and whether again and again."""


class AccidentsTests(PreparedTestCase):
    """Something happens at each of the moments at which setup is about to change a file."""

    def test_at_every_change(self) -> None:
        """Another one at each of them."""
        ended = self.set_up()
        self.assert_succeeded(self.clean_up())
        self.assert_unchanged(self.before)
        total = len(ended.run.changes)
        self.assertGreater(total, 40)
        for at in range(1, total + 1):
            what, lasting = _ACCIDENTS[at % len(_ACCIDENTS)]
            with self.subTest(at=at, what=what, lasting=lasting, change=ended.run.changes[at - 1]):
                self.attempt(Accident(at, what, lasting))

    def attempt(self, accident: Accident) -> None:
        ended = self.unattended("setup", *self.answered(), accident=accident)
        if self.completed(ended):
            self.assert_succeeded(self.clean_up())
        else:
            self.assertEqual(len(ended.errors), 1, ended.text)
            self.assertIn(ended.status, (1, _CANCELLED) if accident.what[0] == "E" else (_CANCELLED,))
            self.assertRegex(ended.errors[0], "(nothing was changed|everything is as it was before)$")
        self.assert_unchanged(self.before)

    def completed(self, ended: Ended) -> bool:
        """Whether it was done before the accident, which was no harm then, or was told of."""
        if ended.status == 0:
            return True
        return any("setup itself is complete" in error for error in ended.errors)


class WitnessTests(PreparedTestCase):
    """Whoever is to see what others could read does see it."""

    def test_sees_what_lies_open(self) -> None:
        self.write("/root/careless", self.key, 0o640)
        self.write("/root/note", f"the password is {PASSWORD}", 0o604)
        self.write("/root/careful", self.key, 0o600)
        terminal = self.start("cleanup")
        terminal.wait()
        assert isinstance(terminal.process, Run)
        exposed = terminal.process.report["exposed"]
        self.assertEqual(len(exposed), 2, exposed)
        self.assertTrue(any(f"{self.seen('/root/careless')} was 040 for others" in each for each in exposed))


class ServiceTests(PreparedTestCase):
    """With a service that is started, or should be."""

    with_systemd = True

    def setUp(self) -> None:
        super().setUp()
        if self.systemd is None:
            self.skipTest("without namespaces nothing can be started")
        self.service = self.systemd

    def test_not_started(self) -> None:
        """What systemd says is told, and nothing is left of the attempt."""
        self.service.fail("start")
        self.addCleanup(self.service.fail)
        ended = self.unattended("setup", *self.answered())
        self.assertEqual((ended.status, len(ended.errors)), (1, 1), ended.text)
        self.assertRegex(ended.errors[0], "failed because of a test.*everything is as it was before$")
        self.assertEqual(self.service.running, [])
        self.assert_unchanged(self.before)

    def test_runs_as_before(self) -> None:
        """A change that fails leaves the service that ran, with what it had."""
        self.set_up()
        done = self.look()
        port = f"OVESETUP_CONFIG/websocketProxyPort=int:{self.port + 1}"
        options = [*self.answered()[2:], "--otopi-environment", port]
        for change in ("os.rename .10-setup.conf", "'start'"):
            for what in ("SIGINT", "EIO"):
                with self.subTest(change, what=what):
                    ended = self.unattended("setup", *options, accident=Accident(0, what, change=change))
                    self.assertIn(ended.status, (1, _CANCELLED), ended.text)
                    self.assertRegex(ended.errors[0], "everything is as it was before$")
                    self.assertEqual(difference(done, self.look()), "")
                    self.assertEqual(self.service.running, [places.SERVICE])
        self.assert_succeeded(self.clean_up())
        self.assertEqual(self.service.running, [])
        self.assert_unchanged(self.before)
