"""A throw-away certificate authority for one run of the demo."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.pki import KeyKind, chain_pem, generate_key, key_pem, write_private, write_public
from gateway.pki.altnames import alt_name
from gateway.pki.profile import Profile, issued, self_signed
from gateway.pki.subjects import parse_subject

__all__ = ["DemoPki", "make_pki"]

_LIFETIME: Final = datetime.timedelta(days=7)
_SIGNS: Final = frozenset({"digitalSignature"})


@attrs.frozen
class DemoPki:
    """What the demo needs: a CA to trust, a server identity, and an engine that signs tickets."""

    ca_file: Path
    certificate_file: Path
    key_file: Path
    engine_certificate: x509.Certificate
    engine_key: rsa.RSAPrivateKey


def make_pki(directory: Path, names: list[str], *, now: datetime.datetime | None = None) -> DemoPki:
    """Make a CA, a server certificate for ``names`` and a ticket signer, and write what is read from files.

    :param directory: where ``ca.pem``, ``server.pem`` and ``server.key`` go.
    :param names: host names and IP addresses of the server, the first one most prominent.
    :param now: start of validity; defaults to the present.
    :raises PkiError: a name is neither, or a file cannot be written.
    """
    begin = (now or datetime.datetime.now(datetime.UTC)) - datetime.timedelta(minutes=5)
    end = begin + _LIFETIME
    ca_key, server_key = generate_key(KeyKind.EC), generate_key(KeyKind.EC)
    engine_key = generate_key()
    assert isinstance(engine_key, rsa.RSAPrivateKey)
    ca = self_signed(parse_subject("/CN=Console Gateway demo CA"), ca_key, begin=begin, end=end)
    server, engine = (
        issued(profile, ca=ca, ca_key=ca_key, serial=x509.random_serial_number(), begin=begin, end=end)
        for profile in (
            Profile(
                parse_subject(f"/CN={names[0]}"),
                server_key.public_key(),
                tuple(alt_name(name) for name in names),
                _SIGNS,
            ),
            Profile(parse_subject("/CN=Console Gateway demo engine"), engine_key.public_key(), (), _SIGNS),
        )
    )
    pki = DemoPki(
        directory / "ca.pem", directory / "server.pem", directory / "server.key", engine, engine_key
    )
    write_public(pki.ca_file, chain_pem([ca]), replace=False)
    write_public(pki.certificate_file, chain_pem([server]), replace=False)
    write_private(pki.key_file, key_pem(server_key), replace=False)
    return pki
