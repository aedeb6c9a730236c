from __future__ import annotations

import tempfile
from pathlib import Path

import attrs
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.settings import (
    ListenSettings,
    Settings,
    TlsSettings,
    TlsVersion,
    Verification,
    examine_settings,
    load_settings,
    ovirt_files,
)
from gateway.settings.ovirt import OvirtConfiguration, examine_ovirt
from gateway.settings.ovirt_migrate import migrated
from gateway.settings.ovirt_variables import SOURCES

SETUP = """\
PROXY_PORT=6100
SSL_CERTIFICATE={0}/certs/websocket-proxy.cer
SSL_KEY={0}/keys/websocket-proxy.key.nopass
CERT_FOR_DATA_VERIFICATION={0}/certs/engine.cer
SSL_ONLY=True
"""
"""As the setup of the engine writes it."""


class OvirtTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)
        self.conf = self.directory / "proxy.conf"
        self.local = self.directory / "proxy.conf.d" / "99-local.conf"
        self.local.parent.mkdir()
        self.pki = self.directory / "pki"
        self.pki.mkdir()
        self.ca = self.pki / "ca.pem"
        self.ca.touch()
        self.conf.write_text(SETUP.format(self.pki))
        self.toml = self.directory / "further.toml"

    def examine(self, local: str = "", toml: str | None = None) -> OvirtConfiguration:
        if toml is not None:
            self.toml.write_text(toml)
            local = f"{local}\nCONSOLE_GATEWAY_SETTINGS={self.toml}"
        self.local.write_text(local)
        return examine_ovirt(self.conf)

    def load(self, local: str = "", toml: str | None = None, *, warnings: int = 0) -> Settings:
        """Settings without problems, which the TOML file that is made of them has, too."""
        found = self.examine(local, toml)
        self.assertEqual([str(each) for each in found.problems], [])
        self.assertEqual(len(found.warnings), warnings, found.warnings)
        assert found.settings is not None
        path = self.directory / "elsewhere" / "migrated.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(migrated(found))
        self.assertEqual(load_settings(path), found.settings)
        return found.settings

    def warning(self, local: str = "", toml: str | None = None) -> str:
        found = self.examine(local, toml)
        self.assertEqual(found.problems, ())
        (warning,) = found.warnings
        self.assertTrue(str(warning).isprintable())
        return str(warning)

    def problems(self, local: str = "", toml: str | None = None) -> list[str]:
        found = [str(each) for each in self.examine(local, toml).problems]
        for each in found:
            self.assertTrue(each.isprintable(), each)
        return found


class SetupTests(OvirtTestCase):
    def test_what_setup_writes(self) -> None:
        expected = attrs.evolve(
            Settings(),
            listen=ListenSettings(("tcp:6100",), ()),
            tls=TlsSettings(
                self.pki / "certs/websocket-proxy.cer", self.pki / "keys/websocket-proxy.key.nopass"
            ),
            tickets=attrs.evolve(Settings().tickets, certificate=self.pki / "certs/engine.cer"),
            security=attrs.evolve(Settings().security, ca=self.ca, verify=Verification.CHAIN),
        )
        self.assertEqual(self.load(), expected)

    def test_defaults_of_the_package(self) -> None:
        """What comes with it does not stand in the way of a TOML file."""
        self.patch(ovirt_files, "SHIPPED_CONF", self.directory / "share.conf")
        self.patch(ovirt_files, "DEFAULT_CONF", self.conf)
        (self.directory / "share.conf").write_text(
            f"ENGINE_USR={self.directory}\nPROXY_PORT=6100\nPROXY_HOST=*\nSOURCE_IS_IPV6=False\n"
            "SSL_ONLY=False\nSSL_MIN_VERSION=TLSv1.2\nSSL_CIPHERS=HIGH:!aNULL\nTRACE_ENABLE=False\n"
            "TRACE_FILE=\nPACKAGE_NAME=x\nNOT_OURS=1\n"
        )
        (self.directory / "services").mkdir()
        self.toml.write_text('[tls]\nciphers = "ECDHE+AESGCM"\n')
        self.local.write_text(f"CONSOLE_GATEWAY_SETTINGS={self.toml}")
        found = examine_ovirt()
        self.assertEqual((found.problems, found.warnings), ((), ()))
        assert found.settings is not None
        self.assertEqual(found.settings.tls.ciphers, "ECDHE+AESGCM")
        self.assertEqual(found.settings.listen, ListenSettings(("tcp:6100",), ()))
        self.assertIn("sets tls.ciphers", migrated(found))
        self.local.write_text("")
        found = examine_ovirt()
        assert found.settings is not None
        self.assertEqual(found.settings.tls.ciphers, "HIGH:!aNULL")

    def test_nothing_there(self) -> None:
        self.patch(ovirt_files, "SHIPPED_CONF", self.directory / "share.conf")
        self.patch(ovirt_files, "DEFAULT_CONF", self.directory / "none.conf")
        found = examine_ovirt()
        self.assertIsNone(found.settings)
        (problem,) = found.problems
        self.assertIn("none.conf: there is no configuration", str(problem))


class VariableTests(OvirtTestCase):
    def listen(self, local: str) -> tuple[str, ...]:
        return self.load(local).listen.tls

    def test_address(self) -> None:
        for local, expected in (
            ("PROXY_HOST=*", "tcp:6100"),
            ("PROXY_HOST=*\nSOURCE_IS_IPV6=True", "tcp:6100"),
            ("PROXY_HOST=", "tcp:6100"),
            ("PROXY_HOST=192.0.2.1\nPROXY_PORT=7", "tcp:7:interface=192.0.2.1"),
            ("PROXY_HOST=2001:db8::1", "tcp:6100:interface=[2001:db8::1]"),
            ("PROXY_HOST=[::1]", "tcp:6100:interface=[::1]"),
            ("PROXY_HOST=0.0.0.0", "tcp:6100:interface=0.0.0.0"),
            ("PROXY_HOST=::\nSOURCE_IS_IPV6=True", "tcp:6100:interface=[::]"),
            ("PROXY_HOST=localhost", "tcp:6100:interface=127.0.0.1"),
            ("PROXY_HOST=localhost\nSOURCE_IS_IPV6=yes", "tcp:6100:interface=[::1]"),
            ("PROXY_PORT=", "tcp:6100"),
            ("PROXY_PORT=0", "tcp:0"),
        ):
            self.assertEqual(self.listen(local), (expected,), local)

    def test_bad_address(self) -> None:
        for host in (
            "name.example.com",
            "1.2.3",
            "[::1",
            "::1]",
            "[1.2.3.4]",
            "1.2.3.4:interface=::1",
            "\x1b",
            "a\\\\:b",
        ):
            (problem,) = self.problems(f"PROXY_HOST={host}")
            self.assertIn(f"{self.local}: line 1, PROXY_HOST: ", problem)
            self.assertIn("neither '*' nor an address; write '*'", problem)

    def test_bad_port(self) -> None:
        for port in ("65536", "-1", "6100x", "+1", "1_0", "٣", "0x10", "1e3", "9" * 5000):
            (problem,) = self.problems(f"PROXY_PORT={port}")
            self.assertIn(f"{self.local}: line 1, PROXY_PORT: ", problem)

    def test_booleans(self) -> None:
        for value in ("t", "true", "TRUE", "y", "Yes", "1"):
            self.load(f"SSL_ONLY={value}")
        for value in ("f", "false", "no", "0", "on", "2", '""', "tru"):
            self.assertIn("SSL_ONLY", self.warning(f"SSL_ONLY={value}"))

    def test_plain_clients_are_refused(self) -> None:
        text = "is not true, but clients without TLS (ws://) are refused all the same; write SSL_ONLY=True"
        warning = self.warning("SSL_ONLY=False")
        self.assertIn(f"{self.local}: line 1, SSL_ONLY: {text}", warning)
        settings = self.load("SSL_ONLY=False", warnings=1)
        self.assertEqual(settings.listen, ListenSettings(("tcp:6100",), ()))
        self.conf.write_text(self.conf.read_text().replace("SSL_ONLY=True\n", ""))
        self.assertIn(f"{self.conf}: SSL_ONLY: {text}", self.warning())

    def test_plain_listener_beside(self) -> None:
        toml = '[listen]\nplain = ["unix:/run/console-gateway/ws.sock"]\n'
        settings = self.load("SSL_ONLY=False", toml)
        self.assertEqual(settings.listen.tls, ("tcp:6100",))
        self.assertEqual(len(settings.listen.plain), 1)
        (problem,) = self.problems("", toml)
        self.assertIn(f"{self.toml}: listen.plain: is set by SSL_ONLY in {self.conf}:5 as well", problem)

    def test_no_certificate(self) -> None:
        self.assertIn("SSL_CERTIFICATE: is not set", self.problems("SSL_CERTIFICATE=\nSSL_KEY=")[0])
        settings = self.load(
            "SSL_CERTIFICATE=\nSSL_KEY=\nSSL_ONLY=no", '[listen]\nplain = ["tcp:80"]', warnings=1
        )
        self.assertEqual(settings.listen, ListenSettings((), ("tcp:80",)))

    def test_versions(self) -> None:
        self.assertIs(self.load("SSL_MIN_VERSION=TLSv1.3").tls.min_version, TlsVersion.TLS_1_3)
        self.assertIs(self.load("SSL_MIN_VERSION=").tls.min_version, TlsVersion.TLS_1_2)
        for value in ("TLSv1.1", "tlsv1.3", "x"):
            settings = self.load(f"SSL_MIN_VERSION={value}", warnings=1)
            self.assertIs(settings.tls.min_version, TlsVersion.TLS_1_2)
            self.assertIn("TLSv1.2 is used", self.warning(f"SSL_MIN_VERSION={value}"))

    def test_ciphers(self) -> None:
        self.assertEqual(self.load("SSL_CIPHERS=HIGH:!aNULL").tls.ciphers, "HIGH:!aNULL")
        self.assertEqual(self.load("SSL_CIPHERS=").tls.ciphers, "DEFAULT")
        self.assertEqual(self.load().tls.ciphers, Settings().tls.ciphers)

    def test_key_in_the_certificate_file(self) -> None:
        self.assertIsNone(self.load("SSL_KEY=").tls.key)

    def test_engine_certificate(self) -> None:
        (problem,) = self.problems("CERT_FOR_DATA_VERIFICATION=")
        self.assertIn(f"{self.conf}: CERT_FOR_DATA_VERIFICATION: is not set", problem)

    def test_bad_paths(self) -> None:
        for name in ("SSL_CERTIFICATE", "SSL_KEY", "CERT_FOR_DATA_VERIFICATION", "CONSOLE_GATEWAY_SETTINGS"):
            for value in ("certs/x", "./x", "/a\0b", "/a\x1b[2J"):
                (problem,) = self.problems(f"{name}={value}")
                self.assertIn(f"{self.local}: line 1, {name}: ", problem)

    def test_authority(self) -> None:
        self.ca.unlink()
        warning = self.warning()
        self.assertIn(f"{self.ca}: does not exist", warning)
        security = self.load(warnings=1).security
        self.assertEqual((security.ca, security.verify), (None, Verification.NAME))
        security = self.load("", '[security]\nca = "hosts.pem"').security
        self.assertEqual((security.ca, security.verify), (self.directory / "hosts.pem", Verification.NAME))

    def test_stricter_verification(self) -> None:
        security = self.load("", '[security]\nverify = "name"').security
        self.assertEqual((security.ca, security.verify), (self.ca, Verification.NAME))

    def test_usual_place_of_the_authority(self) -> None:
        for path in ("/etc/engine.cer", "/certs.d/engine.cer"):
            found = self.examine(f"CERT_FOR_DATA_VERIFICATION={path}")
            assert found.settings is not None
            places = [str(each.file) for each in found.warnings] or [str(found.settings.security.ca)]
            self.assertEqual(places, ["/etc/pki/ovirt-engine/ca.pem"])

    def test_ignored_with_a_warning(self) -> None:
        for local, text in (
            ("TRACE_ENABLE=true\nTRACE_FILE=/x", "sessions are not recorded"),
            ("FORCE_DATA_VERIFICATION=False", "obsolete: tickets are always verified"),
            ("FORCE_DATA_VERIFICATION=True", "obsolete: tickets are always verified"),
            ("LOG_FILE=/x", "obsolete"),
            ("LOG_VERBOSE=1", "obsolete"),
            ("ENGINE_USR=/nonexistent", "has no directory 'services'"),
            ("PROXY_PROT=6100", "did you mean PROXY_PORT?"),
            ("proxy_port=1", "did you mean PROXY_PORT?"),
        ):
            warning = self.warning(local)
            self.assertTrue(warning.startswith(f"{self.local}: line 1, "), warning)
            self.assertIn(text, warning)
            self.assertEqual(self.load(local, warnings=1), self.load())

    def test_ignored_in_silence(self) -> None:
        local = "\n".join(
            ("TRACE_ENABLE=no", "TRACE_FILE=/x", "PACKAGE_NAME=x", "PACKAGE_VERSION=1", "SOMETHING=else")
        )
        self.assertEqual(self.load(f"{local}\nENGINE_USR={self.directory.parent}\nENGINE_USR="), self.load())

    def test_tickets_are_always_verified(self) -> None:
        (problem,) = self.problems("FORCE_DATA_VERIFICATION=False\nCERT_FOR_DATA_VERIFICATION=")
        self.assertIn("CERT_FOR_DATA_VERIFICATION: is not set", problem)


class FurtherTests(OvirtTestCase):
    def test_settings(self) -> None:
        settings = self.load(
            "", '[limits]\nsessions = 7\n[log]\nfile = "x.log"\n[rules.lab]\ntargets = ["lab"]\nmode = "tls"'
        )
        self.assertEqual(settings.limits.sessions, 7)
        self.assertEqual(settings.log.file, self.directory / "x.log")
        self.assertEqual(list(settings.rules), ["lab"])

    def test_twice(self) -> None:
        toml = '[listen]\ntls = ["tcp:7"]\n[tls]\ncertificate = "x"\n[tickets]\ncertificate = "y"\n'
        found = self.problems("", toml)
        self.assertEqual(len(found), 3)
        for key, line in (("listen.tls", 1), ("tls.certificate", 2), ("tickets.certificate", 4)):
            name = SOURCES[key][0]
            text = f"{self.toml}: {key}: is set by {name} in {self.conf}:{line} as well; remove one of them"
            self.assertTrue(any(each.startswith(text) for each in found), (text, found))

    def test_taken_back(self) -> None:
        settings = self.load("PROXY_PORT=", '[listen]\ntls = ["tcp:7", "systemd:0"]')
        self.assertEqual(settings.listen.tls, ("tcp:7", "systemd:0"))

    def test_problems_name_the_file(self) -> None:
        found = self.problems(
            "SSL_ONLY=no", '[limits]\nsessions = 0\nx = 1\n[listen]\nplain = 1\n[security]\nverify = "chin"'
        )
        self.assertEqual(len(found), 4, found)
        self.assertTrue(all(each.startswith(f"{self.toml}: ") for each in found))

    def test_table_is_none(self) -> None:
        for toml in ("listen = 1", "tls = []", 'security = "x"', "tickets = [[1]]"):
            found = self.problems("", toml)
            self.assertTrue(any(each.startswith(f"{self.toml}: ") for each in found), (toml, found))

    def test_unusable(self) -> None:
        (problem,) = self.problems("", "x = ")
        self.assertIn(f"{self.toml}: line 1", problem)
        (problem,) = self.problems(f"CONSOLE_GATEWAY_SETTINGS={self.directory}/none")
        self.assertIn("none: cannot be read", problem)

    def test_clash(self) -> None:
        found = self.problems("SSL_ONLY=no", '[listen]\nplain = ["tcp:6100"]')
        self.assertEqual(len(found), 1, found)
        self.assertIn("clashes", found[0])


class HostileTests(OvirtTestCase):
    def test_unread_files_are_all_that_is_said(self) -> None:
        self.conf.write_bytes(b"\xff")
        (problem,) = self.problems()
        self.assertIn("line 1: is not UTF-8", problem)

    @hypothesis_settings(max_examples=40, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([name for names in SOURCES.values() for name in names] + ["ENGINE_USR", "X"]),
                st.one_of(st.text(max_size=30), st.sampled_from(["*", "/x", "True", "6100", '"', "${X}"])),
            ),
            max_size=8,
        )
    )
    def test_any_values(self, pairs: list[tuple[str, str]]) -> None:
        self.local.write_bytes("\n".join(f"{n}={v}" for n, v in pairs).encode("utf-8", "surrogatepass"))
        found = examine_ovirt(self.conf)
        for each in (*found.problems, *found.warnings):
            self.assertTrue(str(each).isprintable())
        if not found.problems:
            self.toml.write_text(migrated(found))
            self.assertEqual(examine_settings(self.toml), (found.settings, ()))
