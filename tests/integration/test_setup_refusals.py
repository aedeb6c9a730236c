"""What setup does not take: wrong certificates, and what an engine should not say."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.integration.case import eventually
from tests.integration.preparedcase import CERTIFICATE, PreparedTestCase, make_request
from tests.integration.setupcase import Ended
from tests.peers import needs
from tests.support.hosts import GATEWAY
from tests.support.pki import Authority
from tests.unit.net.samples import pem

pytestmark = needs("openssl", "ssh", "sshd")


class RefusalsTestCase(PreparedTestCase):
    def assert_refused(self, reason: str, *options: str, **answers: object) -> Ended:
        """It fails with one message, and the host is as it was."""
        before = self.look()
        ended = self.unattended("setup", *self.answered(self.answers(**answers)), *options)
        self.assertEqual(ended.status, 1, ended.text)
        self.assertEqual(len(ended.errors), 1, ended.text)
        self.assertRegex(ended.errors[0], reason)
        self.assertRegex(ended.errors[0], "nothing was changed$")
        self.assert_unchanged(before)
        return ended


class CertificatesTests(RefusalsTestCase):
    """Each says which of its properties is wrong."""

    def test_certificates(self) -> None:
        _, other = make_request(self.directory)
        key = load_pem_private_key(self.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        stranger = Authority("Stranger CA").issue(GATEWAY, key=key)
        sign, other_name = self.engine.sign, "--san=DNS:other.example.org"
        expired = sign(self.request, GATEWAY, "--days=0")
        # Its last second is the one that it was signed in.
        time.sleep(1)
        for certificate, reason in (
            (sign(other, GATEWAY), "is for another key"),
            (pem(*stranger.chain), "does not lead to the trusted CA"),
            (expired, "is valid from .* to .*"),
            (
                sign(self.request, GATEWAY, other_name),
                "is not for wsp.example.org.*other",
            ),
            (sign(self.request, GATEWAY, "--san="), f"is not for {GATEWAY}"),
            (self.engine.ca_file.read_bytes(), "is for another key"),
            (b"", "there is no PEM certificate"),
            (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "certificate"),
            (self.certificate[:-200], "certificate"),
            (self.certificate * 40, "certificate"),
        ):
            with self.subTest(reason):
                self.write(CERTIFICATE, certificate)
                self.assert_refused(f"{CERTIFICATE}: .*{reason}")

    def test_nothing_there(self) -> None:
        self.gateway.path(CERTIFICATE).unlink()
        self.assert_refused("No such file")


class EngineTests(RefusalsTestCase):
    """What may be wrong with what the engine gives."""

    def test_not_reached(self) -> None:
        self.engine.close()
        self.addCleanup(self.engine.listen)
        ended = self.assert_refused("pki-resource.*connection refused")
        self.assertEqual(ended.text.count("trying again"), 5)

    def test_in_trouble(self) -> None:
        self.engine.status = 503
        self.assert_refused("HTTP status 503")
        self.engine.status = 404
        self.assert_refused("HTTP status 404; is engine.example.org the engine")

    def test_empty(self) -> None:
        """For a while only: that is waited for."""
        self.engine.empty = 1000
        self.assert_refused("an empty answer")
        self.engine.empty = 4
        self.set_up()
        self.assert_set_up()

    def test_something_else(self) -> None:
        good = self.engine.ca_file.read_bytes()
        for name in ("ca-certificate", "engine-certificate"):
            for body in (b"<html>Log in</html>", b"\0" * 1000, b"x" * 100_000, good[:-100], self.key):
                with self.subTest(name, body=body[:10]):
                    self.engine.bodies = {name: body}
                    self.assert_refused("pki-resource")

    def test_tampered_on_the_way(self) -> None:
        """Somebody who is not the engine answers, with certificates of his own."""
        impostor = Authority("Impostor CA")
        forged = impostor.issue("engine.example.org", key=rsa.generate_private_key(65537, 2048))
        files = forged.save(self.directory, "impostor")
        self.engine.close()
        self.addCleanup(self.engine.listen)
        self.addCleanup(self.engine.close)
        self.engine.listen(files)
        self.engine.bodies = {
            "ca-certificate": pem(impostor.certificate),
            "engine-certificate": pem(forged.certificate),
        }
        # The certificate that was signed is not of that authority.
        self.assert_refused("does not lead to the trusted CA")
        # The right authority gives no leave to take what is not verified by it.
        authority = ("--engine-ca", self.write("/root/ca.pem", self.engine.ca_file.read_bytes()))
        for answer, reason, options in (
            ("no", "was not confirmed, so it is not used", authority),
            ("yes", "nobody is there to look at it", (*authority, "--accept-defaults")),
            (self.engine.fingerprint, "somebody may have tampered with it", authority),
        ):
            with self.subTest(reason):
                answers = {"OVESETUP_ENGINE_CERTIFICATE_FINGERPRINT": answer}
                self.assert_refused(reason, *options, **answers)

    def test_confirmed_by_its_fingerprint(self) -> None:
        """Without HTTPS that can be verified, the fingerprint is what counts."""
        stranger = Authority("Proxy CA").issue("engine.example.org")
        self.engine.close()
        self.addCleanup(self.engine.listen)
        self.addCleanup(self.engine.close)
        self.engine.listen(stranger.save(self.directory, "proxy"))
        answers = self.answers(OVESETUP_ENGINE_CERTIFICATE_FINGERPRINT=self.engine.fingerprint)
        self.assert_succeeded(self.unattended("setup", *self.answered(answers)))
        self.assert_set_up()


class SshTests(RefusalsTestCase):
    """The engine's host, and what is done there."""

    with_sshd = True

    def setUp(self) -> None:
        super().setUp()
        assert self.sshd is not None
        self.server = self.sshd
        self.known = self.write("/root/known", self.server.known_host)
        self.identity = self.write("/root/identity", self.server.identity.read_bytes(), 0o600)

    def answers(self, **changes: object) -> dict[str, object]:
        ssh = {
            "REMOTE_ENGINE_SETUP_STYLE": "1",
            "SSH_ACCESS_REMOTE_ENGINE_PORT": str(self.server.port),
            "SSH_ACCESS_REMOTE_ENGINE_PASSWORD": "",
        }
        files = {
            "OVESETUP_CONFIG/remoteEngineHostKnownHosts": self.known,
            "OVESETUP_CONFIG/remoteEngineHostClientKey": self.identity,
        }
        return {**super().answers(**{**ssh, **changes}), **files}

    def engine_has(self, name: str) -> None:
        """A file that says how the engine's command is to behave."""
        path = self.engine.pki / name
        path.touch()
        self.addCleanup(path.unlink)

    def test_signs(self) -> None:
        self.assert_succeeded(self.unattended("setup", *self.answered()))
        self.assert_set_up()

    def test_another_host_key(self) -> None:
        kind, key = self.server.known_host.split()[1:]
        forged = key[:-8] + ("AAAA" if key[-8:-4] != "AAAA" else "BBBB") + key[-4:]
        self.write("/root/known", f"{self.engine.host.name} {kind} {forged}\n")
        self.assert_refused("its host key is not the one that is known")

    def test_no_key(self) -> None:
        another = self.directory / "another"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(another)], check=True)
        self.write("/root/identity", another.read_bytes(), 0o600)
        self.assert_refused("does not let root in")
        another.unlink()

    def test_nobody_there(self) -> None:
        self.assert_refused("nothing is reached at port 1 ", SSH_ACCESS_REMOTE_ENGINE_PORT="1")

    def test_not_signed(self) -> None:
        """The command's status counts, and what it says is told."""
        self.engine_has("refuse")
        self.assert_refused("pki-enroll-request.sh failed with status 1: FATAL: the authority is closed")

    def test_interrupted_while_it_signs(self) -> None:
        self.engine_has("wait")
        before = self.look()
        terminal = self.start("setup", *self.answered())
        terminal.expect("Having .* sign the certificate")
        request = self.engine.pki / f"requests/websocket-proxy-{GATEWAY}.req"
        eventually(lambda: b"pki-enroll-request" in _command_lines(), 10)
        terminal.interrupt()
        begin = time.monotonic()
        ended = self.finish(terminal)
        self.assertLess(time.monotonic() - begin, 10)
        self.assertEqual((ended.status, len(ended.errors)), (130, 1), ended.text)
        self.assert_unchanged(before)
        self.assertTrue(request.exists())


def _command_lines() -> bytes:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes())
    return b"\n".join(found)
