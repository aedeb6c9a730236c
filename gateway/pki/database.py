"""What a CA has signed, and the next number: the text files of ``openssl ca``.

A line of the database has six fields between tabs: status, end of validity, date of revocation, serial
number, file name (always ``unknown``) and subject.  A tab inside a field has a backslash before it.
"""

from __future__ import annotations

import datetime
import enum
import re
from typing import Final

import attrs
from cryptography.x509 import Certificate

from gateway.pki.errors import PkiError
from gateway.pki.subjects import one_line_name

__all__ = [
    "FIRST_SERIAL",
    "MAX_DATABASE",
    "MAX_SERIAL_FILE",
    "Entry",
    "Status",
    "database_line",
    "parse_database",
    "parse_serial",
    "serial_text",
]

FIRST_SERIAL: Final = 0x1000
MAX_DATABASE: Final = 1 << 26
"""Largest database that is read, in bytes: some 500 000 certificates."""
MAX_SERIAL_FILE: Final = 256

_MAX_SERIAL: Final = 1 << 159
"""RFC 5280, section 4.1.2.2: at most 20 octets, and positive."""
_SERIAL: Final = re.compile(rb"[0-9A-Fa-f]{1,40}\Z")
_SEPARATOR: Final = re.compile(rb"(?<!\\)\t")
_TIME: Final = re.compile(rb"(?:[0-9]{2})?[0-9]{12}Z\Z")
_LAST_SHORT_YEAR: Final = 2049
"""Years up to this one have two digits (RFC 5280, section 4.1.2.5)."""
_FIELDS: Final = 6


class Status(enum.Enum):
    """What is said of a certificate; ``EXPIRED`` only after somebody ran ``openssl ca -updatedb``."""

    VALID = "V"
    REVOKED = "R"
    EXPIRED = "E"


@attrs.frozen
class Entry:
    """A certificate in the database."""

    status: Status
    expires: datetime.datetime
    serial: int
    subject: str
    """As OpenSSL writes it: ASCII, other alphabets as bytes."""


def parse_database(data: bytes) -> tuple[Entry, ...]:
    """Read a database.

    :raises PkiError: a line is malformed; the message gives its number.
    """
    return tuple(
        _entry(line, number)
        for number, line in enumerate(data.split(b"\n"), 1)
        if line and not line.startswith(b"#")
    )


def database_line(certificate: Certificate) -> bytes:
    """The line for a new certificate, with its line feed."""
    end = certificate.not_valid_after_utc
    when = end.strftime("%y%m%d%H%M%SZ" if end.year <= _LAST_SHORT_YEAR else "%Y%m%d%H%M%SZ")
    serial = serial_text(certificate.serial_number)
    return "\t".join(("V", when, "", serial, "unknown", one_line_name(certificate.subject))).encode() + b"\n"


def parse_serial(data: bytes) -> int:
    """Read the file that holds the next serial number, in hexadecimal.

    :raises PkiError: it holds anything else.
    """
    text = data.strip()
    value = int(text, 16) if _SERIAL.match(text) else 0
    if not 0 < value < _MAX_SERIAL:
        raise PkiError("not a serial number; write the next free number there, in hexadecimal")
    return value


def serial_text(serial: int) -> str:
    """A serial number as OpenSSL writes it: an even number of hexadecimal digits."""
    text = f"{serial:X}"
    return text if len(text) % 2 == 0 else f"0{text}"


def _entry(line: bytes, number: int) -> Entry:
    fields = [field.replace(b"\\\t", b"\t") for field in _SEPARATOR.split(line)]
    try:
        if len(fields) != _FIELDS:
            raise ValueError(fields)
        status, expires, revoked, serial, _file, subject = fields
        if bool(revoked) != (status == b"R"):
            raise ValueError(revoked)
        return Entry(
            Status(status.decode()),
            _time(expires),
            _serial(serial),
            subject.decode("ascii", "backslashreplace"),
        )
    except ValueError:
        raise PkiError(f"line {number} is not one of a certificate; restore the file from its copy") from None


def _serial(text: bytes) -> int:
    if not _SERIAL.match(text) or len(text) % 2:
        raise ValueError(text)
    return int(text, 16)


def _time(text: bytes) -> datetime.datetime:
    if not _TIME.match(text):
        raise ValueError(text)
    digits = text.decode()
    if len(digits) == len("YYMMDDhhmmssZ"):
        digits = ("20" if int(digits[:2]) < 50 else "19") + digits
    return datetime.datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC)
