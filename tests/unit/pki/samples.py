"""Keys, CAs and directories that tests share: making them anew each time would take longer than the tests."""

from __future__ import annotations

import atexit
import datetime
import functools
import os
import shutil
import tempfile
from pathlib import Path

from cryptography.x509 import Certificate
from twisted.trial.unittest import SynchronousTestCase

from gateway.pki import Authority, KeyKind, PrivateKey, generate_key, make_request
from gateway.pki.altnames import alt_names_text, names_of

__all__ = ["DAY", "NOW", "SAN", "SUBJECT", "CaTestCase", "key", "names", "snapshot"]

DAY = datetime.timedelta(days=1)
SAN = "DNS:gw.example.com"
NOW = datetime.datetime(2031, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
SUBJECT = "/C=US/O=Example Inc./CN=ca.example.com.12345"


@functools.cache
def key(number: int = 0) -> PrivateKey:
    """An EC key; the same for the same number."""
    return generate_key(KeyKind.EC)


@functools.cache
def _model() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="console-gateway-pki-"))
    atexit.register(shutil.rmtree, directory)
    Authority.create(directory, subject=SUBJECT, kind=KeyKind.EC, clock=lambda: NOW)
    return directory


def names(certificate: Certificate) -> list[str]:
    """Alternative names of a certificate."""
    return alt_names_text(names_of(certificate.extensions))


def snapshot(directory: Path) -> dict[str, tuple[int, float, bytes]]:
    """Modes, times and contents of all files below a directory."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(directory))] = (status.st_mode, status.st_mtime if content else 0, content)
    return found


class CaTestCase(SynchronousTestCase):
    """Tests with a fresh directory that has a CA."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="console-gateway-pki-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.ca = self.directory / "ca"
        shutil.copytree(_model(), self.ca)
        self.now = NOW

    def authority(self, ca_file: str = "ca") -> Authority:
        return Authority.open(self.ca, ca_file=ca_file, clock=lambda: self.now)

    def request(
        self, name: str = "gw", subject: str = "/CN=gw.example.com", names: tuple[str, ...] = ()
    ) -> Path:
        path = self.ca / "requests" / f"{name}.req"
        path.write_bytes(make_request(key(), subject, names))
        return path

    def text(self, name: str) -> str:
        return (self.ca / name).read_text()

    def permissions(self, name: str) -> int:
        return os.stat(self.ca / name).st_mode & 0o777
