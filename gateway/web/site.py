"""The console page over HTTP: exactly the files of a manifest."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from twisted.web import http
from twisted.web.resource import IResource
from twisted.web.server import Request

from gateway.web import assets
from gateway.web.assets import STATIC, Asset, Assets, Page, PageError

__all__ = ["CONTENT_SECURITY_POLICY", "PageError", "console_resource", "novnc_available", "secure_headers"]

CONTENT_SECURITY_POLICY = assets.content_security_policy("data:", "blob:")
"""Only this origin's own files; no inline script or style; nobody may frame the page.

The browser library sets styles through the object model, which needs no
permission, and draws pointers and some pictures from ``data:`` and ``blob:``.
"""

_INDEX = "console.html"
_OWN = (
    _INDEX,
    "console.css",
    "console.js",
    "connection.js",
    "icon.svg",
    "link.js",
    "notices.js",
    "reasons.js",
    "typing.js",
)
_NOVNC = "novnc"
_NOVNC_DIRECTORIES = ("core", "vendor")
_NOVNC_NEEDED = ("VERSION", "core/rfb.js")
_INCOMPLETE = b"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Console page is incomplete</title>
<h1>Console page is incomplete</h1>
<p>The browser library (noVNC) is not installed on the gateway.
<p>The administrator can fetch it (npm is needed) and restart the gateway:
<pre>python -m gateway.web.fetch</pre>
</html>
"""


def console_resource(static: Path = STATIC) -> IResource:
    """The console page and all it loads, to be mounted anywhere in a tree.

    :param static: directory with the page's files.
    :raises PageError: a file of the page itself is missing, or there are too many or too large files.
        A missing browser library is no error: then the index says what is missing (503).
    """
    files = assets.read_assets((path.relative_to(static).parts, path) for path in _manifest(static))
    index = files[(_INDEX,)] if novnc_available(static) else None
    return _ConsolePage(files, index)


def novnc_available(static: Path = STATIC) -> bool:
    """Whether the browser library is in place."""
    return all((static / _NOVNC / name).is_file() for name in _NOVNC_NEEDED)


def secure_headers(request: http.Request) -> None:
    """Set the headers that every answer of a page's origin should carry."""
    assets.secure(request, CONTENT_SECURITY_POLICY)


class _ConsolePage(Page):
    """The files, below the name under which the page is mounted."""

    def __init__(self, files: Assets, index: Asset | None) -> None:
        super().__init__(CONTENT_SECURITY_POLICY)
        self._files = files
        self._index = index

    def answer(self, request: Request) -> bytes | int:
        path = assets.segments(request.postpath or ())
        if not path:
            return _add_slash(request)
        if path != ("",):
            return assets.serve(request, self._files.get(path))
        if self._index is None:
            return assets.content(request, http.SERVICE_UNAVAILABLE, "text/html; charset=utf-8", _INCOMPLETE)
        return assets.serve(request, self._index)


def _add_slash(request: Request) -> bytes | int:
    """The page's links are relative to a directory: send ``/console`` to ``/console/``.

    The target is the name under which the page is mounted, relative to where the browser is, so it cannot
    lead anywhere else.
    """
    name = request.prepath[-1] if request.prepath else b""
    assets.set_header(request, "Location", f"./{quote(name, safe='')}/")
    return assets.text(request, http.PERMANENT_REDIRECT, "Moved")


def _manifest(static: Path) -> Iterator[Path]:
    for name in _OWN:
        yield static / name
    for directory in _NOVNC_DIRECTORIES:
        yield from _scripts(static / _NOVNC / directory)


def _scripts(directory: Path) -> Iterator[Path]:
    """The scripts below a directory: ordinary files only, no link is followed."""
    try:
        entries = sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        mode = entry.lstat().st_mode
        if stat.S_ISDIR(mode):
            yield from _scripts(entry)
        elif stat.S_ISREG(mode) and entry.suffix == ".js":
            yield entry
