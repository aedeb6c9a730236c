"""Engines and hosts for the tests of enrolment: web servers, a program in ssh's place, certificates."""

from __future__ import annotations

import contextlib
import functools
import http.server
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Self
from unittest import mock

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.pki import KeyKind, PrivateKey, generate_key, key_pem
from gateway.setup import places
from gateway.setup.enrolling.tools import Tools
from gateway.setup.host.system import System
from tests.support.pki import Authority
from tests.unit.net.samples import DAY, NOW, pem

__all__ = [
    "ENGINE",
    "FQDN",
    "Site",
    "World",
    "authority",
    "certificate",
    "cheap_keys",
    "closed_port",
    "dump",
    "engine_certificate",
    "fake_ssh",
    "own_key",
    "ticket_key",
    "trusted_by_host",
]

FQDN = "wsp.example.org"
ENGINE = "engine.example.org"
LATER = NOW + 300 * DAY


@functools.cache
def own_key(number: int = 0) -> PrivateKey:
    """A key of the gateway."""
    return generate_key(KeyKind.EC)


@functools.cache
def ticket_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """The key that signs tickets."""
    return rsa.generate_private_key(65537, bits)


@contextlib.contextmanager
def trusted_by_host(*certificates: x509.Certificate) -> Iterator[None]:
    """This host knows these authorities alone, which is faster than to load those that it knows."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "store.pem"
        path.write_bytes(dump(*certificates))
        with mock.patch.dict("os.environ", {"SSL_CERT_FILE": str(path), "SSL_CERT_DIR": name}):
            yield


@contextlib.contextmanager
def cheap_keys() -> Iterator[None]:
    """A new CA of our own costs no time."""
    with (
        mock.patch("gateway.pki.authority.generate_key", return_value=own_key(2)),
        mock.patch("gateway.setup.enrolling.by_ca.generate_key", return_value=ticket_key()),
        mock.patch("gateway.setup.enrolling.credentials.generate_key", return_value=own_key()),
    ):
        yield


@functools.cache
def authority(name: str = "Engine CA") -> Authority:
    return Authority(name, end=LATER)


@functools.cache
def certificate(
    *names: str, ca: Authority | None = None, key: PrivateKey | None = None, **more: Any
) -> bytes:
    """The gateway's certificate, right unless told otherwise, PEM."""
    more.setdefault("end", LATER)
    leaf = (ca or authority()).issue(*(names or (FQDN,)), key=key or own_key(), **more)
    return pem(leaf.certificate)


@functools.cache
def engine_certificate(bits: int = 2048) -> bytes:
    return pem(authority().issue(ENGINE, key=ticket_key(bits), end=LATER).certificate)


def dump(*items: x509.Certificate) -> bytes:
    return b"".join(item.public_bytes(Encoding.PEM) for item in items)


@functools.cache
def _context(stem: str, ca: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as name:
        chain, key = ca.issue(stem, end=LATER).save(Path(name), "site")
        context.load_cert_chain(chain, key)
    return context


class Site:
    """A web server on loopback; a context manager.

    :ivar pages: for a path, with its query, the answers in order: status and body.  The last one stays.
    :ivar asked: paths and header fields of all requests.
    """

    def __init__(
        self, pages: Mapping[str, list[tuple[int, bytes]]], *, name: str = ENGINE, ca: Authority | None = None
    ):
        """:param ca: issues the certificate; without it there is no TLS."""
        self.pages = {path: list(answers) for path, answers in pages.items()}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.fields: dict[str, str] = {}
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
                answers = site.pages.get(self.path.partition("&format")[0], [(404, b"nothing here")])
                status, body = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                for key, value in site.fields.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                """Nothing."""

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def finish_request(self, request: Any, client_address: Any) -> None:
                request.settimeout(5)
                with contextlib.suppress(OSError):
                    if ca is not None:
                        request = _context(name, ca).wrap_socket(request, server_side=True)
                    super().finish_request(request, client_address)

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@attrs.define
class World:
    """The gateway's host, in a directory, and what its setup uses."""

    root: Path
    pauses: list[float] = attrs.field(factory=list)

    def system(self) -> System:
        return System(self.root, live=False, owners=False)

    def tools(self, *, https: int | None = None, http: int | None = None, **more: Any) -> Tools:
        return Tools(
            https_port=https or closed_port(),
            http_port=http or closed_port(),
            engine_address="127.0.0.1",
            attempts=3,
            pause=self.pauses.append,
            **{"timeout": 5.0, **more},
        )

    def put(self, place: PurePosixPath, content: bytes) -> None:
        path = self.root.joinpath(*place.parts[1:])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def complete(self, **changes: bytes | None) -> None:
        """Give the host all that a gateway has."""
        files = {
            "key": (places.KEY, key_pem(own_key())),
            "certificate": (places.CERTIFICATE, certificate()),
            "engine": (places.ENGINE_CERTIFICATE, engine_certificate()),
            "ca": (places.CA_CERTIFICATE, dump(authority().certificate)),
        }
        for name, (place, content) in files.items():
            data = changes.get(name, content)
            if data is not None:
                self.put(place, data)

    def files(self) -> dict[str, bytes]:
        """All that is there."""
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }


_SSH = r"""#!/bin/sh
state='{state}'
{{ echo; printf 'arg %s\n' "$@"; env; }} >> "$state/seen"
mode=command
for argument; do
    case "$argument" in
        -G) mode=config ;;
        -N) mode=master ;;
        PreferredAuthentications=none) mode=greeting ;;
        ControlPath=*) control=$(printf '%s' "${{argument#*=}}" | tr -d '"') ;;
        HostKeyAlias=*) pinned=1 ;;
    esac
    last=$argument
done
case $mode in
    config) cat "$state/config" ;;
    greeting)
        cat "$state/greeting" >&2
        exit 255 ;;
    master)
        echo $$ > "$state/pid"
        printf '%s' "${{control%/*}}" > "$state/place"
        if [ -f "$state/hang" ]; then exec sleep 30; fi
        if [ -s "$state/failures" ]; then
            sed -n 1p "$state/failures" >&2
            sed -i 1d "$state/failures"
            exit 255
        fi
        if [ -f "$state/password" ]; then
            answer=
            if [ -n "$SSH_ASKPASS" ]; then answer=$("$SSH_ASKPASS" "root's password: "); fi
            if [ "$answer" != "$(cat "$state/password")" ]; then
                echo 'root@host: Permission denied (publickey,password).' >&2
                exit 255
            fi
        fi
        : > "$control"
        exec sleep 30 ;;
    command)
        [ -e "$control" ] || exit 255
        exec /bin/sh -c "$last" ;;
esac
"""
_GREETING = "root@host: Permission denied (publickey,password).\n"
_CONFIG = "host engine\nhostname engine\nuserknownhostsfile {state}/known\nglobalknownhostsfile /dev/null\n"


def fake_ssh(state: Path, *, greeting: str = _GREETING, password: str | None = None) -> dict[str, Any]:
    """Programs in the place of OpenSSH's, for :class:`Tools`; commands run on this host.

    ``failures`` in the directory has what the next attempts to log in complain of, a line each;
    ``scan`` what ssh-keyscan finds, ``known`` what is known; with ``hang`` nobody gets through.  ``seen``
    gets arguments and environments, ``pid`` the process that holds the connection, ``place`` its directory.
    """
    state.mkdir(exist_ok=True)
    texts = {
        "greeting": greeting,
        "config": _CONFIG.format(state=state),
        "known": "",
        "scan": "",
    }
    if password is not None:
        texts["password"] = password
    for name, text in texts.items():
        (state / name).write_text(text)
    programs = {
        "ssh": _SSH.format(state=state),
        "ssh_keyscan": f"#!/bin/sh\ncat '{state}/scan'\n",
        "ssh_keygen": f"#!/bin/sh\ncat '{state}/known'\n",
    }
    for name, text in programs.items():
        path = state / name
        path.write_text(text)
        path.chmod(0o700)
    return {name: str(state / name) for name in programs}
