"""The real peers that end-to-end tests need: ``python -m tests.peers`` says which are here.

Tests that need one carry ``@needs("chromium")`` and so on.  They are skipped
where it is missing, unless ``CONSOLE_GATEWAY_REQUIRE_PEERS=1`` is set, as it
is in CI: then they fail.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs
import click
import pytest

from gateway.web import novnc_available
from tests.support.hosts import how
from tests.support.livesystemd import why_not as live_systemd_lacks

__all__ = ["PEERS", "Peer", "missing", "needs", "required"]


@attrs.frozen
class Peer:
    """A program that tests run."""

    purpose: str
    package: str
    """What to install on Debian or Ubuntu, or a command."""
    find: Callable[[], str | None]


def _program(*names: str) -> Callable[[], str | None]:
    return lambda: next(filter(None, map(shutil.which, names)), None)


def _server_program(name: str) -> Callable[[], str | None]:
    """A program that may be outside an ordinary user's search path."""
    return lambda: shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def _directory(*patterns: str) -> Callable[[], str | None]:
    """The directory under ``/usr`` that has a file which matches."""
    return lambda: next(
        (str(path.parent) for pattern in patterns for path in Path("/usr").glob(pattern)), None
    )


@functools.cache
def _qemu_with_spice() -> str | None:
    """QEMU, if it has SPICE's graphics card."""
    program = _program("qemu-system-x86_64")()
    if program is None:
        return None
    devices = subprocess.run([program, "-device", "help"], capture_output=True, check=False)
    return program if b'"qxl-vga"' in devices.stdout else None


PEERS = {
    "chromium": Peer("drives the console page", "chromium", _program("chromium", "chromium-browser")),
    "certutil": Peer("lets Chromium trust the test CA", "libnss3-tools", _program("certutil")),
    "qemu": Peer("is a real VNC server", "qemu-system-x86", _program("qemu-system-x86_64")),
    "qemu-spice": Peer(
        "is a real SPICE server (Debian 13: qemu-system-modules-spice)", "qemu-system-x86", _qemu_with_spice
    ),
    "tigervnc": Peer(
        "is a VNC server with several security types", "tigervnc-standalone-server", _program("Xtigervnc")
    ),
    "scram": Peer(
        "lets QEMU authenticate with SASL",
        "libsasl2-modules",
        _directory("lib/*/sasl2/libscram.so*", "lib*/sasl2/libscram.so*"),
    ),
    "saslpasswd2": Peer("makes QEMU's user database", "sasl2-bin", _server_program("saslpasswd2")),
    "spice-html5": Peer(
        "is a SPICE client for browsers", "spice-html5", _directory("share/spice-html5/main.js")
    ),
    "haproxy": Peer("is a proxy in front of the gateway", "haproxy", _server_program("haproxy")),
    "nginx": Peer("is another one", "nginx-light", _server_program("nginx")),
    "prometheus": Peer(
        "scrapes the metrics, evaluates dashboard and alerts", "prometheus", _program("promtool")
    ),
    "sshd": Peer(
        "is the engine host's, where requests are signed", "openssh-server", _server_program("sshd")
    ),
    "ssh": Peer("is what setup gets there with", "openssh-client", _program("ssh")),
    "openssl": Peer("is the engine's authority", "openssl", _program("openssl")),
    "firewalld": Peer("is opened by setup, and closed by cleanup", "firewalld", _program("firewall-cmd")),
    "systemd": Peer(
        "verifies the unit, passes sockets",
        "systemd",
        _program("systemd-analyze"),
    ),
    "novnc": Peer(
        "is the page's VNC client",
        "python -m gateway.web.fetch (needs npm)",
        lambda: "gateway/web/static/novnc" if novnc_available() else None,
    ),
}


def needs(*names: str) -> pytest.MarkDecorator:
    """Mark a test, or a module by its ``pytestmark``, as one that needs these peers."""
    return pytest.mark.needs(*names)


def missing(names: Iterable[str]) -> str:
    """What of these peers is not here, in words; empty where nothing is missing."""
    lost = [name for name in names if PEERS[name].find() is None]
    return ", ".join(f"{name} (install {PEERS[name].package})" for name in lost)


def required() -> bool:
    """Whether a missing peer is a failure."""
    return os.environ.get("CONSOLE_GATEWAY_REQUIRE_PEERS") == "1"


def main() -> int:
    """Say what the tests will use."""
    lost: list[Peer] = []
    click.echo("The tests use .venv, loopback connections, temporary directories, and:")
    for name, peer in PEERS.items():
        found = peer.find()
        if found is None:
            lost.append(peer)
        click.echo(f"  {name:<11} {found or 'not found':<38} {peer.purpose}")
    click.echo(f"  {'two hosts':<11} {how():<38} are an engine's and a gateway's")
    lacking = live_systemd_lacks()
    click.echo(
        f"  {'a systemd':<11} {f'not here: {lacking}' if lacking else 'in namespaces':<38} runs the units"
    )
    if lost:
        packages = " ".join(dict.fromkeys(peer.package for peer in lost))
        click.echo(f"Tests that need what was not found are skipped; to run them, install: {packages}")
        if required():
            click.echo("CONSOLE_GATEWAY_REQUIRE_PEERS=1: nothing may be missing", err=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
