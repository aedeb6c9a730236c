"""The console page over HTTP.

Exactly the files of a manifest are served, read into memory when the resource
is made.  A request path is looked up in that manifest as a whole and never
becomes a path on disk.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import attrs
from twisted.web import http
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

__all__ = ["CONTENT_SECURITY_POLICY", "PageError", "console_resource", "novnc_available", "secure_headers"]

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Only this origin's own files; no inline script or style; nobody may frame the page.

The browser library sets styles through the object model, which needs no
permission, and draws pointers and some pictures from ``data:`` and ``blob:``.
"""

_STATIC = Path(__file__).resolve().parent / "static"
_INDEX = "console.html"
_OWN = (
    _INDEX,
    "console.css",
    "console.js",
    "connection.js",
    "icon.svg",
    "link.js",
    "reasons.js",
    "typing.js",
)
_NOVNC = "novnc"
_NOVNC_DIRECTORIES = ("core", "vendor")
_NOVNC_NEEDED = ("VERSION", "core/rfb.js")
_MAX_FILES = 500
_MAX_BYTES = 8 * 1024 * 1024
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
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


class PageError(Exception):
    """The page's files are missing or beyond all measure; the text says which."""


def console_resource(static: Path = _STATIC) -> IResource:
    """The console page and all it loads, to be mounted anywhere in a tree.

    :param static: directory with the page's files.
    :raises PageError: a file of the page itself is missing, or there are too many or too large files.
        A missing browser library is no error: then the index says what is missing (503).
    """
    assets = dict(_read_all(static))
    index = assets[(_INDEX,)] if novnc_available(static) else None
    return _ConsolePage(assets, index)


def novnc_available(static: Path = _STATIC) -> bool:
    """Whether the browser library is in place."""
    return all((static / _NOVNC / name).is_file() for name in _NOVNC_NEEDED)


def secure_headers(request: http.Request) -> None:
    """Set the headers that every answer of a page's origin should carry."""
    for name, value in _HEADERS.items():
        _set_header(request, name, value)


@attrs.frozen
class _Asset:
    """One file."""

    content: bytes = attrs.field(repr=False)
    content_type: str
    tag: str


@implementer(IResource)
class _ConsolePage:
    """Answers for everything below its place in the tree."""

    isLeaf = True

    def __init__(self, assets: Mapping[tuple[str, ...], _Asset], index: _Asset | None) -> None:
        self._assets = assets
        self._index = index

    def render(self, request: Request) -> bytes | int:
        """Answer one request."""
        secure_headers(request)
        if request.method not in (b"GET", b"HEAD"):
            _set_header(request, "Allow", "GET, HEAD")
            return _text(request, http.NOT_ALLOWED, "Method not allowed")
        # Segments are compared one by one, decoded: an encoded slash is no separator.
        path = tuple(segment.decode("latin-1") for segment in request.postpath or ())
        if not path:
            return _add_slash(request)
        if path == ("",):
            if self._index is None:
                return _answer(request, http.SERVICE_UNAVAILABLE, _TYPES[".html"], _INCOMPLETE)
            return _serve(request, self._index)
        asset = self._assets.get(path)
        return _text(request, http.NOT_FOUND, "Not found") if asset is None else _serve(request, asset)

    def getChildWithDefault(self, name: bytes, request: Request) -> IResource:
        """Never asked: the page is a leaf."""
        return self

    def putChild(self, path: bytes, child: IResource) -> None:
        """Nothing can be put below the page.

        :raises TypeError: always.
        """
        raise TypeError("the console page has no place for other resources")


def _add_slash(request: Request) -> bytes | int:
    """The page's links are relative to a directory: send ``/console`` to ``/console/``.

    The target is the name under which the page is mounted, relative to where the browser is, so it cannot
    lead anywhere else.
    """
    name = request.prepath[-1] if request.prepath else b""
    _set_header(request, "Location", f"./{quote(name, safe='')}/")
    return _text(request, http.PERMANENT_REDIRECT, "Moved")


def _serve(request: Request, asset: _Asset) -> bytes | int:
    _set_header(request, "ETag", asset.tag)
    known = request.requestHeaders.getRawHeaders("If-None-Match", [])
    tags = {tag.strip().removeprefix("W/") for line in known for tag in line.split(",")}
    if tags & {asset.tag, "*"}:
        request.setResponseCode(http.NOT_MODIFIED)
        return _finish(request)
    return _answer(request, http.OK, asset.content_type, asset.content)


def _text(request: Request, code: int, text: str) -> bytes | int:
    return _answer(request, code, "text/plain; charset=utf-8", f"{text}\n".encode())


def _answer(request: Request, code: int, content_type: str, content: bytes) -> bytes | int:
    request.setResponseCode(code)
    _set_header(request, "Content-Type", content_type)
    if request.method != b"HEAD":
        return content
    _set_header(request, "Content-Length", str(len(content)))
    return _finish(request)


def _finish(request: Request) -> int:
    """End an answer without a body; returning an empty one would set its length to 0."""
    finish: Callable[[], None] = request.finish
    finish()
    return NOT_DONE_YET


def _set_header(request: http.Request, name: str, value: str) -> None:
    request.responseHeaders.setRawHeaders(name, [value])


def _read_all(static: Path) -> Iterator[tuple[tuple[str, ...], _Asset]]:
    """Every file of the manifest, by the segments of its path."""
    size = 0
    for number, path in enumerate(_manifest(static)):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise PageError(f"cannot read {path}: {error.strerror}") from None
        size += len(content)
        if number >= _MAX_FILES or size > _MAX_BYTES:
            raise PageError(f"{static} has more than {_MAX_FILES} files or {_MAX_BYTES} bytes")
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        yield path.relative_to(static).parts, _Asset(content, _TYPES[path.suffix], tag)


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
