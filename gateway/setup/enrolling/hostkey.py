"""Host keys (RFC 4253, section 7): their fingerprints, and how one that was confirmed is pinned."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

__all__ = ["HOST_ALIAS", "HostKey", "parse_scan", "same_fingerprint"]

HOST_ALIAS: Final = "console-gateway-engine"
"""Name under which a confirmed key is pinned, so that neither port nor alias of the host matters."""
_ALGORITHMS: Final = {
    "ssh-ed25519": "ssh-ed25519",
    "ecdsa-sha2-nistp256": "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384": "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521": "ecdsa-sha2-nistp521",
    "ssh-rsa": "rsa-sha2-512,rsa-sha2-256",
}
"""Kinds of keys, best first, and the signatures that are taken from them."""
_MAX_BLOB: Final = 8192
_MAX_LINES: Final = 100


@attrs.frozen
class HostKey:
    """A host's public key."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen shows it: ``SHA256:`` and unpadded base64."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def algorithms(self) -> str:
        """For ssh's option HostKeyAlgorithms."""
        return _ALGORITHMS[self.kind]

    @property
    def line(self) -> str:
        """For a file of known hosts that knows this key alone."""
        return f"{HOST_ALIAS} {self.kind} {base64.b64encode(self.blob).decode()}\n"


def parse_scan(output: bytes) -> tuple[HostKey, ...]:
    """The keys in what ssh-keyscan found, best first; whatever else there is is ignored."""
    found: dict[str, HostKey] = {}
    for line in output.decode("ascii", "ignore").splitlines()[:_MAX_LINES]:
        words = line.split()
        if line.startswith("#") or len(words) != 3 or words[1] not in _ALGORITHMS:
            continue
        key = _key(words[1], words[2])
        if key is not None:
            found.setdefault(key.kind, key)
    return tuple(found[kind] for kind in _ALGORITHMS if kind in found)


def _key(kind: str, text: str) -> HostKey | None:
    try:
        blob = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    name = kind.encode()
    if len(blob) > _MAX_BLOB or not blob.startswith(len(name).to_bytes(4, "big") + name):
        return None
    return HostKey(kind, blob)


def same_fingerprint(answer: str, keys: Iterable[HostKey]) -> HostKey | None:
    """The key whose SHA-256 fingerprint was given, with or without ``SHA256:`` and padding."""
    wanted = answer.strip().removeprefix("SHA256:").rstrip("=")
    return next((key for key in keys if key.fingerprint.removeprefix("SHA256:") == wanted), None)


def shown(keys: Sequence[HostKey]) -> str:
    """Kinds and fingerprints, for a message."""
    return ", ".join(f"{key.kind} {key.fingerprint}" for key in keys)
