"""The one exception of the RFB room."""

from __future__ import annotations

__all__ = ["RfbError"]


class RfbError(Exception):
    """The peer broke the protocol, or may not go on; the text is fit for a log and names no secret."""
