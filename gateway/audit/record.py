"""What an event becomes in the audit: one flat object of JSON with a version, always with the same keys.

The keys of each type are documented in ``docs/audit.md``.  Every text in a
record is one printable line of bounded length, whatever a client, a target or
an operator said; see :func:`gateway.settings.one_line`.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Final, TypeAlias

import attrs

from gateway.sessions.events import (
    AdminAction,
    Event,
    RequestRefused,
    SessionEnded,
    SessionJoined,
    SessionOpened,
    SessionWarned,
)
from gateway.sessions.info import SessionInfo
from gateway.settings import one_line

__all__ = ["VERSION", "Record", "Recorder", "Value"]

VERSION: Final = 1
"""Of the schema.  Keys may be added without a new one; none is removed or changes its meaning."""

_MAX_TEXT: Final = 300
"""Characters of a name; a host name with its port has at most 259."""
_MAX_DETAIL: Final = 1000
_MIN_TEXT: Final = 20
"""What a text keeps however small a record has to be."""
_MAX_IDS: Final = 100
"""Ids in a list.  Each session that an operator ends has a record of its own anyway."""

_NOTICE: Final = 5
_PRIORITIES: Final = {"audit-lost": 3, "request-refused": 4}
"""In the words of RFC 5424, section 6.2.1: error, and warning; everything else is normal but significant."""
_COMMON: Final = frozenset({"schema", "time", "event", "number", "host", "instance"})

Value: TypeAlias = str | int | float | list[str] | None
"""A list holds ids and nothing else."""


@attrs.frozen
class Record:
    """One line of the audit."""

    values: Mapping[str, Value]

    @property
    def event(self) -> str:
        """What kind of record it is."""
        return str(self.values["event"])

    @property
    def number(self) -> int:
        """Counts the records of one process."""
        number = self.values["number"]
        assert isinstance(number, int)
        return number

    @property
    def priority(self) -> int:
        """Severity as in RFC 5424, 0 to 7."""
        return _PRIORITIES.get(self.event, _NOTICE)

    def line(self) -> bytes:
        """The record as JSON in printable ASCII, without the end of the line."""
        # Texts are printable, so that no control character can be in it, escaped or not.
        return json.dumps(self.values, allow_nan=False, separators=(",", ":")).encode("ascii")

    def fitted(self, size: int) -> Record:
        """The record with texts and lists cut, if that is needed, until its line fits.

        :param size: bytes that the line may have; one that has no long texts is what it is.
        """
        record, limit = self, _MAX_TEXT
        while len(record.line()) > size and limit > _MIN_TEXT:
            limit //= 2
            record = Record({key: _shortened(key, value, limit) for key, value in self.values.items()})
        return record

    def summary(self) -> str:
        """The record in one line for people."""
        told = ((key, value) for key, value in self.values.items() if key not in _COMMON)
        pairs = (f"{key}={_plain(value)}" for key, value in told if value is not None)
        return " ".join((self.event, *pairs))


class Recorder:
    """Makes the records of one process, and counts them."""

    def __init__(self, host: str, instance: str) -> None:
        """
        :param host: name of this host.
        :param instance: distinguishes the processes that ran there.
        """
        self._host = _text(host)
        self._instance = _text(instance)
        self._number = 0

    def of(self, event: Event) -> Record:
        """The record of an event."""
        what = event.what
        return self._next(what.name, event.time, _values(what))

    def started(self, version: str, when: float) -> Record:
        """The first record of a process.

        :param version: of the gateway.
        :param when: seconds since the epoch, as everywhere here.
        """
        return self._next("audit-started", when, {"version": _text(version)})

    def stopped(self, when: float) -> Record:
        """The last record of a process that ends in order."""
        return self._next("audit-stopped", when, {})

    def lost(self, count: int, number: int, when: float) -> Record:
        """The record that stands in the place of ``count`` others, ``number`` being that of the last."""
        return self._record("audit-lost", when, number, {"lost": count})

    def _next(self, name: str, when: float, values: Mapping[str, Value]) -> Record:
        self._number += 1
        return self._record(name, when, self._number, values)

    def _record(self, name: str, when: float, number: int, values: Mapping[str, Value]) -> Record:
        common: dict[str, Value] = {
            "schema": VERSION,
            "time": _rfc3339(when),
            "event": name,
            "number": number,
            "host": self._host,
            "instance": self._instance,
        }
        return Record({**common, **values})


def _values(
    what: SessionOpened | SessionJoined | SessionWarned | SessionEnded | RequestRefused | AdminAction,
) -> dict[str, Value]:
    if isinstance(what, SessionOpened):
        return {**_session(what.session), "handshake": _seconds(what.handshake)}
    if isinstance(what, SessionJoined):
        return {
            **_session(what.session),
            "security": _text(what.session.security),
            "dialling": _seconds(what.dialling),
        }
    if isinstance(what, SessionWarned):
        return {**_session(what.session), "reason": what.reason.label, "left": _seconds(what.left)}
    if isinstance(what, SessionEnded):
        return _ended(what)
    if isinstance(what, RequestRefused):
        return {
            "client": _text(what.client),
            "ticket": _text(what.ticket),
            "subject": _text(what.subject),
            "target": _text(what.target),
            "reason": what.reason.label,
            "status": what.reason.status,
            "detail": _detail(what.detail),
        }
    return {
        "actor": _text(what.actor),
        "action": _text(what.action),
        "count": len(what.sessions),
        "sessions": [_cut(one_line(each), _MAX_TEXT) for each in what.sessions[:_MAX_IDS]],
        "detail": _detail(what.detail),
    }


def _session(info: SessionInfo) -> dict[str, Value]:
    return {
        "session": _text(info.id),
        "ticket": _text(info.ticket),
        "subject": _text(info.subject),
        "client": _text(info.client),
        "target": _text(info.target),
        "kind": info.kind.value if info.kind is not None else None,
        "attach": info.attach.value,
    }


def _ended(what: SessionEnded) -> dict[str, Value]:
    info = what.session
    return {
        **_session(info),
        "security": _text(info.security),
        "reason": what.reason.label,
        "code": what.reason.code,
        "started": _rfc3339(info.started),
        "duration": _seconds(info.duration),
        "to_target": info.to_target,
        "to_client": info.to_client,
        "messages_to_target": info.messages_to_target,
        "messages_to_client": info.messages_to_client,
        "detail": _detail(what.detail),
    }


def _text(text: str | None) -> str | None:
    return None if text is None else _cut(one_line(text[: _MAX_TEXT + 1]), _MAX_TEXT, len(text))


def _detail(text: str) -> str | None:
    return _cut(one_line(text[: _MAX_DETAIL + 1]), _MAX_DETAIL, len(text)) if text else None


def _cut(text: str, limit: int, whole: int = 0) -> str:
    """*text* with a mark where it was cut; ``whole`` is its length if it was cut already."""
    more = max(len(text), whole) - limit
    return text if more <= 0 else f"{text[:limit]}[{more} more]"


def _shortened(key: str, value: Value, limit: int) -> Value:
    if key in _COMMON:
        return value
    if isinstance(value, str):
        return _cut(value, limit)
    return value[: limit // 4] if isinstance(value, list) else value


def _plain(value: Value) -> str:
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, str) and (not value or any(sign in value for sign in ' "=')):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _seconds(value: float) -> float:
    return round(value, 3)


def _rfc3339(when: float) -> str:
    moment = datetime.datetime.fromtimestamp(when, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
