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
from gateway.sessions.group import Group, Member
from gateway.sessions.info import Selector, SessionInfo, SessionState
from gateway.sessions.registry import Full, LiveSession, Place, Registry
from gateway.sessions.session import MAX_MESSAGE, Session
from gateway.sessions.sessions import Sessions
from gateway.sessions.uses import Admission, Uses

__all__ = [
    "MAX_MESSAGE",
    "AdminAction",
    "Admission",
    "Event",
    "Events",
    "Full",
    "Group",
    "Happening",
    "LiveSession",
    "Member",
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
