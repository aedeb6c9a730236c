"""Session life: registry, groups, limits, events, and the session itself."""

from __future__ import annotations

from gateway.sessions.events import (
    AdminAction,
    Event,
    Events,
    Happening,
    RequestRefused,
    SessionEnded,
    SessionJoined,
    SessionOpened,
    SessionWarned,
)
from gateway.sessions.group import Group
from gateway.sessions.info import Selector, SessionInfo, SessionState
from gateway.sessions.registry import Full, Place, Registry
from gateway.sessions.session import Session, Sessions
from gateway.sessions.uses import Admission, Uses

__all__ = [
    "AdminAction",
    "Admission",
    "Event",
    "Events",
    "Full",
    "Group",
    "Happening",
    "Place",
    "Registry",
    "RequestRefused",
    "Selector",
    "Session",
    "SessionEnded",
    "SessionInfo",
    "SessionJoined",
    "SessionOpened",
    "SessionState",
    "SessionWarned",
    "Sessions",
    "Uses",
]
