"""Resources that answer ``GET`` and ``HEAD`` with what a coroutine returns, for probes and scrapers."""

from __future__ import annotations

import abc
from http import HTTPStatus
from typing import Any

import attrs
from twisted.internet import defer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

__all__ = ["Answer", "PlainResource"]

_TEXT = "text/plain; charset=utf-8"


@attrs.frozen
class Answer:
    """An answer in full."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = _TEXT
    fields: tuple[tuple[str, str], ...] = ()
    """Further header fields."""


class PlainResource(Resource, abc.ABC):
    """Answers ``GET`` and ``HEAD``; a client that leaves meanwhile is not missed."""

    log = Logger()
    isLeaf = True

    @abc.abstractmethod
    async def answer(self, request: Any) -> Answer:
        """What to say; an error is logged, and becomes an answer with status 500."""

    def render(self, request: Any) -> Any:
        if request.method not in (b"GET", b"HEAD"):
            status = HTTPStatus.METHOD_NOT_ALLOWED
            _send(request, Answer(b"Method not allowed\n", status, fields=(("Allow", "GET, HEAD"),)))
            return NOT_DONE_YET
        answering = defer.Deferred.fromCoroutine(self.answer(request))

        def left(_: Failure) -> None:
            answering.cancel()

        request.notifyFinish().addErrback(left)
        answering.addErrback(self._failed)
        answering.addCallback(lambda answer: None if answer is None else _send(request, answer))
        return NOT_DONE_YET

    def _failed(self, failure: Failure) -> Answer | None:
        if failure.check(defer.CancelledError):
            return None
        self.log.failure("Unexpected error while answering {name}", failure, name=type(self).__name__)
        return Answer(b"Internal error\n", HTTPStatus.INTERNAL_SERVER_ERROR)


def _send(request: Any, answer: Answer) -> None:
    request.setResponseCode(answer.status, answer.status.phrase.encode("ascii"))
    request.setHeader("Content-Type", answer.content_type)
    request.setHeader("Content-Length", str(len(answer.body)))
    request.setHeader("Cache-Control", "no-store")
    request.setHeader("X-Content-Type-Options", "nosniff")
    for name, value in answer.fields:
        request.setHeader(name, value)
    request.write(answer.body)
    request.finish()
