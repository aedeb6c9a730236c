"""Whole setups of a root directory, with a CA of its own."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import io
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.trial import unittest

from gateway.setup import outset, places, wizard
from gateway.setup.asking.dialog import BOUNDARY
from gateway.setup.enrolling.credentials import Tools
from gateway.setup.outset import run_setup
from gateway.setup.session import Manner
from gateway.setup.wizard import Errand
from tests.support.pki import Authority
from tests.unit.net.samples import DAY, NOW, pem

KEYS = "OVESETUP_CONFIG/websocketProxyPort=int:{port}"
ANSWERS = """[environment:default]
QUESTION/1/OVESETUP_CONFIG_WEBSOCKET_PROXY=str:YES
QUESTION/1/OVESETUP_NETWORK_FQDN_this=str:WSP.example.org
QUESTION/1/OVESETUP_NETWORK_FQDN_the_engine=str:engine.example.org
QUESTION/1/OVESETUP_DIALOG_CONFIRM_SETTINGS=str:ok
"""
OLD = """[environment:default]
OVESETUP_CONFIG/websocketProxyConfig=bool:True
OVESETUP_CONFIG/fqdn=str:wsp.example.org
OVESETUP_CONFIG/updateFirewall=bool:False
OVESETUP_CONFIG/websocketProxyPort=int:7100
OVESETUP_ENGINE_CONFIG/fqdn=str:engine.example.org
OVESETUP_DIALOG/confirmSettings=bool:True
"""


def run(root: Path, typed: str = "", answers: str = "", **others: object) -> tuple[int, str]:
    """Run setup and return its exit status and what it said."""
    sink = io.StringIO()
    with tempfile.TemporaryDirectory() as name:
        append = []
        if answers:
            append.append(Path(name, "answers.conf"))
            append[0].write_text(answers)
        errands = {key: others.pop(key) for key in ("generate", "renew", "new_key") if key in others}
        manner = Manner("setup", root=root, append=(*append,), owners=False, **others)  # type: ignore[arg-type]
        status = run_setup(
            manner,
            offline=True,
            errand=Errand(tools=Tools(attempts=1, engine_address="127.0.0.1", http_port=1, https_port=1)),
            source=io.BytesIO(typed.encode()),
            sink=sink,
            **errands,  # type: ignore[arg-type]
        )
    return status, sink.getvalue()


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below a directory: modes and contents."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = os.readlink(path).encode() if path.is_symlink() else b""
        found[str(path.relative_to(root))] = (
            status.st_mode,
            path.read_bytes() if stat.S_ISREG(status.st_mode) else content,
        )
    return found


@functools.cache
def finished() -> tuple[Path, str]:
    """A root directory that had keys and certificates, and is set up; and what was said."""
    root = Path(tempfile.mkdtemp())
    authority = Authority()
    gateway = authority.issue("wsp.example.org", end=NOW + 365 * DAY)
    engine = authority.issue("engine.example.org", key=rsa.generate_private_key(65537, 2048))
    for place, content in (
        (places.KEY, pem(gateway.key)),
        (places.CERTIFICATE, pem(gateway.certificate)),
        (places.ENGINE_CERTIFICATE, pem(engine.certificate)),
        (places.CA_CERTIFICATE, pem(authority.certificate)),
    ):
        path = root / str(place).lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    status, said = run(root, answers=ANSWERS)
    assert status == 0, said
    return root, said


def tearDownModule() -> None:
    if finished.cache_info().currsize:
        shutil.rmtree(finished()[0])


class WizardTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        finished()
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.base = Path(temporary.name)
        self.root = self.base / "root"
        # Where logs of what fails are left.
        self.patch(tempfile, "tempdir", str(self.base))

    def copy(self) -> None:
        shutil.copytree(finished()[0], self.root, symlinks=True)

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        before = snapshot(self.root)
        yield
        self.assertEqual(snapshot(self.root), before)

    def refused(self, *words: str, **others: object) -> None:
        """A run fails with a message that has these words, and changes nothing."""
        if not self.root.exists():
            self.root.mkdir()
        with self.unchanged():
            status, said = run(self.root, **others)  # type: ignore[arg-type]
        self.assertEqual(status, 1, said)
        (line,) = [line for line in said.splitlines() if line.startswith("[ ERROR ] Setup failed")]
        for word in (*words, "nothing was changed"):
            self.assertIn(word, line)

    def place(self, place: object) -> Path:
        return self.root / str(place).lstrip("/")


class FirstTests(WizardTests):
    def test_what_is_written(self) -> None:
        self.copy()
        self.assertEqual(
            self.place(places.CONFIGURATION).read_text(),
            "PROXY_PORT=6100\n"
            "SSL_CERTIFICATE=/etc/pki/ovirt-engine/certs/websocket-proxy.cer\n"
            "SSL_KEY=/etc/pki/ovirt-engine/keys/websocket-proxy.key.nopass\n"
            "CERT_FOR_DATA_VERIFICATION=/etc/pki/ovirt-engine/certs/engine.cer\n"
            "SSL_ONLY=True\n",
        )
        remembered = self.place(places.POST_INSTALL).read_text()
        for line in (
            "OVESETUP_CONFIG/fqdn=str:wsp.example.org",
            "OVESETUP_CONFIG/websocketProxyConfig=bool:True",
            "OVESETUP_CONFIG/websocketProxyPort=int:6100",
            "OVESETUP_CONFIG/updateFirewall=none:None",
        ):
            self.assertIn(f"{line}\n", remembered)
        self.assertIn("ovirt-websocket-proxy --systemd=notify", self.place(places.UNIT).read_text())
        self.assertEqual(os.readlink(self.place(places.UNIT_WANTED)), str(places.UNIT))
        self.assertEqual(len(list(self.place(places.RECORDS).iterdir())), 1)

    def test_who_may_read_it(self) -> None:
        self.copy()
        private = [places.KEY, places.CERTIFICATE, places.ENGINE_CERTIFICATE]
        logs = list(self.place(places.LOGS).iterdir())
        answers = list(self.place(places.ANSWERS).iterdir())
        for path in (*map(self.place, private), *logs, *answers):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)
        for place in (places.CONFIGURATION, places.POST_INSTALL, places.CA_CERTIFICATE, places.UNIT):
            self.assertEqual(stat.S_IMODE(self.place(place).stat().st_mode), 0o644, place)
        (log,) = logs
        self.assertEqual(len(answers), 1)
        self.assertRegex(log.name, r"^ovirt-engine-setup-\d{14}-[0-9a-f]{6}\.log$")
        self.assertIn("END OF SUMMARY", log.read_text())
        self.assertEqual(list(self.base.glob("*.log")), [])

    def test_what_is_said(self) -> None:
        said = finished()[1]
        titles = re.findall(r"--== (.*) ==--", said)
        self.assertEqual(
            titles,
            [
                "PRODUCT OPTIONS",
                "NETWORK CONFIGURATION",
                "OVIRT ENGINE CONFIGURATION",
                "PKI CONFIGURATION",
                "CONFIGURATION PREVIEW",
                "SUMMARY",
                "END OF SUMMARY",
            ],
        )
        self.assertIn(f"{'Host FQDN':<40}: wsp.example.org\n", said)
        self.assertIn(f"new      {places.CONFIGURATION}\n", said)
        self.assertNotIn("PRIVATE KEY", said)

    def test_without_an_engine(self) -> None:
        self.root.mkdir()
        answers = ANSWERS.replace("engine.example.org", "none")
        answers += "QUESTION/1/OVESETUP_CONFIG_OWN_CA_DIRECTORY=str:/etc/pki/own\n"
        status, said = run(self.root, answers=answers)
        self.assertEqual(status, 0, said)
        self.assertIn(f"new      {places.KEY}\n", said)
        self.assertNotIn("PRIVATE KEY", said)
        remembered = self.place(places.POST_INSTALL).read_text()
        self.assertIn("OVESETUP_CONFIG/ownCaDirectory=str:/etc/pki/own\n", remembered)
        for path in (self.place(places.KEY), *self.place("/etc/pki/own/private").iterdir()):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)
        with self.unchanged():
            status, said = run(self.root)
        self.assertEqual(status, 0, said)


class AgainTests(WizardTests):
    def setUp(self) -> None:
        super().setUp()
        self.copy()

    def test_nothing_is_done_twice(self) -> None:
        with self.unchanged():
            status, said = run(self.root, answers=ANSWERS)
        self.assertEqual(status, 0, said)
        self.assertIn("nothing has to be changed", said)
        self.assertEqual(list(self.base.glob("*.log")), [])

    def test_what_is_remembered_is_not_asked(self) -> None:
        with self.unchanged():
            status, said = run(self.root, typed="\n\n")
        self.assertEqual(status, 0, said)

    def test_a_port_that_needs_a_capability(self) -> None:
        for port, there in ((1023, True), (1024, False)):
            status, said = run(self.root, answers=ANSWERS, settings=KEYS.format(port=port))
            self.assertEqual(status, 0, said)
            text = self.place(places.UNIT).read_text()
            self.assertEqual("\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n" in text, there)

    def test_another_account(self) -> None:
        text = "OVESETUP_SYSTEM/userEngine=str:console OVESETUP_SYSTEM/groupEngine=str:consoles"
        status, said = run(self.root, answers=ANSWERS, settings=text)
        self.assertEqual(status, 0, said)
        self.assertIn("\nUser=console\nGroup=consoles\n", self.place(places.UNIT).read_text())

    def test_interrupted_when_all_is_done(self) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        self.patch(wizard, "close_up", interrupted)
        status, said = run(self.root, answers=ANSWERS, settings=KEYS.format(port=7443))
        self.assertEqual(status, 130)
        self.assertIn("Interrupted; setup itself is complete\n", said)
        self.assertIn("PROXY_PORT=7443", self.place(places.CONFIGURATION).read_text())
        self.assertEqual(len(list(self.place(places.LOGS).iterdir())), 2)

    def test_answer_files_of_the_old_kind(self) -> None:
        status, said = run(self.root, answers=OLD)
        self.assertEqual(status, 0, said)
        self.assertIn("PROXY_PORT=7100\n", self.place(places.CONFIGURATION).read_text())
        self.assertIn(f"changed  {places.CONFIGURATION}\n", said)
        self.assertNotIn(f"  {places.KEY}\n", said)
        self.assertEqual(len(list(self.place(places.CONFIGURATION).parent.iterdir())), 2)

    def test_answers_are_written_on_request(self) -> None:
        path = self.base / "generated.conf"
        status, said = run(self.root, settings=KEYS.format(port=7443), answers=ANSWERS, generate=path)
        self.assertEqual(status, 0, said)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        text = path.read_text()
        self.assertIn("QUESTION/1/OVESETUP_NETWORK_FQDN_this=str:wsp.example.org\n", text)
        self.assertIn("OVESETUP_CONFIG/websocketProxyPort=int:7443\n", text)
        with self.unchanged():
            status, said = run(self.root, answers=text)
        self.assertEqual(status, 0, said)

    def test_where_answers_cannot_be_written(self) -> None:
        self.refused("generated", answers=ANSWERS, generate=self.base / "missing" / "generated")

    def test_what_others_remember_stays(self) -> None:
        place = self.place(places.POST_INSTALL)
        place.write_text(f"{place.read_text()}OVESETUP_PKI/country=str:US\n")
        status, said = run(self.root, answers=ANSWERS, settings=KEYS.format(port=7443))
        self.assertEqual(status, 0, said)
        self.assertIn("OVESETUP_PKI/country=str:US\n", place.read_text())

    def test_passwords_that_others_remember_stay_private(self) -> None:
        place = self.place(places.POST_INSTALL)
        self.assertEqual(stat.S_IMODE(place.stat().st_mode), 0o644)
        place.write_text(f"{place.read_text()}OVESETUP_DB/password=str:hunter22\n")
        place.chmod(0o600)
        status, said = run(self.root, answers=ANSWERS, settings=KEYS.format(port=7443))
        self.assertEqual(status, 0, said)
        self.assertIn("hunter22", place.read_text())
        self.assertEqual(stat.S_IMODE(place.stat().st_mode), 0o600)
        self.assertNotIn("hunter22", said)

    def test_a_ca_certificate_that_was_there_is_not_recorded(self) -> None:
        (record,) = self.place(places.RECORDS).iterdir()
        self.assertIn(f" {places.CONFIGURATION}\n", record.read_text())
        self.assertNotIn(f" {places.CA_CERTIFICATE}\n", record.read_text())


class RefusalTests(WizardTests):
    def test_no_means_no(self) -> None:
        self.root.mkdir()
        status, said = run(self.root, typed="no\n")
        self.assertEqual((status, list(self.base.rglob("*"))), (0, [self.root]), said)

    def test_cancel(self) -> None:
        self.copy()
        with self.unchanged():
            status, said = run(self.root, typed="cancel\n", settings=KEYS.format(port=7443))
        self.assertEqual(status, 130, said)
        self.assertIn("nothing was changed", said)
        self.assertEqual(list(self.base.glob("*.log")), [])

    def test_wrong_answers(self) -> None:
        for old, new, words in (
            ("str:YES", "str:maybe", ("line 2", "OVESETUP_CONFIG_WEBSOCKET_PROXY", "Yes, No")),
            ("str:WSP.example.org", "str:192.0.2.1", ("line 3", "FQDN_this", "address")),
            ("str:engine.example.org", "str:a_b", ("line 4", "FQDN_the_engine", "letters")),
        ):
            self.refused("answers.conf", *words, answers=ANSWERS.replace(old, new))
        self.assertEqual(len(list(self.base.glob("*.log"))), 3)

    def test_ports_that_are_none(self) -> None:
        for port in ("int:0", "int:65536", "str:http", "bool:True", "str:-1"):
            text = f"OVESETUP_CONFIG/websocketProxyPort={port}"
            self.refused("websocketProxyPort", "65535", answers=ANSWERS, settings=text)

    def test_passwords_on_the_command_line(self) -> None:
        text = "OVESETUP_CONFIG/remoteEngineHostRootPassword=str:hunter22"
        self.root.mkdir()
        status, said = run(self.root, settings=text)
        self.assertEqual(status, 1)
        self.assertIn("--config-append", said)
        self.assertNotIn("hunter22", said)

    def test_the_engines_own_host(self) -> None:
        self.place("/etc/pki/ovirt-engine/keys").mkdir(parents=True)
        self.place("/etc/pki/ovirt-engine/keys/engine.p12").touch()
        self.refused("engine.p12", answers=ANSWERS)

    def test_no_engine_and_a_way_that_needs_one(self) -> None:
        text = "OVESETUP_CONFIG/remoteEngineSetupStyle=str:auto_ssh"
        answers = ANSWERS.replace("engine.example.org", "none")
        self.refused("needs an engine", answers=answers, settings=text)

    def test_the_end_of_input(self) -> None:
        self.refused("OVESETUP_NETWORK_FQDN_this", "--config-append", typed="yes\n")

    def test_a_dialect_that_is_none(self) -> None:
        self.refused("DIALOG/dialect", "human, machine", settings="DIALOG/dialect=str:klingon")

    def test_a_log_that_cannot_be_written(self) -> None:
        self.refused("log", answers=ANSWERS, log=self.base / "missing" / "log")

    def test_answer_files_that_cannot_be_read(self) -> None:
        sink = io.StringIO()
        self.root.mkdir()
        for path in (self.base / "missing", self.base):
            manner = Manner("setup", root=self.root, append=(path,), owners=False)
            self.assertEqual(run_setup(manner, source=io.BytesIO(), sink=sink), 1)
            self.assertIn(str(path), sink.getvalue())

    def test_one_at_a_time(self) -> None:
        self.root.mkdir()
        descriptor = os.open(self.root, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self.refused("is running", answers=ANSWERS)

    def test_interrupts(self) -> None:
        class Keyboard(io.BytesIO):
            def readline(self, size: int | None = -1) -> bytes:
                raise KeyboardInterrupt

        self.root.mkdir()
        sink = io.StringIO()
        manner = Manner("setup", root=self.root, owners=False)
        self.assertEqual(run_setup(manner, source=Keyboard(), sink=sink), 130)
        self.assertIn("[ ERROR ] Interrupted; nothing was changed\n", sink.getvalue())
        self.assertEqual(list(self.base.rglob("*")), [self.root])

    def test_defects_are_no_tracebacks(self) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError("hunter22")

        self.root.mkdir()
        self.patch(outset, "set_up", broken)
        status, said = run(self.root, answers=ANSWERS)
        self.assertEqual(status, 1)
        self.assertIn("ZeroDivisionError", said)
        self.assertNotIn("Traceback", said)
        (log,) = self.base.glob("*.log")
        self.assertIn("Traceback", log.read_text())


class MachineTests(WizardTests):
    def test_a_conversation_with_a_program(self) -> None:
        self.copy()
        status, said = run(self.root, typed="\n", settings=KEYS.format(port=7443), dialect="machine")
        self.assertEqual(status, 0, said)
        self.assertIn(
            "**%QStart: OVESETUP_DIALOG_CONFIRM_SETTINGS\n"
            "### Set up the gateway like this?\n"
            "**%QDefault: OK\n"
            "**%QValidValues: OK|Cancel\n"
            "**%QHidden: FALSE\n"
            "***Q:STRING OVESETUP_DIALOG_CONFIRM_SETTINGS\n"
            "**%QEnd: OVESETUP_DIALOG_CONFIRM_SETTINGS\n",
            said,
        )
        self.assertTrue(said.endswith("***TERMINATE\n"))
        for line in said.splitlines():
            self.assertRegex(line, r"^(###( |$)|\*\*\*(L:(INFO|WARNING|ERROR)|Q:|D:|TERMINATE)|\*\*%Q)")
        self.assertNotIn(BOUNDARY, said)

    def test_a_wrong_reply_is_fatal(self) -> None:
        self.copy()
        with self.unchanged():
            status, said = run(
                self.root, typed="maybe\nOK\n", settings=KEYS.format(port=7443), dialect="machine"
            )
        self.assertEqual(status, 1)
        self.assertIn("***L:ERROR Setup failed: invalid reply to OVESETUP_DIALOG_CONFIRM_SETTINGS", said)
        self.assertTrue(said.endswith("***TERMINATE\n"))

    def test_the_dialect_of_a_file(self) -> None:
        self.root.mkdir()
        status, said = run(
            self.root, answers="[environment:init]\nDIALOG/dialect=str:machine\n", typed="no\n"
        )
        self.assertEqual(status, 0)
        self.assertIn("***Q:STRING OVESETUP_CONFIG_WEBSOCKET_PROXY\n", said)
