"""The table of routes as an OpenAPI 3.1 document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from gateway import __version__
from gateway.control.errors import ERROR_SCHEMA, Fault
from gateway.control.routes import LONGEST_ID, PREFIX, ROUTES, Route
from gateway.control.schema import Field
from gateway.control.stream import CONTENT_TYPE
from gateway.control.views import SCHEMAS
from gateway.settings import Role

__all__ = ["openapi_document"]

_JSON: Final = "application/json"
_DESCRIPTION: Final = (
    "Sessions of a console gateway: who is on which console, and how to end it. Nothing here can be used to "
    "attach to a console.\n\n"
    "Over the Unix socket no credentials are needed; its permissions say who may connect. Everywhere else a "
    "bearer token or a client certificate is."
)


def openapi_document() -> dict[str, Any]:
    """The document, as JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Console Gateway control API",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"certificate": []}],
        "paths": paths,
        "components": {
            "schemas": {**SCHEMAS, "Error": ERROR_SCHEMA},
            "responses": {fault.code: _fault(fault) for fault in Fault},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "certificate": {"type": "mutualTLS"},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    needs = " Needs the role 'operate'." if route.role is Role.OPERATE else ""
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary.partition(". ")[0].removesuffix("."),
        "description": route.summary + needs,
        "parameters": [
            *(_path_parameter(name) for name in route.parameters),
            *(_parameter("query", field) for field in route.query),
            *(_parameter("header", field) for field in route.headers),
        ],
        "responses": {
            "200": {
                "description": "As asked.",
                "content": {CONTENT_TYPE if route.streams else _JSON: {"schema": route.answer}},
            },
            **_faults(route),
        },
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {_JSON: {"schema": route.body.schema()}},
        }
    return operation


def _path_parameter(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_ID},
    }


def _parameter(place: str, field: Field) -> dict[str, Any]:
    return {
        "name": field.name,
        "in": place,
        "description": field.doc,
        "required": field.required,
        "schema": field.schema(),
    }


def _faults(route: Route) -> dict[str, Any]:
    possible = {Fault.BAD_REQUEST, Fault.UNAUTHORIZED, Fault.ROLE, Fault.TOO_LARGE, Fault.INVALID}
    if route.finds:
        possible.add(Fault.NOT_FOUND)
    if route.conflicts:
        possible.add(Fault.CONFLICT)
    if route.body is not None:
        possible.add(Fault.MEDIA_TYPE)
    if route.streams:
        possible.add(Fault.TOO_MANY)
    return {
        str(fault.status): {"$ref": f"#/components/responses/{fault.code}"} for fault in _in_order(possible)
    }


def _in_order(faults: Iterable[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: fault.status)


def _fault(fault: Fault) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": fault.meaning + ".",
        "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    if fault is Fault.UNAUTHORIZED:
        answer["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}, "required": True}}
    return answer
