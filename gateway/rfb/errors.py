"""What can go wrong in the RFB room: one exception, and the kinds of it that callers tell apart."""

from __future__ import annotations

__all__ = ["AuthenticationFailed", "InsecureTarget", "NeedsCredentials", "RfbError", "ServerRefused"]


class RfbError(Exception):
    """The peer broke the protocol, or may not go on; the text is fit for a log and names no secret."""


class InsecureTarget(RfbError):
    """The server has no security that may be used; the text names what it offered."""


class NeedsCredentials(RfbError):
    """The server asks for credentials that are not at hand, or that its way of asking cannot carry."""


class ServerRefused(RfbError):
    """The server turned the connection away before any security; the text is its reason, made printable."""


class AuthenticationFailed(RfbError):
    """The server did not accept the answer, or could not prove itself; the text is the reason, printable."""
