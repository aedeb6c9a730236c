"""Listening sockets that an earlier process passes on."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.net import (
    SOCKETS,
    BindError,
    InheritanceError,
    Inherited,
    Listener,
    ListenerSet,
    describe_sockets,
    open_listener,
)
from gateway.settings import parse_endpoint
from tests.support.reactor import HandReactor


class InheritanceCase(SynchronousTestCase):
    def listening(self) -> socket.socket:
        sock = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(sock.close)
        return sock

    def passed(self, *sockets: tuple[str, bool]) -> tuple[Inherited, list[Any]]:
        """What a process finds that was passed listening sockets of these names, and their addresses."""
        items, addresses = [], []
        for name, tls in sockets:
            with self.listening() as sock:
                addresses.append(sock.getsockname())
                items.append((name, tls, os.dup(sock.fileno())))
        environ = {SOCKETS: describe_sockets(items), "PATH": "/bin"}
        inherited = Inherited(environ)
        self.addCleanup(inherited.close)
        self.assertEqual(environ, {"PATH": "/bin"})
        return inherited, addresses

    def become(self, inherited: Inherited) -> None:
        """Make it what this process inherited."""
        patch = mock.patch("gateway.net.listen.inherited", return_value=inherited)
        patch.start()
        self.addCleanup(patch.stop)


class InheritedTests(InheritanceCase):
    def test_nothing(self) -> None:
        inherited = Inherited({})
        self.assertIsNone(inherited.take("tcp:6100", tls=True))
        self.assertFalse(inherited.shared)

    def test_each_is_taken_once(self) -> None:
        inherited, (address,) = self.passed(("tcp:6100", True))
        self.assertTrue(inherited.shared)
        self.assertIsNone(inherited.take("tcp:6101", tls=True))
        sock = inherited.take("tcp:6100", tls=False)
        assert sock is not None
        self.addCleanup(sock.close)
        self.assertEqual(sock.getsockname(), address)
        self.assertFalse(sock.get_inheritable())
        self.assertIsNone(inherited.take("tcp:6100", tls=True))

    def test_free_ports_are_told_apart(self) -> None:
        name = "tcp:0:interface=127.0.0.1"
        inherited, addresses = self.passed((name, True), (name, False), (name, False))
        found = []
        for tls in (False, True, False):
            sock = inherited.take(name, tls=tls)
            assert sock is not None
            self.addCleanup(sock.close)
            found.append(sock.getsockname())
        self.assertEqual(found, [addresses[1], addresses[0], addresses[2]])

    def test_what_nobody_takes_is_closed(self) -> None:
        inherited, (address,) = self.passed(("tcp:6100", True))
        inherited.close()
        self.assertRaises(ConnectionRefusedError, socket.create_connection, address, 5)

    def test_what_is_no_listening_socket(self) -> None:
        """It is somebody else's, and stays open."""
        with socket.socket() as idle, tempfile.TemporaryFile() as file:
            pipe = os.pipe()
            for end in pipe:
                self.addCleanup(os.close, end)
            for descriptor in (idle.fileno(), file.fileno(), pipe[0]):
                with self.assertRaises(InheritanceError):
                    Inherited({SOCKETS: describe_sockets([("tcp:6100", True, descriptor)])})
                os.fstat(descriptor)
            closed = os.dup(idle.fileno())
            os.close(closed)
            with self.assertRaises(InheritanceError):
                Inherited({SOCKETS: describe_sockets([("tcp:6100", True, closed)])})

    def test_text_that_describes_nothing(self) -> None:
        for text in (
            "",
            "[",
            "{}",
            "1",
            "[1]",
            '[["tcp:1", true]]',
            '[["tcp:1", 1, 9]]',
            "[[1, true, 9]]",
            '[["tcp:1", true, true]]',
            '[["tcp:1", true, 2]]',
            '[["tcp:1", true, -1]]',
            '[["tcp:1", true, 4294967299]]',
            "[" * 100000,
            json.dumps([["tcp:1", True, 9], ["tcp:2", True, 9]]),
            " " * 70000 + "[]",
        ):
            environ = {SOCKETS: text}
            self.assertRaises(InheritanceError, Inherited, environ)
            self.assertEqual(environ, {})

    @given(st.text(max_size=200))
    def test_any_text(self, text: str) -> None:
        try:
            Inherited({SOCKETS: text}).close()
        except InheritanceError as error:
            self.assertNotIn("\n", str(error))


class ListenTests(InheritanceCase):
    def test_endpoints_adopt(self) -> None:
        name = "tcp:6100:interface=127.0.0.1"
        inherited, (address,) = self.passed((name, True))
        self.become(inherited)
        sockets = ListenerSet()
        sockets.bind([(name, True), ("tcp:0:interface=127.0.0.1", False)])
        self.addCleanup(sockets.close)
        self.assertEqual([each.adopted for each in sockets.bound], [True, False])
        self.assertEqual(sockets.bound[0].sock.getsockname(), address)

    def test_what_cannot_be_adopted_is_a_bind_error(self) -> None:
        def inherited() -> Inherited:
            return Inherited({SOCKETS: "nonsense"})

        with mock.patch("gateway.net.listen.inherited", inherited), self.assertRaises(BindError) as caught:
            open_listener("tcp:0", parse_endpoint("tcp:0"), tls=False)
        self.assertIn(SOCKETS, str(caught.exception))

    def unix(self) -> tuple[Path, Listener]:
        directory = tempfile.TemporaryDirectory(prefix="console-gateway-test-")
        self.addCleanup(directory.cleanup)
        path = Path(directory.name) / "x.sock"
        name = f"unix:{path}"
        return path, open_listener(name, parse_endpoint(name), tls=False)

    def test_the_path_of_a_shared_socket_stays(self) -> None:
        path, former = self.unix()
        inherited = Inherited(
            {SOCKETS: describe_sockets([(former.name, False, os.dup(former.sock.fileno()))])}
        )
        self.become(inherited)
        adopted = open_listener(former.name, parse_endpoint(former.name), tls=False)
        # A process that could not take over closes what it has.
        adopted.close()
        self.assertTrue(path.exists())
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        former.close()
        self.assertFalse(path.exists())

    def test_the_path_goes_with_the_one_that_took_over(self) -> None:
        path, former = self.unix()
        inherited = Inherited(
            {SOCKETS: describe_sockets([(former.name, False, os.dup(former.sock.fileno()))])}
        )
        self.become(inherited)
        adopted = open_listener(former.name, parse_endpoint(former.name), tls=False)
        inherited.shared = False
        former.leave()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        adopted.close()
        self.assertFalse(path.exists())

    def test_a_set_that_leaves_accepts_no_more(self) -> None:
        reactor = HandReactor()
        path, listener = self.unix()
        kept = listener.sock.dup()
        self.addCleanup(kept.close)
        sockets = ListenerSet()
        sockets.bound = [listener]
        accepted: list[Any] = []
        sockets.accept(reactor, lambda *arrival: accepted.append(arrival))
        sockets.leave()
        sockets.leave()
        self.assertEqual(sockets.bound, [])
        self.assertTrue(path.exists())
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            reactor.serve()
            self.assertEqual(accepted, [])
            kept.accept()[0].close()
