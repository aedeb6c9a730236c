"""The PROXY protocol, versions 1 and 2: who the client of a proxy is, said before anything else; without I/O.

The text is HAProxy's ``doc/proxy-protocol.txt``; section 2.1 has version 1, a
line of text, and section 2.2 version 2, which is binary.  Whatever follows the
header is none of the decoder's business: it tells how many bytes are its own,
so that not one of another protocol's needs to be read.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import Final

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

__all__ = [
    "LOCAL_HEADER",
    "MAX_PROXY_HEADER",
    "BadProxyHeader",
    "ProxyDecoder",
    "ProxyHeader",
    "encode_proxy_header",
    "ip_address",
]

MAX_PROXY_HEADER: Final = 16 + 2048
"""Longest header that is accepted, in bytes; the protocol has room for 64 KiB of extensions."""

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED: Final = struct.Struct("!12sBBH")
_MAX_LINE: Final = 107
_TEXT: Final = b"PROXY "
_LINE: Final = re.compile(rb"TCP([46]) ([!-~]{1,45}) ([!-~]{1,45}) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})")
_INET: Final = struct.Struct("!4s4sHH")
_INET6: Final = struct.Struct("!16s16sHH")
_UNIX_SIZE: Final = 216
_TLV: Final = struct.Struct("!BH")
_CRC: Final = struct.Struct("!I")
_TYPE_CRC32C: Final = 0x03

_VERSION: Final = 0x20
_LOCAL: Final = 0
_PROXY: Final = 1
_UNSPEC: Final = 0
_STREAM: Final = 1
_DATAGRAM: Final = 2
_AF_INET: Final = 1
_AF_INET6: Final = 2
_AF_UNIX: Final = 3

LOCAL_HEADER: Final = _FIXED.pack(_SIGNATURE, _VERSION | _LOCAL, _UNSPEC, 0)
"""Says that the sender speaks for itself, and not for a client."""

_UNKNOWN_HEADER: Final = _FIXED.pack(_SIGNATURE, _VERSION | _PROXY, _UNSPEC, 0)


class BadProxyHeader(Exception):
    """The bytes are no header; the text says why in a few words, and quotes nothing."""


@attrs.frozen
class ProxyHeader:
    """What a proxy says of a connection that it passes on."""

    source: IAddress | None = None
    """The client; ``None`` where the proxy speaks for itself or does not know."""
    destination: IAddress | None = None
    """What the client connected to; ``None`` with :attr:`source`."""


class ProxyDecoder:
    """Reads one header from pieces of any size.

    :ivar header: what it says, once it is complete.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self.header: ProxyHeader | None = None

    def feed(self, data: bytes) -> int:
        """Take what belongs to the header.

        :param data: what comes next in the stream.
        :returns: how many of these bytes are the header's: all, unless it is complete.
        :raises BadProxyHeader: as soon as it is certain; the connection cannot be used any more.
        """
        if self.header is not None:
            return 0
        before = len(self._data)
        self._data += data[: MAX_PROXY_HEADER - before]
        size = _size(self._data)
        if size is None or size > len(self._data):
            return len(self._data) - before
        del self._data[size:]
        header = bytes(self._data)
        self.header = _parse_text(header) if header.startswith(_TEXT) else _parse_binary(header)
        return size - before


def encode_proxy_header(header: ProxyHeader) -> bytes:
    """Write a header in version 2; where there is no pair of IP addresses, one that says that it is unknown.

    IPv4 and IPv6 do not mix: beside an IPv6 address, an IPv4 one is written as IPv6 (RFC 4291, section
    2.5.5.2).
    """
    source, destination = header.source, header.destination
    if not isinstance(source, IPv4Address | IPv6Address):
        return _UNKNOWN_HEADER
    if not isinstance(destination, IPv4Address | IPv6Address):
        return _UNKNOWN_HEADER
    addresses = [ipaddress.ip_address(each.host) for each in (source, destination)]
    if all(address.version == 4 for address in addresses):
        family, layout = _AF_INET, _INET
        packed = [address.packed for address in addresses]
    else:
        family, layout = _AF_INET6, _INET6
        packed = [
            address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
            for address in addresses
        ]
    block = layout.pack(*packed, source.port, destination.port)
    return _FIXED.pack(_SIGNATURE, _VERSION | _PROXY, family << 4 | _STREAM, len(block)) + block


def ip_address(host: str, port: int) -> IPv4Address | IPv6Address:
    """A TCP address; one that is IPv4 written as IPv6 is the IPv4 address.

    :raises ValueError: when *host* is no literal address.
    """
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return IPv6Address("TCP", str(address), port)
        address = address.ipv4_mapped
    return IPv4Address("TCP", str(address), port)


def _size(data: bytearray) -> int | None:
    """How long the header that begins so is; ``None`` where that cannot be known yet."""
    if _SIGNATURE.startswith(data[: len(_SIGNATURE)]):
        if len(data) < _FIXED.size:
            return None
        size = _FIXED.size + int(_FIXED.unpack_from(data)[3])
        if size > MAX_PROXY_HEADER:
            raise BadProxyHeader("it is too long")
        return size
    if not _TEXT.startswith(data[: len(_TEXT)]):
        raise BadProxyHeader("there is none")
    end = data.find(b"\n", 0, _MAX_LINE)
    if end < 0 and len(data) < _MAX_LINE:
        return None
    if end < 0:
        raise BadProxyHeader("the line is too long")
    if data[end - 1] != 0x0D:
        raise BadProxyHeader("the line does not end with CRLF")
    return end + 1


def _parse_text(line: bytes) -> ProxyHeader:
    """Version 1."""
    said = line[len(_TEXT) : -2]
    if said == b"UNKNOWN" or said.startswith(b"UNKNOWN "):
        # Whatever else is there is to be ignored.
        return ProxyHeader()
    match = _LINE.fullmatch(said)
    if match is None:
        raise BadProxyHeader("the line is malformed")
    return ProxyHeader(*(_text_address(match[1], match[at], match[at + 2]) for at in (2, 3)))


def _text_address(family: bytes, host: bytes, port: bytes) -> IAddress:
    try:
        # Leading zeros are refused here, too.
        address = ipaddress.ip_address(host.decode("ascii"))
    except ValueError:
        raise BadProxyHeader("the line has no valid address") from None
    if address.version != int(family) or b"%" in host:
        raise BadProxyHeader("the line has an address of another family")
    if int(port) > 65535:
        raise BadProxyHeader("the line has no valid port")
    return ip_address(str(address), int(port))


def _parse_binary(header: bytes) -> ProxyHeader:
    """Version 2."""
    _, version, family, _ = _FIXED.unpack_from(header)
    command = version & 0x0F
    if version & 0xF0 != _VERSION or command > _PROXY:
        raise BadProxyHeader("the version or command is unknown")
    if command == _LOCAL:
        # The rest is to be ignored, whatever it is.
        return ProxyHeader()
    kind, transport = family >> 4, family & 0x0F
    if kind > _AF_UNIX or transport > _DATAGRAM:
        raise BadProxyHeader("the family or protocol is unknown")
    if _UNSPEC in (kind, transport):
        # What an address looks like that has no kind, nobody knows, nor where extensions would begin.
        return ProxyHeader()
    block = header[_FIXED.size :]
    size = {_AF_INET: _INET.size, _AF_INET6: _INET6.size, _AF_UNIX: _UNIX_SIZE}[kind]
    if len(block) < size:
        raise BadProxyHeader("the addresses are incomplete")
    _check_extensions(header, _FIXED.size + size)
    if kind == _AF_UNIX:
        # A path means nothing on another host.
        return ProxyHeader(UNIXAddress(None), UNIXAddress(None))
    source, destination, source_port, destination_port = (_INET if kind == _AF_INET else _INET6).unpack_from(
        block
    )
    return ProxyHeader(_packed_address(source, source_port), _packed_address(destination, destination_port))


def _packed_address(packed: bytes, port: int) -> IAddress:
    return ip_address(str(ipaddress.ip_address(packed)), port)


def _check_extensions(header: bytes, at: int) -> None:
    """Walk through the type-length-values; only the checksum is looked at (section 2.2.3)."""
    checked = False
    while at < len(header):
        if at + _TLV.size > len(header):
            raise BadProxyHeader("an extension is incomplete")
        kind, length = _TLV.unpack_from(header, at)
        at += _TLV.size
        end = at + length
        if end > len(header):
            raise BadProxyHeader("an extension is incomplete")
        if kind == _TYPE_CRC32C:
            if checked or length != _CRC.size:
                raise BadProxyHeader("the checksum is malformed")
            checked = True
            if _crc32c(header[:at] + bytes(_CRC.size) + header[end:]) != _CRC.unpack_from(header, at)[0]:
                raise BadProxyHeader("the checksum is wrong")
        at = end


def _crc32c(data: bytes) -> int:
    """Castagnoli's checksum (RFC 9260, appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _crc_entry(crc: int) -> int:
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


_CRC_TABLE: Final = tuple(map(_crc_entry, range(256)))
