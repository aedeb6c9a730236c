"""The gateway and its peers: how each is found, configured and started.

All run as the current user from a temporary directory, in the foreground, one
worker each, with TLS 1.3 and the same keys.  nginx and HAProxy end TLS and
pass on TCP: they do neither WebSocket framing nor tickets, which makes them a
native limit rather than a replacement.
"""

from __future__ import annotations

import abc
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import attrs

from benchmarks.keys import Keys
from benchmarks.vocabulary import BenchmarkError, Key, Transport

__all__ = ["CACHE", "CONTENDERS", "Contender", "Job"]

CACHE = Path(__file__).resolve().parent.parent / "build" / "bench"
"""What is kept between runs: the compiled load generator and the peers from PyPI."""

_PINS = ("websockify==0.13.0", "numpy==2.4.6")
_MANY = 20000


@attrs.frozen
class Job:
    """What an instance is to do."""

    transport: Transport
    key: Key
    port: int
    """Where to listen, on 127.0.0.1."""
    target: int
    """Where the console is, on 127.0.0.1."""
    keys: Keys
    directory: Path
    """Its own, for configuration and logs."""
    secured: bool = False
    """The console speaks TLS from the first byte, and its certificate is to be verified."""

    @property
    def tls(self) -> bool:
        return self.transport is Transport.WSS


class Contender(abc.ABC):
    """A program that is measured."""

    name: str
    framed = True
    """Speaks WebSocket; otherwise the client speaks to the target's protocol directly."""
    proxied = True
    """Is a program at all; otherwise the client connects to the target."""
    secures = False
    """Can speak TLS with the console, too."""
    most_sessions = 5000
    frame_share = 1.0
    """Part of the small frames that takes about as long as all of them take the gateway."""

    @abc.abstractmethod
    def prepare(self) -> dict[str, str]:
        """Find or install it, and say which versions will run.

        :raises BenchmarkError: it is not here; the text says what to install.
        """

    @abc.abstractmethod
    def command(self, job: Job) -> list[str]:
        """Write what it needs into the job's directory and return the command that runs it."""

    def paths(self, job: Job, count: int) -> list[str]:
        """Request paths for clients."""
        return ["/websockify"]


class Gateway(Contender):
    name = "ours"
    secures = True

    def prepare(self) -> dict[str, str]:
        code = (
            "import importlib.metadata as m; from OpenSSL import SSL; import gateway;"
            "print(gateway.__version__, m.version('twisted'), m.version('autobahn'), m.version('pyopenssl'),"
            "SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode().split()[1])"
        )
        ours, twisted, autobahn, pyopenssl, openssl = _output([sys.executable, "-c", code]).split()
        return {
            "version": f"Console Gateway {ours} (Twisted {twisted}, Autobahn {autobahn}, "
            f"pyOpenSSL {pyopenssl}, Python {platform.python_version()})",
            "tls": f"OpenSSL {openssl}",
        }

    def command(self, job: Job) -> list[str]:
        listen = f'["tcp:{job.port}:interface=127.0.0.1"]'
        config = job.directory / "gateway.toml"
        config.write_text(
            (
                f'listen.tls = {listen}\ntls.certificate = "{job.keys.certificate(job.key)}"\n'
                f'tls.key = "{job.keys.private(job.key)}"\n'
                if job.tls
                else f"listen.tls = []\nlisten.plain = {listen}\n"
            )
            + f"""
            tickets.certificate = "{job.keys.engine_file}"
            limits.sessions = {_MANY}
            limits.sessions_per_client = {_MANY}
            limits.users_per_console = {_MANY}
            uses.vnc = "unlimited"
            targets.networks = ["127.0.0.1/32"]
            targets.ports = ["1-65535"]
            """
            + (
                'rules.console.targets = ["127.0.0.1"]\nrules.console.mode = "tls"\n'
                f'rules.console.ca = "{job.keys.authority}"\n'
                if job.secured
                else ""
            ),
            encoding="utf-8",
        )
        return [sys.executable, "-m", "gateway", "run", "--config", str(config)]

    def paths(self, job: Job, count: int) -> list[str]:
        return ["/" + job.keys.ticket(job.target) for _ in range(min(count, 300))]


class Websockify(Contender):
    name = "websockify"
    most_sessions = 100
    frame_share = 1 / 8

    def __init__(self) -> None:
        digest = "-".join(pin.replace("==", "-") for pin in _PINS)
        self._environment = CACHE / f"{digest}-py{sys.version_info.major}.{sys.version_info.minor}"

    def prepare(self) -> dict[str, str]:
        python = self._environment / "bin" / "python"
        done = self._environment / "installed"
        if not done.exists():
            shutil.rmtree(self._environment, ignore_errors=True)
            try:
                _output([sys.executable, "-m", "venv", str(self._environment)], timeout=120)
                _output([str(python), "-m", "pip", "install", "--quiet", *_PINS], timeout=600)
            except BenchmarkError as error:
                raise BenchmarkError(f"{' and '.join(_PINS)} could not be installed: {error}") from None
            done.touch()
        code = (
            "import importlib.metadata as m, ssl, numpy;"
            "print(m.version('websockify'), m.version('numpy'), ssl.OPENSSL_VERSION.split()[1])"
        )
        version, numpy, openssl = _output([str(python), "-c", code]).split()
        return {
            "version": f"websockify {version} (numpy {numpy}, Python {platform.python_version()})",
            "tls": f"OpenSSL {openssl}",
        }

    def command(self, job: Job) -> list[str]:
        tls = [
            f"--cert={job.keys.certificate(job.key)}",
            f"--key={job.keys.private(job.key)}",
            "--ssl-only",
            "--ssl-version=tlsv1_3",
        ]
        program = str(self._environment / "bin" / "websockify")
        return [program, *(tls if job.tls else []), f"127.0.0.1:{job.port}", f"127.0.0.1:{job.target}"]


class Nginx(Contender):
    name = "nginx"
    framed = False
    secures = True

    def prepare(self) -> dict[str, str]:
        text = _output([_find("nginx", "nginx-light libnginx-mod-stream"), "-V"])
        if "--with-stream" not in text or (self._module(text) is None and "--with-stream=dynamic" in text):
            raise BenchmarkError("nginx is here without its stream module: apt install libnginx-mod-stream")
        version = _part(r"nginx/(\S+)", text)
        return {"version": f"nginx {version}", "tls": f"OpenSSL {_openssl(text)}"}

    @staticmethod
    def _module(text: str) -> Path | None:
        found = re.search(r"--modules-path=(\S+)", text)
        path = Path(found[1]) / "ngx_stream_module.so" if found else None
        return path if path is not None and path.exists() else None

    def command(self, job: Job) -> list[str]:
        program = _find("nginx", "nginx-light")
        module = self._module(_output([program, "-V"]))
        tls = (
            f"ssl_certificate {job.keys.certificate(job.key)}; "
            f"ssl_certificate_key {job.keys.private(job.key)}; "
            "ssl_protocols TLSv1.3; ssl_handshake_timeout 20s;"
        )
        onward = (
            "proxy_ssl on; proxy_ssl_protocols TLSv1.3; proxy_ssl_verify on; proxy_ssl_name localhost; "
            f"proxy_ssl_trusted_certificate {job.keys.authority};"
        )
        config = job.directory / "nginx.conf"
        config.write_text(
            (f"load_module {module};" if module else "")
            + f"""
            daemon off; master_process off; worker_processes 1; worker_rlimit_nofile {_MANY};
            pid {job.directory}/pid; error_log {job.directory}/error.log;
            events {{ worker_connections {_MANY}; }}
            stream {{
                server {{
                    listen 127.0.0.1:{job.port} {"ssl" if job.tls else ""} backlog=4096;
                    {tls if job.tls else ""}
                    proxy_timeout 30m; tcp_nodelay on;
                    {onward if job.secured else ""}
                    proxy_pass 127.0.0.1:{job.target};
                }}
            }}
            """,
            encoding="utf-8",
        )
        return [program, "-p", str(job.directory), "-e", f"{job.directory}/error.log", "-c", str(config)]


class Haproxy(Contender):
    name = "haproxy"
    framed = False
    secures = True

    def prepare(self) -> dict[str, str]:
        text = _output([_find("haproxy", "haproxy"), "-vv"])
        if "OpenSSL" not in text:
            raise BenchmarkError("HAProxy is here without OpenSSL")
        version = _part(r"version (\S+)", text)
        return {"version": f"HAProxy {version}", "tls": f"OpenSSL {_openssl(text)}"}

    def command(self, job: Job) -> list[str]:
        tls = f"ssl crt {job.keys.both(job.key)} ssl-min-ver TLSv1.3" if job.tls else ""
        onward = (
            f"ssl verify required ca-file {job.keys.authority} verifyhost localhost ssl-min-ver TLSv1.3"
            if job.secured
            else ""
        )
        config = job.directory / "haproxy.cfg"
        config.write_text(
            f"global\n nbthread 1\n maxconn {_MANY // 2 - 100}\n"
            "defaults\n mode tcp\n timeout connect 10s\n timeout client 30m\n timeout server 30m\n"
            f"listen console\n bind 127.0.0.1:{job.port} {tls} backlog 4096\n"
            f" server console 127.0.0.1:{job.target} {onward}\n",
            encoding="utf-8",
        )
        return [_find("haproxy", "haproxy"), "-db", "-q", "-f", str(config)]


class Direct(Contender):
    """No proxy: what the load generator and the kernel take by themselves."""

    name = "direct"
    framed = False
    proxied = False

    def prepare(self) -> dict[str, str]:
        return {"version": "no proxy, plain TCP", "tls": "none"}

    def command(self, job: Job) -> list[str]:
        raise NotImplementedError


CONTENDERS: dict[str, Contender] = {
    contender.name: contender for contender in (Gateway(), Websockify(), Nginx(), Haproxy(), Direct())
}


def _find(program: str, packages: str) -> str:
    # Service programs are often outside of a user's PATH.
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))
    found = shutil.which(program, path=path)
    if found is None:
        raise BenchmarkError(f"{program} was not found: apt install {packages}")
    return found


def _output(command: list[str], timeout: float = 30) -> str:
    """What a command says, on either stream."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchmarkError(f"{Path(command[0]).name}: {error.__class__.__name__}") from None
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise BenchmarkError(f"{Path(command[0]).name} ended with {done.returncode}: {last}")
    return done.stdout


def _part(expression: str, text: str) -> str:
    found = re.search(expression, text)
    return found[1] if found else "of unknown version"


def _openssl(text: str) -> str:
    # What it runs with where it says so, otherwise what it was built with.
    running = re.search(r"(?i)running (?:on|with) OpenSSL(?: version :)?(?: OpenSSL)? (\S+)", text)
    return running[1].rstrip(")") if running else _part(r"OpenSSL (?:version : OpenSSL )?(\d\S*)", text)
