"""What setup's transaction does for a CA of our own: its new files and entries, or none of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from gateway.pki import PkiError, read_file
from gateway.pki.errors import printable
from gateway.pki.files import Changes
from gateway.pki.lock import exclusive
from gateway.setup.errors import SetupError
from gateway.setup.host.made_ca import FACT, MadeCa, digest_of
from gateway.setup.host.plan import Step
from gateway.setup.host.system import System

__all__ = ["BookStep", "refuse_links"]

_MAX_FILE: Final = 16777216
_LOCK_TIMEOUT: Final = 20.0
_PRIVATE: Final = frozenset({"private", "keys"})
_BOOKS: Final = ("ca.pem", "serial.txt", "database.txt")


def refuse_links(system: System, place: PurePosixPath, names: Iterable[str]) -> None:
    """Have the files of a CA be where they seem to be.

    On the running host whoever made the links is root; in another root directory they may lead out of it.

    :raises SetupError: one of them, or its directory, is a link.
    """
    for name in () if system.live else names:
        for each in (place / name, (place / name).parent):
            if each != place and system.tree.target(each) is not None:
                raise SetupError(
                    f"{printable(str(each))} is a link; have the CA's files in its directory itself"
                )


class BookStep(Step):
    """Writes a CA's files.  Cleanup removes a CA that setup made only while nobody else has used it.

    :param place: its directory.
    :param before: what its files had when the copy was made that was worked with; nothing for a new CA.
    :param after: contents and modes of those that are new or different.
    """

    def __init__(
        self, place: PurePosixPath, before: Mapping[str, bytes], after: Mapping[str, tuple[bytes, int]]
    ) -> None:
        self.place = place
        self._before = dict(before)
        self._after = dict(after)
        self._written: dict[Path, tuple[bytes | None, bytes, os.stat_result | None]] = {}
        """What files had before, what they have now, and what else was known of them."""
        self._made: list[Path] = []
        self.description = f"Entering the certificate in {place}" if before else f"Making the CA in {place}"

    def __repr__(self) -> str:
        return f"<BookStep {self.place}, {len(self._after)} files>"

    @property
    def files(self) -> tuple[PurePosixPath, ...]:
        """What is new or changed."""
        return tuple(self.place / name for name in self._after)

    def prepare(self, system: System) -> Mapping[str, str]:
        """Note a new CA for cleanup."""
        if self._before:
            return {}
        parents = [each for each in system.locate(self.place).parents if not each.exists()]
        digest = digest_of({name: content for name, (content, _) in self._after.items()})
        return {FACT: MadeCa(self.place, digest, len(parents)).word}

    def apply(self, system: System) -> None:
        """Write everything, or nothing.

        :raises SetupError: somebody else used the CA meanwhile, or it cannot be written.
        """
        base = system.locate(self.place)
        refuse_links(system, self.place, self._after)
        try:
            if self._before:
                with exclusive(base / "ca.pem", _LOCK_TIMEOUT):
                    self._write(base)
            else:
                self._write(base)
        except PkiError as error:
            raise SetupError(str(error)) from None
        except OSError as error:
            raise SetupError(f"{self.place} cannot be written: {error.strerror}") from None

    def revert(self, system: System) -> None:
        """Put back what was there.

        :raises SetupError: somebody else used the CA meanwhile: taking its books back would have it forget
            what it signed, and give out numbers twice.
        """
        authority = system.locate(self.place) / "ca.pem"
        try:
            with exclusive(authority, _LOCK_TIMEOUT) if authority.exists() else contextlib.nullcontext():
                self._put_back()
        except PkiError as error:
            raise SetupError(str(error)) from None

    def _put_back(self) -> None:
        there = {path: read_file(path, _MAX_FILE) for path in self._written if path.exists()}
        for path, content in there.items():
            before, after, _ = self._written[path]
            if content not in (before, after):
                raise SetupError(f"{self.place} was used by somebody else meanwhile, so its entries stay")
        for path in there:
            before, _, found = self._written[path]
            if before is None or found is None:
                path.unlink()
                continue
            with open(os.open(path, os.O_WRONLY | os.O_NOFOLLOW), "wb") as stream:
                stream.write(before)
                stream.truncate()
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        for directory in reversed(self._made):
            with contextlib.suppress(OSError):
                directory.rmdir()
        self._written.clear()
        self._made.clear()

    def _write(self, base: Path) -> None:
        for name in _BOOKS:
            path = base / name
            if (read_file(path, _MAX_FILE) if path.exists() else None) != self._before.get(name):
                raise SetupError(f"{self.place} was used by somebody else meanwhile; run setup again")
        for name in ("certs", "requests"):
            self._make(base / name)
        with Changes() as changes:
            for name, (data, mode) in self._after.items():
                path = base / name
                self._make(path.parent)
                found = path.lstat() if name in self._before else None
                changes.write(path, data, mode=mode, replace=found is not None)
                self._written[path] = (self._before.get(name), data, found)
            changes.commit()

    def _make(self, directory: Path) -> None:
        missing = [each for each in (directory, *directory.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(0o700)
            self._made.append(each)
            if each.name not in _PRIVATE:
                each.chmod(0o755)
