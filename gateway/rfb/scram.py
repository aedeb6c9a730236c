"""SCRAM-SHA-256, the client's side, without I/O and without channel binding (RFC 5802, RFC 7677).

Both ends prove that they know the password and neither sends it.  The salted
password is computed in place: :data:`MAX_ITERATIONS` bounds how long a server
can keep this process busy, to about 40 ms on a core with SHA instructions.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets

from gateway.rfb.errors import AuthenticationFailed, NeedsCredentials, RfbError
from gateway.rfb.requirement import Credentials
from gateway.rfb.saslprep import saslprep
from gateway.rfb.wire import printable

__all__ = ["MAX_ITERATIONS", "MAX_SCRAM_MESSAGE", "MECHANISM", "MIN_ITERATIONS", "ScramClient"]

MECHANISM = b"SCRAM-SHA-256"
"""Its name in SASL (RFC 7677)."""
MIN_ITERATIONS = 4096
"""Fewest iterations taken from a server (RFC 7677, section 4)."""
MAX_ITERATIONS = 65536
"""Most iterations computed for a server."""
MAX_SCRAM_MESSAGE = 1024
"""Longest message taken from a server, in bytes; it bounds nonce and salt as well."""

_HASH = "sha256"
_MAX_NAME = 255  # Bytes.
_MAX_PASSWORD = 1024  # Bytes.
_NONCE_SIZE = 24  # Bytes, before base64.
_NO_CHANNEL_BINDING = b"n,,"

_SERVER_FIRST = re.compile(
    rb"r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)"
    rb",s=(?P<salt>[A-Za-z0-9+/]+={0,2})"
    rb",i=(?P<count>[1-9][0-9]{0,9})"
    rb"(?:,[A-Za-z]=[^\0,]*)*"
)
_SERVER_FINAL = re.compile(
    rb"(?:e=(?P<error>[^\0,]*)|v=(?P<signature>[A-Za-z0-9+/]+={0,2}))(?:,[A-Za-z]=[^\0,]*)*"
)


class ScramClient:
    """One authentication: call the three methods once each, in order.

    :param credentials: with a user name.
    :param nonce: unpredictable printable text without commas; a fresh one by default.
    :raises NeedsCredentials: user name or password is missing, too long, or has characters that SASLprep
        prohibits; the text of the error quotes neither.
    """

    def __init__(self, credentials: Credentials, nonce: bytes | None = None) -> None:
        name = _prepare(credentials.username or "", "user name", _MAX_NAME)
        self._password = _prepare(credentials.password, "password", _MAX_PASSWORD)
        self._nonce = base64.b64encode(secrets.token_bytes(_NONCE_SIZE)) if nonce is None else nonce
        escaped = name.replace(b"=", b"=3D").replace(b",", b"=2C")
        self._client_first = b"n=" + escaped + b",r=" + self._nonce
        self._server_signature = b""

    def first_message(self) -> bytes:
        """What to send first."""
        return _NO_CHANNEL_BINDING + self._client_first

    def final_message(self, server_first: bytes) -> bytes:
        """What to answer the server's first message with.

        :raises RfbError: the message is no such message, its nonce does not extend ours, or it wants fewer
            or more iterations than are taken.
        """
        salt, count, nonce = self._read_first(server_first)
        salted = hashlib.pbkdf2_hmac(_HASH, self._password, salt, count)
        client_key = _hmac(salted, b"Client Key")
        without_proof = b"c=" + base64.b64encode(_NO_CHANNEL_BINDING) + b",r=" + nonce
        signed = b",".join((self._client_first, server_first, without_proof))
        client_signature = _hmac(hashlib.new(_HASH, client_key).digest(), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, client_signature, strict=True))
        self._server_signature = _hmac(_hmac(salted, b"Server Key"), signed)
        return without_proof + b",p=" + base64.b64encode(proof)

    def verify(self, server_final: bytes) -> None:
        """Check the server's last message.

        :raises AuthenticationFailed: it reports an error, or its signature is not that of a server that knows
            the password.
        :raises RfbError: it is no such message.
        """
        _check_size(server_final)
        message = _SERVER_FINAL.fullmatch(server_final)
        if message is None:
            raise RfbError("malformed last SCRAM message from the server")
        if message["signature"] is None:
            raise AuthenticationFailed(printable(message["error"]) or "Authentication failed")
        if not hmac.compare_digest(_base64(message["signature"]), self._server_signature):
            raise AuthenticationFailed("Server did not prove that it knows the password")

    def _read_first(self, server_first: bytes) -> tuple[bytes, int, bytes]:
        """Salt, iteration count and nonce."""
        _check_size(server_first)
        message = _SERVER_FIRST.fullmatch(server_first)
        if message is None:
            raise RfbError("malformed first SCRAM message from the server")
        nonce, count = message["nonce"], int(message["count"])
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise RfbError("SCRAM nonce from the server does not extend ours")
        if not MIN_ITERATIONS <= count <= MAX_ITERATIONS:
            raise RfbError(
                f"SCRAM with {count} iterations; {MIN_ITERATIONS} to {MAX_ITERATIONS} are accepted"
            )
        return _base64(message["salt"]), count, nonce


def _prepare(text: str, what: str, limit: int) -> bytes:
    try:
        data = saslprep(text).encode()
    except ValueError:
        # A fresh exception: a codec's own one carries the text.
        raise NeedsCredentials(f"the {what} has characters that SCRAM cannot carry") from None
    if not 0 < len(data) <= limit:
        raise NeedsCredentials(f"SCRAM needs a {what} of 1 to {limit} bytes")
    return data


def _check_size(message: bytes) -> None:
    if len(message) > MAX_SCRAM_MESSAGE:
        raise RfbError(f"SCRAM message of {len(message)} bytes, more than {MAX_SCRAM_MESSAGE}")


def _base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise RfbError("malformed base64 in a SCRAM message from the server") from None


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, _HASH)
