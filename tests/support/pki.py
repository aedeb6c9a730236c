"""Keys, certificates and tickets of a test installation, in a directory."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import attrs
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.demo.pki import DemoPki, make_pki
from gateway.tickets import Target, encode_ticket

__all__ = ["Installation", "install"]


@attrs.frozen
class Installation:
    """A gateway's files, and the engine that signs its tickets."""

    directory: Path
    pki: DemoPki
    engine_file: Path
    """The engine's certificate, as ``tickets.certificate`` names it."""

    def ticket(
        self,
        port: int,
        host: str = "127.0.0.1",
        *,
        begin: float = -5,
        lifetime: int = 120,
        key: rsa.RSAPrivateKey | None = None,
        tls: bool = False,
        path: str | None = None,
        token: str | None = None,
    ) -> str:
        """A ticket, genuine unless told otherwise.

        :param begin: start of validity, in seconds from now.
        :param lifetime: length of validity, in seconds.
        :param key: another engine's key.
        """
        return encode_ticket(
            key or self.pki.engine_key,
            Target(host, port, tls, path, token),
            certificate=self.pki.engine_certificate,
            valid_from=datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=begin),
            lifetime=datetime.timedelta(seconds=lifetime),
        )

    def client_context(self) -> ssl.SSLContext:
        """What a browser that trusts the CA uses."""
        return ssl.create_default_context(cafile=str(self.pki.ca_file))

    def settings(self) -> dict[str, dict[str, object]]:
        """Tables of a settings file: free ports on loopback, every loopback target allowed."""
        return {
            "listen": {"tls": ["tcp:0:interface=127.0.0.1"], "plain": ["tcp:0:interface=127.0.0.1"]},
            "tls": {"certificate": str(self.pki.certificate_file), "key": str(self.pki.key_file)},
            "tickets": {"certificate": str(self.engine_file)},
            "targets": {"networks": ["127.0.0.0/8", "10.0.0.0/8"], "ports": ["1-65535"]},
            "relay": {"close_timeout": 1.0},
        }


def install(directory: Path) -> Installation:
    """Make the files of an installation in ``directory``."""
    pki = make_pki(directory, ["localhost", "127.0.0.1", "::1"])
    engine_file = directory / "engine.pem"
    engine_file.write_bytes(pki.engine_certificate.public_bytes(Encoding.PEM))
    return Installation(directory, pki, engine_file)
