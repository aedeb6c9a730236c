"""The ``data`` of a ticket: which console it is for, and who is to use it how.

``data`` is a JSON object, percent-encoded (RFC 3986, section 2.1) as a whole
or in part or not at all.  It is decoded exactly once, to printable ASCII and
nothing else; ``+`` is a plus sign.

=============== ===============  ====================================================
key             JSON type        content
=============== ===============  ====================================================
``host``        string           IPv4, IPv6 (RFC 4291) or DNS name (RFC 1123)
``port``        string           decimal, 1 to 65535
``ssl_target``  boolean          whether the leg to the console must be secured
``path``        string or null   WebSocket path of a KubeVirt console; may be absent
``token``       string or null   bearer token for it (RFC 6750); may be absent
``security``    string or null   ``auto``, ``vencrypt`` or ``tls``: how it must be secured;
                                 may be absent, and is an extension of ours
``server_name`` string or null   host that its certificate must be for instead of ``host``;
                                 may be absent, and is an extension of ours
``kind``        string or null   ``vnc``, ``spice`` or ``serial``: what is spoken there;
                                 may be absent, and is an extension of ours
``attach``      string or null   ``share``, ``take-over`` or ``refuse``: what happens to
                                 others on the console; may be absent, and is an extension of ours
``subject``     string or null   who the ticket was made for, 1 to 256 characters with no space at
                                 either end; may be absent, and is an extension of ours
=============== ===============  ====================================================
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

import attrs

from gateway.settings import Attach, TargetSecurity
from gateway.tickets.faults import TicketFault, TicketRefused
from gateway.tickets.grant import Kind, Target
from gateway.tickets.jsontext import JsonFault, parse_object

__all__ = ["MAX_SUBJECT", "Payload", "parse_items", "parse_payload", "parse_subject"]

MAX_TOKEN = 8192
"""Characters in a bearer token."""
MAX_SUBJECT = 256
"""Characters in a subject."""
_MAX_NAME = 253
"""Characters in a DNS name (RFC 1035, section 2.3.4, without the final dot)."""

_REQUIRED = frozenset({"host", "port", "ssl_target"})
_KNOWN = _REQUIRED | {"path", "token", "security", "server_name", "kind", "attach", "subject"}
_SECURITY = {how.value: how for how in (TargetSecurity.AUTO, TargetSecurity.VENCRYPT, TargetSecurity.TLS)}
_KINDS = {kind.value: kind for kind in Kind}
_ATTACH = {how.value: how for how in Attach}
_JSON_FAULTS = {
    JsonFault.NESTED: TicketFault.DATA_NESTED,
    JsonFault.INVALID: TicketFault.DATA_NOT_JSON,
    JsonFault.DUPLICATE_KEY: TicketFault.DATA_KEY_DUPLICATE,
    JsonFault.NOT_OBJECT: TicketFault.DATA_NOT_JSON,
}

# Printable ASCII is all that a target has.  The first digit of its codes is never a letter.
_ESCAPES = {format(code, form): chr(code) for code in range(0x20, 0x7F) for form in ("02X", "02x")}
_NAME = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*"
)
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]{2,45}")
_PORT = re.compile(r"[0-9]{1,5}")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PATH = re.compile(
    r"/apis/subresources\.kubevirt\.io/v[0-9]{1,3}(?:(?:alpha|beta)[0-9]{1,3})?"
    rf"/namespaces/{_LABEL}/virtualmachineinstances/(?=[^/]{{1,{_MAX_NAME}}}/){_LABEL}(?:\.{_LABEL})*/(?:vnc|console)"
)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


@attrs.frozen
class Payload:
    """What a ticket's ``data`` says."""

    target: Target
    subject: str | None = None
    """Who the ticket was made for."""
    attach: Attach | None = None
    """What happens to others on the console."""


def parse_payload(data: str) -> Payload:
    """What a verified ``data`` says.

    The host keeps its spelling, but for a final dot, which is dropped.

    :raises TicketRefused: it says nothing that could be meant.
    """
    items = parse_items(data)
    path = _parse_path(items.get("path"))
    token = _parse_token(items.get("token"))
    target = Target(
        host=_parse_host(items["host"]),
        port=_parse_port(items["port"]),
        tls=_parse_tls(items["ssl_target"]),
        path=path,
        token=token if path else None,
        security=_parse_security(items.get("security")),
        server_name=None if (name := items.get("server_name")) is None else _parse_host(name),
        kind=_parse_kind(items.get("kind")),
    )
    attach = _parse_attach(items.get("attach"))
    subject = items.get("subject")
    return Payload(target, None if subject is None else parse_subject(subject), attach)


def parse_items(data: str) -> Mapping[str, object]:
    """Members of the JSON object in ``data``: all that must be there, none unknown, values not judged.

    :raises TicketRefused: there is no such object.
    """
    text = _percent_decode(data)
    # Nothing may precede or follow the object; the reading of the envelope depends on its first character.
    if not (text.startswith("{") and text.endswith("}")):
        raise TicketRefused(TicketFault.DATA_NOT_JSON)
    items = parse_object(text)
    if isinstance(items, JsonFault):
        raise TicketRefused(_JSON_FAULTS[items])
    if not items.keys() <= _KNOWN:
        raise TicketRefused(TicketFault.DATA_KEY_UNKNOWN)
    if not items.keys() >= _REQUIRED:
        raise TicketRefused(TicketFault.DATA_KEY_MISSING)
    return items


def parse_subject(value: object) -> str:
    """Who a ticket was made for.

    :raises TicketRefused: nobody can be called that.
    """
    # Escapes of JSON can bring in again what is not allowed in the text around them.
    if (
        isinstance(value, str)
        and 1 <= len(value) <= MAX_SUBJECT
        and value.isascii()
        and value.isprintable()
        and value.strip(" ") == value
    ):
        return value
    raise TicketRefused(TicketFault.SUBJECT_GRAMMAR)


def _percent_decode(data: str) -> str:
    head, *tail = data.split("%")
    try:
        text = head + "".join([_ESCAPES[part[:2]] + part[2:] for part in tail])
    except KeyError:
        text = None
    if text is None or not (text.isascii() and text.isprintable()):
        raise TicketRefused(TicketFault.DATA_ENCODING)
    return text


def _parse_host(value: object) -> str:
    if isinstance(value, str):
        if _is_address(value):
            return value
        name = value.removesuffix(".")
        # Resolvers read a name whose last label is a number as an address in an old notation.
        if (
            len(name) <= _MAX_NAME
            and _NAME.fullmatch(name)
            and not _NUMBER.fullmatch(name.rpartition(".")[2])
        ):
            return name
    raise TicketRefused(TicketFault.HOST_GRAMMAR)


def _is_address(text: str) -> bool:
    if _ADDRESS.fullmatch(text) is None:  # also keeps zones out
        return False
    try:
        ipaddress.IPv6Address(text) if ":" in text else ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _parse_port(value: object) -> int:
    if isinstance(value, str) and _PORT.fullmatch(value):
        port = int(value)
        if 1 <= port <= 65535:
            return port
    raise TicketRefused(TicketFault.PORT_GRAMMAR)


def _parse_tls(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise TicketRefused(TicketFault.TLS_TYPE)


def _parse_security(value: object) -> TargetSecurity | None:
    if value is None:
        return None
    if isinstance(value, str) and value in _SECURITY:
        return _SECURITY[value]
    raise TicketRefused(TicketFault.SECURITY_UNKNOWN)


def _parse_kind(value: object) -> Kind | None:
    if value is None:
        return None
    if isinstance(value, str) and value in _KINDS:
        return _KINDS[value]
    raise TicketRefused(TicketFault.KIND_UNKNOWN)


def _parse_attach(value: object) -> Attach | None:
    if value is None:
        return None
    if isinstance(value, str) and value in _ATTACH:
        return _ATTACH[value]
    raise TicketRefused(TicketFault.ATTACH_UNKNOWN)


def _parse_path(value: object) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and _PATH.fullmatch(value):
        return value
    raise TicketRefused(TicketFault.PATH_GRAMMAR)


def _parse_token(value: object) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and len(value) <= MAX_TOKEN and _TOKEN.fullmatch(value):
        return value
    raise TicketRefused(TicketFault.TOKEN_GRAMMAR)
