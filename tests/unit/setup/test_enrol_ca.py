"""A CA of our own in one step: nothing is there before the transaction, and everything after it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path, PurePosixPath
from unittest import mock

from cryptography import x509
from cryptography.x509 import load_pem_x509_certificate
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from gateway.pki import Authority, KeyKind, check_certificate, key_pem, load_key, make_request, parse_chain
from gateway.setup import places
from gateway.setup.enrolling.by_ca import DIRECTORY_KEY, OwnAuthority
from gateway.setup.errors import SetupError
from gateway.setup.host.authority_step import BookStep
from gateway.setup.host.made_ca import FACT, MadeCa, made_cas
from tests.support.interview import ScriptedInterview
from tests.unit.net.samples import NOW
from tests.unit.setup.enrolling import FQDN, World, cheap_keys, own_key, ticket_key

DIRECTORY = "OVESETUP_CONFIG_OWN_CA_DIRECTORY"
PASSWORD = "OVESETUP_CONFIG_OWN_CA_PASSWORD"


class OwnCaTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.enterContext(tempfile.TemporaryDirectory())))
        self.system = self.world.system()
        self.base = self.world.root / "etc/pki/console-gateway-ca"

    def ask(self, interview: ScriptedInterview | None = None) -> OwnAuthority:
        return OwnAuthority.ask(interview or ScriptedInterview({DIRECTORY: [""]}), self.system, FQDN)

    def sign(self, authority: OwnAuthority) -> tuple[bytes, bytes, tuple[BookStep, ...], tuple[str, ...]]:
        with authority.opened() as book:
            chain = book.sign(make_request(own_key()), FQDN)
            return chain, book.ticket_certificate(), book.plan(), book.summary()

    def found(self, password: bytes | None = None) -> None:
        """A CA that is there already, with keys that cost nothing."""
        self.base.parent.mkdir(parents=True, exist_ok=True)
        Authority.create(self.base, subject="/CN=Our CA", kind=KeyKind.EC, password=password)
        (self.base / "keys").mkdir()
        (self.base / "keys/engine.key.nopass").write_bytes(key_pem(ticket_key()))
        (self.base / "keys/engine.key.nopass").chmod(0o600)

    def test_a_new_one(self) -> None:
        with cheap_keys():
            chain, engine, steps, summary = self.sign(self.ask())
        self.assertEqual(self.world.files(), {})
        (step,) = steps
        self.assertIn("Making the CA", step.description)
        self.assertNotIn("PRIVATE", repr(step))
        step.apply(self.system)
        authority = Authority.open(self.base)
        (leaf,) = parse_chain(chain)
        check_certificate(
            [leaf], public_key=own_key().public_key(), authorities=[authority.certificate], name=FQDN, now=NOW
        )
        key_path = self.base / "keys/engine.key.nopass"
        key = load_key(key_path.read_bytes())
        self.assertEqual(load_pem_x509_certificate(engine).public_key(), key.public_key())
        self.assertEqual((self.base / "certs/engine.cer").read_bytes(), engine)
        for path in (key_path, self.base / "private/ca.pem"):
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
            self.assertEqual(path.parent.stat().st_mode & 0o777, 0o700)
        self.assertIn("ca.pem", summary[0])
        self.assertIn("console-gateway ticket sign --key", summary[1])
        self.assertIn("/etc/pki/console-gateway-ca/keys/engine.key.nopass", summary[1])
        step.revert(self.system)
        self.assertEqual(list(self.world.root.iterdir()), [])

    def test_the_ticket_signer_serves_no_tls(self) -> None:
        self.found()
        _, engine, _, _ = self.sign(self.ask())
        extensions = load_pem_x509_certificate(engine).extensions
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertNotIn(ExtendedKeyUsageOID.SERVER_AUTH, purposes)
        with self.assertRaises(x509.ExtensionNotFound):
            extensions.get_extension_for_class(x509.SubjectAlternativeName)

    def test_one_that_is_there(self) -> None:
        self.found()
        before = self.world.files()
        chain, _, (step,), summary = self.sign(self.ask())
        self.assertEqual(self.world.files(), before)
        self.assertEqual(len(summary), 1)
        times = {name: (self.world.root / name).stat().st_mtime_ns for name in before}
        step.apply(self.system)
        numbers = (self.base / "serial.txt").read_text()
        self.assertEqual(numbers, "1002\n")
        self.assertEqual(parse_chain((self.base / "certs/1000.pem").read_bytes()), parse_chain(chain))
        step.revert(self.system)
        self.assertEqual(self.world.files(), before)
        self.assertEqual({n: (self.world.root / n).stat().st_mtime_ns for n in before}, times)
        # Again, and then by its own program: no number is given out twice.
        step.apply(self.system)
        Authority.open(self.base).sign(make_request(own_key()), san="DNS:other.example.org")
        self.assertTrue((self.base / "certs/1002.pem").exists())

    def test_somebody_else_was_faster(self) -> None:
        self.found()
        _, _, (step,), _ = self.sign(self.ask())
        Authority.open(self.base).sign(make_request(own_key()), san="DNS:other.example.org")
        before = self.world.files()
        with self.assertRaisesRegex(SetupError, "used by somebody else meanwhile; run setup again"):
            step.apply(self.system)
        step.revert(self.system)
        self.assertEqual(self.world.files(), before)

    def test_what_was_signed_meanwhile_is_not_forgotten(self) -> None:
        """Between our entry and its taking back there is all of the transaction, and the service's start."""
        self.found()
        _, _, (step,), _ = self.sign(self.ask())
        step.apply(self.system)
        Authority.open(self.base).sign(make_request(own_key()), san="DNS:other.example.org")
        before = self.world.files()
        with self.assertRaisesRegex(SetupError, "used by somebody else meanwhile, so its entries stay"):
            step.revert(self.system)
        self.assertEqual(self.world.files(), before)

    def test_links_in_an_image_lead_nowhere(self) -> None:
        outside = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.found()
        for name in ("certs", "private/ca.pem", "ca.pem", "keys"):
            path, kept = self.base / name, outside / Path(name).name
            path.rename(kept)
            path.symlink_to(kept)
            with self.assertRaisesRegex(SetupError, f"{name} is a link"):
                self.ask()
            path.unlink()
            kept.rename(path)
        _, _, (step,), _ = self.sign(self.ask())
        (self.base / "certs").rename(self.base / "other")
        (self.base / "certs").symlink_to(outside)
        with self.assertRaisesRegex(SetupError, "certs is a link"):
            step.apply(self.system)
        self.assertEqual(list(outside.iterdir()), [])

    def test_the_copy_of_a_key_is_on_no_disk(self) -> None:
        self.found()
        if not os.access("/dev/shm", os.W_OK):
            self.skipTest("there is no such place")
        with (
            mock.patch.object(tempfile, "tempdir", str(self.world.root)),
            self.ask().opened(),
        ):
            self.assertEqual([path.name for path in self.world.root.iterdir()], ["etc"])

    def test_a_write_that_fails_leaves_nothing(self) -> None:
        with cheap_keys():
            _, _, (step,), _ = self.sign(self.ask())
        self.base.parent.mkdir(parents=True)
        self.base.write_bytes(b"in the way")
        before = self.world.files()
        with self.assertRaises(SetupError) as caught:
            step.apply(self.system)
        self.assertNotIn("\n", str(caught.exception))
        step.revert(self.system)
        self.assertEqual(self.world.files(), before)

    def test_an_encrypted_key(self) -> None:
        self.found(b"sesam")
        interview = ScriptedInterview({DIRECTORY: [""], PASSWORD: ["wrong", "sesam"]})
        authority = self.ask(interview)
        self.assertEqual(len(interview.errors), 1)
        self.assertNotIn("sesam", repr(authority))
        _, _, (step,), _ = self.sign(authority)
        step.apply(self.system)
        self.assertIn(b"ENCRYPTED", (self.base / "private/ca.pem").read_bytes())

    def test_half_a_pair(self) -> None:
        self.found()
        _, _, (step,), _ = self.sign(self.ask())
        step.apply(self.system)
        (self.base / "keys/engine.key.nopass").write_bytes(key_pem(own_key()))
        with self.assertRaisesRegex(SetupError, "is not the key of"):
            self.sign(self.ask())
        # The key may have gone to where tickets are made.
        (self.base / "keys/engine.key.nopass").unlink()
        _, _, _, summary = self.sign(self.ask())
        self.assertEqual(summary, ())

    def test_directories_that_will_not_do(self) -> None:
        self.world.put(PurePosixPath("/srv/file"), b"")
        answers = ["here", "/", "/srv/../etc", "/srv/file", "/srv", "/srv/ca"]
        interview = ScriptedInterview({DIRECTORY: answers})
        self.assertEqual(self.ask(interview).place, PurePosixPath("/srv/ca"))
        self.assertEqual(len(interview.errors), 5)
        with self.assertRaisesRegex(SetupError, "has files, but no CA"):
            self.ask(ScriptedInterview({}, {DIRECTORY_KEY: "/srv"}))

    def test_a_damaged_ca(self) -> None:
        self.found()
        (self.base / "private/ca.pem").write_bytes(key_pem(own_key()))
        with self.assertRaisesRegex(SetupError, "not the key of"):
            self.ask()
        self.assertEqual(places.OWN_CA, PurePosixPath("/etc/pki/console-gateway-ca"))


class MadeCaTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.enterContext(tempfile.TemporaryDirectory())))
        self.system = self.world.system()
        self.base = self.world.root / "srv/my own/ca"
        interview = ScriptedInterview({DIRECTORY: ["/srv/my own/ca"]})
        with cheap_keys(), OwnAuthority.ask(interview, self.system, FQDN).opened() as book:
            book.sign(make_request(own_key()), FQDN)
            book.ticket_certificate()
            (step,) = book.plan()
        self.facts = step.prepare(self.system)
        step.apply(self.system)
        (self.made,) = made_cas(self.facts)

    def test_it_goes_while_it_is_as_setup_made_it(self) -> None:
        self.assertEqual(self.made.place, PurePosixPath("/srv/my own/ca"))
        self.assertEqual(len(self.facts[FACT].split()), 1)
        self.assertTrue(self.made.is_untouched(self.system))
        self.made.remove(self.system)
        self.assertEqual(list(self.world.root.iterdir()), [])
        self.assertFalse(self.made.is_untouched(self.system))

    def test_it_stays_once_somebody_used_it(self) -> None:
        Authority.open(self.base).sign(make_request(own_key()), san="DNS:other.example.org")
        self.stays()

    def test_it_stays_without_its_ticket_key(self) -> None:
        (self.base / "keys/engine.key.nopass").unlink()
        self.stays()

    def test_it_stays_with_something_of_somebody(self) -> None:
        for name in ("notes.txt", "requests/other.req", "keys/other"):
            (self.base / name).write_bytes(b"mine")
            self.stays()
            (self.base / name).unlink()
        (self.base / "link").symlink_to("/etc/passwd")
        self.stays()

    def stays(self) -> None:
        before = self.world.files()
        self.assertFalse(self.made.is_untouched(self.system))
        with self.assertRaisesRegex(SetupError, "was used since setup made it"):
            self.made.remove(self.system)
        self.assertEqual(self.world.files(), before)

    @given(st.text(max_size=300))
    def test_whatever_a_record_says(self, text: str) -> None:
        for made in made_cas({FACT: text}):
            self.assertTrue(made.place.is_absolute())

    def test_places_that_no_ca_has(self) -> None:
        for place in ("/", "srv", "/srv/../etc", "/a\0b"):
            self.assertEqual(made_cas({FACT: MadeCa(PurePosixPath(place), "0" * 64, 0).word}), ())
