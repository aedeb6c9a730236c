"""Enrolment over ssh: questions, what runs on the engine's host, and what may go wrong there."""

from __future__ import annotations

import shlex
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from unittest import mock

from twisted.trial import unittest

from gateway.pki import make_request
from gateway.setup.asking.environment import Value
from gateway.setup.enrolling.by_ssh import Signed, enrol_over_ssh
from gateway.setup.enrolling.commandline import enrol_command, enrol_text, own_sign_text
from gateway.setup.enrolling.enrolment import Wanted
from gateway.setup.enrolling.hostkey import parse_scan
from gateway.setup.enrolling.tools import Tools
from gateway.setup.errors import SetupError
from tests.support.interview import ScriptedInterview
from tests.unit.setup.enrolling import (
    FQDN,
    authority,
    certificate,
    closed_port,
    dump,
    engine_certificate,
    fake_ssh,
    own_key,
)
from tests.unit.setup.test_ssh import CHANGED, SCAN, UNKNOWN

PORT = "SSH_ACCESS_REMOTE_ENGINE_PORT"
PASSWORD = "SSH_ACCESS_REMOTE_ENGINE_PASSWORD"
FINGERPRINT = "SSH_ACCESS_REMOTE_ENGINE_FINGERPRINT"
KEY = "OVESETUP_CONFIG/remoteEngineHost"


class SshTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.state = self.directory / "ssh"
        self.pki = self.directory / "it's the PKI"
        for name in ("requests", "certs"):
            (self.pki / name).mkdir(parents=True)
        (self.pki / "ca.pem").write_bytes(dump(authority().certificate))
        (self.pki / "certs/engine.cer").write_bytes(b"text before it\n" + engine_certificate())
        self.signed = self.pki / f"certs/websocket-proxy-{FQDN}.cer"
        self.program("printf '%s\\n' \"$@\" > '{0}/arguments'; cp '{0}/signed' \"$OUT\"")
        (self.directory / "signed").write_bytes(certificate())
        self.enterContext(mock.patch.dict("os.environ", {"OUT": str(self.signed)}))
        self.listener = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        self.port = str(self.listener.getsockname()[1])
        self.pauses: list[float] = []
        self.request = make_request(own_key())

    def program(self, script: str) -> None:
        path = self.directory / "pki-enroll-request.sh"
        path.write_text("#!/bin/sh\n" + script.format(self.directory))
        path.chmod(0o755)

    def enrol(self, interview: ScriptedInterview, *, patience: float = 5.0, **ssh: Any) -> Signed:
        tools = Tools(
            **(fake_ssh(self.state, **ssh) if not self.state.exists() else ssh),
            remote_pki=PurePosixPath(self.pki),
            remote_enrol=PurePosixPath(self.directory / "pki-enroll-request.sh"),
            attempts=3,
            pause=self.pauses.append,
            timeout=5.0,
            command_timeout=patience,
        )
        return enrol_over_ssh(interview, Wanted(FQDN, "127.0.0.1", 6100), self.request, tools)

    def interview(
        self,
        *passwords: str,
        answer: str = "",
        ports: Sequence[str] = (),
        values: dict[str, Value] | None = None,
    ) -> ScriptedInterview:
        answers = {PORT: [*ports, self.port], PASSWORD: list(passwords or [""]), FINGERPRINT: [answer]}
        return ScriptedInterview(answers, values)

    def test_the_whole_way(self) -> None:
        interview = self.interview("secret word")
        signed = self.enrol(interview, password="secret word")
        self.assertEqual(signed.certificate, certificate())
        self.assertEqual(signed.ca, dump(authority().certificate))
        self.assertTrue(signed.engine.endswith(engine_certificate()))
        request = self.pki / f"requests/websocket-proxy-{FQDN}.req"
        self.assertEqual(request.read_bytes(), self.request)
        self.assertEqual(
            (self.directory / "arguments").read_text().splitlines(),
            [f"--name=websocket-proxy-{FQDN}", f"--subject=/CN={FQDN}", f"--san=DNS:{FQDN}"],
        )
        self.assertEqual(interview.asked, [PORT, PASSWORD])
        self.assertTrue(interview.dialog.asked[1].hidden)
        self.assertNotIn("secret word", (self.state / "seen").read_text())
        self.assertNotIn(
            "secret word", repr(interview.dialog.logged) + repr(signed) + repr(interview.answers)
        )

    def test_a_name_that_is_too_long_for_a_subject(self) -> None:
        """A common name has 64 characters at most; the alternative name has the whole of it."""
        long = f"gateway.{'a' * 40}.{'b' * 40}.example.org"
        command = enrol_command(long, "/C=US", PurePosixPath("/x"))
        self.assertEqual(command[2:], ["--subject=/C=US/CN=gateway", f"--san=DNS:{long}"])
        self.assertIn(
            "CN=gateway", " ".join([*enrol_text(long, None, Tools()), *own_sign_text(long, "/C=US")])
        )

    def test_the_prefix_of_the_subject_is_only_data(self) -> None:
        prefix = '/C=US/O=Let\'s "go"; touch $HOME `id`'
        with mock.patch("gateway.setup.enrolling.by_ssh.dn_prefix", return_value=prefix):
            self.enrol(self.interview())
        self.assertEqual(
            (self.directory / "arguments").read_text().splitlines()[1], f"--subject={prefix}/CN={FQDN}"
        )

    def test_a_wrong_password_is_asked_for_again(self) -> None:
        interview = self.interview("wrong", "", "right")
        self.enrol(interview, password="right")
        self.assertIn("give the right password", interview.errors[0])
        self.assertIn("no key of", interview.errors[1])
        self.assertNotIn("wrong", str(interview.errors))

    def test_a_wrong_password_in_advance_is_the_end(self) -> None:
        interview = ScriptedInterview({}, {f"{KEY}SshPort": int(self.port), f"{KEY}RootPassword": "wrong"})
        with self.assertRaisesRegex(SetupError, "remoteEngineHostRootPassword: .*does not let root in"):
            self.enrol(interview, password="right")

    def test_the_port_is_a_number_where_somebody_listens(self) -> None:
        interview = self.interview(ports=["ssh", "0", "70000", str(closed_port())])
        self.enrol(interview)
        self.assertEqual(len(interview.errors), 4)
        self.assertIn("refused", interview.errors[3])

    def test_a_connection_is_tried_a_few_times(self) -> None:
        fake_ssh(self.state)
        (self.state / "failures").write_text("Connection reset\nConnection reset\n")
        self.enrol(self.interview(), **self.again())
        self.assertEqual(self.pauses, [1.0, 2.0])

    def test_but_not_without_end(self) -> None:
        with self.assertRaisesRegex(SetupError, "no ssh connection: .*refused"):
            self.enrol(self.interview(), greeting="ssh: connect to host port 22: Connection refused\n")
        self.assertEqual(self.pauses, [1.0, 2.0])

    def test_an_unknown_host_is_confirmed(self) -> None:
        programs = fake_ssh(self.state, greeting=UNKNOWN)
        (self.state / "scan").write_text(SCAN)
        best, other = parse_scan(SCAN.encode())
        for answer, kind in (("yes", best), (other.fingerprint, other), (best.fingerprint[7:], best)):
            (self.state / "seen").write_text("")
            interview = self.interview(answer=answer)
            self.enrol(interview, **programs)
            self.assertIn(best.fingerprint, interview.dialog.notes[0])
            self.assertIn(f"HostKeyAlgorithms={kind.algorithms}", (self.state / "seen").read_text())
        interview = ScriptedInterview(
            {},
            {f"{KEY}SshPort": int(self.port), f"{KEY}Fingerprint": other.fingerprint},
            accept_defaults=True,
        )
        self.enrol(interview, **programs)

    def test_an_unknown_host_is_not_taken_unconfirmed(self) -> None:
        programs = fake_ssh(self.state, greeting=UNKNOWN)
        (self.state / "scan").write_text(SCAN)
        with self.assertRaisesRegex(SetupError, "was not confirmed"):
            self.enrol(self.interview(answer="no"), **programs)
        for answer in ("yes", "SHA256:wrong"):
            values: dict[str, Value] = {f"{KEY}SshPort": int(self.port), f"{KEY}Fingerprint": answer}
            with self.assertRaisesRegex(SetupError, "give the fingerprint itself|not that one"):
                self.enrol(ScriptedInterview({}, values, accept_defaults=True), **programs)
        self.assertNotIn("arg -N\n", (self.state / "seen").read_text())

    def test_a_changed_host_is_the_end(self) -> None:
        with self.assertRaisesRegex(SetupError, "not the one that is known"):
            self.enrol(self.interview(answer="yes"), greeting=CHANGED)
        self.assertEqual(self.pauses, [])

    def test_user_key_and_known_hosts_are_passed_on(self) -> None:
        values: dict[str, Value] = {
            f"{KEY}User": "operator",
            f"{KEY}ClientKey": "/root/a key",
            f"{KEY}KnownHosts": "/root/hosts",
        }
        with self.assertRaises(SetupError):  # there is no sudo, or it does not run here
            self.enrol(self.interview(values=values), password="other")
        seen = (self.state / "seen").read_text()
        self.assertIn("arg -l\narg operator\n", seen)
        self.assertIn('arg IdentityFile="/root/a key"\n', seen)
        self.assertRegex(seen, r'arg UserKnownHostsFile="[^"]*/known" "/root/hosts"\n')
        for user in ("-oProxyCommand=id", "a b", "\u00e9"):
            with self.assertRaisesRegex(SetupError, "no name of a user"):
                self.enrol(self.interview(values={f"{KEY}User": user}))

    def test_what_the_engine_refuses(self) -> None:
        self.program("echo FATAL: the authority is closed >&2; exit 7")
        with self.assertRaisesRegex(SetupError, "failed with status 7: FATAL: the authority is closed"):
            self.enrol(self.interview())

    def test_what_the_engine_does_not_finish(self) -> None:
        self.program("sleep 20")
        with self.assertRaisesRegex(SetupError, "pki-enroll-request.sh did not end in time"):
            self.enrol(self.interview(), patience=0.3)

    def test_what_is_missing_there(self) -> None:
        (self.pki / "certs/engine.cer").unlink()
        with self.assertRaisesRegex(SetupError, "certs/engine.cer cannot be read: .*No such file"):
            self.enrol(self.interview())
        (self.pki / "ca.pem").write_bytes(b"")
        with self.assertRaisesRegex(SetupError, "ca.pem has 0 bytes"):
            self.enrol(self.interview(), **self.again())
        (self.pki / "ca.pem").write_bytes(b"nonsense")
        with self.assertRaisesRegex(SetupError, "ca.pem: there is no PEM certificate"):
            self.enrol(self.interview(), **self.again())

    def test_a_request_that_cannot_be_put(self) -> None:
        (self.pki / "requests").rmdir()
        with self.assertRaisesRegex(SetupError, "requests/.* cannot be written: "):
            self.enrol(self.interview())
        self.assertFalse((self.directory / "arguments").exists())

    def again(self) -> dict[str, Any]:
        return {name: str(self.state / name) for name in ("ssh", "ssh_keyscan", "ssh_keygen")}

    def test_nothing_that_is_shown_depends_on_quotes(self) -> None:
        self.enrol(self.interview())
        seen = (self.state / "seen").read_text()
        self.assertIn(f"arg cat {shlex.quote(str(self.pki / 'ca.pem'))}\n", seen)
