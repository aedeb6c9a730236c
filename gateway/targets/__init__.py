"""The far side: destination policy and dialling."""

from __future__ import annotations

from gateway.targets.dial import DialError, Dialler
from gateway.targets.policy import DestinationPolicy, Forbidden, OwnAddress

__all__ = ["DestinationPolicy", "DialError", "Dialler", "Forbidden", "OwnAddress"]
