"""Session life: registry, limits, and the session itself."""

from __future__ import annotations

from gateway.sessions.registry import Full, Place, Registry
from gateway.sessions.session import Session, Sessions

__all__ = ["Full", "Place", "Registry", "Session", "Sessions"]
