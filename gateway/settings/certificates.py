"""Certificates by the name that a client asks for, and the names they are chosen by (RFC 6066, section 3)."""

from __future__ import annotations

from pathlib import Path

import attrs

from gateway.settings.fields import setting
from gateway.settings.problems import BadValueError
from gateway.settings.text import shown
from gateway.settings.values import parse_name_pattern

__all__ = ["CertificateSettings", "parse_server_name"]


@attrs.frozen
class CertificateSettings:
    """A further certificate for clients, chosen by the name that they ask for (SNI).

    There may be up to 200; the NAME of each has lower-case letters, digits and hyphens. A name as it stands
    comes before one with '*'. Clients that ask for no name, or for one that no certificate is for, are shown
    that of '[tls]', which is therefore needed in any case; it is also the one for its own names, as far as
    no other certificate claims them. Version and ciphers are those of '[tls]', for all names. As soon as
    there is such a table no TLS session is resumed: a client could otherwise resume under one name what it
    began under another (RFC 6066, section 3).
    """

    certificate: Path | None = setting(
        None, "PEM file with the certificate and its chain, as for tls.certificate. Needed."
    )
    key: Path | None = setting(
        None,
        "PEM file with the private key, not encrypted, not accessible to others. Defaults to the "
        "certificate file, for one file that holds both.",
    )
    names: tuple[str, ...] = setting(
        (),
        "Names that it is shown for: 'gw.example.com', or '*.example.com' for all names with one label in "
        "place of the asterisk. Empty means the DNS names in the certificate itself.",
    )


def parse_server_name(text: str) -> str:
    """The one spelling of a name that a certificate is chosen by: lower case, without a final dot.

    As in certificates (RFC 9525, section 6.3), an asterisk is the whole first label and stands for exactly
    one.  Names are ASCII: those with other letters have an ``xn--`` form (RFC 5890).

    :raises ValueError: for anything else; addresses are refused too, since no client asks for one by SNI.
    """
    remedy = "write 'gw.example.com', or '*.example.com'"
    if not text.isascii():
        remedy = "write it in its ASCII form, with 'xn--'"
    try:
        return str(parse_name_pattern(text))
    except ValueError:
        raise BadValueError(f"{shown(text)} is not a DNS name", remedy) from None
