"""``console-gateway doctor`` as an operator runs it: real files, ports, targets, and a gateway that runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

from gateway import __version__
from tests.integration.case import InstallationTestCase, Table, changed_settings
from tests.integration.control import UnixConnection
from tests.peers import needs
from tests.support.pki import Authority
from tests.support.process import ROOT, GatewayProcess
from tests.support.qemu import Qemu, Vnc
from tests.support.qemufiles import certificate_directory
from tests.support.targets import TargetServer, closed_port, closing, echo, greet, stall
from tests.unit.net.samples import DAY, NOW, write

_PROGRAM = """
import json, os, signal, sys
from gateway.cli.doctor import doctor
for line in sys.stdin:
    arguments, path = json.loads(line)
    child = os.fork()
    if not child:
        signal.alarm(60)
        output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        doctor(arguments, prog_name="doctor")
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.stdout.write(f"{status}\\n")
    sys.stdout.flush()
"""
"""Runs the command in a process of its own each time, but reads its modules once."""
PASSWORD = "pass-s3c"


class DoctorTestCase(InstallationTestCase):
    nursery: ClassVar[subprocess.Popen[str]]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.nursery = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            cwd=ROOT,
            env={**os.environ, "FORCE_COLOR": "", "COLUMNS": "100"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        cls.addClassCleanup(cls.nursery.communicate)

    def run_doctor(self, *arguments: str, status: int) -> str:
        path = self.installation.directory / "doctor.output"
        assert self.nursery.stdin is not None
        assert self.nursery.stdout is not None
        self.nursery.stdin.write(json.dumps([arguments, str(path)]) + "\n")
        self.nursery.stdin.flush()
        exit_status = self.nursery.stdout.readline()
        output = path.read_text()
        self.assertEqual(exit_status, f"{status}\n", output)
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


class GatewayTests(DoctorTestCase):
    """Beside a gateway that runs."""

    gateway: ClassVar[GatewayProcess]
    endpoints: ClassVar[dict[str, Table]]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        control = f"unix:{cls.installation.directory}/control.sock"
        free = "tcp:0:interface=127.0.0.1"
        leaf = Authority("CA").issue("localhost", end=NOW + 90 * DAY)
        certificate, key = leaf.save(cls.installation.directory, "lasting")
        tls: Table = {"certificate": str(certificate), "key": str(key)}
        changes = {"tls": tls, "control": {"listen": [control]}, "metrics": {"listen": [free]}}
        settings = changed_settings(cls.installation, "gateway.toml", changes)
        cls.gateway = GatewayProcess(settings)
        cls.addClassCleanup(cls.gateway.stop)
        cls.gateway.ready()
        metrics = cls.gateway.wait_for(r"metrics are served on \S+:(\d+) ")[1]
        # Ports that the gateway has got, for nobody else can take them meanwhile.
        taken = (cls.gateway.tls_port, cls.gateway.plain_port, metrics)
        secure, plain, scraped = ([f"tcp:{port}:interface=127.0.0.1"] for port in taken)
        cls.endpoints = {
            "tls": tls,
            "listen": {"tls": secure, "plain": plain},
            "control": {"listen": [control]},
            "metrics": {"listen": scraped},
        }

    def operate(self, path: str, body: object) -> None:
        connection = UnixConnection(self.installation.directory / "control.sock")
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()

    def by_name(self, settings: Path, *names: str) -> list[tuple[str, str, str]]:
        """Name, level and text of some of the findings, of which none is a failure."""
        found = self.findings(settings)
        return [(each["name"], each["level"], each["detail"]) for each in found if each["name"] in names]

    def test_all_is_well(self) -> None:
        before = self.gateway.output
        settings = self.settings_file(**self.endpoints)
        found = self.by_name(settings, "gateway", "admission", "renewal", "health", "ports", "descriptors")
        names = ["gateway", "renewal", "health", "ports", "ports", "ports", "ports", "descriptors"]
        self.assertEqual([name for name, _, _ in found], names)
        self.assertEqual(found[0][2], f"version {__version__} runs, with 0 session(s)")
        ports = [text for name, level, text in found if (name, level) == ("ports", "ok")]
        self.assertRegex(ports[0], r"^listen\.tls: .* is served with the certificate of tls\.certificate$")
        self.assertRegex(ports[1], r"^listen\.plain: .* is taken, by the running gateway as it seems$")
        self.assertRegex(ports[2], r"^control\.listen: .*/control\.sock\S* answers$")
        self.assertRegex(ports[3], r"^metrics\.listen: .* is taken, by the running gateway as it seems$")
        self.assertIn("the running gateway may open", found[-1][2])
        if "event loop" not in found[2][2]:
            # Unless the processor is too busy just now.
            self.assertEqual(found[2][1:], ("ok", "the running gateway says that all is well"))
        # It leaves no noise in the log.
        self.assertEqual(self.gateway.output, before)

    def test_not_admitting(self) -> None:
        settings = self.settings_file(**self.endpoints)
        self.operate("/api/v1/admission", {"admitting": False})
        try:
            found = self.by_name(settings, "gateway", "admission")
        finally:
            self.operate("/api/v1/admission", {"admitting": True})
        self.assertEqual([name for name, _, _ in found], ["gateway", "admission"])
        self.assertEqual(found[1][1:], ("warn", "an operator has stopped admission: nobody gets in"))

    def test_settings_that_were_changed(self) -> None:
        """A new certificate and new endpoints, which the gateway has not read."""
        leaf = Authority("Other CA").issue("localhost", end=NOW + 400 * DAY)
        certificate, key = leaf.save(self.installation.directory, "other")
        changed = {**self.endpoints, "tls": {"certificate": str(certificate), "key": str(key)}}
        more = f"tcp:{closed_port()}:interface=127.0.0.1"
        changed["metrics"] = {"listen": [more]}
        found = self.by_name(self.settings_file(**changed), "renewal", "ports")
        warnings = [text for _, level, text in found if level == "warn"]
        self.assertEqual(len(warnings), 3, found)
        self.assertRegex(warnings[0], r"^the running gateway shows a certificate that lasts until ")
        self.assertRegex(warnings[1], r"is served with another certificate than that of tls\.certificate$")
        self.assertEqual(warnings[2], f"metrics.listen: {more} is free, although a gateway runs")

    def test_one_that_was_killed(self) -> None:
        control = f"unix:{self.installation.directory}/killed.sock"
        settings = self.settings_file("killed.toml", control={"listen": [control]})
        with GatewayProcess(settings) as gateway:
            gateway.ready()
            gateway.signal(signal.SIGKILL)
            gateway.wait()
        found = self.by_name(settings, "gateway", "ports")
        self.assertEqual([(name, level) for name, level, _ in found[:1]], [("gateway", "warn")])
        self.assertIn("killed.sock: Connection refused", found[0][2])
        self.assertRegex(found[-1][2], r"killed\.sock\S* was left behind by a process that is gone, and will")


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
