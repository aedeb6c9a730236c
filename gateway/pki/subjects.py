r"""Distinguished names in the form that openssl's command line has: ``/C=US/O=Example/CN=gw.example.com``.

A backslash takes away the meaning of the character after it, so that ``\/`` is a slash in a value and
``\\`` a backslash.  ``/`` alone is the odd subject that oVirt's own requests carry: one common name, a
slash.
"""

from __future__ import annotations

import re
from typing import Any, Final

from cryptography.x509 import Name, NameAttribute, ObjectIdentifier
from cryptography.x509.oid import NameOID

from gateway.pki.errors import PkiError, printable

__all__ = ["common_name", "one_line_name", "parse_subject", "subject_text"]

_MAX_SUBJECT: Final = 2048
_MAX_ATTRIBUTES: Final = 20
_TYPES: Final = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "street": NameOID.STREET_ADDRESS,
    "postalCode": NameOID.POSTAL_CODE,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
    "SN": NameOID.SURNAME,
    "GN": NameOID.GIVEN_NAME,
    "title": NameOID.TITLE,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "dnQualifier": NameOID.DN_QUALIFIER,
    "UID": NameOID.USER_ID,
    "DC": NameOID.DOMAIN_COMPONENT,
    "emailAddress": NameOID.EMAIL_ADDRESS,
}
_BY_NAME: Final = {name.casefold(): oid for name, oid in _TYPES.items()}
_SHORT: Final = {oid: name for name, oid in _TYPES.items()}
_PART: Final = re.compile(r"/((?:[^/\\]|\\.)*)", re.DOTALL)
_OID: Final = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]{0,9})){1,15}\Z")
_SLASH: Final = "/"
_ONE_LINE: Final = [chr(byte) if 0x20 <= byte <= 0x7E else f"\\x{byte:02X}" for byte in range(256)]
_ONE_LINE[ord("/")], _ONE_LINE[ord("+")] = r"\/", r"\+"


def parse_subject(text: str) -> Name:
    """Read a name.

    :raises PkiError: it is malformed, too long, or a value does not fit its attribute.
    """
    if len(text) > _MAX_SUBJECT:
        raise PkiError(f"the subject has more than {_MAX_SUBJECT} characters; shorten it")
    if text == _SLASH:
        return Name([NameAttribute(NameOID.COMMON_NAME, _SLASH)])
    parts = _PART.findall(text)
    if not parts or "".join(f"/{part}" for part in parts) != text:
        raise PkiError(f"{_quoted(text)} is not a subject; write it like /C=US/O=Example/CN=gw.example.com")
    if len(parts) > _MAX_ATTRIBUTES:
        raise PkiError(f"the subject has more than {_MAX_ATTRIBUTES} parts; leave some out")
    return Name([_attribute(part) for part in parts])


def subject_text(name: Name) -> str:
    """The text that :func:`parse_subject` makes ``name`` of."""
    attributes = [(each.oid, _text(each)) for each in name]
    if attributes == [(NameOID.COMMON_NAME, _SLASH)]:
        return _SLASH
    return "".join(f"/{_short(oid)}={_escaped(value)}" for oid, value in attributes)


def one_line_name(name: Name) -> str:
    r"""The form that OpenSSL's database of certificates has (X509_NAME_oneline since 3.0).

    ``/`` and ``+`` in values have a backslash before them, a backslash has not.  Bytes that do not print,
    which all of other alphabets are, become ``\xHH``.
    """
    parts = []
    for rdn in name.rdns:
        for sign, each in zip("/" + "+" * len(rdn), rdn, strict=False):
            value: str | bytes = each.value
            raw = value if isinstance(value, bytes) else value.encode()
            parts.append(f"{sign}{_short(each.oid)}={''.join(_ONE_LINE[byte] for byte in raw)}")
    return "".join(parts)


def common_name(name: Name) -> str | None:
    """The last, most specific common name."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return _text(found[-1]) if found else None


def _attribute(part: str) -> NameAttribute[str]:
    kind, equals, escaped = part.partition("=")
    oid = _BY_NAME.get(kind.strip().casefold())
    if oid is None and _OID.match(kind):
        try:
            oid = ObjectIdentifier(kind)
        except ValueError:
            oid = None
    if not equals or oid is None:
        known = ", ".join(_TYPES)
        raise PkiError(f"{_quoted(part)} in the subject is not NAME=VALUE with one of the names {known}")
    value = re.sub(r"\\(.)", r"\1", escaped, flags=re.DOTALL)
    if not value or not value.isprintable():
        raise PkiError(f"the subject's {printable(kind)} is empty or not printable; give it a value")
    if oid == NameOID.COUNTRY_NAME and not re.fullmatch("[A-Za-z]{2}", value):
        raise PkiError("the subject's C is not a country; it takes two letters, like US")
    try:
        return NameAttribute(oid, value)
    except (ValueError, TypeError):
        raise PkiError(
            f"the subject's {_short(oid)} has a length that is not allowed; "
            "a common name takes up to 64 characters, and longer names go to the alternative names alone"
        ) from None


def _text(attribute: NameAttribute[Any]) -> str:
    value: str | bytes = attribute.value
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _short(oid: ObjectIdentifier) -> str:
    return _SHORT.get(oid, oid.dotted_string)


def _escaped(value: str) -> str:
    return re.sub(r"([\\/])", r"\\\1", value)


def _quoted(text: str) -> str:
    return f"'{printable(text, 80)}'"
