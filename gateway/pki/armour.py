"""PEM blocks (RFC 7468), as they arrive from files, terminals and mail.

Text around blocks is ignored; so are carriage returns, and blanks at either end of a line.  Everything else
is strict: what is between the lines of a block must be base64 and nothing more.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from gateway.pki.errors import PkiError

__all__ = ["MAX_PEM", "UNREADABLE", "blocks", "first_block"]

MAX_PEM = 262144
"""Largest text that is looked into, in bytes."""

UNREADABLE: Final = (
    ValueError,
    TypeError,
    KeyError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for content that it cannot make sense of."""

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9][A-Z0-9 ]{0,39})-----\Z")
_END = re.compile(rb"-----END ([A-Z0-9][A-Z0-9 ]{0,39})-----\Z")
_HEADER = re.compile(rb"[A-Za-z0-9-]{1,40}: ?[\x20-\x7e]*\Z")


def blocks(data: bytes, labels: frozenset[str], what: str) -> Iterator[tuple[str, bytes]]:
    """Labels and contents of the blocks with one of these labels, in order.

    :param what: what they are, for messages ("a certificate").
    :raises PkiError: it is too large, or such a block is damaged.
    """
    if len(data) > MAX_PEM:
        raise PkiError(f"{what} is expected, but there are more than {MAX_PEM} bytes; give the right file")
    label: str | None = None
    body: list[bytes] = []
    for raw in data.split(b"\n"):
        line = raw.strip()
        if begin := _BEGIN.match(line):
            if label in labels:
                raise PkiError(f"{what} has no END line; copy all of it, from BEGIN to END")
            label, body = begin[1].decode(), []
        elif end := _END.match(line):
            if label in labels:
                assert label is not None
                if end[1].decode() != label:
                    raise PkiError(f"{what} ends with the wrong line; copy all of it, from BEGIN to END")
                yield label, _decoded(body, what)
            label = None
        elif label is not None:
            body.append(line)
    if label in labels:
        raise PkiError(f"{what} has no END line; copy all of it, from BEGIN to END")


def first_block(data: bytes, labels: frozenset[str], what: str) -> tuple[str, bytes] | None:
    """The first of such blocks, or None.  Raises as :func:`blocks` does."""
    return next(blocks(data, labels, what), None)


def _decoded(body: list[bytes], what: str) -> bytes:
    # Headers of the form that RFC 1421 has: encrypted keys of old carry them, and are refused by their kind.
    lines = [line for line in body if not _HEADER.match(line)]
    try:
        return base64.b64decode(b"".join(lines), validate=True)
    except binascii.Error:
        raise PkiError(f"{what} is damaged: it is not base64; copy it again") from None
