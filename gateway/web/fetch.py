"""Fetch the browser library that the console page is built on: ``python -m gateway.web.fetch``.

The library is not kept in this repository.  ``package-lock.json`` pins its
version and checksum; npm brings it from whatever registry it is set up with,
runs none of its scripts, and the parts a browser needs are put beside the page.

Only the standard library is used: the build hook loads this file by its path.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["FetchError", "fetch", "main"]

_HERE = Path(__file__).resolve().parent
_PACKAGE = "@novnc/novnc"
_STAMP = "VERSION"
_NEEDED = ("core", "vendor", "LICENSE.txt")
_WELCOME = ("AUTHORS", "docs/LICENSE.MPL-2.0", "docs/LICENSE.BSD-2-Clause", "docs/LICENSE.BSD-3-Clause")
_NPM = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev")
_TIMEOUT = 300  # Seconds for npm, downloads included.
_HINT = "Install Node.js with npm (for example: apt install npm), then run: python -m gateway.web.fetch"


class FetchError(Exception):
    """The library could not be fetched; the text is one line that says why and what to do."""


def fetch(web: Path = _HERE) -> bool:
    """Put the pinned library under ``static/novnc``, all of it or nothing.

    :param web: the directory with ``package.json``, ``package-lock.json`` and ``static``.
    :return: ``True`` when it was fetched, ``False`` when it was already there.
    :raises FetchError: npm is missing or failed, or the result could not be put in place.
    """
    try:
        version = _pinned_version(web)
        destination = web / "static" / "novnc"
        if _stamp(destination) == version:
            return False
        npm = shutil.which("npm")
        if npm is None:
            raise FetchError(f"npm is not installed, so {_PACKAGE} {version} cannot be fetched. {_HINT}")
        with tempfile.TemporaryDirectory(prefix="console-gateway-") as scratch:
            library = _install(npm, web, Path(scratch))
            _check(library, version)
            _put(library, destination, version)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise FetchError(
            f"cannot fetch {_PACKAGE}: {error.strerror or 'input/output error'}{where}"
        ) from error
    return True


def main() -> int:
    """Fetch, say how it went, and return the exit status."""
    try:
        fetched = fetch()
    except FetchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(
        "The console page is complete.\n" if fetched else "The console page was complete already.\n"
    )
    return 0


def _pinned_version(web: Path) -> str:
    version = _field(web / "package.json", "dependencies", _PACKAGE)
    if not version[:1].isdigit():
        raise FetchError(f"{web / 'package.json'} must pin {_PACKAGE} to one exact version")
    return version


def _stamp(destination: Path) -> str | None:
    """The version that is in place, if any."""
    try:
        return (destination / _STAMP).read_text("utf-8").strip()
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return None


def _install(npm: str, web: Path, scratch: Path) -> Path:
    """Let npm install into ``scratch``; return the directory of the library."""
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(web / name, scratch / name)
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            [npm, *_NPM],
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FetchError(f"npm did not fetch {_PACKAGE} within {_TIMEOUT} seconds") from None
    if done.returncode:
        raise FetchError(
            f"npm could not fetch {_PACKAGE} (exit status {done.returncode}): {_complaint(done.stderr)}"
        )
    return scratch / "node_modules" / _PACKAGE


def _complaint(stderr: bytes) -> str:
    """The first line in which npm says what is wrong."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("npm error") and " code " not in line]
    chosen = (errors or lines or ["it gave no reason"])[0].removeprefix("npm error ")
    return "".join(character for character in chosen if character.isprintable())[:300]


def _check(library: Path, version: str) -> None:
    found = _field(library / "package.json", "version")
    if found != version:
        raise FetchError(f"npm brought {_PACKAGE} {found}, but package.json pins {version}")
    for name in _NEEDED:
        if not (library / name).exists():
            raise FetchError(f"{_PACKAGE} {version} has no {name}")


def _put(library: Path, destination: Path, version: str) -> None:
    """Copy what is needed beside the destination, stamp it, and swap it in."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".novnc-", dir=destination.parent))
    try:
        for name in (*_NEEDED, *_WELCOME):
            source, target = library / name, fresh / name
            if source.is_dir():
                shutil.copytree(source, target)
            elif source.exists():
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(source, target)
        (fresh / _STAMP).write_text(f"{version}\n", "utf-8")
        fresh.chmod(0o755)
        if destination.exists():
            shutil.rmtree(destination)
        os.replace(fresh, destination)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _field(path: Path, *keys: str) -> str:
    """A string inside a JSON file."""
    try:
        value = json.loads(path.read_text("utf-8"))
        for key in keys:
            value = value[key]
    except (ValueError, KeyError, TypeError):
        value = None
    if not isinstance(value, str):
        raise FetchError(f"{path} has no {'.'.join(keys)}")
    return value


if __name__ == "__main__":
    sys.exit(main())
