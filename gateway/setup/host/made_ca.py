"""A CA that setup made, as cleanup has to judge it: it goes only while nobody else has used it.

A CA outlives the gateway as soon as it has signed for somebody else, or its
ticket key has moved to where tickets are made.  So what setup notes is a
digest of the whole directory, and cleanup removes it only if nothing in it
was changed, added or taken away.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

import attrs

from gateway.pki import PkiError, read_file
from gateway.setup.errors import SetupError
from gateway.setup.host.system import System

__all__ = ["FACT", "MadeCa", "digest_of", "made_cas"]

FACT: Final = "ca.made"
"""Name of the fact in setup's record."""
_NAMES: Final = re.compile(
    r"ca\.pem|private/ca\.pem|serial\.txt|database\.txt(\.attr)?|keys/engine\.key\.nopass"
    r"|certs/(engine\.cer|[0-9A-F]{1,40}\.pem)"
)
"""The files of a new CA; where there is any other, it is somebody's."""
_DIRECTORIES: Final = ("private", "keys", "certs", "requests")
_WORD: Final = re.compile(r"([0-9a-f]{64}):([0-9]{1,3}):([A-Za-z0-9_=-]{1,2000})")
_MAX_FILE: Final = 1048576
_MAX_ENTRIES: Final = 100


@attrs.frozen
class MadeCa:
    """A CA that setup made."""

    place: PurePosixPath
    digest: str
    """Of its files, when setup had made them."""
    parents: int
    """How many of the directories above it setup made as well."""

    @property
    def word(self) -> str:
        """For the record: no blanks, whatever the directory is called."""
        name = base64.urlsafe_b64encode(str(self.place).encode("utf-8", "surrogateescape")).decode()
        return f"{self.digest}:{self.parents}:{name}"

    def is_untouched(self, system: System) -> bool:
        """Whether it may go: it is as setup made it.

        :raises SetupError: it cannot be read.
        """
        found = _contents(system.locate(self.place))
        return found is not None and digest_of(found) == self.digest

    def remove(self, system: System) -> None:
        """Remove it, and the directories above that setup made, if they are empty.

        :raises SetupError: it was touched, or would not go.
        """
        base = system.locate(self.place)
        found = _contents(base)
        if found is None or digest_of(found) != self.digest:
            raise SetupError(f"the CA in {self.place} was used since setup made it, so it is kept")
        try:
            for name in found:
                (base / name).unlink()
            for name in _DIRECTORIES:
                if (base / name).exists():
                    (base / name).rmdir()
            base.rmdir()
        except OSError as error:
            raise SetupError(f"the CA in {self.place} cannot be removed: {error.strerror}") from None
        with contextlib.suppress(OSError):
            for parent in list(base.parents)[: self.parents]:
                if parent == system.tree.root:
                    break
                parent.rmdir()


def made_cas(facts: Mapping[str, str]) -> tuple[MadeCa, ...]:
    """The CAs in the facts of a record; what is malformed there is passed over."""
    found = []
    for word in facts.get(FACT, "").split():
        match = _WORD.fullmatch(word)
        if match is None:
            continue
        try:
            name = base64.urlsafe_b64decode(match[3]).decode("utf-8", "surrogateescape")
        except (binascii.Error, ValueError):
            continue
        place = PurePosixPath(name)
        if place.is_absolute() and len(place.parts) > 1 and ".." not in place.parts and "\0" not in name:
            found.append(MadeCa(place, match[1], int(match[2])))
    return tuple(found)


def digest_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 of names and contents."""
    whole = hashlib.sha256()
    for name, content in sorted(files.items()):
        whole.update(f"{len(name)}:{name}{len(content)}:".encode() + content)
    return whole.hexdigest()


def _contents(base: Path) -> dict[str, bytes] | None:
    """The files of a CA's directory; ``None`` if there is anything that setup did not make."""
    found: dict[str, bytes] = {}
    try:
        if not stat.S_ISDIR(base.lstat().st_mode):
            return None
        for number, path in enumerate(base.rglob("*")):
            name = path.relative_to(base).as_posix()
            mode = path.lstat().st_mode
            if number > _MAX_ENTRIES:
                return None
            if stat.S_ISDIR(mode) and name in _DIRECTORIES:
                continue
            if not stat.S_ISREG(mode) or not _NAMES.fullmatch(name):
                return None
            found[name] = read_file(path, _MAX_FILE)
    except FileNotFoundError:
        return None
    except (OSError, PkiError) as error:
        raise SetupError(f"the CA cannot be read: {error}") from None
    return found
