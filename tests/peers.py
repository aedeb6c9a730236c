"""The real peers that end-to-end tests need: ``python -m tests.peers`` says which are here.

Tests that need one carry ``@needs("chromium")`` and so on.  They are skipped
where it is missing, unless ``CONSOLE_GATEWAY_REQUIRE_PEERS=1`` is set, as it
is in CI: then they fail.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable

import attrs
import click
import pytest

from gateway.web import novnc_available

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


PEERS = {
    "chromium": Peer("drives the console page", "chromium", _program("chromium", "chromium-browser")),
    "certutil": Peer("lets Chromium trust the test CA", "libnss3-tools", _program("certutil")),
    "qemu": Peer("is a real VNC server", "qemu-system-x86", _program("qemu-system-x86_64")),
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
    lost = []
    click.echo("The tests use .venv, loopback connections, temporary directories, and:")
    for name, peer in PEERS.items():
        found = peer.find()
        if found is None:
            lost.append(peer)
        click.echo(f"  {name:<9} {found or 'not found':<32} {peer.purpose}")
    if lost:
        packages = " ".join(peer.package for peer in lost)
        click.echo(f"Tests that need what was not found are skipped; to run them, install: {packages}")
        if required():
            click.echo("CONSOLE_GATEWAY_REQUIRE_PEERS=1: nothing may be missing", err=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
