"""Events of every type, and sinks under control."""

from __future__ import annotations

import errno
import os
from typing import Any

import attrs

from gateway.audit import Record
from gateway.reasons import EndReason, Refusal
from gateway.sessions.events import (
    AdminAction,
    Event,
    Happening,
    RequestRefused,
    SessionEnded,
    SessionJoined,
    SessionOpened,
    SessionWarned,
)
from gateway.sessions.info import SessionInfo, SessionState
from gateway.settings import Attach
from gateway.tickets import Kind

__all__ = ["WHEN", "FakeSink", "admin", "ended", "event", "every", "joined", "opened", "refused", "session"]

WHEN = 1782898200.25
"""2026-07-01T09:30:00.250Z"""


def session(**changes: Any) -> SessionInfo:
    info = SessionInfo(
        id="9b1f6e0a4c2d",
        ticket="c0ffee0123456789",
        subject="alice",
        client="192.0.2.17",
        target="host7.example.com:5901",
        kind=Kind.VNC,
        attach=Attach.SHARE,
        state=SessionState.ACTIVE,
        security="RFB X509_VNC, TLSv1.3",
        started=WHEN,
        duration=1799.7534,
        idle=60.0,
        to_target=20211,
        to_client=8831220,
        messages_to_target=1802,
        messages_to_client=9120,
    )
    return attrs.evolve(info, **changes)


def opened(**changes: Any) -> SessionOpened:
    return SessionOpened(session(**changes), 0.0412345)


def joined(**changes: Any) -> SessionJoined:
    return SessionJoined(session(**changes), 0.0621)


def ended(reason: EndReason = EndReason.IDLE, detail: str = "", **changes: Any) -> SessionEnded:
    return SessionEnded(session(**changes), reason, detail)


def refused(detail: str = "", **changes: Any) -> RequestRefused:
    known = {
        "client": "192.0.2.17",
        "ticket": "c0ffee0123456789",
        "subject": "alice",
        "target": "host7.example.com:5901",
        "reason": Refusal.TICKET_USED,
        "detail": detail,
    }
    return RequestRefused(**{**known, **changes})


def admin(*sessions: str, detail: str = "Maintenance of this host begins now") -> AdminAction:
    return AdminAction("uid:0", "end", sessions, detail)


def every() -> list[Happening]:
    """One of each type."""
    return [
        opened(),
        joined(),
        SessionWarned(session(), EndReason.IDLE, 60.0),
        ended(),
        refused(),
        admin("77aa01bc93de"),
    ]


def event(what: Happening, number: int = 1, when: float = WHEN) -> Event:
    return Event(number, when, what)


class FakeSink:
    """Keeps what is written, or fails as it is told."""

    def __init__(self) -> None:
        self.name = "the sink"
        self.written: list[Record] = []
        self.error: int | None = None
        self.renew_error: int | None = None
        self.attempts = 0
        self.is_open = False
        self.renewals = 0

    @property
    def numbers(self) -> list[int]:
        return [record.number for record in self.written]

    def open(self) -> None:
        self.is_open = True

    def write(self, record: Record) -> None:
        assert self.is_open
        self.attempts += 1
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        self.written.append(record)

    def fail(self, number: int = errno.ENOSPC) -> None:
        self.error = number

    def renew(self) -> None:
        self.renewals += 1
        if self.renew_error is not None:
            raise OSError(self.renew_error, os.strerror(self.renew_error))

    def close(self) -> None:
        self.is_open = False
