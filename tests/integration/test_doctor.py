"""``console-gateway doctor`` as an operator runs it: real files, ports, targets, and a gateway that runs."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.integration.case import InstallationTestCase
from tests.peers import needs
from tests.support.pki import Authority
from tests.support.process import ROOT, GatewayProcess
from tests.support.qemu import Qemu, Vnc
from tests.support.qemufiles import certificate_directory
from tests.support.targets import TargetServer, closed_port, closing, echo, greet, stall
from tests.unit.net.samples import write

_SCRIPT = "from gateway.cli.doctor import doctor; doctor(prog_name='doctor')"
PASSWORD = "pass-s3c"


class DoctorTestCase(InstallationTestCase):
    def run_doctor(self, *arguments: str, status: int) -> str:
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, *arguments],
            cwd=ROOT,
            env={**os.environ, "FORCE_COLOR": "", "COLUMNS": "100"},
            capture_output=True,
            timeout=60,
            check=False,
        )
        output = done.stdout.decode() + done.stderr.decode()
        self.assertEqual(done.returncode, status, output)
        self.assertNotIn("Traceback", output)
        self.assertNotIn("PRIVATE KEY", output)
        self.assertNotIn(PASSWORD, output)
        return output

    def findings(self, settings: Path, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
        output = self.run_doctor("--config", str(settings), "--json", *arguments, status=status)
        value = json.loads(output)
        self.assertEqual(value["ok"], status == 0)
        for each in value["findings"]:
            self.assertEqual(list(each), ["name", "level", "detail", "remedy"])
            self.assertEqual(each["remedy"] is None, each["level"] == "ok", each)
        found: list[dict[str, Any]] = value["findings"]
        return found

    def target(self, settings: Path, port: int, *arguments: str, host: str = "127.0.0.1") -> dict[str, Any]:
        """What is said of one target, which fails or is well with the exit status."""
        output = self.run_doctor(
            "--config",
            str(settings),
            "--json",
            "--target",
            f"{host}:{port}",
            *arguments,
            status=self.expected,
        )
        (found,) = (each for each in json.loads(output)["findings"] if each["name"] == "target")
        return dict(found)

    expected = 0


class HostTests(DoctorTestCase):
    def test_a_good_installation(self) -> None:
        found = self.findings(self.settings_file())
        names = [each["name"] for each in found]
        for name in ("settings", "user", "clock", "masker", "dns", "permissions", "certificate", "names"):
            self.assertIn(name, names)
        for name in ("chain", "engine", "gateway", "ports", "descriptors"):
            self.assertIn(name, names)
        self.assertEqual([each for each in found if each["level"] == "fail"], [])

    def test_table(self) -> None:
        output = self.run_doctor("--config", str(self.settings_file()), "--name", "elsewhere", status=1)
        self.assertNotIn("\x1b", output)
        self.assertRegex(output, r"(?m)^names +fail +the gateway's certificate is not for 'elsewhere'")
        self.assertRegex(output, r"(?m)^ +-> enrol a certificate")
        self.assertRegex(output, r"(?m)^1 failed, \d+ warning\(s\), \d+ in order$")
        self.assertFalse([line for line in output.splitlines() if line != line.rstrip()])

    def test_no_settings(self) -> None:
        for name, content in (("missing.toml", None), ("bad.toml", "[listen\n"), ("odd.toml", "[lissten]\n")):
            path = self.installation.directory / name
            if content is not None:
                path.write_text(content)
            found = self.findings(path, "--target", "localhost:5900", status=1)
            self.assertEqual((found[0]["name"], found[0]["level"]), ("settings", "fail"))
            self.assertEqual(found[-1]["detail"], "not tried, because the settings are wrong")

    def test_a_file_is_missing(self) -> None:
        settings = self.settings_file(tls={"certificate": "/missing/tls.pem"})
        found = self.findings(settings, status=1)
        self.assertIn("/missing/tls.pem: tls.certificate", found[0]["detail"])

    def test_a_gateway_that_runs(self) -> None:
        port = closed_port()
        settings = self.settings_file(listen={"tls": [f"tcp:{port}:interface=127.0.0.1"], "plain": []})
        with GatewayProcess(settings) as gateway:
            gateway.ready()
            before = gateway.output
            found = self.findings(settings)
            (ports,) = (each for each in found if each["name"] == "ports")
            self.assertEqual(ports["level"], "ok")
            self.assertIn("is served with the certificate of tls.certificate", ports["detail"])
            # It leaves no noise in the log.
            self.assertEqual(gateway.output, before)


class TargetTests(DoctorTestCase):
    def serve(self, behaviour: Any) -> int:
        server = TargetServer(behaviour)
        self.addCleanup(server.close)
        return server.port

    def quick(self, **changes: Any) -> Path:
        merged = {"silence": 1, "handshake_timeout": 2, **changes}
        return self.settings_file("target.toml", security=merged)

    def test_plain(self) -> None:
        for behaviour, words in ((greet, "it greets as RFB 003.008"), (echo, "waits for its client")):
            found = self.target(self.quick(), self.serve(behaviour))
            self.assertEqual(found["level"], "ok")
            self.assertIn(words, found["detail"])

    def test_by_name(self) -> None:
        self.assertIn("greets", self.target(self.quick(), self.serve(greet), host="localhost")["detail"])

    def test_failures(self) -> None:
        unheard, silent = closed_port(), self.serve(closing_at_once)
        where = (f"127.0.0.1:{unheard}", f"127.0.0.1:{silent}", "192.0.2.1:5900", "no-such-name.invalid:5900")
        options = [option for each in where for option in ("--target", each)]
        refused, left, forbidden, unresolved = self.findings(self.quick(), *options, status=1)[-4:]
        self.assertIn("target-refused (close code 4001): nothing listens there", refused["detail"])
        self.assertIn("'Target refused the connection'", refused["detail"])
        self.assertIn("start the console server", refused["remedy"])
        self.assertIn("ended the connection at once", left["detail"])
        self.assertIn("target-forbidden (close code 4004): 192.0.2.1 is in no network", forbidden["detail"])
        self.assertIn("target-unresolved", unresolved["detail"])

    def test_security_failures(self) -> None:
        options = [f"--target=127.0.0.1:{self.serve(each)}" for each in (closing, stall)]
        found = self.findings(self.quick(), *options, "--security=auto", status=1)
        self.assertIn("target-insecure", found[-2]["detail"])
        self.assertIn("target-handshake-timeout", found[-1]["detail"])

    def test_the_gateway_itself(self) -> None:
        self.expected = 1
        port = closed_port()
        settings = self.settings_file(listen={"tls": [f"tcp:{port}"]})
        self.assertIn("is this gateway itself", self.target(settings, port)["detail"])

    def test_tls(self) -> None:
        authority = Authority("Targets")
        files = authority.issue("localhost").save(self.installation.directory, "console")
        ca = authority.save(self.installation.directory, "targets")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)

        def secure(sock: socket.socket, stop: threading.Event) -> None:
            with context.wrap_socket(sock, server_side=True) as tls:
                tls.recv(1)

        port = self.serve(secure)
        found = self.findings(
            self.quick(ca=str(ca)), "--target", f"localhost:{port}", "--security", "auto", status=0
        )
        self.assertRegex(found[-2]["detail"], rf"^localhost:{port}: TLS, TLSv1.3, after [0-9.]+ s$")
        self.assertEqual((found[-1]["name"], found[-1]["level"]), ("target certificate", "warn"))
        self.expected = 1
        wrong = self.target(self.quick(ca=str(ca)), port, "--security", "tls")
        self.assertIn("target-wrong-name (close code 4012)", wrong["detail"])
        self.expected = 0
        named = self.target(self.quick(ca=str(ca)), port, "--security", "tls", "--server-name", "localhost")
        self.assertIn("TLSv1.3", named["detail"])
        self.expected = 1
        untrusted = self.target(self.quick(), port, "--security", "tls", host="localhost")
        self.assertIn("target-untrusted", untrusted["detail"])
        self.assertIn("security.ca", untrusted["remedy"])


@needs("qemu")
class QemuTests(DoctorTestCase):
    """A real VNC server."""

    def qemu(self, password: str | None, *, secure: bool = False) -> int:
        directory = self.installation.directory / f"qemu-{os.urandom(4).hex()}"
        directory.mkdir()
        identity = None
        if secure:
            authority = Authority("Hypervisors")
            identity = certificate_directory(
                directory / "x509", authority.certificate, authority.issue("localhost")
            )
            authority.save(self.installation.directory, "hypervisors")
        machine = Qemu(directory, vnc={"vnc": Vnc(password, certificates=identity)})
        self.addCleanup(machine.close)
        return machine.port

    def test_without_password(self) -> None:
        self.assertIn("greets as RFB 003.008", self.target(self.settings_file(), self.qemu(None))["detail"])

    def test_a_password_of_the_gateway(self) -> None:
        port = self.qemu(PASSWORD)
        for password, status in ((PASSWORD, 0), ("wrong-pw", 1)):
            text = f'["127.0.0.1:{port}"]\npassword = "{password}"\n'
            secrets = write(self.installation.directory / "secrets.toml", text.encode())
            settings = self.settings_file(security={"password": "gateway", "secrets": str(secrets)})
            self.expected = status
            found = self.target(settings, port)
            self.assertIn("RFB VNC" if not status else "target-auth-failed", found["detail"])

    def test_a_password_of_the_user_over_vencrypt(self) -> None:
        port = self.qemu(PASSWORD, secure=True)
        settings = self.settings_file(
            security={"ca": str(self.installation.directory / "hypervisors.pem"), "mode": "auto"}
        )
        found = self.findings(settings, "--target", f"localhost:{port}")
        self.assertIn("the user is asked for the password", found[-2]["detail"])
        self.assertIn("its certificate lasts until", found[-1]["detail"])

    def test_a_password_of_the_user(self) -> None:
        # Without security the browser speaks with the target itself.
        self.assertIn("greets as RFB", self.target(self.settings_file(), self.qemu(PASSWORD))["detail"])


def closing_at_once(sock: socket.socket, stop: threading.Event) -> None:
    """Say nothing and close."""
