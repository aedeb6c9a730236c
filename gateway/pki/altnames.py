"""Subject alternative names (RFC 5280, section 4.2.1.6): DNS names and IP addresses, nothing else.

The text form is that of openssl's configuration: ``DNS:gw.example.com, IP:192.0.2.1``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from cryptography.x509 import (
    DNSName,
    ExtensionNotFound,
    Extensions,
    GeneralName,
    IPAddress,
    SubjectAlternativeName,
)

from gateway.pki.errors import PkiError, printable

__all__ = ["AltName", "alt_name", "alt_names_text", "is_address", "names_of", "parse_alt_names"]

AltName: TypeAlias = DNSName | IPAddress

_MAX_NAMES: Final = 100
_MAX_TEXT: Final = 26000
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_DNS: Final = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*{_LABEL}\Z")
_NUMERIC: Final = re.compile(r"[0-9.]+\Z")


def is_address(text: str) -> bool:
    """Whether ``text`` is an IP address, and so no name of a host."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def parse_alt_names(texts: Iterable[str]) -> tuple[AltName, ...]:
    """Read names: each text holds one or more, separated by commas.  What comes twice counts once.

    ``DNS:`` and ``IP:`` say what a name is; without them an address is an address, all else a DNS name.

    :raises PkiError: one is malformed, of another kind, or there are too many.
    """
    found: dict[AltName, None] = {}
    size = 0
    for text in texts:
        size += len(text)
        if size > _MAX_TEXT:
            raise PkiError(f"the alternative names have more than {_MAX_TEXT} characters; leave some out")
        for item in text.split(","):
            found[_parsed(item.strip())] = None
    if len(found) > _MAX_NAMES:
        raise PkiError(f"there are more than {_MAX_NAMES} alternative names; leave some out")
    return tuple(found)


def alt_name(text: str) -> AltName:
    """One DNS name or address as a certificate has it: lower case, without a final dot.

    :raises PkiError: it is neither.
    """
    try:
        return IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return _dns(text, "write gw.example.com or 192.0.2.1")


def alt_names_text(names: Sequence[GeneralName]) -> list[str]:
    """Names for people, and for :func:`parse_alt_names` if they are of its kinds."""
    return [_text(name) for name in names]


def names_of(extensions: Extensions) -> tuple[GeneralName, ...]:
    """Alternative names of a certificate or request; none if it has none."""
    try:
        return tuple(extensions.get_extension_for_class(SubjectAlternativeName).value)
    except ExtensionNotFound:
        return ()


def _parsed(item: str) -> AltName:
    kind, colon, value = item.partition(":")
    if colon and kind.upper() == "DNS":
        return _dns(value.strip())
    if colon and kind.upper() in ("IP", "IP ADDRESS"):
        try:
            return IPAddress(ipaddress.ip_address(value.strip()))
        except ValueError:
            raise PkiError(f"'{printable(value, 80)}' is not an address; write IP:192.0.2.1") from None
    try:
        return IPAddress(ipaddress.ip_address(item))
    except ValueError:
        return _dns(item)


def _dns(text: str, remedy: str = "write DNS:gw.example.com or IP:192.0.2.1") -> DNSName:
    name = text.removesuffix(".").lower()
    if not 0 < len(name) <= 253 or not _DNS.match(name) or _NUMERIC.match(name):
        if not text.isascii():
            remedy = "write it in its ASCII form, with 'xn--'"
        raise PkiError(f"'{printable(text, 80)}' is not a DNS name; {remedy}")
    return DNSName(name)


def _text(name: GeneralName) -> str:
    if isinstance(name, DNSName):
        return f"DNS:{printable(name.value, 260)}"
    if isinstance(name, IPAddress):
        return f"IP:{name.value}"
    return f"{type(name).__name__}:{printable(str(name.value), 80)}"
