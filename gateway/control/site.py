"""The control API and what is beside it, as a twisted.web site."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from gateway.control.access import Access
from gateway.control.api import Api, Call
from gateway.control.errors import HEADERS, ApiError, Fault, error_body
from gateway.control.routes import Route, find_route
from gateway.control.schema import read_body, read_fields
from gateway.control.stream import EventStream
from gateway.net.http_site import HttpSite, raw_answer

__all__ = ["make_control_site"]

_JSON: Final = "application/json"
_PROBES: Final = frozenset({b"healthz", b"readyz"})
"""Open to everybody, under whatever name: a balancer has no credentials."""
_PAGES: Final = frozenset({b"", b"dashboard"})
"""Open to everybody: the dashboard is no secret, and asks for credentials itself."""


def make_control_site(
    api: Api,
    access: Callable[[], Access],
    reactor: IReactorTime,
    *,
    extra: Mapping[str, IResource],
    dashboard: IResource | None,
) -> HttpSite:
    """The whole site.

    :param extra: resources by name; ``healthz`` and ``readyz`` need no credentials, all others do.
    :param dashboard: what is served as ``/`` and below ``/dashboard``.
    """
    fields = {**HEADERS, "Content-Type": _JSON}
    too_large = raw_answer(Fault.TOO_LARGE.status, fields, error_body(ApiError(Fault.TOO_LARGE)))
    root = _Root(api, access, {name.encode("ascii"): child for name, child in extra.items()}, dashboard)
    return HttpSite(root, reactor, too_large=too_large, forms=False)


class _Root(Resource):
    """Lets nobody past who may not come here."""

    log = Logger()

    def __init__(
        self,
        api: Api,
        access: Callable[[], Access],
        extra: Mapping[bytes, IResource],
        dashboard: IResource | None,
    ) -> None:
        super().__init__()
        self._access = access
        self._api = _ApiResource(api, access)
        self._extra = extra
        self._dashboard = dashboard

    def getChildWithDefault(self, path: bytes, request: Any) -> IResource:
        try:
            if path in _PROBES and path in self._extra:
                return self._extra[path]
            self._access().check_source(request)
            if path == b"api":
                return self._api
            if path in _PAGES and self._dashboard is not None:
                return self._dashboard
            self._access().caller(request)
            if path in self._extra:
                return self._extra[path]
            raise ApiError(Fault.NOT_FOUND)
        except ApiError as error:
            return _Refusal(error)


class _Refusal(Resource):
    isLeaf = True

    def __init__(self, error: ApiError) -> None:
        super().__init__()
        self._error = error

    def render(self, request: Any) -> Any:
        _answer_error(request, self._error)
        return NOT_DONE_YET


class _ApiResource(Resource):
    """Routes, checks and answers calls."""

    log = Logger()
    isLeaf = True

    def __init__(self, api: Api, access: Callable[[], Access]) -> None:
        super().__init__()
        self._api = api
        self._access = access

    def render(self, request: Any) -> Any:
        answering = defer.Deferred.fromCoroutine(self._answer(request))
        if not answering.called:
            request.notifyFinish().addErrback(lambda _: answering.cancel())
        answering.addErrback(self._failed, request)
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        caller = self._access().caller(request)
        route, path = find_route(_text(request.method), _segments(request))
        if not caller.may(route.role):
            raise ApiError(Fault.ROLE, remedy=f"use credentials with the role '{route.role.value}'")
        query = _read_query(route, request)
        body = _read_body(route, request)
        content = await route.handler(self._api, Call(caller, request, path, query, body))
        if isinstance(content, EventStream):
            content.start(request)
        else:
            _answer(request, 200, json.dumps(content, separators=(",", ":")).encode("ascii"))

    def _failed(self, failure: Failure, request: Request) -> None:
        if failure.check(defer.CancelledError):
            # The caller left.
            return
        error = failure.value
        if not isinstance(error, ApiError):
            self.log.failure("Unexpected error in the control API", failure)
            error = ApiError(Fault.INTERNAL)
        _answer_error(request, error)


_log = Logger()


def _answer_error(request: Request, error: ApiError) -> None:
    if error.fault.status in (401, 403):
        _log.warn(
            "control: a request of {client} was turned away: {reason}",
            client=getattr(request.getClientAddress(), "host", "unix"),
            reason=error.fault.code,
        )
    for name, value in error.fields.items():
        request.responseHeaders.setRawHeaders(name, [value])
    _answer(request, error.fault.status, error_body(error))


def _answer(request: Request, status: int, body: bytes) -> None:
    request.setResponseCode(status)
    for name, value in {**HEADERS, "Content-Type": _JSON, "Content-Length": str(len(body))}.items():
        request.responseHeaders.setRawHeaders(name, [value])
    request.write(body)
    request.finish()


def _segments(request: Request) -> list[str]:
    """The path behind ``/api/v1``."""
    try:
        version, *rest = [segment.decode("utf-8") for segment in request.postpath or ()]
    except ValueError:
        raise ApiError(Fault.NOT_FOUND) from None
    if version != "v1":
        raise ApiError(Fault.NOT_FOUND)
    return rest


def _read_query(route: Route, request: Request) -> dict[str, Any]:
    _, _, query = request.uri.partition(b"?")
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise ApiError(Fault.INVALID, "The query cannot be read") from None
    headers = [
        (field.name, value.decode("latin-1"))
        for field in route.headers
        for value in request.requestHeaders.getRawHeaders(field.name.encode("ascii"), [])
    ]
    return {**read_fields(route.query, pairs), **read_fields(route.headers, headers)}


def _read_body(route: Route, request: Request) -> dict[str, Any]:
    if route.body is None:
        return {}
    types = request.requestHeaders.getRawHeaders(b"content-type", [])
    if len(types) != 1 or not _is_json(types[0]) or request.requestHeaders.hasHeader(b"content-encoding"):
        # A page of another origin cannot send this type without being allowed to, and nobody allows it.
        raise ApiError(Fault.MEDIA_TYPE, remedy=f"send JSON, with 'Content-Type: {_JSON}'")
    content: Any = request.content
    return read_body(route.body, content.read())


def _is_json(content_type: bytes) -> bool:
    kind, *parameters = content_type.lower().split(b";")
    allowed = (b"charset=utf-8", b'charset="utf-8"')
    return kind.strip() == _JSON.encode() and all(part.strip() in allowed for part in parameters)


def _text(data: bytes) -> str:
    return data.decode("latin-1")
