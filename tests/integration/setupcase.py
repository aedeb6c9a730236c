"""Setup and cleanup as whoever runs them sees it, on a gateway's host beside an engine's."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import stat
import tempfile
import unittest
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import attrs

from gateway.pki import check_certificate, load_key, parse_chain
from gateway.setup import places
from tests.peers import required
from tests.support.enginehost import EngineHost
from tests.support.hosts import GATEWAY, MOUNTED, OVIRT, Host, Hosts, two_hosts
from tests.support.rehearsal import Rehearsal, Run
from tests.support.sshd import Sshd
from tests.support.systemd import PROGRAMS, SystemdStandIn
from tests.support.targets import closed_port
from tests.support.terminal import Terminal
from tests.support.trees import Tree, difference, snapshot

__all__ = ["BOUNDARY", "PASSWORD", "Ended", "SetupTestCase", "answer_file"]

BOUNDARY: Final = "--=451b80dc-996f-432e-9e4f-2b29ef6d1141=--"
PASSWORD: Final = "sesam-Open-5571"
"""Root's, on the engine's host."""

_LEFT_OUT = (*MOUNTED, "run")
_LOGS = re.compile(r"tmp/ovirt-engine-(setup|cleanup)-\d{14}-\w+\.log")
_OTHERS = {r"firewall of this host\?": "No", "who may read its options": ""}
"""Questions that depend on the machine or matter to few tests, and how to say no."""
_PORT_KEY = "OVESETUP_CONFIG/websocketProxyPort"


@attrs.frozen
class Ended:
    """A run that is over."""

    status: int
    text: str
    """What its terminal showed."""
    run: Run

    @property
    def errors(self) -> list[str]:
        """The messages that say what went wrong."""
        return re.findall(r"^(?:\^C)?\[ ERROR \] (.*)$", self.text, re.MULTILINE)


class SetupTestCase(unittest.TestCase):
    """Both hosts for all tests of a class; each test finds them as they were."""

    with_sshd: ClassVar[bool] = False
    with_systemd: ClassVar[bool] = False
    """Whether systemd seems to run; only where hosts have namespaces."""
    directory: ClassVar[Path]
    hosts: ClassVar[Hosts]
    gateway: ClassVar[Host]
    engine: ClassVar[EngineHost]
    sshd: ClassVar[Sshd | None]
    systemd: ClassVar[SystemdStandIn | None]
    rehearsal: ClassVar[Rehearsal]
    pristine: ClassVar[Tree]
    port: ClassVar[int]

    @classmethod
    def setUpClass(cls) -> None:
        if os.geteuid() != 0:
            if required():
                raise AssertionError("setup is for root, and so are its tests")
            raise unittest.SkipTest("setup is for root, and so are its tests")
        cls.directory = Path(tempfile.mkdtemp(prefix="console-gateway-setup-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.hosts = cls.enterClassContext(two_hosts(cls.directory))
        cls.gateway = cls.hosts.gateway
        cls.port = 6100 if cls.hosts.isolated else closed_port()
        cls.engine = cls.enterClassContext(EngineHost(cls.hosts.engine))
        environ = {"HOME": "/root", "TMPDIR": cls.seen("/tmp")}
        cls.sshd = cls.systemd = None
        if cls.with_sshd:
            password = PASSWORD if cls.hosts.isolated else None
            cls.sshd = cls.enterClassContext(Sshd(cls.hosts.engine, password=password))
            environ |= cls.sshd.programs(cls.directory / "ssh")
        if cls.with_systemd and cls.hosts.isolated:
            cls.systemd = SystemdStandIn(cls.gateway.root)
            cls.addClassCleanup(cls.systemd.close)
            environ["PATH"] = f"{PROGRAMS}:{os.environ['PATH']}"
        cls.rehearsal = cls.enterClassContext(Rehearsal(cls.gateway, environ))
        cls.pristine = cls.look()

    def setUp(self) -> None:
        self.engine.reset()
        self.addCleanup(self._clear)

    # -- what there is -----------------------------------------------------------------------

    @classmethod
    def seen(cls, place: object) -> str:
        """A place on the gateway's host as a process there names it."""
        return str(place) if cls.gateway.holder is not None else str(cls.gateway.path(place))

    @classmethod
    def look(cls) -> Tree:
        """The gateway's host as it is now, but for the log of a failure, which the user is told of."""
        found = snapshot(cls.gateway.root, *_LEFT_OUT)
        return {name: entry for name, entry in found.items() if not _LOGS.fullmatch(name)}

    def assert_unchanged(self, before: Tree | None = None) -> None:
        """Nothing differs from ``before``, or from what was there when the first test began."""
        self.assertEqual(difference(before or self.pristine, self.look()), "")

    def write(self, place: str, content: str | bytes, mode: int = 0o644) -> str:
        """Write a file of the gateway's host, and return its name there."""
        path = self.gateway.path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return self.seen(place)

    def read(self, place: object) -> bytes:
        return self.gateway.path(place).read_bytes()

    def logs(self) -> str:
        """All logs that there are, of runs that failed as well."""
        found = [*self.gateway.path("/tmp").glob("*.log"), *self.gateway.path(places.LOGS).glob("*")]
        return "".join(path.read_text("utf-8") for path in found)

    # -- what is done ------------------------------------------------------------------------

    def start(self, command: str, *arguments: str, **more: Any) -> Terminal:
        """Run ``setup`` or ``cleanup`` in a terminal; what it leaves open for others is looked for."""
        root = [] if self.gateway.holder is not None else ["--root", str(self.gateway.root)]
        watched = [Path(self.seen(name)) for name in ("/etc", "/root", "/tmp", "/var")]
        more.setdefault("secrets", (PASSWORD,))
        terminal = self.rehearsal.start(
            command, *root, *arguments, watched=watched, addresses=self.addresses(), **more
        )
        return self.enterContext(terminal)

    def addresses(self) -> Mapping[str, tuple[str, int | None]]:
        """Where names are, for a process that is in no namespace."""
        if self.gateway.holder is not None:
            return {}
        return {GATEWAY: ("127.0.0.1", None), **self.engine.addresses}

    def answer(self, terminal: Terminal, question: str, reply: str) -> None:
        """Wait for a question and answer it."""
        self.await_question(terminal, question)
        terminal.type_line(reply)

    def await_question(self, terminal: Terminal, question: str) -> None:
        """Wait for a question; those of which a test knows nothing are answered with no."""
        others = "|".join(_OTHERS)
        while (found := terminal.expect(rf"(?P<it>{question})[^\n]*: $|({others})[^\n]*: $"))["it"] is None:
            terminal.type_line(next(no for each, no in _OTHERS.items() if re.search(each, found[0])))

    def finish(self, terminal: Terminal) -> Ended:
        """Wait for its end, and look at what nobody may have seen."""
        status = terminal.wait()
        assert isinstance(terminal.process, Run)
        ended = Ended(status, terminal.text, terminal.process)
        for text in (ended.text, self.logs()):
            self.assertNotIn("Traceback", text)
            self.assertNotIn("PRIVATE KEY", text)
            self.assertNotIn(PASSWORD, text)
        if status >= 0:
            self.assertEqual(terminal.process.report["exposed"], [])
        return ended

    def unattended(self, command: str, *arguments: str, **more: Any) -> Ended:
        """Run it to its end without typing anything."""
        return self.finish(self.start(command, *arguments, **more))

    def command(self, *arguments: str) -> Ended:
        """Run another of our commands to its end."""
        return self.finish(self.enterContext(self.rehearsal.start(*arguments)))

    def port_option(self) -> list[str]:
        return ["--otopi-environment", f"{_PORT_KEY}=int:{self.port}"]

    # -- what is to be -----------------------------------------------------------------------

    def assert_succeeded(self, ended: Ended) -> None:
        self.assertEqual(ended.status, 0, ended.text)

    def assert_set_up(self) -> None:
        """Everything is there, is right, and is whose it should be."""
        key = load_key(self.read(places.KEY))
        check_certificate(
            parse_chain(self.read(places.CERTIFICATE)),
            public_key=key.public_key(),
            authorities=parse_chain(self.engine.ca_file.read_bytes()),
            name=GATEWAY,
            now=datetime.datetime.now(datetime.UTC),
        )
        self.assertEqual(parse_chain(self.read(places.ENGINE_CERTIFICATE)), (self.engine.certificate,))
        self.assertEqual(
            self.read(places.CONFIGURATION).decode(),
            f"PROXY_PORT={self.port}\nSSL_CERTIFICATE={places.CERTIFICATE}\nSSL_KEY={places.KEY}\n"
            f"CERT_FOR_DATA_VERIFICATION={places.ENGINE_CERTIFICATE}\nSSL_ONLY=True\n",
        )
        for places_there, mode, owner in (
            ((places.KEY, places.CERTIFICATE, places.ENGINE_CERTIFICATE), 0o600, (OVIRT, OVIRT)),
            ((places.CA_CERTIFICATE, places.CONFIGURATION, places.POST_INSTALL, places.UNIT), 0o644, (0, 0)),
        ):
            for place in places_there:
                status = self.gateway.path(place).stat()
                found = (stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid))
                self.assertEqual(found, (mode, owner), place)

    def clean_up(self) -> Ended:
        """Have everything removed, without being asked."""
        self.assertNotEqual(self.look(), self.pristine)
        options = ["--accept-defaults", "--otopi-environment", "OVESETUP_CORE/remove=bool:True"]
        return self.unattended("cleanup", *options)

    def _clear(self) -> None:
        """Remove what a test left."""
        root = self.gateway.root
        for log in root.glob("tmp/*.log"):
            log.unlink()
        for name in sorted(set(self.look()) - set(self.pristine), reverse=True):
            path = root / name
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()
        for name in self.pristine:
            assert (root / name).exists() or (root / name).is_symlink(), f"a test removed /{name}"


def answer_file(answers: Mapping[str, object]) -> str:
    """An answer file: keys, and their values of any type that they may have."""
    lines = ["# Answers of a test", "[environment:default]"]
    return "\n".join([*lines, *(f"{key}={_value(value)}" for key, value in answers.items()), ""])


def _value(value: object) -> str:
    if isinstance(value, str) and "\n" in value:
        return "multi-str:" + "".join(f"\n {line}" for line in value.split("\n"))
    kind = {bool: "bool", int: "int", type(None): "none"}.get(type(value), "str")
    return f"{kind}:{value}"
