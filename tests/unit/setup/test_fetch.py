"""Requests of setup: what is verified, what is followed, and that every one of them ends."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from gateway.setup.enrolling.fetch import Fault, FetchError, fetch, trusting, unverified
from tests.support.pki import Authority
from tests.unit.setup.enrolling import ENGINE, Site, authority, closed_port, dump, trusted_by_host

OK = "HTTP/1.1 200 OK\r\n"


def talk(test: unittest.SynchronousTestCase, answer: Callable[[socket.socket], None]) -> int:
    """A server that says what it is told to, to one client; its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                answer(connection)
        except OSError:
            pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    test.addCleanup(thread.join, 5)
    test.addCleanup(server.close)
    port: int = server.getsockname()[1]
    return port


class FetchTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.enterContext(trusted_by_host())

    def fail_with(self, fault: Fault, port: int, text: str, *, scheme: str = "http", **more: object) -> None:
        more = {"address": "127.0.0.1", "timeout": 2.0, **more}
        with self.assertRaisesRegex(FetchError, text) as caught:
            fetch(f"{scheme}://{ENGINE}:{port}/x", **more)  # type: ignore[arg-type]
        self.assertIs(caught.exception.fault, fault)

    def test_a_page(self) -> None:
        with Site({"/x": [(200, b"content")]}) as site:
            page = fetch(f"http://{ENGINE}:{site.port}/x", address="127.0.0.1", headers={"X-Own": "1"})
        self.assertEqual((page.status, page.body), (200, b"content"))
        self.assertEqual(site.asked[0][1]["host"], f"{ENGINE}:{site.port}")
        self.assertEqual(site.asked[0][1]["x-own"], "1")

    def test_many_addresses_have_one_deadline(self) -> None:
        """Those that do not answer take no time from each other, nor more than there is."""
        tried: list[float] = []

        class Silent(socket.socket):
            def connect(self, address: Any) -> None:
                if address[0] == "127.0.0.1":
                    super().connect(address)
                else:
                    tried.append(self.gettimeout() or 0.0)
                    raise TimeoutError

        silent = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (f"2001:db8::{n}", 1, 0, 0)) for n in range(99)
        ]
        with Site({"/x": [(200, b"content")]}) as site, mock.patch("socket.socket", Silent):
            here = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", site.port))
            with mock.patch("socket.getaddrinfo", return_value=[*silent[:3], here]):
                page = fetch(f"http://{ENGINE}:{site.port}/x", timeout=8.0)
            self.assertEqual(page.body, b"content")
            self.assertEqual([round(each) for each in tried], [2, 3, 4])
            del tried[:]
            with (
                mock.patch("socket.getaddrinfo", return_value=silent),
                self.assertRaisesRegex(FetchError, "no answer in time"),
            ):
                fetch(f"http://{ENGINE}/x", timeout=8.0)
            self.assertLess(len(tried), 10)

    def test_https_is_verified(self) -> None:
        ca, other = authority(), Authority("Another CA")
        with Site({"/x": [(200, b"content")]}, ca=ca) as site:
            url = f"https://{ENGINE}:{site.port}/x"
            page = fetch(url, context=trusting(dump(ca.certificate)), address="127.0.0.1")
            self.assertEqual(page.body, b"content")
            context = trusting(dump(other.certificate))
            self.fail_with(Fault.UNTRUSTED, site.port, "not trusted", scheme="https", context=context)
            wrong = trusting(dump(ca.certificate))
            with self.assertRaisesRegex(FetchError, "not trusted.*other.example.org"):
                fetch(f"https://other.example.org:{site.port}/x", context=wrong, address="127.0.0.1")
            page = fetch(url, context=unverified(), address="127.0.0.1")
            self.assertEqual(page.body, b"content")
        self.assertEqual(len(site.asked), 2)

    def test_an_authority_that_is_no_root_is_enough(self) -> None:
        below = Authority("Below", issuer=authority())
        with Site({"/x": [(200, b"content")]}, ca=below) as site:
            url = f"https://{ENGINE}:{site.port}/x"
            page = fetch(url, context=trusting(dump(below.certificate)), address="127.0.0.1")
        self.assertEqual(page.status, 200)

    def test_nobody_there(self) -> None:
        self.fail_with(Fault.UNREACHABLE, closed_port(), "refused")

    def test_no_tls_there(self) -> None:
        with Site({}) as site:
            self.fail_with(Fault.NO_TLS, site.port, "TLS failed", scheme="https")

    def test_redirects_stay_on_the_host(self) -> None:
        with Site({"/x": [(302, b"")], "/y": [(200, b"there")]}) as site:
            site.fields["Location"] = "/y"
            page = fetch(f"http://{ENGINE}:{site.port}/x", address="127.0.0.1")
            self.assertEqual(page.body, b"there")
            site.fields["Location"] = "http://elsewhere.example.org/y"
            self.fail_with(Fault.ANSWER, site.port, "sends elsewhere")
            site.fields["Location"] = "/x"
            self.fail_with(Fault.ANSWER, site.port, "more than 3 times")
            site.fields["Location"] = "file:///etc/passwd"
            self.fail_with(Fault.ANSWER, site.port, "no URL")

    def test_redirects_never_leave_https(self) -> None:
        with Site({"/x": [(302, b"")]}, ca=authority()) as site:
            site.fields["Location"] = f"http://{ENGINE}:{site.port}/x"
            context = trusting(dump(authority().certificate))
            self.fail_with(Fault.ANSWER, site.port, "sends elsewhere", scheme="https", context=context)

    def test_too_much(self) -> None:
        with Site({"/x": [(200, b"x" * 70000)]}) as site:
            self.fail_with(Fault.ANSWER, site.port, "more than 65536 bytes")

    def test_an_endless_head(self) -> None:
        def answer(sock: socket.socket) -> None:
            sock.sendall(OK.encode())
            while True:
                sock.sendall(b"X: " + b"y" * 60000 + b"\r\n")

        self.fail_with(Fault.ANSWER, talk(self, answer), "bytes came|no HTTP answer")

    def test_a_byte_at_a_time(self) -> None:
        def answer(sock: socket.socket) -> None:
            for _ in range(100):
                sock.sendall(b"H")
                time.sleep(0.05)

        begin = time.monotonic()
        self.fail_with(Fault.UNREACHABLE, talk(self, answer), "no answer in time", timeout=0.3)
        self.assertLess(time.monotonic() - begin, 2)

    def test_the_connection_breaks(self) -> None:
        for said in (b"", OK.encode() + b"Content-Length: 10\r\n\r\nhalf"):
            port = talk(self, lambda sock, said=said: sock.sendall(said))  # type: ignore[misc]
            self.fail_with(Fault.UNREACHABLE, port, "connection lost|reset")

    def test_credentials_are_in_no_error(self) -> None:
        port = talk(self, lambda sock: sock.sendall(b"nonsense\r\n\r\n"))
        with self.assertRaises(FetchError) as caught:
            fetch(f"http://127.0.0.1:{port}/", headers={"Authorization": "Basic c2VjcmV0"}, timeout=2)
        error: BaseException | None = caught.exception
        while error is not None:
            self.assertNotIn("c2VjcmV0", repr(error))
            error = error.__context__

    def test_what_is_no_url(self) -> None:
        for url in ("ftp://x/", "http://", "http://x:0/", "http://x:99999/", "http://u:p@x/", "http://x/ y"):
            with self.assertRaises(FetchError):
                fetch(url)

    @settings(max_examples=25, deadline=None)
    @given(st.binary(max_size=200))
    def test_whatever_comes_it_is_a_page_or_an_error(self, data: bytes) -> None:
        port = talk(self, lambda sock: sock.sendall(data))
        try:
            fetch(f"http://127.0.0.1:{port}/", timeout=2)
        except FetchError as error:
            self.assertNotIn("\n", str(error))
