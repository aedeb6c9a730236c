from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

import gateway.net.listen
from gateway.net import Acceptor, BindError, Listener, address_text, notify, open_listener
from gateway.settings import SystemdEndpoint, TcpEndpoint, UnixEndpoint, parse_endpoint
from tests.support.reactor import HandReactor


class ListenTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def listen(self, text: str, **options: Any) -> Listener:
        listener = open_listener(text, parse_endpoint(text), tls=False, **options)
        self.addCleanup(listener.sock.close)
        return listener

    def refused(self, text: str, *words: str, environ: Mapping[str, str] | None = None) -> None:
        endpoint = parse_endpoint(text)
        error = self.assertRaises(
            BindError, open_listener, text, endpoint, tls=False, environ=environ or os.environ
        )
        self.assertEqual(len(str(error).splitlines()), 1)
        for word in (text, *words):
            self.assertIn(word, str(error))


class TcpTests(ListenTestCase):
    def reach(self, listener: Listener, host: str) -> str:
        with socket.create_connection((host, listener.sock.getsockname()[1]), 5) as client:
            listener.sock.setblocking(True)
            served, address = listener.sock.accept()
            served.close()
            self.assertEqual(client.getpeername()[0], host)
            return address_text(address)

    def test_every_address(self) -> None:
        listener = self.listen("tcp:0")
        self.assertTrue(self.reach(listener, "127.0.0.1").startswith("127.0.0.1:"))
        self.assertTrue(self.reach(listener, "::1").startswith("[::1]:"))
        self.assertIn("[::]:", listener.description)
        self.assertIn("(plain)", listener.description)

    def test_one_address(self) -> None:
        listener = self.listen("tcp:0:interface=127.0.0.1")
        self.assertEqual(listener.sock.getsockname()[0], "127.0.0.1")
        self.reach(listener, "127.0.0.1")
        listener = self.listen("tcp:0:interface=[::1]")
        self.assertEqual(listener.sock.family, socket.AF_INET6)
        self.reach(listener, "::1")

    def test_ipv6_alone(self) -> None:
        """Named expressly, the unspecified IPv6 address leaves the port free for IPv4."""
        for _ in range(20):
            port = self.listen("tcp:0:interface=[::]").sock.getsockname()[1]
            try:
                self.listen(f"tcp:{port}:interface=127.0.0.1")
            except BindError:
                # Another process may have this port on IPv4: not the twentieth time.
                continue
            return
        self.fail("the IPv4 port was never free")

    def test_host_without_ipv6(self) -> None:
        real = socket.socket

        def without(family: int = -1, *args: Any, **options: Any) -> socket.socket:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported")
            return real(family, *args, **options)

        with patch("gateway.net.listen.socket.socket", without):
            listener = self.listen("tcp:0")
        self.assertEqual(listener.sock.family, socket.AF_INET)
        self.reach(listener, "127.0.0.1")

    def test_taken(self) -> None:
        port = self.listen("tcp:0:interface=127.0.0.1").sock.getsockname()[1]
        self.refused(f"tcp:{port}:interface=127.0.0.1", "Address already in use")
        self.refused(f"tcp:{port}", "Address already in use")

    def test_no_such_address(self) -> None:
        self.refused("tcp:0:interface=192.0.2.1", "assign")

    def test_sockets_are_ours_alone(self) -> None:
        listener = self.listen("tcp:0")
        self.assertFalse(listener.sock.get_inheritable())
        self.assertFalse(listener.sock.getblocking())


class UnixTests(ListenTestCase):
    def setUp(self) -> None:
        super().setUp()
        # Short enough for the kernel, wherever the tests run.
        self.path = Path(f"/tmp/console-gateway-test-{os.getpid()}-{id(self):x}.sock")
        self.addCleanup(self.path.unlink, missing_ok=True)
        self.text = f"unix:{self.path}"

    def test_mode_holds_from_the_first_instant(self) -> None:
        seen: list[int] = []
        path, real = self.path, socket.socket

        class Watched(socket.socket):
            def listen(self, backlog: int = 0, /) -> None:
                seen.append(stat.S_IMODE(path.stat().st_mode))
                super().listen(backlog)

        for mode in (0o660, 0o600, 0o666, 0o777):
            mask = os.umask(0o077)
            self.addCleanup(os.umask, mask)
            with patch("gateway.net.listen.socket.socket", Watched):
                listener = self.listen(f"{self.text}:mode={mode:o}")
            self.assertEqual(seen.pop(), mode)
            self.assertEqual(os.umask(0o022), 0o077, "the process's mask is as it was")
            self.assertIsInstance(listener.sock, real)
            listener.close()
            self.assertFalse(path.exists())

    def test_mask_is_restored_after_a_failure(self) -> None:
        mask = os.umask(0o027)
        self.addCleanup(os.umask, mask)
        self.refused("unix:/proc/none/x.sock")
        self.assertEqual(os.umask(0o027), 0o027)

    def test_stale_socket_is_replaced(self) -> None:
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(self.path))
        stale.listen()
        stale.close()
        self.assertTrue(self.path.exists())
        listener = self.listen(self.text)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.path))
        self.assertEqual(listener.description, f"unix:{self.path} (plain)")

    def test_live_socket_stays(self) -> None:
        first = self.listen(self.text)
        self.refused(self.text, "Address already in use")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.path))
        first.close()

    def test_live_socket_with_a_full_queue_stays(self) -> None:
        with socket.socket(socket.AF_UNIX) as live:
            live.bind(str(self.path))
            live.listen(0)
            waiting = []
            for _ in range(4):
                client = socket.socket(socket.AF_UNIX)
                client.setblocking(False)
                self.addCleanup(client.close)
                try:
                    client.connect(str(self.path))
                except BlockingIOError:
                    break
                waiting.append(client)
            self.refused(self.text, "Address already in use")
            self.assertTrue(self.path.exists())

    def test_live_datagram_socket_stays(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as live:
            live.bind(str(self.path))
            self.refused(self.text, "Address already in use")
            self.assertTrue(self.path.exists())

    def test_files_and_links_stay(self) -> None:
        self.path.write_text("precious")
        self.refused(self.text, "Address already in use")
        self.assertEqual(self.path.read_text(), "precious")
        self.path.unlink()
        self.path.symlink_to("/nowhere")
        self.refused(self.text)
        self.assertTrue(self.path.is_symlink())

    def test_no_directory(self) -> None:
        self.refused("unix:/nowhere/x.sock", "No such file")


class InheritedTests(ListenTestCase):
    """What systemd.socket(5) passes, put where it passes it."""

    def setUp(self) -> None:
        super().setUp()
        # The numbers from 3 on are this process's own, so what is passed is said to begin elsewhere.
        first = 500
        self.patch(gateway.net.listen, "_FIRST_INHERITED", first)
        self.handed = []
        for number, sock in enumerate(
            (socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)), first
        ):
            with sock:
                handed = socket.socket(fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, number))
            self.addCleanup(handed.close)
            self.assertEqual(handed.fileno(), number)
            self.handed.append(handed)
        self.environ = {
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDS": "2",
            "LISTEN_FDNAMES": "web.socket:other",
        }

    def test_by_name_and_index(self) -> None:
        for text in ("systemd:web.socket", "systemd:0"):
            listener = self.listen(text, environ=self.environ)
            self.assertEqual(listener.sock.getsockname(), self.handed[0].getsockname())
            self.assertFalse(listener.sock.get_inheritable())
            listener.close()
        # Closing ours left the one that was passed alone.
        self.handed[0].getsockname()

    def test_inherited_unix_socket_is_not_removed(self) -> None:
        path = Path(f"/tmp/console-gateway-test-{os.getpid()}-passed.sock")
        self.addCleanup(path.unlink, missing_ok=True)
        with socket.socket(socket.AF_UNIX) as passed:
            passed.bind(str(path))
            passed.listen()
            self.patch(gateway.net.listen, "_FIRST_INHERITED", passed.fileno())
            self.listen("systemd:0", environ=self.environ).close()
        self.assertTrue(path.exists())

    def test_none_passed(self) -> None:
        for change in (
            {"LISTEN_PID": str(os.getpid() + 1)},
            {"LISTEN_PID": ""},
            {"LISTEN_FDS": ""},
            {"LISTEN_FDS": "two"},
            {"LISTEN_FDS": "-1"},
        ):
            self.refused("systemd:0", "no socket", environ={**self.environ, **change})
        self.refused("systemd:0", "no socket", environ={"PATH": "/bin"})

    def test_wrong_one(self) -> None:
        self.refused("systemd:absent", "no socket named 'absent'", environ=self.environ)
        self.refused("systemd:2", "no index 2", environ=self.environ)
        self.refused("systemd:other", "not a stream socket", environ=self.environ)
        self.handed[0].close()
        self.refused("systemd:0", environ=self.environ)


class AcceptorTests(ListenTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = HandReactor()
        self.listener = self.listen("tcp:0:interface=127.0.0.1")
        self.accepted: list[socket.socket] = []
        self.acceptor = Acceptor(self.reactor, self.listener, self.take)
        self.addCleanup(self.acceptor.close)

    def take(self, sock: socket.socket, address: Any) -> None:
        self.addCleanup(sock.close)
        self.accepted.append(sock)
        self.assertEqual(address[0], "127.0.0.1")

    def connect(self) -> socket.socket:
        client = socket.create_connection(self.listener.sock.getsockname(), 5)
        self.addCleanup(client.close)
        return client

    def test_batch(self) -> None:
        for _ in range(3):
            self.connect()
        self.reactor.serve()
        self.assertEqual(len(self.accepted), 3)
        self.reactor.serve()
        self.assertEqual(len(self.accepted), 3)

    def test_batch_is_bounded(self) -> None:
        for _ in range(70):
            self.connect()
        self.reactor.serve()
        self.assertEqual(len(self.accepted), 64)
        self.reactor.serve()
        self.assertEqual(len(self.accepted), 70)

    def failing(self, number: int) -> Any:
        sock = self.listener.sock

        class Failing:
            def fileno(self) -> int:
                return sock.fileno()

            def accept(self) -> Any:
                raise OSError(number, os.strerror(number))

        return patch.object(
            self.acceptor,
            "_listener",
            Listener(cast("socket.socket", Failing()), self.listener.name, tls=False),
        )

    def test_out_of_descriptors(self) -> None:
        for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            self.connect()
            with self.failing(number):
                self.reactor.serve()
            self.assertNotIn(self.acceptor, self.reactor.readers, "no busy loop")
            self.reactor.serve()
            self.reactor.advance(1.0)
            self.assertIn(self.acceptor, self.reactor.readers)
            self.reactor.serve()
            self.assertEqual(len(self.accepted), 1)
            self.accepted.clear()

    def test_closed_while_out_of_descriptors(self) -> None:
        with self.failing(errno.EMFILE):
            self.reactor.serve()
        self.acceptor.close()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.advance(2)
        self.assertEqual(self.reactor.readers, set())

    def test_other_errors_change_nothing(self) -> None:
        for number in (errno.EPROTO, errno.ENETDOWN, errno.EPERM, errno.ECONNABORTED, errno.EAGAIN):
            with self.failing(number):
                self.reactor.serve()
            self.assertIn(self.acceptor, self.reactor.readers)

    def test_defect_behind_it(self) -> None:
        """One bad connection does not cost the others theirs."""
        taken = self.take

        def first_fails(sock: socket.socket, address: Any) -> None:
            self.acceptor._accepted = taken
            raise RuntimeError("defect")

        self.acceptor._accepted = first_fails
        first, _ = self.connect(), self.connect()
        self.reactor.serve()
        self.assertEqual(len(self.accepted), 1)
        self.assertEqual(first.recv(1), b"")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_close(self) -> None:
        self.acceptor.close()
        self.acceptor.close()
        self.assertEqual(self.reactor.readers, set())
        self.assertEqual(self.listener.sock.fileno(), -1)


class AddressTests(SynchronousTestCase):
    def test_text(self) -> None:
        for address, text in (
            (("192.0.2.1", 5), "192.0.2.1:5"),
            (("::ffff:192.0.2.1", 5, 0, 0), "192.0.2.1:5"),
            (("2001:db8::1", 5, 0, 0), "[2001:db8::1]:5"),
            ("/run/x", "unix:/run/x"),
            (b"\0abstract\xff", "unix:\0abstract\ufffd"),
            ("", "unix"),
        ):
            self.assertEqual(address_text(address), text)

    def test_endpoints_are_exhaustive(self) -> None:
        """The three kinds that settings know are the three kinds that can be opened."""
        kinds = {type(parse_endpoint(text)) for text in ("tcp:1", "unix:/x", "systemd:0")}
        self.assertEqual(kinds, {TcpEndpoint, UnixEndpoint, SystemdEndpoint})


class NotifyTests(ListenTestCase):
    def test_datagram(self) -> None:
        path = Path(f"/tmp/console-gateway-test-{os.getpid()}-notify.sock")
        self.addCleanup(path.unlink, missing_ok=True)
        for address in (str(path), f"\0console-gateway-test-{os.getpid()}"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.bind(address)
                self.assertTrue(notify("READY=1", {"NOTIFY_SOCKET": address.replace("\0", "@")}))
                self.assertEqual(manager.recv(100), b"READY=1")

    def test_nobody_to_tell(self) -> None:
        for environ in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "relative"}, {"NOTIFY_SOCKET": "/none"}):
            self.assertFalse(notify("READY=1", environ))

    def test_deaf_manager(self) -> None:
        """A full queue blocks nothing."""
        name = f"\0console-gateway-deaf-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(name)
            done = threading.Event()

            def tell() -> None:
                while notify("READY=1", {"NOTIFY_SOCKET": "@" + name[1:]}):
                    pass
                done.set()

            threading.Thread(target=tell, daemon=True).start()
            self.assertTrue(done.wait(5))
