"""Why a ticket is refused: the closed list, and the exception that carries one of them.

The client learns only the :class:`~gateway.reasons.Refusal` behind a fault.
The fault itself is for the log and for ``console-gateway ticket inspect``.
"""

from __future__ import annotations

import enum

from gateway.reasons import Refusal

__all__ = ["TicketFault", "TicketRefused"]

_REFUSED = Refusal.TICKET_REFUSED
_UNUSABLE = Refusal.TICKET_UNUSABLE
_COMPARE = "Compare the file under tickets.certificate with the engine's certificate."


class TicketFault(enum.Enum):
    """One thing that can be wrong with a ticket: ``(label, refusal, explanation)``.

    ``label`` is the stable name in logs, ``refusal`` what the client is told,
    ``explanation`` a sentence for an operator.  None of them depends on what
    is in the ticket.
    """

    # The text in the request path.
    TOO_LONG = ("too-long", _REFUSED, "It is longer than the setting tickets.max_size allows.")
    NOT_BASE64 = (
        "not-base64",
        _REFUSED,
        "It is not base64 in canonical form. It may have been cut off, wrapped or mixed with other text.",
    )
    # The JSON object inside.
    NOT_UTF8 = ("not-utf8", _REFUSED, "The decoded text is not UTF-8.")
    NOT_JSON = ("not-json", _REFUSED, "The decoded text is not JSON.")
    NESTED = ("nested", _REFUSED, "The JSON is nested; a ticket is one flat object.")
    DUPLICATE_KEY = ("duplicate-key", _REFUSED, "A field occurs twice.")
    NOT_OBJECT = ("not-object", _REFUSED, "The JSON is not an object.")
    NOT_STRING = ("not-string", _REFUSED, "A field is not a string.")
    FIELD_UNKNOWN = ("field-unknown", _REFUSED, "There is a field that the ticket format does not have.")
    FIELD_MISSING = ("field-missing", _REFUSED, "A field is missing.")
    LEGACY_SIGNATURE = (
        "legacy-signature",
        _REFUSED,
        "It carries only the old SHA-1 signature. Update the engine to one that writes 'v2_signature'.",
    )
    # What the signature is said to cover.
    SIGNED_DUPLICATE = ("signed-duplicate", _REFUSED, "'signedFields' names a field twice.")
    SIGNED_UNKNOWN = ("signed-unknown", _REFUSED, "'signedFields' names something that is not to be signed.")
    SIGNED_MISSING = (
        "signed-missing",
        _REFUSED,
        "'signedFields' must name salt, data, validFrom and validTo, all of them.",
    )
    # The grammar of single fields.
    SALT_GRAMMAR = ("salt-grammar", _REFUSED, "'salt' is not the base64 of 8 bytes.")
    DATE_GRAMMAR = ("date-grammar", _REFUSED, "'validFrom' or 'validTo' is not a UTC time as YYYYMMDDhhmmss.")
    DATA_GRAMMAR = ("data-grammar", _REFUSED, "'data' has characters other than ASCII.")
    SIGNATURE_GRAMMAR = ("signature-grammar", _REFUSED, "'v2_signature' is not canonical base64.")
    # The signature.
    SIGNATURE_SIZE = (
        "signature-size",
        _REFUSED,
        "Its signature has another length than the pinned key's. " + _COMPARE,
    )
    SIGNATURE_MISMATCH = (
        "signature-mismatch",
        _REFUSED,
        "Its signature does not match the pinned key: altered, or signed by another. " + _COMPARE,
    )
    # Genuine from here on: time.
    LIFETIME_NEGATIVE = ("lifetime-negative", _UNUSABLE, "It ends before it begins.")
    LIFETIME_TOO_LONG = (
        "lifetime-too-long",
        _UNUSABLE,
        "It is valid for longer than the setting tickets.max_lifetime allows.",
    )
    EXPIRED = (
        "expired",
        Refusal.TICKET_EXPIRED,
        "Its time is over. Fetch a new one; if it is new, compare this host's clock with the engine's.",
    )
    NOT_YET_VALID = (
        "not-yet-valid",
        Refusal.TICKET_EARLY,
        "Its time has not begun. Compare this host's clock with the engine's, or raise tickets.skew.",
    )
    # Genuine: what 'data' says.
    DATA_ENCODING = (
        "data-encoding",
        _UNUSABLE,
        "'data' has an invalid percent-escape, or a character that is not printable ASCII.",
    )
    DATA_NOT_JSON = ("data-not-json", _UNUSABLE, "'data' is not a JSON object that fills it from end to end.")
    DATA_NESTED = ("data-nested", _UNUSABLE, "'data' is nested; it must be one flat object.")
    DATA_KEY_DUPLICATE = ("data-key-duplicate", _UNUSABLE, "'data' has a key twice.")
    DATA_KEY_UNKNOWN = (
        "data-key-unknown",
        _UNUSABLE,
        "'data' has a key that the ticket format does not have.",
    )
    DATA_KEY_MISSING = ("data-key-missing", _UNUSABLE, "'data' lacks 'host', 'port' or 'ssl_target'.")
    HOST_GRAMMAR = (
        "host-grammar",
        _UNUSABLE,
        "'host' is neither a dotted IPv4 address, an IPv6 address without brackets and zone, nor a DNS name.",
    )
    PORT_GRAMMAR = ("port-grammar", _UNUSABLE, "'port' is not a string of digits from '1' to '65535'.")
    TLS_TYPE = ("tls-type", _UNUSABLE, "'ssl_target' is not true or false.")
    PATH_GRAMMAR = ("path-grammar", _UNUSABLE, "'path' is not the path of a KubeVirt console.")
    SECURITY_UNKNOWN = ("security-unknown", _UNUSABLE, "'security' is not 'auto', 'vencrypt' or 'tls'.")
    KIND_UNKNOWN = ("kind-unknown", _UNUSABLE, "'kind' is not 'vnc', 'spice' or 'serial'.")
    ATTACH_UNKNOWN = ("attach-unknown", _UNUSABLE, "'attach' is not 'share', 'take-over' or 'refuse'.")
    SUBJECT_GRAMMAR = (
        "subject-grammar",
        _UNUSABLE,
        "'subject' is not 1 to 256 characters of printable ASCII without spaces at its ends.",
    )
    TOKEN_GRAMMAR = ("token-grammar", _UNUSABLE, "'token' is not a bearer token (RFC 6750), or too long.")
    # Genuine and in order.
    DISALLOWED = (
        "disallowed",
        _UNUSABLE,
        "The application that the gateway is built into does not allow it.",
    )

    def __init__(self, label: str, refusal: Refusal, explanation: str) -> None:
        self.label = label
        self.refusal = refusal
        self.explanation = explanation


class TicketRefused(Exception):
    """A ticket was not accepted.

    ``str()`` is one short line that is safe to log: the fault's label and the
    ticket's id, never anything out of the ticket.

    :ivar fault: what is wrong.
    :ivar refusal: what the client is to be told.
    :ivar ticket_id: the id that a grant of this ticket has or would have, or
        ``None`` when the refusal came before the signature could be read.
    """

    def __init__(self, fault: TicketFault, ticket_id: str | None = None) -> None:
        super().__init__(fault, ticket_id)
        self.fault = fault
        self.ticket_id = ticket_id

    @property
    def refusal(self) -> Refusal:
        """What the client is to be told."""
        return self.fault.refusal

    def __str__(self) -> str:
        return f"{self.fault.label} (ticket {self.ticket_id or 'unknown'})"
