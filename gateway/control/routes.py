"""The control API as a table: what can be called, by whom, with what, and what is answered.

Requests are routed and checked by this table, and the OpenAPI document is made
from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs

from gateway.control.api import Api, Handler
from gateway.control.errors import ApiError, Fault
from gateway.control.schema import Body, Choice, Field, Flag, Text, Whole
from gateway.control.stream import CONTENT_TYPE
from gateway.control.views import EVENT_TYPES
from gateway.reasons import EndReason, Refusal
from gateway.sessions.info import SessionState
from gateway.sessions.session import MAX_MESSAGE
from gateway.settings import Role
from gateway.tickets import Kind

__all__ = ["PREFIX", "ROUTES", "Route", "find_route"]

PREFIX: Final = "/api/v1"

Schema = dict[str, Any]


@attrs.frozen
class Route:
    """One call."""

    method: str
    path: str
    """Behind the prefix; a segment in braces is a parameter."""
    role: Role
    handler: Handler
    summary: str
    answer: Schema
    """JSON schema of the answer's body."""
    query: tuple[Field, ...] = ()
    headers: tuple[Field, ...] = ()
    body: Body | None = None
    finds: bool = False
    """What is asked for may not exist."""
    conflicts: bool = False
    """It cannot be done at all times."""
    streams: bool = False
    """The answer is a stream of events."""

    @property
    def name(self) -> str:
        """Of the operation: that of its handler."""
        return self.handler.__name__

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the path's parameters."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


def find_route(method: str, segments: Sequence[str]) -> tuple[Route, dict[str, str]]:
    """The route of a request, and its path's parameters.

    :param segments: the parts of the path behind the prefix, decoded.
    :raises ApiError: there is nothing under this path, or not with this method.
    """
    found = [(route, values) for route in ROUTES if (values := _match(route, segments)) is not None]
    if not found:
        raise ApiError(Fault.NOT_FOUND)
    # A path that stands in the table as it is is no parameter's value (OpenAPI 3.1, section 4.8.8.1).
    found = [pair for pair in found if not pair[1]] or found
    # Whoever may be asked by GET may be asked by HEAD (RFC 9110, section 9.1).
    wanted = "GET" if method == "HEAD" else method
    for route, values in found:
        if route.method == wanted:
            return route, values
    allowed = [route.method for route, _ in found]
    if "GET" in allowed:
        allowed.append("HEAD")
    raise ApiError(Fault.METHOD, fields={"Allow": ", ".join(allowed)})


def _match(route: Route, segments: Sequence[str]) -> dict[str, str] | None:
    parts = route.path.split("/")[1:]
    if len(parts) != len(segments):
        return None
    values = {}
    for part, segment in zip(parts, segments, strict=True):
        if part.startswith("{"):
            if not 1 <= len(segment) <= LONGEST_ID:
                return None
            values[part[1:-1]] = segment
        elif part != segment:
            return None
    return values


# -- words of the table ------------------------------------------------------------


LONGEST_ID: Final = 64
_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "number"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_TRUTH: Final = {"type": "boolean"}


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _named(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _counts(labels: Sequence[str]) -> Schema:
    return {
        "type": "object",
        "properties": dict.fromkeys(labels, _COUNT),
        "additionalProperties": False,
    }


_KINDS: Final = (*(kind.value for kind in Kind), "unknown")
_STATES: Final = tuple(state.value for state in SessionState)
_SELECTION: Final = (
    Field("session", Text(LONGEST_ID), "Id of a session."),
    Field("ticket", Text(128), "Id of a ticket: every session of its group."),
    Field("subject", Text(1024), "Whom the ticket was made for."),
    Field("client", Text(64), "Address of a client, or a network such as 192.0.2.0/24."),
    Field("console", Text(300), "Target as the ticket names it, HOST:PORT."),
)
_TYPES: Final = Field("type", Choice(EVENT_TYPES), "Only events of this type.", repeated=True)
_AFTER: Final = Whole(0, 2**53 - 1)
_LONGEST_DRAIN: Final = 604800
_MESSAGE: Final = Text(MAX_MESSAGE, shortest=0, most_bytes=MAX_MESSAGE, printable=True)

_DRAIN: Final = _object(
    draining={
        **_TRUTH,
        "description": "Whether the gateway waits for its sessions to end, and takes no other.",
    },
    sessions={**_COUNT, "description": "That live."},
    left_seconds={
        "type": ["number", "null"],
        "minimum": 0,
        "description": "That they have; null where the gateway does not drain.",
    },
    message={**_TEXT, "description": "What users were told."},
)
_DRAIN_FIELDS: Final = (
    Field(
        "seconds", Whole(0, _LONGEST_DRAIN), "Time that sessions have; without it, drain.cap of the settings."
    ),
    Field(
        "message",
        _MESSAGE,
        f"What users are told, in at most {MAX_MESSAGE} bytes of UTF-8.",
        default="",
    ),
)

_STATUS: Final = _object(
    version=_TEXT,
    started={**_NUMBER, "description": "Seconds since the epoch."},
    uptime={**_NUMBER, "description": "Seconds."},
    admitting=_TRUTH,
    drain=_DRAIN,
    sessions=_object(
        total=_COUNT,
        limit=_COUNT,
        by_kind=_object(**dict.fromkeys(_KINDS, _COUNT)),
        by_state=_object(**dict.fromkeys(_STATES, _COUNT)),
    ),
    handshakes=_object(open=_COUNT, limit=_COUNT),
    ledger=_object(
        size={"type": ["integer", "null"], "description": "null while the ledger does not answer."},
        limit=_COUNT,
    ),
    listeners=_list(_TEXT),
    certificate_expires={
        "type": ["number", "null"],
        "description": "Of the certificate that clients see, in seconds since the epoch.",
    },
    targets=_list(
        _object(target=_TEXT, expires={**_NUMBER, "description": "Of its certificate, since the epoch."})
    ),
    ended=_counts([reason.label for reason in EndReason]),
    refused=_counts([refusal.label for refusal in Refusal]),
    event_loop_lag={**_NUMBER, "description": "Seconds."},
    masker={**_TRUTH, "description": "Whether unmasking is native, and fast."},
    role={**_TEXT, "enum": [role.value for role in Role], "description": "What the caller may do."},
    actor={**_TEXT, "description": "Who the caller is."},
)

ROUTES: Final = (
    Route("GET", "/openapi.json", Role.READ, Api.openapi, "This document.", {"type": "object"}),
    Route("GET", "/status", Role.READ, Api.status, "What is used, of how much, and since when.", _STATUS),
    Route(
        "GET",
        "/health",
        Role.READ,
        Api.health,
        "What was looked at, and whether all is well.",
        _object(healthy=_TRUTH, ready=_TRUTH, checks=_list(_named("Check"))),
    ),
    Route(
        "GET",
        "/settings",
        Role.READ,
        Api.settings,
        "What is in force, by section and key; no secrets.",
        {"type": "object", "additionalProperties": {"type": "object"}},
    ),
    Route(
        "GET",
        "/sessions",
        Role.READ,
        Api.sessions,
        "Live sessions, oldest first: those that everything that is given fits.",
        _object(total=_COUNT, sessions=_list(_named("Session"))),
        query=(
            *_SELECTION,
            Field("kind", Choice(_KINDS), "What the console speaks."),
            Field("state", Choice(_STATES), "How far the session is."),
            Field("limit", Whole(1, 10000), "Sessions in the answer.", default=1000),
            Field("offset", Whole(0, 10**9), "Sessions to leave out before.", default=0),
        ),
    ),
    Route(
        "GET", "/sessions/{id}", Role.READ, Api.session, "One live session.", _named("Session"), finds=True
    ),
    Route(
        "POST",
        "/sessions/end",
        Role.OPERATE,
        Api.end,
        "End the sessions that everything that is given fits. Their tickets open no others.",
        _object(ended=_list(_named("Session"))),
        body=Body(
            (
                *_SELECTION,
                Field("all", Flag(only=True), "Needed to end sessions without any other criterion."),
                Field(
                    "message",
                    _MESSAGE,
                    f"What users are told, in at most {MAX_MESSAGE} bytes of UTF-8.",
                    default="",
                ),
            ),
            one_of=(*(field.name for field in _SELECTION), "all"),
        ),
    ),
    Route(
        "GET",
        "/admission",
        Role.READ,
        Api.admission,
        "Whether sessions are let in.",
        _object(admitting=_TRUTH),
    ),
    Route(
        "POST",
        "/admission",
        Role.OPERATE,
        Api.set_admission,
        "Stop or resume letting sessions in. Those that there are go on.",
        _object(admitting=_TRUTH),
        body=Body(
            (
                Field("admitting", Flag(), "Whether to let sessions in.", required=True),
                Field("reason", Text(200, shortest=0, printable=True), "For the record.", default=""),
            )
        ),
    ),
    Route(
        "POST",
        "/reload",
        Role.OPERATE,
        Api.reload,
        "Read the settings file, certificates and keys again, and put them in force: all or nothing. "
        "Sessions go on. The same as SIGHUP.",
        _object(
            changed={**_list(_TEXT), "description": "Settings that are in force now and were not before."},
            needs_restart={**_list(_TEXT), "description": "Settings that only a restart puts in force."},
        ),
        body=Body(()),
        conflicts=True,
    ),
    Route("GET", "/drain", Role.READ, Api.drain, "Whether the gateway drains, and how far it is.", _DRAIN),
    Route(
        "POST",
        "/drain",
        Role.OPERATE,
        Api.begin_drain,
        "Take no new sessions, tell the users, and end those that are left after a time, with close code "
        "1012. Where that goes on already, the time begins anew.",
        _DRAIN,
        body=Body(_DRAIN_FIELDS),
    ),
    Route(
        "DELETE",
        "/drain",
        Role.OPERATE,
        Api.cancel_drain,
        "Take sessions again, and tell the users.",
        _DRAIN,
        conflicts=True,
    ),
    Route(
        "POST",
        "/hand-over",
        Role.OPERATE,
        Api.hand_over,
        "Start a new process that takes over the listening sockets, and drain this one, which ends. The same "
        "as SIGUSR2. Answered when the new process accepts connections.",
        _object(
            pid={**_COUNT, "description": "Of the new process."},
            former={**_COUNT, "description": "Of the one that answers."},
        ),
        body=Body(_DRAIN_FIELDS),
        conflicts=True,
    ),
    Route(
        "GET",
        "/history",
        Role.READ,
        Api.history,
        "The latest events, newest first.",
        _object(events=_list(_named("Event"))),
        query=(Field("limit", Whole(1, 1000), "Events in the answer.", default=100), _TYPES),
    ),
    Route(
        "GET",
        "/events",
        Role.READ,
        Api.events,
        "Events as they happen, as Server-Sent Events. Each has its number as id, its type as name, and an "
        "Event as data. An event 'lost' with {missed_after} comes first when not everything behind the "
        "number that was asked for is remembered.",
        {"type": "string", "contentMediaType": CONTENT_TYPE},
        query=(
            Field("after", _AFTER, "Begin behind this number; without it, with what is to come."),
            _TYPES,
        ),
        headers=(Field("Last-Event-ID", _AFTER, "The same, as browsers say it when they reconnect."),),
        streams=True,
    ),
)
"""Every call."""
