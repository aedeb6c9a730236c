"""Files for browsers over HTTP: what every page of ours is served with.

Files are read into memory when a page's resource is made.  A request path is
looked up as a whole among those that were read, and never becomes a path on
disk.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import attrs
from twisted.web import http
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

__all__ = [
    "STATIC",
    "Asset",
    "Assets",
    "Page",
    "PageError",
    "content",
    "content_security_policy",
    "read_assets",
    "secure",
    "segments",
    "serve",
    "set_header",
    "text",
]

STATIC: Final = Path(__file__).resolve().parent / "static"
"""Where the pages' files are."""

_MAX_FILES = 500
_MAX_BYTES = 8 * 1024 * 1024
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class PageError(Exception):
    """The page's files are missing or beyond all measure; the text says which."""


@attrs.frozen
class Asset:
    """One file."""

    content: bytes = attrs.field(repr=False)
    content_type: str
    tag: str

    @classmethod
    def read(cls, path: Path) -> Asset:
        """:raises PageError: the file cannot be read."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise PageError(f"cannot read {path}: {error.strerror}") from None
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        return cls(content, _TYPES[path.suffix], tag)


Assets: TypeAlias = Mapping[tuple[str, ...], Asset]
"""Files by the segments of their paths."""


def read_assets(files: Iterable[tuple[tuple[str, ...], Path]]) -> Assets:
    """Every file of a manifest, given with the segments of the path under which it is served.

    :raises PageError: a file is missing, or there are too many or too large ones.
    """
    assets: dict[tuple[str, ...], Asset] = {}
    size = 0
    for segments, path in files:
        asset = assets[segments] = Asset.read(path)
        size += len(asset.content)
        if len(assets) > _MAX_FILES or size > _MAX_BYTES:
            raise PageError(f"{path} is beyond {_MAX_FILES} files or {_MAX_BYTES} bytes in all")
    return assets


def content_security_policy(*images: str) -> str:
    """A policy of this origin's own files only: no inline script or style, and nobody may frame the page.

    :param images: where pictures may come from besides, such as ``data:``.
    """
    pictures = " ".join(("'self'", *images))
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {pictures}; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


@implementer(IResource)
class Page(ABC):
    """Answers for everything below its place in the tree."""

    isLeaf = True

    def __init__(self, policy: str) -> None:
        """:param policy: the ``Content-Security-Policy`` of every answer."""
        self._policy = policy

    @abstractmethod
    def answer(self, request: Request) -> bytes | int:
        """Answer a GET or HEAD request, whose headers for security are set."""

    def render(self, request: Request) -> bytes | int:
        """Answer one request."""
        secure(request, self._policy)
        if request.method not in (b"GET", b"HEAD"):
            set_header(request, "Allow", "GET, HEAD")
            return text(request, http.NOT_ALLOWED, "Method not allowed")
        return self.answer(request)

    def getChildWithDefault(self, name: bytes, request: Request) -> IResource:
        """Never asked: the page is a leaf."""
        return self

    def putChild(self, path: bytes, child: IResource) -> None:
        """Nothing can be put below a page.

        :raises TypeError: always.
        """
        raise TypeError("a page has no place for other resources")


def secure(request: http.Request, policy: str) -> None:
    """Set the headers that every answer of a page's origin should carry."""
    set_header(request, "Content-Security-Policy", policy)
    for name, value in _HEADERS.items():
        set_header(request, name, value)


def segments(path: Iterable[bytes]) -> tuple[str, ...]:
    """A path as twisted.web took it apart: decoded one by one, so an encoded slash is no separator."""
    return tuple(segment.decode("latin-1") for segment in path)


def serve(request: Request, asset: Asset | None) -> bytes | int:
    """Answer with a file, with "not modified" if that is what the browser has, or with 404."""
    if asset is None:
        return text(request, http.NOT_FOUND, "Not found")
    set_header(request, "ETag", asset.tag)
    known = request.requestHeaders.getRawHeaders("If-None-Match", [])
    tags = {tag.strip().removeprefix("W/") for line in known for tag in line.split(",")}
    if tags & {asset.tag, "*"}:
        request.setResponseCode(http.NOT_MODIFIED)
        return _finish(request)
    return content(request, http.OK, asset.content_type, asset.content)


def text(request: Request, code: int, line: str) -> bytes | int:
    """Answer with one line."""
    return content(request, code, "text/plain; charset=utf-8", f"{line}\n".encode())


def content(request: Request, code: int, content_type: str, body: bytes) -> bytes | int:
    """Answer with a body, which HEAD only measures."""
    request.setResponseCode(code)
    set_header(request, "Content-Type", content_type)
    if request.method != b"HEAD":
        return body
    set_header(request, "Content-Length", str(len(body)))
    return _finish(request)


def set_header(request: http.Request, name: str, value: str) -> None:
    """Set a header of the answer, and no other of its name."""
    request.responseHeaders.setRawHeaders(name, [value])


def _finish(request: Request) -> int:
    """End an answer without a body; returning an empty one would set its length to 0."""
    finish: Callable[[], None] = request.finish
    finish()
    return NOT_DONE_YET
