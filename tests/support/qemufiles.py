"""Directories with what QEMU wants to find in files: certificates, users, and the groups of key exchanges."""

from __future__ import annotations

import base64
import functools
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509

from tests.peers import PEERS
from tests.support.pki import Leaf
from tests.unit.net.samples import pem, write

__all__ = ["certificate_directory", "sasl_directory"]


def certificate_directory(path: Path, authority: x509.Certificate, leaf: Leaf) -> Path:
    """Make a directory as QEMU's ``tls-creds-x509`` and ``x509-dir`` want it.

    :param authority: with ``verify_peer``, clients need a certificate of this one.
    """
    path.mkdir()
    write(path / "ca-cert.pem", pem(authority), 0o644)
    write(path / "server-cert.pem", pem(*leaf.chain), 0o644)
    write(path / "server-key.pem", pem(leaf.key))
    # Without this, QEMU takes most of a second to make its own.
    write(path / "dh-params.pem", _dh_parameters(), 0o644)
    return path


def sasl_directory(path: Path, users: Mapping[str, str]) -> Path:
    """Make a directory for Cyrus SASL: QEMU's users authenticate with SCRAM-SHA-256, and nothing else."""
    path.mkdir()
    program = PEERS["saslpasswd2"].find()
    assert program is not None
    database = path / "sasldb2"
    write(path / "qemu.conf", f"mech_list: scram-sha-256\nsasldb_path: {database}\n".encode(), 0o644)
    for user, password in users.items():
        command = [program, "-f", str(database), "-p", "-c", "-a", "qemu", user]
        subprocess.run(command, input=password.encode(), check=True)
    return path


@functools.cache
def _dh_parameters() -> bytes:
    """The group ffdhe2048 (RFC 7919, appendix A.1), whose prime is made from the digits of e."""
    term = 1 << (1918 + 64)
    digits = step = 0
    while term:
        digits += term
        step += 1
        term //= step
    prime = (1 << 2048) - (1 << 1984) + (((digits >> 64) + 560316) << 64) - 1
    # A sequence of two integers (PKCS #3, section 9).
    numbers = b"\x02\x82\x01\x01" + prime.to_bytes(257, "big") + b"\x02\x01\x02"
    sequence = b"\x30\x82" + len(numbers).to_bytes(2, "big") + numbers
    lines = textwrap.wrap(base64.b64encode(sequence).decode("ascii"), 64)
    return "\n".join(["-----BEGIN DH PARAMETERS-----", *lines, "-----END DH PARAMETERS-----", ""]).encode()
