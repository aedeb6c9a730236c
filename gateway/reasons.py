"""Why things end: the closed vocabulary shared by every room.

Two enums live here and nowhere else.  :class:`EndReason` says why an
established session ended and which WebSocket close code (RFC 6455, section
7.4) and public sentence the browser gets.  :class:`Refusal` says why a request
was turned away before the upgrade and which HTTP status it gets.  Both carry
a ``public`` text that may be shown to anybody; details belong in the log.
"""

from __future__ import annotations

import enum

__all__ = ["EndReason", "Refusal"]


class EndReason(enum.Enum):
    """Why a session ended: ``(name in logs, close code, public text)``.

    ``code`` is ``None`` where no close frame can be sent or owed because the
    client is already gone.
    """

    TARGET_CLOSED = ("target-closed", 1000, "Target closed")
    """The console server ended the connection in order."""
    CLIENT_CLOSED = ("client-closed", 1000, "")
    """The client sent a close frame; its own code is echoed."""
    CLIENT_GONE = ("client-gone", None, "")
    """The client's connection ended without a close frame."""
    CLIENT_TIMEOUT = ("client-timeout", None, "")
    """The client answered no ping, or never finished the close handshake."""
    SHUTDOWN = ("shutdown", 1001, "Gateway is shutting down")
    """The service stops."""
    PROTOCOL_ERROR = ("protocol-error", 1002, "WebSocket protocol error")
    """The client broke RFC 6455."""
    CLIENT_RFB_ERROR = ("client-rfb-error", 1002, "RFB protocol error")
    """The client broke RFB while the gateway asked it for a password on a target's behalf."""
    UNSUPPORTED_DATA = ("unsupported-data", 1003, "Only binary messages are accepted")
    """The client sent a text message."""
    MESSAGE_TOO_BIG = ("message-too-big", 1009, "Message too big")
    """The client announced a message above the limit."""
    INTERNAL_ERROR = ("internal-error", 1011, "Internal error")
    """A defect of ours; the log has the traceback."""
    RESTART = ("restart", 1012, "Gateway is restarting, connect again")
    """The time for sessions to end by themselves is over; see ``[drain]``."""
    TARGET_REFUSED = ("target-refused", 4001, "Target refused the connection")
    """Nothing listens at the target's address and port."""
    TARGET_TIMEOUT = ("target-timeout", 4002, "Target did not answer in time")
    """Resolving or connecting took longer than the limit."""
    TARGET_UNRESOLVED = ("target-unresolved", 4003, "Target name could not be resolved")
    """The target's name has no address."""
    TARGET_FORBIDDEN = ("target-forbidden", 4004, "Target is not allowed here")
    """The destination policy denies the target."""
    TARGET_UNREACHABLE = ("target-unreachable", 4005, "Target cannot be reached")
    """No route, no such socket, no permission: any other connect failure."""
    TARGET_LOST = ("target-lost", 4006, "Connection to the target was lost")
    """The target's connection broke after it was joined."""
    TARGET_TLS_FAILED = ("target-tls-failed", 4010, "No secure connection to the target")
    """TLS with the target failed before its certificate could be judged."""
    TARGET_UNTRUSTED = ("target-untrusted", 4011, "Target's certificate is not trusted")
    """No certificate, or none that a trusted authority issued for this use, or not the pinned one."""
    TARGET_WRONG_NAME = ("target-wrong-name", 4012, "Target's certificate is for another name")
    """The certificate is genuine and names another host."""
    TARGET_EXPIRED = ("target-expired", 4013, "Target's certificate is out of date")
    """The certificate, or one of its issuers, has expired or is not valid yet."""
    TARGET_REJECTED_US = ("target-rejected-us", 4014, "Target does not accept the gateway's certificate")
    """The target wants a client certificate, and ours is missing or not good enough."""
    TARGET_INSECURE = ("target-insecure", 4015, "Target offers no secure connection")
    """Security is required, and the target has none that may be used; nothing is downgraded."""
    TARGET_AUTH_FAILED = ("target-auth-failed", 4016, "Target did not accept the password")
    """The console server refused to authenticate whoever answered: the gateway, or the browser."""
    TARGET_PROTOCOL_ERROR = ("target-protocol-error", 4017, "Target does not speak its protocol")
    """What the target sent breaks its protocol, or is beyond every bound."""
    TARGET_HANDSHAKE_TIMEOUT = (
        "target-handshake-timeout",
        4018,
        "Target did not finish its handshake",
    )
    """The target stalled in a handshake, or the user did not answer what it asks."""
    IDLE = ("idle", 4020, "Ended because nobody used the console")
    """No input came from the user for as long as is allowed."""
    TIME_LIMIT = ("time-limit", 4021, "The time for this console is over")
    """The session has lasted as long as is allowed."""
    TAKEN_OVER = ("taken-over", 4022, "Somebody else took over the console")
    """Another ticket for the same console said ``take-over``."""
    OPERATOR = ("operator", 4023, "Ended by an operator")
    """An operator ended it; the user may have been told more."""

    def __init__(self, label: str, code: int | None, public: str) -> None:
        self.label = label
        self.code = code
        self.public = public


class Refusal(enum.Enum):
    """Why a request was refused before the upgrade: ``(name, status, public text)``."""

    MALFORMED = ("malformed-request", 400, "Bad request")
    SUBPROTOCOL = ("subprotocol", 400, "Offer the subprotocol 'binary' or none")
    TICKET_REFUSED = ("ticket-refused", 401, "Ticket not accepted")
    """Not a ticket that this gateway's engine signed; nothing more is said."""
    TICKET_EXPIRED = ("ticket-expired", 403, "Ticket has expired")
    TICKET_EARLY = ("ticket-early", 403, "Ticket is not valid yet")
    TICKET_UNUSABLE = ("ticket-unusable", 403, "Ticket cannot be used here")
    """Genuine, but its contents or lifetime are outside what is allowed."""
    TICKET_USED = ("ticket-used", 403, "Ticket has been used")
    """It has opened all that it may open, or its time to do so is over."""
    ORIGIN_FORBIDDEN = ("origin-forbidden", 403, "Origin not allowed")
    NOT_FOUND = ("not-found", 404, "Not found")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "Method not allowed")
    HEAD_TIMEOUT = ("head-timeout", 408, "Request took too long")
    CONSOLE_IN_USE = ("console-in-use", 409, "Somebody else is using the console")
    """The ticket says that its bearer does not share."""
    UPGRADE_REQUIRED = ("upgrade-required", 426, "WebSocket upgrade required")
    TOO_MANY_FAILURES = ("too-many-failures", 429, "Too many bad tickets from your address, try again later")
    """No ticket from there is looked at for a while."""
    CLIENT_LIMIT = ("client-limit", 429, "Too many sessions from your address")
    SUBJECT_LIMIT = ("subject-limit", 429, "You have too many sessions")
    CONSOLE_LIMIT = ("console-limit", 429, "Too many people are using the console")
    HEAD_TOO_LARGE = ("head-too-large", 431, "Request head too large")
    INTERNAL_ERROR = ("internal-error", 500, "Internal error")
    SESSION_LIMIT = ("session-limit", 503, "Gateway is full, try again later")
    NOT_ADMITTING = ("not-admitting", 503, "Gateway takes no new sessions now")
    """An operator has stopped admission."""
    LEDGER_FULL = ("ledger-full", 503, "Gateway cannot take more tickets now, try again later")
    LEDGER_UNAVAILABLE = ("ledger-unavailable", 503, "Gateway cannot check tickets now, try again later")
    AUDIT_UNAVAILABLE = ("audit-unavailable", 503, "Gateway cannot record sessions now, try again later")
    """The audit is required and cannot be written."""
    DRAINING = ("draining", 503, "Gateway is about to restart, try again in a moment")
    """It waits for its sessions to end."""
    SHUTTING_DOWN = ("shutting-down", 503, "Gateway is shutting down")

    def __init__(self, label: str, status: int, public: str) -> None:
        self.label = label
        self.status = status
        self.public = public
