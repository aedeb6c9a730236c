"""VNC authentication: a DES challenge and response (RFC 6143, section 7.2.2).

The scheme is weak (eight characters, one DES key) and is spoken only because
console servers still ask for it; confidentiality is TLS's business.
"""

from __future__ import annotations

import hmac

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from gateway.rfb.errors import RfbError

__all__ = ["CHALLENGE_SIZE", "vnc_response", "vnc_response_matches"]

CHALLENGE_SIZE = 16
"""Length of challenge and response, in bytes."""

_KEY_SIZE = 8
_MIRRORED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def vnc_response(challenge: bytes, password: str | bytes) -> bytes:
    """Encrypt a server's challenge with a password.

    :param challenge: the 16 bytes the server sent.
    :param password: only the first eight bytes count; text is taken as Latin-1.
    :return: the 16 bytes to answer with.
    :raises ValueError: the challenge has another length, or the text is outside Latin-1.
    :raises RfbError: this host's cryptography offers no DES (a FIPS policy, for example).
    """
    if len(challenge) != CHALLENGE_SIZE:
        raise ValueError(f"a VNC challenge has {CHALLENGE_SIZE} bytes, not {len(challenge)}")
    key = _des_key(password)
    try:
        # Three equal keys make triple DES plain DES, the only form still offered.
        encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()  # noqa: S305 - the scheme is ECB
        return encryptor.update(challenge) + encryptor.finalize()
    except UnsupportedAlgorithm:
        raise RfbError(
            "VNC authentication needs DES, which this host's cryptography does not offer"
        ) from None


def vnc_response_matches(challenge: bytes, password: str | bytes, response: bytes) -> bool:
    """Whether ``response`` answers ``challenge`` with ``password``; takes the same time either way.

    Raises what :func:`vnc_response` raises.
    """
    return hmac.compare_digest(vnc_response(challenge, password), response)


def _des_key(password: str | bytes) -> bytes:
    if isinstance(password, str):
        try:
            password = password.encode("latin-1")
        except UnicodeEncodeError:
            # A fresh exception: the codec's own one carries the password.
            raise ValueError("a VNC password has Latin-1 characters only") from None
    # The scheme reads each key byte from its low bit up, DES from its high bit down.
    return password[:_KEY_SIZE].ljust(_KEY_SIZE, b"\0").translate(_MIRRORED)
