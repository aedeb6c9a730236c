"""The client of the control API, and what it says when there is none."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.control.address import UnixAddress, WebAddress, parse_url, read_token
from gateway.control.client import ControlClient
from gateway.control.problems import ControlError
from tests.support.pki import install
from tests.unit.cli.fake_api import ApiCase, FakeApi, Reply, event
from tests.unit.tickets import samples


class ClientCase(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = ControlClient(UnixAddress(self.socket))

    def problem(self, ask: Callable[[], object]) -> str:
        with pytest.raises(ControlError) as caught:
            ask()
        text = str(caught.value)
        assert text.isprintable()
        assert len(text) < 1000
        return text


class Asking(ClientCase):
    def test_get(self) -> None:
        self.api.replies["GET sessions"] = Reply.of({"total": 0, "sessions": []})
        answer = self.client.get("sessions", [("subject", "a b&c=d"), ("client", "2001:db8::/32")])
        assert answer.value == {"total": 0, "sessions": []}
        assert json.loads(answer.text) == answer.value
        request = self.api.requests[0]
        assert request.path == "/api/v1/sessions?subject=a+b%26c%3Dd&client=2001%3Adb8%3A%3A%2F32"
        assert request.headers["Host"] == "localhost"
        assert "Authorization" not in request.headers

    def test_bytes_that_are_no_text(self) -> None:
        self.api.replies["GET sessions"] = Reply.of({})
        self.client.get("sessions", [("subject", "a\udcff")])
        assert self.api.requests[0].path.endswith("?subject=a%FF")

    def test_post(self) -> None:
        self.api.replies["POST admission"] = Reply.of({"admitting": False})
        answer = self.client.post("admission", {"admitting": False, "reason": "h\xf6st"})
        assert answer.value == {"admitting": False}
        request = self.api.requests[0]
        assert json.loads(request.body) == {"admitting": False, "reason": "h\xf6st"}
        assert request.headers["Content-Type"] == "application/json"

    def test_what_it_shows_of_json_is_print(self) -> None:
        nasty = "\x1b[2J\x9b1m\u202e\u2028\x7f\x00\U000e0001\xe9"
        content = json.dumps({"a": nasty}, ensure_ascii=False).encode()
        self.api.replies["GET status"] = Reply(b"\r\n\t" + content + b"\r\n")
        answer = self.client.get("status")
        assert answer.value == {"a": nasty}
        assert json.loads(answer.text) == {"a": nasty}
        assert answer.text.isascii()
        assert answer.text.replace("\n", "").isprintable()

    def test_following(self) -> None:
        wire = b": hello\n\n" + event(3, "session-ended", reason="idle") + event(4, "admin-action")
        self.api.replies["GET events"] = Reply(wire, kind="text/event-stream", length=-1)
        with self.client.follow([("type", "session-ended")], after=2) as following:
            found = list(following)
        assert [(name, answer.value["number"]) for name, answer in found] == [
            ("session-ended", 3),
            ("admin-action", 4),
        ]
        request = self.api.requests[0]
        assert request.headers["Last-Event-ID"] == "2"
        assert request.headers["Accept"] == "text/event-stream"
        assert request.path == "/api/v1/events?type=session-ended"

    def test_data_of_several_lines(self) -> None:
        wire = b'event: x\ndata: {"a":\ndata: "\x7f"}\n\n'
        self.api.replies["GET events"] = Reply(wire, kind="text/event-stream", length=-1)
        with self.client.follow() as following:
            ((_, answer),) = following
        assert answer.text == '{"a": "\\u007f"}'


class Trouble(ClientCase):
    def test_refusals(self) -> None:
        for status, words in (
            (401, "--token-file"),
            (403, "role 'operate'"),
            (429, "Try again later"),
            (422, "HTTP status 422"),
        ):
            self.api.replies["GET status"] = Reply.of({"error": {"code": "x", "message": "No."}}, status)
            text = self.problem(lambda: self.client.get("status"))
            assert text.startswith("the gateway says: No.")
            assert words in text

    def test_what_the_gateway_says_itself(self) -> None:
        error = {"code": "x", "message": "Bad \x1b[2J", "remedy": "Do " + "y" * 5000}
        self.api.replies["GET status"] = Reply.of({"error": error}, 422)
        text = self.problem(lambda: self.client.get("status"))
        assert text.startswith("the gateway says: Bad \\x1b[2J (HTTP status 422). Do yyy")

    def test_something_else_answers(self) -> None:
        for reply in (
            Reply(b"<html>", kind="text/html"),
            Reply(b"<html>", 404, kind="text/html"),
            Reply(b"<html>"),
            Reply(b"[1]"),
            Reply(b"\xff{}"),
            Reply(b"[" * 100000),
            Reply(b'{"error": 1}', 500),
            Reply.of({"a": 1}, 301),
        ):
            self.api.replies["GET status"] = reply
            assert "is not the control API" in self.problem(lambda: self.client.get("status"))
            self.api.replies["GET events"] = reply
            assert "is not the control API" in self.problem(self.client.follow)
        self.api.replies["GET events"] = Reply(b"data: x\n\n", kind="text/event-stream", length=-1)
        with self.client.follow() as following:
            assert "is not the control API" in self.problem(lambda: list(following))

    def test_an_event_without_end(self) -> None:
        self.api.replies["GET events"] = Reply(b"x" * 3000000, kind="text/event-stream", length=-1)
        with self.client.follow() as following:
            assert "longer than" in self.problem(lambda: list(following))

    def test_an_answer_that_is_cut_off(self) -> None:
        self.api.replies["GET status"] = Reply(b"{}", length=50)
        assert "in the middle" in self.problem(lambda: self.client.get("status"))

    def test_too_long_an_answer(self) -> None:
        self.patch(__import__("gateway.control.client", fromlist=["x"]), "MAX_ANSWER", 1000)
        self.api.replies["GET status"] = Reply.of({"a": "x" * 2000})
        assert "longer than 1000" in self.problem(lambda: self.client.get("status"))

    def test_no_socket(self) -> None:
        for path in (self.folder / "none.sock", self.socket / "below"):
            text = self.problem(lambda path=path: ControlClient(UnixAddress(path)).get("status"))  # type: ignore[misc]
            assert f"{path}: there is no such socket. Is the gateway running?" in text
            assert "--socket" in text
        long = Path("/tmp/" + "x" * 200)
        assert "too long" in self.problem(lambda: ControlClient(UnixAddress(long)).get("status"))

    def test_nobody_listens(self) -> None:
        path = self.folder / "dead.sock"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
        assert "nobody listens there. Is the gateway running?" in self.problem(
            lambda: ControlClient(UnixAddress(path)).get("status")
        )
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        assert "nobody listens there" in self.problem(
            lambda: ControlClient(WebAddress("127.0.0.1", port)).get("status")
        )

    def test_no_permission(self) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        self.patch(socket.socket, "connect", refuse)
        text = self.problem(lambda: self.client.get("status"))
        assert "you may not connect to it. Become root or a member of the group" in text

    def test_a_peer_that_stalls_or_trickles(self) -> None:
        for piece in (b"", b"H", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "):
            path = self.folder / f"slow{len(piece)}.sock"
            stop = threading.Event()
            server = socket.socket(socket.AF_UNIX)
            self.addCleanup(server.close)
            server.bind(str(path))
            server.listen()

            def trickle(
                server: socket.socket = server, piece: bytes = piece, stop: threading.Event = stop
            ) -> None:
                sock, _ = server.accept()
                with sock:
                    sock.sendall(piece)
                    while not stop.wait(0.02) and piece:
                        try:
                            sock.sendall(b"x")
                        except OSError:
                            return
                    stop.wait(5)

            thread = threading.Thread(target=trickle, daemon=True)
            thread.start()
            begun = time.monotonic()
            client = ControlClient(UnixAddress(path), timeout=0.3)
            assert "no answer in time" in self.problem(lambda client=client: client.get("status"))  # type: ignore[misc]
            assert time.monotonic() - begun < 2
            stop.set()
            thread.join(5)

    def test_a_silent_stream(self) -> None:
        released = threading.Event()
        self.addCleanup(released.set)
        server = socket.socket(socket.AF_UNIX)
        self.addCleanup(server.close)
        path = self.folder / "silent.sock"
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            sock, _ = server.accept()
            with sock:
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event(1, "x"))
                released.wait(5)

        threading.Thread(target=serve, daemon=True).start()
        with ControlClient(UnixAddress(path)).follow(silence=0.2) as following:
            stream = iter(following)
            assert next(stream)[1].value["number"] == 1
            assert "no answer in time" in self.problem(lambda: next(stream))


class Web(ClientCase):
    """TLS, tokens and client certificates."""

    def setUp(self) -> None:
        super().setUp()
        self.installation = install(self.folder)
        context = self.server_context()
        self.web = FakeApi(context=context)
        self.addCleanup(self.web.close)
        self.web.replies["GET status"] = Reply.of({"role": "read"})
        self.address = WebAddress("localhost", self.web.port, ca=self.ca)

    @property
    def ca(self) -> Path:
        return self.installation.pki.ca_file

    def server_context(self) -> ssl.SSLContext:
        tables = self.installation.settings()["tls"]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(str(tables["certificate"]), str(tables["key"]))
        return context

    def test_token(self) -> None:
        address = WebAddress("localhost", self.web.port, ca=self.ca, token="cgt_secret")
        assert ControlClient(address).get("status").value == {"role": "read"}
        request = self.web.requests[0]
        assert request.headers["Authorization"] == "Bearer cgt_secret"
        assert request.headers["Host"] == f"localhost:{self.web.port}"
        assert "secret" not in repr(address) + str(address) + repr(ControlClient(address))

    def test_no_token(self) -> None:
        self.web.replies["GET status"] = Reply.of({"error": {"code": "x", "message": "Who are you?"}}, 401)
        text = self.problem(lambda: ControlClient(self.address).get("status"))
        assert "--token-file" in text
        assert "--cert" in text

    def test_untrusted(self) -> None:
        address = WebAddress("localhost", self.web.port)
        text = self.problem(lambda: ControlClient(address).get("status"))
        assert "its certificate is not trusted" in text
        assert "--ca" in text

    def test_unknown_name(self) -> None:
        address = WebAddress("ip6-localhost.invalid", self.web.port, ca=self.ca)
        text = self.problem(lambda: ControlClient(address).get("status"))
        assert "the name cannot be resolved" in text

    def test_no_tls(self) -> None:
        plain = FakeApi()
        self.addCleanup(plain.close)
        address = WebAddress("127.0.0.1", plain.port, ca=self.ca)
        assert "no secure connection" in self.problem(lambda: ControlClient(address).get("status"))
        plain.replies["GET status"] = Reply.of({})
        address = WebAddress("127.0.0.1", plain.port, tls=False)
        assert ControlClient(address).get("status").value == {}

    def test_tls_where_none_is_expected(self) -> None:
        address = WebAddress("127.0.0.1", self.web.port, tls=False)
        self.problem(lambda: ControlClient(address).get("status"))

    def test_files(self) -> None:
        junk = self.folder / "junk.pem"
        junk.write_text("hello")
        key = self.folder / "client.key"
        key.write_bytes(samples.pem_of(samples.engine_key()))
        other = self.folder / "other.pem"
        other.write_bytes(samples.certificate_of(samples.other_key()).public_bytes(Encoding.PEM))
        missing = self.folder / "missing.pem"
        for address, words in (
            (WebAddress("a", 1, ca=missing), "missing.pem: No such file"),
            (WebAddress("a", 1, ca=junk), "junk.pem: "),
            (WebAddress("a", 1, certificate=missing), "missing.pem: No such file"),
            (WebAddress("a", 1, certificate=junk, key=key), "junk.pem and "),
            (WebAddress("a", 1, certificate=other, key=key), "key values mismatch"),
        ):
            text = self.problem(lambda address=address: ControlClient(address))  # type: ignore[misc]
            assert words in text


class Addresses(ClientCase):
    def test_urls(self) -> None:
        for text, expected in (
            ("https://gw.example.com:6190", WebAddress("gw.example.com", 6190)),
            ("https://gw.example.com/", WebAddress("gw.example.com", 443)),
            ("https://[2001:db8::1]:6190", WebAddress("2001:db8::1", 6190)),
            ("http://127.0.0.1:6190", WebAddress("127.0.0.1", 6190, tls=False)),
            ("http://[::1]:6190", WebAddress("::1", 6190, tls=False)),
            ("http://localhost", WebAddress("localhost", 80, tls=False)),
        ):
            assert parse_url(text) == expected
        assert str(parse_url("https://[2001:db8::1]:6190")) == "https://[2001:db8::1]:6190"

    def test_no_urls(self) -> None:
        for text, words in (
            ("", "https://"),
            ("gw.example.com:6190", "https://"),
            ("ftp://gw", "https://"),
            ("http://gw.example.com", "without TLS"),
            ("http://192.0.2.1:80", "without TLS"),
            ("https://", "no host"),
            ("https://gw:port", "not a URL"),
            ("https://gw:99999", "not a URL"),
            ("https://[::1", "not a URL"),
            ("https://user:secret@gw", "--token-file"),
            ("https://gw/api", "end with the port"),
            ("https://gw?x", "end with the port"),
            ("https://gw\x1b2J", "no host"),
        ):
            with pytest.raises(ValueError, match=words) as caught:
                parse_url(text)
            assert "secret" not in str(caught.value)

    def test_tokens(self) -> None:
        path = self.folder / "token"
        path.write_text("cgt_abc-DEF_123\n")
        path.chmod(0o600)
        assert read_token(path) == "cgt_abc-DEF_123"
        for content in ("", "a b", "a\nb", "h\xf6st", "x" * 5000, "cgt_a\r\nX: y"):
            path.write_text(content, encoding="utf-8")
            text = self.problem(lambda: read_token(path))
            assert "there is no token in it" in text
        path.write_text("cgt_secret")
        path.chmod(0o644)
        text = self.problem(lambda: read_token(path))
        assert f"everybody can read this token. Run: chmod o= {path}" in text
        assert "secret" not in text
        assert "No such file" in self.problem(lambda: read_token(self.folder / "none"))
        assert "directory" in self.problem(lambda: read_token(self.folder))

    def test_a_token_from_a_pipe(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.write(writing, b"cgt_x\n")
        os.close(writing)
        assert read_token(Path(f"/dev/fd/{reading}")) == "cgt_x"
