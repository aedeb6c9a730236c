"""What the engine gives out: whom is it believed from, and after how many attempts."""

from __future__ import annotations

import itertools
import math
import tempfile
from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import load_pem_x509_certificate, load_pem_x509_certificates
from twisted.trial import unittest

from gateway.pki import fingerprint
from gateway.setup.enrolling.engine_pki import EnginePki
from gateway.setup.enrolling.enrolment import Judge, Wanted
from gateway.setup.errors import AnswerError, SetupError
from tests.support.interview import ScriptedInterview
from tests.support.pki import Authority
from tests.unit.net.samples import DAY, NOW, pem
from tests.unit.setup.enrolling import (
    ENGINE,
    FQDN,
    Site,
    World,
    authority,
    certificate,
    dump,
    engine_certificate,
    own_key,
    ticket_key,
    trusted_by_host,
)

CA = "/ovirt-engine/services/pki-resource?resource=ca-certificate"
CERTIFICATE = "/ovirt-engine/services/pki-resource?resource=engine-certificate"
QUESTION = "OVESETUP_ENGINE_CERTIFICATE_FINGERPRINT"
CA_QUESTION = "OVESETUP_ENGINE_CA_FINGERPRINT"


def shown(data: bytes) -> str:
    return fingerprint(load_pem_x509_certificate(data))


class EnginePkiTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.enterContext(tempfile.TemporaryDirectory())))
        self.enterContext(trusted_by_host())
        self.ca = dump(authority().certificate)

    def site(self, *, secure: bool = True, ca: Authority | None = None, **pages: Any) -> Site:
        answers = {
            CA: pages.get("ca", [(200, self.ca)]),
            CERTIFICATE: pages.get("engine", [(200, engine_certificate())]),
        }
        return self.enterContext(Site(answers, ca=(ca or authority()) if secure else None))

    def pki(
        self,
        interview: ScriptedInterview,
        *,
        https: Site | None = None,
        http: Site | None = None,
        **more: Any,
    ) -> EnginePki:
        tools = self.world.tools(https=https.port if https else None, http=http.port if http else None)
        return EnginePki(interview, Wanted(FQDN, ENGINE, 6100), tools, NOW, **more)

    def test_verified_by_the_ca_nothing_is_asked(self) -> None:
        interview = ScriptedInterview()
        pki = self.pki(interview, https=self.site(), given=self.ca)
        self.assertEqual(pki.engine_certificate(), engine_certificate())
        self.assertEqual(interview.asked, [])
        self.assertEqual(interview.warnings, [])

    def test_an_unverified_certificate_is_confirmed_by_its_fingerprint(self) -> None:
        for answer in (
            "yes",
            shown(engine_certificate()),
            shown(engine_certificate()).replace(":", "").lower(),
        ):
            interview = ScriptedInterview({QUESTION: [answer]})
            pki = self.pki(interview, https=self.site(ca=Authority("Another CA")), given=self.ca)
            self.assertEqual(pki.engine_certificate(), engine_certificate())
            self.assertIn(shown(engine_certificate()), interview.dialog.notes[0])
            self.assertIn("not trusted", interview.warnings[0])

    def test_it_is_not_used_unless_confirmed(self) -> None:
        interview = ScriptedInterview({QUESTION: ["no"]})
        pki = self.pki(interview, https=self.site(ca=Authority("Another CA")), given=self.ca)
        with self.assertRaisesRegex(SetupError, "was not confirmed"):
            pki.engine_certificate()

    def test_yes_in_advance_confirms_nothing(self) -> None:
        """Whoever wrote it into a file had not seen the fingerprint."""
        for answer, works in (("yes", False), (shown(engine_certificate()), True)):
            interview = ScriptedInterview({}, {f"QUESTION/1/{QUESTION}": answer})
            pki = self.pki(interview, https=self.site(ca=Authority("Web CA")), given=self.ca)
            if works:
                self.assertEqual(pki.engine_certificate(), engine_certificate())
            else:
                with self.assertRaisesRegex(SetupError, "nobody is there to look at it"):
                    pki.engine_certificate()

    def test_unattended_the_fingerprint_itself_is_needed(self) -> None:
        site = self.site(ca=Authority("Another CA"))
        for answer, works in (("yes", False), ("00:11", False), (shown(engine_certificate()), True)):
            interview = ScriptedInterview(values={f"QUESTION/1/{QUESTION}": answer}, accept_defaults=True)
            pki = self.pki(interview, https=site, given=self.ca)
            if works:
                self.assertEqual(pki.engine_certificate(), engine_certificate())
            else:
                with self.assertRaisesRegex(SetupError, "give the fingerprint itself|not that one"):
                    pki.engine_certificate()

    def test_plain_http_has_to_be_confirmed(self) -> None:
        interview = ScriptedInterview({QUESTION: ["yes"]})
        pki = self.pki(interview, http=self.site(secure=False), given=self.ca)
        self.assertEqual(pki.engine_certificate(), engine_certificate())
        self.assertIn("plain HTTP is used", interview.warnings[0])

    def test_nobody_answers(self) -> None:
        pki = self.pki(ScriptedInterview(), given=self.ca)
        with self.assertRaisesRegex(SetupError, "https://engine.example.org.*refused"):
            pki.engine_certificate()
        self.assertEqual(self.world.pauses, [1.0, 2.0])

    def test_what_may_pass_is_tried_again(self) -> None:
        site = self.site(engine=[(503, b"soon"), (200, b" \n"), (200, engine_certificate())])
        pki = self.pki(ScriptedInterview(), https=site, given=self.ca)
        self.assertEqual(pki.engine_certificate(), engine_certificate())
        self.assertEqual(self.world.pauses, [1.0, 2.0])

    def test_not_without_end(self) -> None:
        for answer, text in (((500, b""), "HTTP status 500"), ((200, b""), "an empty answer")):
            pki = self.pki(ScriptedInterview(), https=self.site(engine=[answer]), given=self.ca)
            with self.assertRaisesRegex(SetupError, text):
                pki.engine_certificate()

    def test_what_will_not_pass_is_not_tried_again(self) -> None:
        site = self.site(engine=[(404, b"")])
        with self.assertRaisesRegex(SetupError, "HTTP status 404; is engine.example.org the engine"):
            self.pki(ScriptedInterview(), https=site, given=self.ca).engine_certificate()
        self.assertEqual(self.world.pauses, [])
        self.assertEqual(len(site.asked), 1)

    def test_damage_on_the_way(self) -> None:
        broken = engine_certificate().replace(b"MII", b"MIX", 1)
        for body in (broken, b"<html>Login</html>", engine_certificate()[:300]):
            pki = self.pki(ScriptedInterview(), https=self.site(engine=[(200, body)]), given=self.ca)
            with self.assertRaisesRegex(SetupError, "what https://.* gives: .*certificate") as caught:
                pki.engine_certificate()
            self.assertNotIn("\n", str(caught.exception))

    def test_tickets_need_rsa_of_some_size(self) -> None:
        for data, text in ((certificate(), "no RSA key"), (engine_certificate(1024), "1024 bits")):
            pki = self.pki(ScriptedInterview(), https=self.site(engine=[(200, data)]), given=self.ca)
            with self.assertRaisesRegex(SetupError, text):
                pki.engine_certificate()

    def test_its_dates_are_worth_a_warning(self) -> None:
        cases = (
            (NOW - 3 * DAY, NOW - 2 * DAY, "expired 2 days ago"),
            (NOW + DAY, NOW + 2 * DAY, "not valid yet"),
        )
        for begin, end, text in cases:
            data = pem(authority().issue(ENGINE, key=ticket_key(), begin=begin, end=end).certificate)
            interview = ScriptedInterview()
            pki = self.pki(interview, https=self.site(engine=[(200, data)]), given=self.ca)
            self.assertEqual(pki.engine_certificate(), data)
            self.assertIn(text, interview.warnings[0])

    def test_a_fetched_ca_that_nobody_vouches_for_is_confirmed(self) -> None:
        interview = ScriptedInterview({CA_QUESTION: ["yes"]})
        self.assertEqual(self.pki(interview, https=self.site()).ca(), self.ca)
        self.assertIn(shown(self.ca), interview.dialog.notes[0])

    def test_what_this_host_trusts_vouches_for_all(self) -> None:
        public = Authority("Public CA")
        interview = ScriptedInterview()
        with trusted_by_host(public.certificate):
            pki = self.pki(interview, https=self.site(ca=public))
            self.assertEqual(pki.ca(), self.ca)
            self.assertEqual(pki.engine_certificate(), engine_certificate())
        self.assertEqual(interview.asked, [])

    def test_a_fetched_ca_that_issued_what_was_brought_is_believed(self) -> None:
        interview = ScriptedInterview()
        pki = self.pki(interview, https=self.site())
        chain = load_pem_x509_certificates(certificate())
        self.assertEqual(pki.ca(chain), self.ca)
        self.assertEqual(pki.engine_certificate(), engine_certificate())
        self.assertEqual(interview.asked, [])

    def test_a_ca_that_somebody_added_on_the_way_is_not_believed_along(self) -> None:
        evil = Authority("Evil CA")
        site = self.site(ca=evil, engine=[(200, engine_certificate())])
        site.pages[CA] = [(200, dump(evil.certificate) + self.ca)]
        interview = ScriptedInterview({QUESTION: ["no"]})
        pki = self.pki(interview, https=site)
        self.assertEqual(pki.ca(load_pem_x509_certificates(certificate())), self.ca)
        with self.assertRaisesRegex(SetupError, "was not confirmed"):
            pki.engine_certificate()

    def test_a_ca_whose_key_was_made_for_a_signature_is_not_believed(self) -> None:
        """Whoever may choose the exponent can make a CA for a signature that is there."""
        root = Authority("Engine CA")
        numbers = ticket_key().private_numbers()
        factors = (numbers.p - 1) * (numbers.q - 1)
        e = next(each for each in itertools.count(2**64 + 1, 2) if math.gcd(each, factors) == 1)
        public = rsa.RSAPublicNumbers(e, numbers.public_numbers.n)
        d = pow(e, -1, factors)
        parts = (d % (numbers.p - 1), d % (numbers.q - 1), numbers.iqmp)
        odd = rsa.RSAPrivateNumbers(numbers.p, numbers.q, d, *parts, public).private_key()
        forged = (
            x509.CertificateBuilder()
            .subject_name(root.name)
            .issuer_name(root.name)
            .public_key(odd.public_key())
            .serial_number(1)
            .not_valid_before(NOW - DAY)
            .not_valid_after(NOW + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(odd, hashes.SHA256())
        )
        root.key = odd  # type: ignore[assignment]
        leaf = root.issue(FQDN, key=own_key()).certificate
        interview = ScriptedInterview({CA_QUESTION: ["no"]})
        site = self.site()
        site.pages[CA] = [(200, dump(forged))]
        pki = self.pki(interview, https=site)
        with self.assertRaisesRegex(SetupError, "was not confirmed"):
            pki.ca((leaf,))
        judge = Judge(own_key(), FQDN, lambda: NOW, lambda _: (forged,))
        with self.assertRaisesRegex(AnswerError, "exponent of more than 64 bits"):
            judge.accept(dump(leaf))

    def test_a_brought_chain_with_its_root_needs_no_engine(self) -> None:
        pki = self.pki(ScriptedInterview())
        chain = load_pem_x509_certificates(certificate() + self.ca + dump(Authority("Stray").certificate))
        pki.settle(chain)
        self.assertEqual(pki.ca(), self.ca)

    def test_a_ca_that_cannot_be_read(self) -> None:
        with self.assertRaisesRegex(SetupError, "the CA of --engine-ca: there is no PEM certificate"):
            self.pki(ScriptedInterview(), given=b"nonsense")

    def test_a_named_ca_that_is_none(self) -> None:
        for data in (engine_certificate(), self.ca + certificate()):
            with self.assertRaisesRegex(SetupError, "--engine-ca: .* is not that of a CA; .*ca.pem"):
                self.pki(ScriptedInterview(), given=data)

    def test_what_was_fetched_early_is_verified_by_what_came_later(self) -> None:
        site = self.site()
        interview = ScriptedInterview()
        pki = self.pki(interview, https=site)
        pki.prepare(engine=True)
        self.assertEqual((interview.asked, interview.warnings), ([], []))
        pki.settle(load_pem_x509_certificates(certificate()))
        self.assertEqual(pki.engine_certificate(), engine_certificate())
        self.assertEqual(interview.asked, [])

    def test_what_was_fetched_early_is_confirmed_if_nothing_verifies_it(self) -> None:
        interview = ScriptedInterview({QUESTION: ["no"]})
        pki = self.pki(interview, https=self.site(ca=Authority("Web CA")))
        pki.prepare(engine=True)
        pki.settle(load_pem_x509_certificates(certificate()))
        with self.assertRaisesRegex(SetupError, "was not confirmed"):
            pki.engine_certificate()

    def test_what_was_verified_early_is_not_fetched_again(self) -> None:
        site = self.site()
        pki = self.pki(ScriptedInterview(), https=site, given=self.ca)
        pki.prepare(engine=True)
        self.assertEqual(pki.engine_certificate(), engine_certificate())
        self.assertEqual(len(site.asked), 1)

    def test_an_interrupt_ends_a_pause(self) -> None:
        def interrupted(_: float) -> None:
            raise KeyboardInterrupt

        tools = attrs.evolve(self.world.tools(), pause=interrupted)
        pki = EnginePki(ScriptedInterview(), Wanted(FQDN, ENGINE, 6100), tools, NOW, given=self.ca)
        with self.assertRaises(KeyboardInterrupt):
            pki.engine_certificate()
