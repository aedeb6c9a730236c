"""Plain authentication: a user name and a password as they are (VeNCrypt's Plain subtypes).

Nothing here protects them: send this inside TLS whose certificate was
verified, and nowhere else.
"""

from __future__ import annotations

from gateway.rfb.errors import NeedsCredentials
from gateway.rfb.requirement import Credentials

__all__ = ["MAX_PLAIN", "encode_plain"]

MAX_PLAIN = 1024
"""Longest user name or password sent, in bytes of UTF-8."""


def encode_plain(credentials: Credentials) -> bytes:
    """The one message of Plain: both lengths (32 bits each), then both texts in UTF-8.

    :raises NeedsCredentials: a text is longer than 1024 bytes or is not text, or there is no user name.
    """
    if credentials.username is None:
        raise NeedsCredentials("Plain authentication needs a user name")
    texts = (
        _encode(credentials.username, "user name"),
        _encode(credentials.password, "password"),
    )
    return b"".join(len(text).to_bytes(4, "big") for text in texts) + b"".join(texts)


def _encode(text: str, what: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        # A fresh exception: the codec's own one carries the text.
        raise NeedsCredentials(f"the {what} is not text that UTF-8 can carry") from None
    if len(data) > MAX_PLAIN:
        raise NeedsCredentials(f"the {what} is longer than {MAX_PLAIN} bytes")
    return data
