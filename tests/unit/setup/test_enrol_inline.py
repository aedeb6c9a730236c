"""Enrolment through the terminal: what is pasted, and how it may look."""

from __future__ import annotations

from twisted.trial import unittest

from gateway.pki import make_request
from gateway.setup.enrolling.by_inline import enrol_inline
from gateway.setup.enrolling.enrolment import Judge, Wanted
from gateway.setup.enrolling.tools import Tools
from gateway.setup.errors import SetupError
from tests.support.interview import ScriptedInterview
from tests.support.pki import Authority
from tests.unit.net.samples import NOW
from tests.unit.setup.enrolling import ENGINE, FQDN, authority, certificate, dump, own_key

QUESTION = "OVESETUP_CONFIG/wspCertificateChain"


def enrol(interview: ScriptedInterview) -> bytes:
    judge = Judge(own_key(), FQDN, lambda: NOW, lambda _: [authority().certificate])
    return enrol_inline(interview, Wanted(FQDN, ENGINE, 6100), make_request(own_key()), judge, Tools())


class InlineTests(unittest.SynchronousTestCase):
    def test_the_request_is_shown_and_the_certificate_read(self) -> None:
        interview = ScriptedInterview({QUESTION: [certificate().decode()]})
        self.assertEqual(enrol(interview), certificate())
        shown = interview.dialog.shown["WSP_CERTIFICATE_REQUEST"]
        self.assertEqual(shown[0], "-----BEGIN CERTIFICATE REQUEST-----")
        self.assertEqual(shown[-1], "-----END CERTIFICATE REQUEST-----")
        self.assertIn('--subject="$prefix/CN=wsp.example.org"', interview.dialog.notes[0])

    def test_blanks_carriage_returns_and_what_is_around_do_not_matter(self) -> None:
        text = certificate().decode().replace("\n", "  \r\n")
        interview = ScriptedInterview({QUESTION: [f"Certificate:\r\n Data: \xe9\r\n{text}\r\nRegards"]})
        self.assertEqual(enrol(interview), certificate())

    def test_the_issuer_may_follow_and_the_root_is_left_out(self) -> None:
        both = certificate() + dump(authority().certificate)
        self.assertEqual(enrol(ScriptedInterview({QUESTION: [both.decode()]})), certificate())

    def test_an_intermediate_is_kept(self) -> None:
        below = Authority("Below", issuer=authority())
        chain = certificate(ca=below) + dump(below.certificate)
        self.assertEqual(enrol(ScriptedInterview({QUESTION: [chain.decode()]})), chain)

    def test_it_is_asked_again_and_said_why(self) -> None:
        wrong = certificate("other.example.org").decode()
        cut = certificate().decode()[:200]
        interview = ScriptedInterview({QUESTION: [wrong, cut, "", certificate().decode()]})
        self.assertEqual(enrol(interview), certificate())
        self.assertEqual(len(interview.errors), 3)
        self.assertIn("is not for wsp.example.org", interview.errors[0])
        self.assertIn("has no END line", interview.errors[1])
        self.assertIn("there is no PEM certificate", interview.errors[2])

    def test_given_in_advance_it_must_be_right(self) -> None:
        for key in (QUESTION, f"QUESTION/1/{QUESTION}"):
            self.assertEqual(enrol(ScriptedInterview(values={key: certificate().decode()})), certificate())
            wrong = ScriptedInterview(values={key: certificate("other.example.org").decode()})
            with self.assertRaisesRegex(SetupError, "wspCertificateChain: .* is not for wsp.example.org"):
                enrol(wrong)

    def test_a_second_answer_in_a_file_counts(self) -> None:
        values = {
            f"QUESTION/1/{QUESTION}": "nonsense",
            f"QUESTION/2/{QUESTION}": certificate().decode(),
        }
        self.assertEqual(enrol(ScriptedInterview(values=values)), certificate())

    def test_the_end_of_the_input_is_the_end(self) -> None:
        with self.assertRaisesRegex(SetupError, "the input ended"):
            enrol(ScriptedInterview())
