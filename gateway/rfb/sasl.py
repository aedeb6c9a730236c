"""SASL inside RFB, the client's side, as QEMU and libvirt speak it (security type 20, VeNCrypt 263 and 264).

The server lists its mechanisms, joined by commas; the client names one and
sends its first data; then both exchange data until the server says that it is
done.  Every text has a 32-bit length before it.  Data is counted with a final
NUL, and a length of 0 stands for no data at all.
"""

from __future__ import annotations

from gateway.rfb.errors import RfbError
from gateway.rfb.requirement import Credentials
from gateway.rfb.scram import MAX_SCRAM_MESSAGE, MECHANISM, ScramClient
from gateway.rfb.wire import Reading, Wire, encode_text, printable

__all__ = ["MAX_MECHANISMS", "agree_mechanism", "authenticate_scram"]

MAX_MECHANISMS = 1024
"""Longest list of mechanisms taken, in bytes."""

_MORE, _DONE = 0, 1
_NO_DATA = encode_text(b"")


def agree_mechanism(wire: Wire) -> Reading[None]:
    """Wait for the list of mechanisms and name SCRAM-SHA-256.

    :raises RfbError: it is not in the list.
    """
    mechanisms = yield from wire.read_text(MAX_MECHANISMS, "list of SASL mechanisms")
    if MECHANISM not in mechanisms.rstrip(b"\0").split(b","):
        raise RfbError(
            f"server's SASL offers {printable(mechanisms) or 'nothing'}; {MECHANISM.decode()} is required"
        )
    wire.write(encode_text(MECHANISM))


def authenticate_scram(wire: Wire, credentials: Credentials) -> Reading[None]:
    """Authenticate by the mechanism agreed on; the SecurityResult is next.

    :raises AuthenticationFailed: the server refused, or could not prove itself.
    :raises NeedsCredentials: SCRAM cannot carry the credentials.
    :raises RfbError: the server broke the protocol.
    """
    scram = ScramClient(credentials)
    wire.write(_with_nul(scram.first_message()))
    server_first, done = yield from _read_step(wire)
    if done:
        raise RfbError("server ended SCRAM before either end was authenticated")
    wire.write(_with_nul(scram.final_message(server_first)))
    server_final, done = yield from _read_step(wire)
    scram.verify(server_final)
    if not done:
        # A server that may not add data to its last word waits for one more turn.
        wire.write(_NO_DATA)
        data, done = yield from _read_step(wire)
        if data or not done:
            raise RfbError("server went on with SCRAM after its end")


def _read_step(wire: Wire) -> Reading[tuple[bytes, bool]]:
    """What the server sends in one turn: data, and whether it is done."""
    data = yield from wire.read_text(MAX_SCRAM_MESSAGE + 1, "SASL data")
    (progress,) = yield from wire.read(1)
    if progress not in (_MORE, _DONE):
        raise RfbError(f"unknown SASL progress {progress}")
    return data.removesuffix(b"\0"), progress == _DONE


def _with_nul(data: bytes) -> bytes:
    return encode_text(data + b"\0")
