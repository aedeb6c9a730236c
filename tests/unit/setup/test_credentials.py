"""What is kept, what is renewed, what is fetched, and that a failure leaves nothing behind."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial import unittest

from gateway.pki import check_certificate, key_pem, load_key, load_request, parse_chain
from gateway.setup import places
from gateway.setup.asking.environment import Value
from gateway.setup.enrolling import credentials
from gateway.setup.enrolling.by_ssh import Signed
from gateway.setup.enrolling.credentials import Credentials, Style, Wanted, Wishes, choose_style, obtain
from gateway.setup.errors import SetupError
from tests.support.interview import ScriptedInterview
from tests.support.pki import Authority
from tests.unit.net.samples import DAY, NOW
from tests.unit.setup.enrolling import (
    ENGINE,
    FQDN,
    Site,
    World,
    authority,
    certificate,
    cheap_keys,
    dump,
    engine_certificate,
    own_key,
    trusted_by_host,
)
from tests.unit.setup.test_engine_pki import CA, CERTIFICATE

STYLE = "REMOTE_ENGINE_SETUP_STYLE"
STYLE_KEY = "OVESETUP_CONFIG/remoteEngineSetupStyle"
CHAIN = "OVESETUP_CONFIG/wspCertificateChain"
WANTED = Wanted(FQDN, ENGINE, 6100)


class CredentialsTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.enterContext(tempfile.TemporaryDirectory())))
        self.enterContext(trusted_by_host())
        self.ca = dump(authority().certificate)
        self.interview = ScriptedInterview()

    def answer(self, values: dict[str, Value] | None = None, **answers: list[str]) -> ScriptedInterview:
        named = {{"style": STYLE, "chain": CHAIN}.get(name, name): given for name, given in answers.items()}
        self.interview = ScriptedInterview(named, values)
        return self.interview

    def obtain(self, *, site: Site | None = None, wanted: Wanted = WANTED, **wishes: Any) -> Credentials:
        tools = self.world.tools(https=site.port if site is not None else None)
        before = self.world.files()
        try:
            return obtain(
                self.interview,
                self.world.system(),
                wanted,
                now=lambda: NOW,
                tools=tools,
                wishes=Wishes(**wishes),
            )
        finally:
            self.assertEqual(self.world.files(), before)

    def site(self, ca: Authority | None = None) -> Site:
        pages = {CA: [(200, self.ca)], CERTIFICATE: [(200, engine_certificate())]}
        return self.enterContext(Site(pages, ca=ca or authority()))

    def test_all_is_kept(self) -> None:
        self.world.complete()
        found = self.obtain()
        self.assertEqual(found.fresh, frozenset())
        self.assertIsNone(found.style)
        self.assertEqual((found.key_pem, found.certificate_pem), (key_pem(own_key()), certificate()))
        self.assertEqual((found.engine_pem, found.ca_pem), (engine_certificate(), self.ca))
        self.assertEqual(self.interview.asked, [])
        self.assertNotIn("BEGIN", repr(found))

    def test_what_makes_a_new_certificate_necessary(self) -> None:
        soon = certificate(end=NOW + 59 * DAY)
        for data, reason in (
            (None, "there is none"),
            (soon, "ends in 59 days"),
            (certificate("other.example.org"), "is not for wsp.example.org"),
            (certificate(sans=(), subject=None), "is not for wsp.example.org"),
            (certificate(key=own_key(1)), "is for another key"),
            (certificate(ca=Authority("Another CA")), "the trusted CA"),
            (certificate(end=NOW - DAY / 2), "valid from"),
            (b"nonsense", "no PEM certificate"),
        ):
            self.world.complete(certificate=data)
            if data is None:
                (self.world.root / str(places.CERTIFICATE)[1:]).unlink(missing_ok=True)
            self.answer(style=["3"], chain=[certificate().decode()])
            found = self.obtain()
            self.assertEqual(found.fresh, {"certificate"})
            self.assertEqual(found.certificate_pem, certificate())
            self.assertIs(found.style, Style.MANUAL_INLINE)
            self.assertIn(reason, self.interview.dialog.logged[0][1])

    def test_a_good_certificate_is_renewed_on_demand_with_its_key(self) -> None:
        self.world.complete()
        other = certificate(end=NOW + 200 * DAY)
        self.answer(style=["3"], chain=[other.decode()])
        found = self.obtain(renew=True, site=self.site())
        self.assertEqual(found.fresh, {"certificate"})
        self.assertEqual(found.certificate_pem, other)

    def test_a_new_key_on_demand(self) -> None:
        self.world.complete()
        with mock.patch.object(credentials, "generate_key", return_value=own_key(1)):
            self.answer(style=["3"], chain=[certificate(key=own_key(1)).decode()])
            found = self.obtain(new_key=True)
        self.assertEqual(found.fresh, {"key", "certificate"})
        self.assertEqual(found.key_pem, key_pem(own_key(1)))

    def test_a_host_without_anything(self) -> None:
        made: list[bytes] = []

        def sign(name: str, lines: list[str]) -> None:
            made.append("\n".join(lines).encode() + b"\n")

        interview = self.answer(style=["3"])

        def collect(name: str, prompt: str) -> list[str]:
            public: Any = _Public(load_request(made[0]).public_key)
            signed = authority().issue(FQDN, key=public, end=NOW + 200 * DAY)
            return dump(signed.certificate).decode().splitlines()

        with (
            mock.patch.object(interview.dialog, "show", sign),
            mock.patch.object(interview.dialog, "collect", collect),
        ):
            found = self.obtain(site=self.site())
        self.assertEqual(found.fresh, {"key", "certificate", "engine", "ca"})
        self.assertEqual((found.ca_pem, found.engine_pem), (self.ca, engine_certificate()))
        key_size: Any = load_key(found.key_pem)
        self.assertEqual(key_size.key_size, 2048)
        # The CA was fetched from somebody unknown, and believed because it issued what was pasted.
        told = [text for _, text in interview.dialog.logged]
        self.assertTrue(any("has issued this certificate, so it is believed" in text for text in told))
        self.assertEqual(interview.warnings, [])

    def test_an_unusable_key_is_not_replaced_unasked(self) -> None:
        self.world.complete(key=b"nonsense")
        with self.assertRaisesRegex(SetupError, r"websocket-proxy.key.nopass: .*\(--new-key\)"):
            self.obtain()

    def test_what_the_engine_gives_is_fetched_if_it_is_missing(self) -> None:
        self.world.complete(engine=None, ca=None)
        found = self.obtain(site=self.site())
        self.assertEqual(found.fresh, {"engine", "ca"})
        self.assertEqual(self.interview.asked, [])

    def test_a_ca_that_did_not_issue_what_is_here(self) -> None:
        self.world.complete(ca=None, certificate=certificate(ca=Authority("Another CA")))
        self.answer(OVESETUP_ENGINE_CA_FINGERPRINT=["yes"])
        with self.assertRaisesRegex(SetupError, r"the trusted CA .*\(--renew\)"):
            self.obtain(site=self.site())

    def test_the_named_ca_counts_more_than_the_one_that_is_here(self) -> None:
        self.world.complete(ca=dump(Authority("Old CA").certificate))
        self.answer(style=["3"], chain=[certificate().decode()])
        found = self.obtain(engine_ca=self.ca)
        self.assertIn("ca", found.fresh)
        self.assertEqual(found.ca_pem, self.ca)

    def test_the_engine_is_asked_before_anybody_has_a_certificate_signed(self) -> None:
        """Else what was signed would be for a key that nobody has any more."""
        for style in ("2", "3"):
            for held in ({"engine": None}, {"engine": None, "ca": None}):
                self.world.complete(certificate=None)
                for place in (places.CERTIFICATE, places.ENGINE_CERTIFICATE, places.CA_CERTIFICATE):
                    (self.world.root / str(place)[1:]).unlink(missing_ok=True)
                self.world.complete(certificate=None, **held)
                self.answer(style=[style])
                with self.assertRaisesRegex(SetupError, "https://engine.example.org.*refused") as caught:
                    self.obtain()
                text = str(caught.exception)
                self.assertIn("see that this host reaches engine.example.org", text)
                self.assertIn("/etc/pki/ovirt-engine/certs/engine.cer", text)
                self.assertEqual("--engine-ca" in text, "ca" in held)
                self.assertNotIn("\n", text)
                self.assertEqual(self.interview.asked, [STYLE])
                self.assertEqual(self.interview.dialog.shown, {})

    def test_a_renewal_needs_the_engine_although_its_certificate_is_here(self) -> None:
        self.world.complete()
        self.answer(style=["3"])
        with self.assertRaisesRegex(SetupError, "leave out --renew and copy"):
            self.obtain(renew=True)
        self.assertEqual(self.interview.dialog.shown, {})

    def test_an_engine_certificate_of_no_use_is_told_before_the_request(self) -> None:
        self.world.complete(certificate=None, engine=None)
        site = self.site()
        site.pages[CERTIFICATE] = [(200, engine_certificate(1024))]
        self.answer(style=["3"])
        with self.assertRaisesRegex(SetupError, "1024 bits"):
            self.obtain(site=site)
        self.assertEqual(self.interview.dialog.shown, {})

    def test_an_engine_that_is_lost_after_the_request(self) -> None:
        """What it said before is not believed for it, but a fingerprint still does."""
        self.world.complete(certificate=None, engine=None, ca=None)
        question = "OVESETUP_ENGINE_CERTIFICATE_FINGERPRINT"
        for answer, works in (("yes", True), ("no", False)):
            site = self.site()
            site.pages[CERTIFICATE] = [(200, engine_certificate()), (404, b"")]
            self.answer(None, style=["3"], chain=[certificate().decode()], **{question: [answer]})
            if works:
                found = self.obtain(site=site)
                self.assertEqual((found.ca_pem, found.engine_pem), (self.ca, engine_certificate()))
            else:
                with self.assertRaisesRegex(SetupError, "was not confirmed"):
                    self.obtain(site=site)
            self.assertEqual(self.interview.asked[-1], question)

    def test_the_ca_may_come_with_the_certificate(self) -> None:
        """A chain with its root does without the engine; one without it is asked for again."""
        self.world.complete(certificate=None, ca=None)
        both = certificate() + self.ca
        self.answer(style=["3"], chain=[certificate().decode(), both.decode()])
        found = self.obtain()
        self.assertEqual((found.certificate_pem, found.ca_pem), (certificate(), self.ca))
        self.assertIn("CA certificate of the engine cannot be had", self.interview.warnings[0])
        self.assertIn("--engine-ca", self.interview.warnings[0])
        self.assertIn("put the CA's certificate behind it", self.interview.errors[0])
        # Once with patience; then whoever waits at the question is not kept waiting.
        self.assertEqual(self.world.pauses, [1.0, 2.0])

    def test_an_unreachable_engine(self) -> None:
        self.world.complete(engine=None)
        with self.assertRaisesRegex(SetupError, "https://engine.example.org.*refused") as caught:
            self.obtain()
        self.assertNotIn("\n", str(caught.exception))

    def test_over_ssh_everything_comes_by_one_way(self) -> None:
        self.world.complete(certificate=None, engine=None, ca=None)
        signed = Signed(b"text\n" + certificate(), self.ca, b"text\n" + engine_certificate())
        self.answer(style=["1"])
        with mock.patch.object(credentials, "enrol_over_ssh", return_value=signed):
            found = self.obtain()
        self.assertEqual(found.fresh, {"certificate", "engine", "ca"})
        self.assertEqual((found.certificate_pem, found.engine_pem), (certificate(), engine_certificate()))

    def test_over_ssh_a_wrong_certificate_is_the_end(self) -> None:
        self.world.complete(certificate=None)
        for data, text in (
            (certificate(key=own_key(1)), "is for another key"),
            (certificate("other.example.org"), "is not for"),
            (certificate(ca=Authority("Another CA")), "the trusted CA"),
            (certificate(end=NOW - DAY / 2), "valid from"),
            (b"nonsense", "no PEM certificate"),
        ):
            self.answer(style=["1"])
            signed = Signed(data, self.ca, engine_certificate())
            with (
                mock.patch.object(credentials, "enrol_over_ssh", return_value=signed),
                self.assertRaisesRegex(SetupError, f"engine.example.org: .*{text}"),
            ):
                self.obtain()

    def test_a_request_at_the_users_place_goes_if_the_rest_fails(self) -> None:
        self.world.complete(certificate=None, engine=None)
        with tempfile.TemporaryDirectory() as name:
            request, path = Path(name) / "wsp.req", Path(name) / "wsp.cer"
            path.write_bytes(certificate())
            answers = {"ENROLL_CERT_MANUAL_FILES_websocket-proxy": [str(path)]}
            values: dict[str, Value] = {"OVESETUP_CONFIG/pkiWSPCSRFilename": str(request)}
            question = "OVESETUP_ENGINE_CERTIFICATE_FINGERPRINT"
            self.answer(values, style=["2"], **answers, **{question: ["no"]})
            with self.assertRaisesRegex(SetupError, "was not confirmed"):
                self.obtain(site=self.site(ca=Authority("Web CA")))
            self.assertFalse(request.exists())
            self.answer(values, style=["2"], **answers)
            found = self.obtain(site=self.site())
            self.assertTrue(request.exists())
            found.withdraw()
            self.assertFalse(request.exists())

    def test_a_ca_of_our_own(self) -> None:
        self.answer(style=["4"], OVESETUP_CONFIG_OWN_CA_DIRECTORY=[""])
        with cheap_keys():
            found = self.obtain(wanted=Wanted(FQDN, "", 6100))
        assert found.ca_pem is not None
        check_certificate(
            parse_chain(found.certificate_pem),
            public_key=load_key(found.key_pem).public_key(),
            authorities=parse_chain(found.ca_pem),
            name=FQDN,
            now=NOW,
        )
        self.assertEqual(found.fresh, {"key", "certificate", "engine", "ca"})
        self.assertEqual(len(found.steps), 1)
        self.assertEqual(len(found.summary), 2)

    def test_a_ca_of_our_own_is_not_touched_when_nothing_is_missing(self) -> None:
        self.world.complete()
        for style in ({}, {STYLE_KEY: "own_ca"}):
            self.answer(dict(style))
            found = self.obtain(wanted=Wanted(FQDN, "", 6100))
            self.assertEqual((found.fresh, found.steps), (frozenset(), ()))
            self.assertEqual(self.interview.asked, [])

    def test_an_engine_certificate_that_is_of_no_use_is_replaced(self) -> None:
        for data in (b"nonsense", certificate(), engine_certificate(1024)):
            self.world.complete(engine=data)
            self.interview = ScriptedInterview()
            found = self.obtain(site=self.site())
            self.assertEqual(found.fresh, {"engine"})
            self.assertIn("engine.cer is of no use", self.interview.warnings[0])

    def test_text_around_certificates_is_no_difference(self) -> None:
        self.world.complete(engine=b"Certificate: text\n" + engine_certificate(), ca=b"text\n" + self.ca)
        self.answer(style=["3"], chain=[certificate().decode()])
        found = self.obtain(renew=True, engine_ca=self.ca, site=self.site())
        self.assertEqual(found.fresh, frozenset())

    def test_a_named_ca_is_written_without_what_is_around_it(self) -> None:
        self.world.complete(ca=None)
        found = self.obtain(engine_ca=key_pem(own_key()) + self.ca)
        self.assertEqual(found.ca_pem, self.ca)

    def test_without_an_engine_nothing_is_fetched(self) -> None:
        self.world.complete(certificate=None, engine=None)
        self.answer({STYLE_KEY: "manual_inline"}, chain=[certificate().decode()])
        with self.assertRaisesRegex(SetupError, "no engine that gives out its engine-certificate"):
            self.obtain(wanted=Wanted(FQDN, "", 6100))


class StyleTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.enterContext(tempfile.TemporaryDirectory())))

    def choose(self, interview: ScriptedInterview, engine: str = ENGINE) -> Style | None:
        return choose_style(interview, self.world.system(), Wanted(FQDN, engine, 6100), now=NOW)

    def test_asked(self) -> None:
        for answer, style in zip(["", "2", "3", "4"], Style, strict=True):
            interview = ScriptedInterview({STYLE: [answer]})
            self.assertIs(self.choose(interview), style)
            self.assertEqual(interview.environment.get(STYLE_KEY), style.value)

    def test_told(self) -> None:
        for style in Style:
            self.assertIs(self.choose(ScriptedInterview(values={STYLE_KEY: style.value})), style)
        with self.assertRaisesRegex(SetupError, "is none of auto_ssh, manual_files"):
            self.choose(ScriptedInterview(values={STYLE_KEY: "by_pigeon"}))

    def test_told_as_3_5_was(self) -> None:
        for answer, style in (("Inline", Style.MANUAL_INLINE), ("files", Style.MANUAL_FILES)):
            interview = ScriptedInterview(values={"QUESTION/1/OVESETUP_CSR_INLINE": answer})
            self.assertIs(self.choose(interview), style)
        with self.assertRaisesRegex(SetupError, "neither Inline nor Files"):
            self.choose(ScriptedInterview(values={"QUESTION/1/OVESETUP_CSR_INLINE": "maybe"}))

    def test_without_an_engine(self) -> None:
        self.assertIs(self.choose(ScriptedInterview(), ""), Style.OWN_CA)
        with self.assertRaisesRegex(SetupError, "there is no engine to log in to"):
            self.choose(ScriptedInterview(values={STYLE_KEY: "auto_ssh"}), "")

    def test_not_asked_where_nothing_is_to_be_enrolled(self) -> None:
        self.world.complete()
        self.assertIsNone(self.choose(ScriptedInterview()))


class _Public:
    """A key of which only the public half is known."""

    def __init__(self, public: Any) -> None:
        self._public = public

    def public_key(self) -> Any:
        return self._public
