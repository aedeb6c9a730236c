"""Enrolment with files: where the request lies, how long, and which certificates will do."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial import unittest

from gateway.pki import key_pem, make_request
from gateway.setup.enrolling.by_files import REQUEST_KEY, enrol_with_files
from gateway.setup.enrolling.enrolment import Judge, Wanted
from gateway.setup.enrolling.tools import Tools
from gateway.setup.errors import SetupError
from tests.support.interview import ScriptedInterview
from tests.support.pki import Authority
from tests.unit.net.samples import DAY, NOW
from tests.unit.setup.enrolling import ENGINE, FQDN, authority, certificate, dump, own_key

QUESTION = "ENROLL_CERT_MANUAL_FILES_websocket-proxy"
OLD = "WSP_T_CERT_FILENAME"


class FilesTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.temporary = self.directory / "tmp"
        self.temporary.mkdir()
        self.enterContext(mock.patch.object(tempfile, "tempdir", str(self.temporary)))
        self.request = make_request(own_key())
        self.own = self.directory / "my own.req"

    def write(self, name: str, content: bytes) -> str:
        (self.directory / name).write_bytes(content)
        return str(self.directory / name)

    def enrol(self, interview: ScriptedInterview, prefix: str | None = None) -> bytes:
        judge = Judge(own_key(), FQDN, lambda: NOW, lambda _: [authority().certificate])
        wanted = Wanted(FQDN, ENGINE, 6100)
        data, self.withdraw = enrol_with_files(interview, wanted, self.request, judge, Tools(), prefix)
        return data

    def test_the_request_is_there_while_it_is_needed(self) -> None:
        path = self.write("wsp.cer", b"Certificate:\n    Data:\n" + certificate())
        interview = ScriptedInterview({QUESTION: [path]})
        seen: list[bytes] = []
        take = interview.dialog.query

        def look(query: object) -> str:
            seen.extend(each.read_bytes() for each in self.temporary.iterdir())
            return take(query)  # type: ignore[arg-type]

        with mock.patch.object(interview.dialog, "query", look):
            self.assertEqual(self.enrol(interview), certificate())
        self.assertEqual(seen, [self.request])
        self.assertEqual(list(self.temporary.iterdir()), [])

    def test_names_that_no_file_has(self) -> None:
        right = self.write("wsp.cer", certificate())
        interview = ScriptedInterview({QUESTION: ["~nobody-has-this-name/wsp.cer", "a\0b", right]})
        self.assertEqual(self.enrol(interview), certificate())
        self.assertIn("check the path", interview.errors[0])
        self.assertIn("no file can have this name", interview.errors[1])

    def test_a_certificate_that_is_signed_while_setup_waits(self) -> None:
        """CAs that date certificates from the moment of signing are right to do so."""
        clock = [NOW]
        path = self.write("wsp.cer", certificate(begin=NOW + DAY / 24))
        interview = ScriptedInterview({QUESTION: [path, path]})
        take = interview.dialog.query

        def later(query: Any) -> str:
            answer = take(query)
            clock.append(clock[-1] + DAY / 32)
            return answer

        judge = Judge(own_key(), FQDN, lambda: clock[-1], lambda _: [authority().certificate])
        wanted = Wanted(FQDN, ENGINE, 6100)
        with mock.patch.object(interview.dialog, "query", later):
            data, _ = enrol_with_files(interview, wanted, self.request, judge, Tools())
        self.assertEqual(data, certificate(begin=NOW + DAY / 24))
        self.assertIn("is valid from", interview.errors[0])

    def test_commands_are_shown_as_they_can_be_typed(self) -> None:
        interview = ScriptedInterview({QUESTION: [self.write("wsp.cer", certificate())]})
        self.enrol(interview, '/C=US/O=It\'s "ours"; id')
        note = interview.dialog.notes[0]
        self.assertIn(f"root@{ENGINE}:/etc/pki/ovirt-engine/requests/websocket-proxy-{FQDN}.req", note)
        self.assertIn("  /usr/share/ovirt-engine/bin/pki-enroll-request.sh \\\n", note)
        self.assertIn(f"'--subject=/C=US/O=It'\"'\"'s \"ours\"; id/CN={FQDN}'", note)
        self.assertIn(f"--san=DNS:{FQDN}", note)
        self.assertIn("console-gateway pki sign", note)

    def test_what_will_not_do_is_asked_for_again(self) -> None:
        other, strange = own_key(1), Authority("Another CA")
        cases = {
            "missing.cer": (None, "check the path"),
            "noise.cer": (b"nothing", "no PEM certificate"),
            "key.cer": (certificate(key=other), "is for another key"),
            "ca.cer": (certificate(ca=strange), "the trusted CA"),
            "own.req": (self.request, "this is a certificate request; have it signed"),
            "own.key": (key_pem(other), "this is a private key"),
            "empty.cer": (b"", "it is empty"),
            "alone.cer": (dump(authority().certificate), "it is that of a CA; bring the one"),
            "order.cer": (
                dump(authority().certificate) + certificate(),
                "the certificate of this host comes first",
            ),
            "name.cer": (certificate("other.example.org"), "is not for wsp.example.org"),
            "old.cer": (certificate(begin=NOW - 3 * DAY, end=NOW - DAY), "valid from"),
            "early.cer": (certificate(begin=NOW + DAY), "compare the clocks"),
        }
        paths = []
        for name, (content, _) in cases.items():
            paths.append(str(self.directory / name))
            if content is not None:
                self.write(name, content)
        interview = ScriptedInterview({QUESTION: [*paths, self.write("right.cer", certificate())]})
        self.assertEqual(self.enrol(interview), certificate())
        self.assertEqual(len(interview.errors), len(cases))
        for line, (name, (_, text)) in zip(interview.errors, cases.items(), strict=True):
            self.assertIn(text, line)
            self.assertIn(name, line)
            self.assertNotIn("\n", line)

    def test_a_directory_has_to_be_followed_by_a_name(self) -> None:
        right = self.write("wsp.cer", certificate())
        interview = ScriptedInterview({QUESTION: [str(self.directory), right]})
        self.assertEqual(self.enrol(interview), certificate())
        self.assertIn(f"{self.directory} is a directory; name the file in it", interview.errors[0])

    def test_unattended_one_wrong_certificate_is_the_end(self) -> None:
        path = self.write("wsp.cer", certificate("other.example.org"))
        interview = ScriptedInterview(values={f"QUESTION/1/{QUESTION}": path}, accept_defaults=True)
        with self.assertRaisesRegex(SetupError, "is not for wsp.example.org"):
            self.enrol(interview)
        self.assertEqual(list(self.temporary.iterdir()), [])

    def test_the_question_of_3_5(self) -> None:
        path = self.write("wsp.cer", certificate())
        self.enrol(ScriptedInterview(values={f"QUESTION/1/{OLD}": path}))

    def test_a_request_at_the_users_place_stays_until_withdrawn(self) -> None:
        interview = ScriptedInterview(
            {QUESTION: [self.write("wsp.cer", certificate())]}, {REQUEST_KEY: str(self.own)}
        )
        self.enrol(interview)
        self.assertEqual(self.own.read_bytes(), self.request)
        self.withdraw()
        self.assertFalse(self.own.exists())

    def test_it_does_not_stay_after_a_failure(self) -> None:
        interview = ScriptedInterview({}, {REQUEST_KEY: str(self.own)})
        with self.assertRaisesRegex(SetupError, "the input ended"):
            self.enrol(interview)
        self.assertFalse(self.own.exists())

    def test_an_existing_file_is_kept(self) -> None:
        self.own.write_bytes(b"precious")
        for interview in (
            ScriptedInterview({"OVESETUP_WSP_REQUEST_OVERWRITE": ["no"]}, {REQUEST_KEY: str(self.own)}),
            ScriptedInterview({}, {REQUEST_KEY: str(self.own)}, accept_defaults=True),
        ):
            with self.assertRaisesRegex(SetupError, "exists and is kept"):
                self.enrol(interview)
            self.assertEqual(self.own.read_bytes(), b"precious")

    def test_an_existing_file_is_overwritten_when_told_and_put_back_on_failure(self) -> None:
        self.own.write_bytes(b"precious" * 1000)
        interview = ScriptedInterview(
            {"OVESETUP_WSP_REQUEST_OVERWRITE": ["yes"]}, {REQUEST_KEY: str(self.own)}
        )
        with self.assertRaisesRegex(SetupError, "the input ended"):
            self.enrol(interview)
        self.assertEqual(self.own.read_bytes(), b"precious" * 1000)

    def test_the_same_request_again_is_no_matter(self) -> None:
        self.own.write_bytes(self.request)
        interview = ScriptedInterview(
            {QUESTION: [self.write("wsp.cer", certificate())]}, {REQUEST_KEY: str(self.own)}
        )
        self.enrol(interview)
        self.withdraw()
        self.assertEqual(self.own.read_bytes(), self.request)

    def test_a_place_that_cannot_be_written(self) -> None:
        for place in ("relative.req", str(self.directory / "no/such/directory.req"), str(self.directory)):
            with self.assertRaises(SetupError) as caught:
                self.enrol(ScriptedInterview({}, {REQUEST_KEY: place}))
            self.assertNotIn("\n", str(caught.exception))
