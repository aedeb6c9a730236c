"""Setup in every way to obtain a certificate, through a terminal, and what comes of it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from gateway.setup import places
from tests.integration.setupcase import BOUNDARY, PASSWORD, SetupTestCase
from tests.peers import needs
from tests.support.hostgateway import Signer, assert_console_is_seen, hypervisor, serve
from tests.support.hosts import ENGINE, GATEWAY
from tests.support.prying import Prying
from tests.support.qemu import Qemu
from tests.support.sshd import Sshd
from tests.support.terminal import Terminal

_REQUEST = r"WSP_CERTIFICATE_REQUEST \S+\s+(-----BEGIN[^-]*-----[^-]*-----END[^-]*-----)"

pytestmark = needs("openssl", "qemu", "ssh", "sshd")


class ModesTests(SetupTestCase):
    """Each mode ends with a console that is seen, and with a host on which nothing is left."""

    with_sshd = True
    with_systemd = True
    qemu: ClassVar[Qemu]
    server: ClassVar[Sshd]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        assert cls.sshd is not None
        cls.server = cls.sshd
        cls.qemu = cls.enterClassContext(hypervisor(cls.engine, cls.directory / "qemu"))

    def begin(self, style: str, *arguments: str) -> Terminal:
        """Answer what is asked in every mode, up to how the certificate is to be obtained."""
        terminal = self.start("setup", *self.port_option(), *arguments)
        self.answer(terminal, r"Set up the console gateway on this host\?", "")
        self.answer(terminal, r"name of this host", GATEWAY)
        self.answer(terminal, r"name of the engine's host", ENGINE)
        self.answer(terminal, r"How is it to be obtained", style)
        return terminal

    def conclude(self, terminal: Terminal) -> None:
        """Set it up with the engine's certificates, look at a console, and take it away again."""
        self.answer(terminal, "Set up the gateway like this", "")
        self.assert_succeeded(self.finish(terminal))
        self.assertIn(f"engine-config -s WebSocketProxy={GATEWAY}:{self.port}", terminal.text)
        self.assert_set_up()
        self.assert_serves(self.engine.pki)
        self.assert_succeeded(self.clean_up())
        if self.systemd is not None:
            self.assertEqual(self.systemd.running, [])

    def assert_serves(self, pki: Path) -> None:
        """A console can be seen with a ticket that is signed with what is in this directory."""
        with self.served():
            signer = Signer.of(pki)
            assert_console_is_seen(signer, self.engine.host, self.gateway, self.port, self.qemu)

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """The gateway runs: setup has started it, or now we do."""
        if self.systemd is not None:
            self.assertEqual(self.systemd.running, [places.SERVICE])
            yield
            return
        with serve(self.gateway, self.directory):
            yield

    def test_files(self) -> None:
        terminal = self.begin("2")
        request = terminal.expect(r"is in (\S+)\.\r?$")[1]
        path = self.gateway.path(request.removeprefix(str(self.gateway.root)))
        certificate = self.write("/root/wsp.cer", self.engine.sign(path.read_bytes(), GATEWAY))
        self.answer(terminal, "File here with the signed certificate", "/nowhere.cer")
        terminal.expect(r"\[ ERROR \] Invalid value: ")
        self.answer(terminal, "File here with the signed certificate", certificate)
        self.conclude(terminal)
        self.assertFalse(path.exists())
        self.gateway.path("/root/wsp.cer").unlink()
        self.assert_unchanged()

    def test_inline(self) -> None:
        terminal = self.begin("3")
        shown = terminal.expect(_REQUEST)[1].replace("\r", "")
        signed = self.engine.sign(f"{shown}\n".encode(), GATEWAY)
        terminal.expect("Paste the certificate")
        # As it comes out of a mail: the dump before it, blanks at the ends of lines.
        for line in [*signed.decode().splitlines(), BOUNDARY]:
            terminal.type_line(f"{line}  ")
        self.conclude(terminal)
        self.assert_unchanged()

    def test_ssh_with_a_key(self) -> None:
        """To a host that is known already."""
        with self.known():
            terminal = self.begin("1")
            self.answer(terminal, "Port of the ssh server", str(self.server.port))
            self.answer(terminal, "Password of root", "")
            self.conclude(terminal)
        self.assert_unchanged()

    def test_ssh_with_a_password(self) -> None:
        """To a host whose key has to be confirmed; nobody who looks at processes learns the password."""
        if not self.hosts.isolated:
            self.skipTest("without namespaces the server cannot have a password of its own")
        with Prying(PASSWORD) as prying:
            terminal = self.begin("1")
            self.answer(terminal, "Port of the ssh server", "")
            terminal.expect(r"Nothing vouches for the host key")
            self.answer(terminal, "Is this the right fingerprint", f"SHA256:{'A' * 43}")
            terminal.expect(r"\[ ERROR \] .*has the SHA-256 fingerprint")
            self.answer(terminal, "Is this the right fingerprint", self.server.fingerprint)
            self.answer(terminal, "Password of root", "wrong-Password-1")
            terminal.expect(r"\[ ERROR \] .*does not let root in")
            terminal.expect("Password of root")
            self.assertTrue(terminal.hides)
            self.answer(terminal, "", PASSWORD)
            self.conclude(terminal)
        self.assertEqual(prying.found, [])
        self.assertTrue(any("ControlPath" in line for line in prying.seen), "nobody looked")
        self.assert_unchanged()

    def test_own_authority(self) -> None:
        """Without an engine: the authority is made in one step."""
        terminal = self.start("setup", *self.port_option())
        self.answer(terminal, r"Set up the console gateway on this host\?", "y")
        self.answer(terminal, r"name of this host", GATEWAY)
        self.answer(terminal, r"name of the engine's host", "none")
        self.answer(terminal, "Directory of the CA", "")
        self.answer(terminal, "Set up the gateway like this", "ok")
        self.assert_succeeded(self.finish(terminal))
        self.assertNotIn("engine-config", terminal.text)
        self.assert_serves(self.gateway.path(places.OWN_CA))
        self.assert_succeeded(self.clean_up())
        self.assert_unchanged()

    def test_signed_by_ours_on_the_engine(self) -> None:
        """The engine's authority, but our program instead of its own."""
        if not self.hosts.isolated:
            self.skipTest("our program would sign with this machine's own authority")
        terminal = self.begin("3")
        shown = terminal.expect(_REQUEST)[1].replace("\r", "")
        name = f"websocket-proxy-{GATEWAY}"
        (self.engine.pki / f"requests/{name}.req").write_text(f"{shown}\n")
        sign = ["pki", "sign", f"--name={name}", f"--subject=/O=Example Inc./CN={GATEWAY}"]
        command = self.hosts.engine.command(sys.executable, "-m", "gateway", *sign, f"--san=DNS:{GATEWAY}")
        subprocess.run(command, check=True, capture_output=True)
        terminal.expect("Paste the certificate")
        signed = (self.engine.pki / f"certs/{name}.cer").read_text()
        for line in [*signed.splitlines(), BOUNDARY]:
            terminal.type_line(line)
        self.conclude(terminal)
        self.assert_unchanged()

    @contextlib.contextmanager
    def known(self) -> Iterator[None]:
        """Root of the gateway's host knows the engine's host, and has a key for it."""
        apart = self.gateway.holder is not None
        directory = self.gateway.path("/root/.ssh") if apart else self.directory / "ssh"
        directory.mkdir(mode=0o700, exist_ok=True)
        identity = directory / ("id_ed25519" if apart else "identity")
        shutil.copy(self.server.identity, identity)
        known = directory / "known_hosts"
        known.write_text(self.server.known_host)
        try:
            yield
        finally:
            identity.unlink()
            known.unlink()
            if apart:
                directory.rmdir()
