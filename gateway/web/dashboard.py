"""The dashboard over HTTP: the page of the control API.

The page is no secret and needs no credentials; what it shows, it asks the API
for with those that the operator gave it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from twisted.web.resource import IResource
from twisted.web.server import Request

from gateway.web import assets
from gateway.web.assets import STATIC, Assets, Page

__all__ = ["DASHBOARD_POLICY", "dashboard_resource"]

DASHBOARD_POLICY: Final = assets.content_security_policy()
"""Only this origin's own files and API; no inline script or style; nobody may frame the page."""

_DIRECTORY = "dashboard"
_INDEX = "index.html"
_SCRIPTS = (
    "api.js",
    "app.js",
    "details.js",
    "dialogs.js",
    "ending.js",
    "events.js",
    "filter.js",
    "format.js",
    "history.js",
    "page.js",
    "readings.js",
    "sessions.js",
    "status.js",
    "table.js",
)
_OWN = (*_SCRIPTS, "dashboard.css")
_SHARED = ("icon.svg",)


def dashboard_resource(static: Path = STATIC) -> IResource:
    """The page for ``/`` and what it loads from below ``/dashboard/``.

    It goes by the whole path of a request, so it does not matter whether it is the root of the tree, the
    root's child of either name, or both.  Its links are relative: a proxy may put it below another path.

    :param static: directory with the pages' files.
    :raises gateway.web.PageError: a file is missing.
    """
    return _Dashboard(assets.read_assets(_manifest(static)))


class _Dashboard(Page):
    """The files, by their whole paths."""

    def __init__(self, files: Assets) -> None:
        super().__init__(DASHBOARD_POLICY)
        self._files = files

    def answer(self, request: Request) -> bytes | int:
        path = assets.segments((*(request.prepath or ()), *(request.postpath or ())))
        return assets.serve(request, self._files.get(path))


def _manifest(static: Path) -> Iterator[tuple[tuple[str, ...], Path]]:
    yield ("",), static / _DIRECTORY / _INDEX
    for name in _OWN:
        yield (_DIRECTORY, name), static / _DIRECTORY / name
    for name in _SHARED:
        yield (_DIRECTORY, name), static / name
