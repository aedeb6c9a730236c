"""The other end of SCRAM-SHA-256, and of SASL inside RFB, for tests: it checks what the client proves."""

from __future__ import annotations

import base64
import hashlib
import hmac

import attrs

from tests.unit.rfb.samples import text

__all__ = ["ScramServer", "counted"]


@attrs.define
class ScramServer:
    """What a server knows of one user (RFC 5802, section 3): never the password."""

    stored_key: bytes
    server_key: bytes
    salt: bytes
    iterations: int
    nonce: bytes = b"server"

    @classmethod
    def of(cls, password: bytes, salt: bytes = b"NaCl" * 4, iterations: int = 4096) -> ScramServer:
        salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
        client_key = hmac.new(salted, b"Client Key", "sha256").digest()
        server_key = hmac.new(salted, b"Server Key", "sha256").digest()
        return cls(hashlib.sha256(client_key).digest(), server_key, salt, iterations)

    def first(self, client_first: bytes) -> bytes:
        """Answer the client's first message, sent without channel binding."""
        assert client_first.startswith(b"n,,")
        nonce = client_first.rpartition(b",r=")[2]
        salt = base64.b64encode(self.salt)
        return b"r=%s%s,s=%s,i=%d" % (nonce, self.nonce, salt, self.iterations)

    def final(self, client_first: bytes, client_final: bytes) -> bytes:
        """Answer the client's last message: with our signature, if it proves the password."""
        without_proof, _, proof = client_final.rpartition(b",p=")
        assert without_proof.startswith(b"c=biws,r=")
        auth = b",".join((client_first[3:], self.first(client_first), without_proof))
        signature = hmac.new(self.stored_key, auth, "sha256").digest()
        pairs = zip(base64.b64decode(proof), signature, strict=True)
        if hashlib.sha256(bytes(a ^ b for a, b in pairs)).digest() != self.stored_key:
            return b"e=invalid-proof"
        return b"v=" + base64.b64encode(hmac.new(self.server_key, auth, "sha256").digest())


def counted(data: bytes) -> bytes:
    """SASL data inside RFB: its length counts a final NUL."""
    return text(data + b"\0")
