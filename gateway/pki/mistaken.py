"""What somebody has brought instead of what was asked for: its PEM label (RFC 7468) or first bytes tell.

It is for messages only.  Nothing is decoded, so that what is looked at may be anything, and of any size.
"""

from __future__ import annotations

import enum
import re
from typing import Final

__all__ = ["Form", "form_of"]


class Form(enum.Enum):
    """What it is; the values are how a message says it."""

    EMPTY = "it is empty"
    CERTIFICATE = "this is a certificate"
    CERTIFICATE_DER = "this is a certificate in DER"
    REQUEST = "this is a certificate request"
    REQUEST_DER = "this is a certificate request in DER"
    PRIVATE_KEY = "this is a private key"
    PUBLIC_KEY = "this is a public key"
    PKCS7 = "this is PKCS#7"
    PKCS7_DER = "this is PKCS#7 in DER"
    PKCS12 = "this is PKCS#12"
    OTHER_DER = "this is DER"


_BEGIN: Final = re.compile(rb"^[ \t]*-----BEGIN ([A-Z0-9][A-Z0-9 ]{0,39})-----[ \t\r]*$", re.MULTILINE)
_LABELS: Final = (
    ("PRIVATE KEY", Form.PRIVATE_KEY),
    ("PUBLIC KEY", Form.PUBLIC_KEY),
    ("CERTIFICATE REQUEST", Form.REQUEST),
    ("PKCS7", Form.PKCS7),
    ("CMS", Form.PKCS7),
    ("CERTIFICATE", Form.CERTIFICATE),
)
"""How labels end."""

_LENGTH: Final = rb"(?:[\x00-\x80]|\x81.|\x82..|\x83...|\x84....)"
_SEQUENCE: Final = rb"\x30" + _LENGTH
_INSIDE: Final = (
    (rb"\x02\x01\x03" + _SEQUENCE + rb"\x06.\x2a\x86\x48\x86\xf7\x0d\x01\x07", Form.PKCS12),
    (rb"\x06.\x2a\x86\x48\x86\xf7\x0d\x01\x07", Form.PKCS7_DER),
    # PKCS #1 and #8 begin with version 0, RFC 5915 with version 1 and an octet string.
    (rb"\x02\x01(?:\x00|\x01\x04)", Form.PRIVATE_KEY),
    (_SEQUENCE + rb"\x02\x01\x00\x30", Form.REQUEST_DER),
    (_SEQUENCE + rb"\xa0\x03\x02\x01", Form.CERTIFICATE_DER),
    # What has its length in two bytes is nothing that was typed.
    (rb"", Form.OTHER_DER),
)
_BINARY: Final = tuple(
    (re.compile((_SEQUENCE if inside else rb"\x30\x82") + inside, re.DOTALL), form)
    for inside, form in _INSIDE
)
"""What DER, or BER, begins with."""


def form_of(data: bytes) -> Form | None:
    """What this is: the first PEM block decides, else how it begins; ``None`` if that says nothing."""
    if not data.strip():
        return Form.EMPTY
    if begin := _BEGIN.search(data):
        label = begin[1].decode("ascii")
        return next((form for end, form in _LABELS if label.endswith(end)), None)
    return next((form for pattern, form in _BINARY if pattern.match(data)), None)
