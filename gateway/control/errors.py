"""What the control API answers when it does not do what it was asked: a closed enum, and one form."""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from typing import Any, Final

__all__ = ["ERROR_SCHEMA", "HEADERS", "ApiError", "Fault", "error_body"]

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Header fields of every answer that is no page: nobody keeps it, guesses its type, frames or embeds it."""


class Fault(enum.Enum):
    """Why a call was not answered: ``(code, status, meaning)``."""

    BAD_REQUEST = ("bad-request", 400, "The request cannot be read")
    UNAUTHORIZED = ("unauthorized", 401, "Valid credentials are needed")
    ROLE = ("role", 403, "These credentials may not do this")
    HOST = ("host", 403, "The API is not served under this name")
    ORIGIN = ("origin", 403, "Pages of other origins may not use the API")
    NOT_FOUND = ("not-found", 404, "There is no such thing")
    METHOD = ("method", 405, "Method not allowed")
    CONFLICT = ("conflict", 409, "It cannot be done as things are; nothing was changed")
    TOO_LARGE = ("too-large", 413, "The body is too large")
    MEDIA_TYPE = ("media-type", 415, "The body is not of a type that is understood")
    INVALID = ("invalid", 422, "A value is not allowed")
    TOO_MANY = ("too-many", 429, "Too many streams are open")
    INTERNAL = ("internal", 500, "Internal error; the log has more")

    def __init__(self, code: str, status: int, meaning: str) -> None:
        self.code = code
        self.status = status
        self.meaning = meaning


class ApiError(Exception):
    """A call is not answered.  Neither the text nor the remedy quotes what was received."""

    def __init__(
        self,
        fault: Fault,
        text: str = "",
        remedy: str = "",
        *,
        fields: dict[str, str] | None = None,
        problems: Sequence[str] = (),
    ) -> None:
        """
        :param text: what is wrong, where there is more to say than the fault's meaning.
        :param remedy: what to do about it.
        :param fields: further header fields of the answer.
        :param problems: everything that is wrong, a line each, where that is more than one thing.
        """
        super().__init__(fault.code, text)
        self.fault = fault
        self.text = text or fault.meaning
        self.remedy = remedy
        self.fields = fields or {}
        self.problems = tuple(problems)


def error_body(error: ApiError) -> bytes:
    """An error as JSON."""
    content: dict[str, Any] = {"code": error.fault.code, "message": error.text}
    if error.remedy:
        content["remedy"] = error.remedy
    if error.problems:
        content["problems"] = error.problems
    return json.dumps({"error": content}).encode("ascii")


ERROR_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string", "enum": [fault.code for fault in Fault]},
                "message": {"type": "string", "description": "What is wrong, for people."},
                "remedy": {"type": "string", "description": "What to do about it."},
                "problems": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "Everything that is wrong, where that is more than one thing.",
                },
            },
            "required": ["code", "message"],
            "additionalProperties": False,
        }
    },
    "required": ["error"],
    "additionalProperties": False,
}
"""The same as a JSON schema."""
