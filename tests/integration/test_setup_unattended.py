"""Setup from answer files of both generations, by a program, and again."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from typing import ClassVar

from gateway.pki import parse_chain
from gateway.setup import places
from tests.integration.preparedcase import CERTIFICATE, PreparedTestCase
from tests.integration.setupcase import PASSWORD
from tests.peers import needs
from tests.support.answerer import Conversation, converse
from tests.support.enginehost import API_PASSWORD, API_USER
from tests.support.hosts import ENGINE, GATEWAY
from tests.support.process import ROOT
from tests.support.sshd import Sshd
from tests.support.trees import difference, snapshot

pytestmark = needs("openssl", "ssh", "sshd")


class AnswerFilesTests(PreparedTestCase):
    with_sshd = True
    server: ClassVar[Sshd]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        assert cls.sshd is not None
        cls.server = cls.sshd

    def test_questions(self) -> None:
        """As they are since 4.3; whoever set it up can make another one from what was answered."""
        ended = self.set_up("--generate-answer", self.seen("/root/generated.conf"))
        self.assertNotIn(": \n", ended.text)
        self.assert_set_up()
        generated = self.gateway.path("/root/generated.conf")
        self.assertEqual(stat.S_IMODE(generated.stat().st_mode), 0o600)
        self.assertIn(f"QUESTION/1/OVESETUP_NETWORK_FQDN_this=str:{GATEWAY}\n", generated.read_text())
        self.assert_succeeded(self.clean_up())
        # Its key went as well, and comes back as a new host's would.
        self.place(places.KEY, self.key)
        again = self.unattended("setup", "--config-append", self.seen("/root/generated.conf"))
        self.assert_succeeded(again)
        self.assert_set_up()

    def test_keys(self) -> None:
        """As they were before 4.3, here with ssh; what is remembered has no password."""
        known = self.write("/root/known", self.server.known_host)
        identity = self.write("/root/identity", self.server.identity.read_bytes(), 0o600)
        answers: dict[str, object] = {
            "OVESETUP_CONFIG/websocketProxyConfig": True,
            "OVESETUP_CONFIG/websocketProxyPort": self.port,
            "OVESETUP_CONFIG/fqdn": GATEWAY,
            "OVESETUP_CONFIG/updateFirewall": False,
            "OVESETUP_ENGINE_CONFIG/fqdn": ENGINE,
            "OVESETUP_CONFIG/remoteEngineSetupStyle": "auto_ssh",
            "OVESETUP_CONFIG/remoteEngineHostSshPort": self.server.port,
            "OVESETUP_CONFIG/remoteEngineHostRootPassword": PASSWORD if self.hosts.isolated else "",
            "OVESETUP_CONFIG/remoteEngineHostKnownHosts": known,
            "OVESETUP_DIALOG/confirmSettings": True,
            "OVESETUP_SYSTEM/selinux": None,
        }
        if not self.hosts.isolated:
            answers["OVESETUP_CONFIG/remoteEngineHostClientKey"] = identity
        shutil.rmtree(self.gateway.path("/etc/pki"))
        self.gateway.path(CERTIFICATE).unlink()
        before = self.look()
        generated = self.seen("/root/generated.conf")
        self.assert_succeeded(
            self.unattended("setup", *self.answered(answers), "--generate-answer", generated)
        )
        self.assert_set_up()
        for path in self.gateway.root.joinpath("etc").rglob("*.conf"):
            self.assertNotIn(PASSWORD, path.read_text(), path)
        for path in self.gateway.path(places.ANSWERS).iterdir():
            self.assertNotIn(PASSWORD, path.read_text(), path)
        self.assertNotIn(PASSWORD, self.gateway.path("/root/generated.conf").read_text())
        self.gateway.path("/root/generated.conf").unlink()
        self.assert_succeeded(self.clean_up())
        self.assert_unchanged(before)

    def test_keys_of_3_5(self) -> None:
        """The certificate was a part of them."""
        answers: dict[str, object] = {
            "OVESETUP_CONFIG/websocketProxyConfig": True,
            "OVESETUP_CONFIG/fqdn": GATEWAY,
            "OVESETUP_CONFIG/updateFirewall": False,
            "QUESTION/1/OVESETUP_CSR_INLINE": "Inline",
            "OVESETUP_CONFIG/wspCertificateChain": self.certificate[self.certificate.index(b"-----BEGIN") :]
            .decode()
            .rstrip(),
            "OVESETUP_ENGINE_CONFIG/fqdn": ENGINE,
            "OVESETUP_DIALOG/confirmSettings": True,
        }
        self.assert_succeeded(self.unattended("setup", *self.answered(answers)))
        self.assert_set_up()

    def test_again(self) -> None:
        """Nothing changes; a certificate that nears its end is renewed for the same key."""
        self.set_up()
        done = self.look()
        ended = self.unattended("setup", *self.answered())
        self.assert_succeeded(ended)
        self.assertIn("nothing has to be changed", ended.text)
        self.assertEqual(difference(done, self.look()), "")

        self.place(places.CERTIFICATE, self.engine.sign(self.request, GATEWAY, "--days=30"))
        self.assert_succeeded(self.unattended("setup", *self.answered()))
        self.assert_set_up()
        renewed = parse_chain(self.read(places.CERTIFICATE))[0]
        self.assertEqual(renewed, parse_chain(self.certificate)[0])
        self.assertEqual(self.read(places.KEY), self.key)
        backups = list(self.gateway.path(places.CERTIFICATE).parent.glob("websocket-proxy.cer.*"))
        self.assertEqual([stat.S_IMODE(path.stat().st_mode) for path in backups], [0o600])

    def test_option_of_the_engine(self) -> None:
        """Looked up for whoever logs in; the password is written nowhere."""
        should = f"{GATEWAY}:{self.port}"
        answers = {
            **self.answers(),
            "OVESETUP_ENGINE_CONFIG/apiUser": API_USER,
            "OVESETUP_ENGINE_CONFIG/apiPassword": API_PASSWORD,
        }
        for value, said in (
            ("Off", r"\[WARNING\] The engine's option WebSocketProxy is Off"),
            ("engine.example.org:6100", rf"is engine.example.org:6100, not {should}"),
            (should, rf"\[ INFO  \] The engine's option WebSocketProxy is {should}"),
        ):
            with self.subTest(value):
                self.engine.option = value
                ended = self.unattended("setup", *self.answered(answers), secrets=(API_PASSWORD,))
                self.assert_succeeded(ended)
                self.assertRegex(ended.text, said)
                self.assertNotIn(API_PASSWORD, ended.text + self.logs())
                self.assertEqual(f"engine-config -s WebSocketProxy={should}" in ended.text, value != should)
                self.assert_succeeded(self.clean_up())

    def test_image(self) -> None:
        """A root directory of a host that does not run."""
        image = self.gateway.path("/var/image")
        self.addCleanup(shutil.rmtree, image)
        for name in ("passwd", "group"):
            self.write(f"/var/image/etc/{name}", self.read(f"/etc/{name}"))
        before = snapshot(image)
        options = ["--root", self.seen("/var/image")]
        own = self.answers(
            OVESETUP_NETWORK_FQDN_the_engine="none",
            REMOTE_ENGINE_SETUP_STYLE="4",
        )
        program = "CONSOLE_GATEWAY/program=str:/opt/console-gateway/bin/console-gateway"
        answers = [*self.answered(own)[2:], "--otopi-environment", program, "--accept-defaults"]
        ended = self.command("setup", *options, "--offline", *answers)
        self.assert_succeeded(ended)
        unit = image / str(places.UNIT).lstrip("/")
        self.assertIn("ExecStart=/opt/console-gateway/bin/console-gateway ", unit.read_text())
        outside = {name: entry for name, entry in self.look().items() if "var/image" not in name}
        self.assertEqual(difference(self.before, outside), "")
        confirmed = "OVESETUP_CORE/remove=bool:True"
        ended = self.command("cleanup", *options, "--accept-defaults", "--otopi-environment", confirmed)
        self.assert_succeeded(ended)
        self.assertEqual(difference(before, snapshot(image)), "")


class MachineTests(PreparedTestCase):
    """The dialect for programs, on pipes, with a process of its own."""

    def converse(self, **changes: object) -> Conversation:
        root = [] if self.gateway.holder is not None else ["--root", str(self.gateway.root)]
        command = ["-m", "gateway", "setup", *root, *self.port_option(), "--dialect", "machine"]
        answers = {name.removeprefix("QUESTION/1/"): value for name, value in self.answers(**changes).items()}
        return converse(
            self.gateway.command(sys.executable, *command),
            answers,  # type: ignore[arg-type]
            cwd=ROOT,
            environ={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": self.seen("/tmp")},
        )

    def test_inline(self) -> None:
        if not self.hosts.isolated:
            self.skipTest("a process of its own does not find the engine by its name")

        def sign(said: Conversation) -> list[str]:
            request = "\n".join([*said.shown["WSP_CERTIFICATE_REQUEST"], ""])
            return self.engine.sign(request.encode(), GATEWAY).decode().splitlines()

        said = self.converse(REMOTE_ENGINE_SETUP_STYLE="3", **{"OVESETUP_CONFIG/wspCertificateChain": sign})
        self.assertEqual((said.status, said.strange, said.ended), (0, [], True), said)
        self.assertEqual(said.choices["REMOTE_ENGINE_SETUP_STYLE"], ["1", "2", "3", "4"])
        self.assertEqual(said.defaults["OVESETUP_DIALOG_CONFIRM_SETTINGS"], "OK")
        self.assertNotIn("ERROR", [level for level, _ in said.log])
        self.assert_set_up()

    def test_invalid(self) -> None:
        """A wrong reply is fatal, as programs do not learn."""
        said = self.converse(OVESETUP_NETWORK_FQDN_this="192.0.2.1")
        self.assertEqual((said.status, said.strange, said.ended), (1, [], True), said)
        self.assertEqual([level for level, _ in said.log][-1], "ERROR")
        self.assertIn("OVESETUP_NETWORK_FQDN_this", said.log[-1][1])
        self.assert_unchanged(self.before)
