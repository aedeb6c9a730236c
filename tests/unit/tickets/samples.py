"""Keys, certificates and tickets for the tests, good and bad."""

from __future__ import annotations

import datetime
import functools
import itertools
import json
import urllib.parse
from collections.abc import Mapping, Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from gateway.settings.model import TicketSettings
from gateway.tickets import EngineKeys, Target, TicketDecoder, TicketFault, TicketRefused
from gateway.tickets.armour import armour

NAMES = ("salt", "data", "validFrom", "validTo")
START = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
NOW = START.timestamp() + 30
SALT = "APvv/v9+PwE="
VALID_FROM = "20300101000000"
VALID_TO = "20300101000200"
DATA = "%7B%22port%22%3A%225901%22%2C%22host%22%3A%2210.20.30.40%22%2C%22ssl_target%22%3Atrue%7D"

Key = rsa.RSAPrivateKey
PublicKey = rsa.RSAPublicKey


@functools.cache
def engine_key() -> Key:
    return rsa.generate_private_key(65537, 2048)


@functools.cache
def other_key() -> Key:
    return rsa.generate_private_key(65537, 2048)


@functools.cache
def large_key() -> Key:
    return rsa.generate_private_key(65537, 3072)


def certificate_of(
    key: Key | ec.EllipticCurvePrivateKey, name: str = "engine.example.com"
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(4711)
        .not_valid_before(START)
        .not_valid_after(START + datetime.timedelta(days=365))
        .sign(key, SHA256())
    )


def pem_of(key: Key | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem_of(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def decoder(*keys: Key, now: float = NOW, settings: TicketSettings | None = None) -> TicketDecoder:
    """A decoder of the engine's tickets, half a minute into their validity."""
    pinned = [key.public_key() for key in keys or (engine_key(),)]
    return TicketDecoder(EngineKeys(pinned), settings or TicketSettings(), lambda: now)


def sign(message: bytes, key: Key | None = None, salt_length: int | None = None) -> str:
    signer = key or engine_key()
    if salt_length is None:
        salt_length = padding.calculate_max_pss_salt_length(signer, SHA256())
    pss = padding.PSS(padding.MGF1(SHA256()), salt_length)
    return armour(signer.sign(message, pss, SHA256()))


def sign_sha1(message: bytes, key: Key | None = None) -> str:
    return armour((key or engine_key()).sign(message, padding.PKCS1v15(), SHA1()))


def fields(order: Sequence[str] = NAMES, key: Key | None = None, **changes: str) -> dict[str, str]:
    """Fields of an honestly signed ticket; whatever is changed is signed as changed."""
    values = {"salt": SALT, "data": DATA, "validFrom": VALID_FROM, "validTo": VALID_TO} | changes
    message = "".join(values.get(name, "") for name in order).encode("utf-8")
    return {"signedFields": ",".join(order), "v2_signature": sign(message, key)} | values


def pack(envelope: Mapping[str, object] | str | bytes) -> str:
    """Ticket with this JSON in it, whatever it is."""
    if isinstance(envelope, Mapping):
        envelope = json.dumps(envelope)
    return armour(envelope.encode("utf-8") if isinstance(envelope, str) else envelope)


def genuine(order: Sequence[str] = NAMES, key: Key | None = None, **changes: str) -> str:
    """An honestly signed ticket."""
    return pack(fields(order, key, **changes))


def words(text: str) -> list[str]:
    return text.split()


def target_data(**changes: object) -> str:
    """Plain JSON of a target; ``...`` leaves a key out."""
    items = {"host": "10.20.30.40", "port": "5901", "ssl_target": True} | changes
    return json.dumps({name: value for name, value in items.items() if value is not ...})


ORDERS = tuple(itertools.permutations(NAMES))


class HostileCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.decoder = decoder()

    def refused(self, ticket: str, fault: TicketFault, other: TicketDecoder | None = None) -> TicketRefused:
        with pytest.raises(TicketRefused) as caught:
            (other or self.decoder).decode(ticket)
        assert caught.value.fault is fault
        assert caught.value.refusal is fault.refusal
        return caught.value

    def forged(self, fault: TicketFault, **changes: str) -> None:
        """A genuine ticket whose fields are changed after signing."""
        self.refused(pack(fields() | changes), fault)

    def target(self, **changes: object) -> Target:
        """Target of a genuine ticket with these changes of its target."""
        return self.decoder.decode(genuine(data=urllib.parse.quote(target_data(**changes)))).target

    def refused_target(self, fault: TicketFault, **changes: object) -> None:
        self.refused(genuine(data=urllib.parse.quote(target_data(**changes))), fault)


WORKED_EXAMPLE = (
    "eyJzYWx0IjoiQVB2di92OStQd0U9IiwiZGF0YSI6IiU3QiUyMnBvcnQlMjIlM0ElMjI1OTAxJTIyJTJDJTIyaG9zdCUyMiUzQSUy"
    "MjEwLjIwLjMwLjQwJTIyJTJDJTIyc3NsX3RhcmdldCUyMiUzQXRydWUlN0QiLCJjZXJ0aWZpY2F0ZSI6Ii0tLS0tQkVHSU4gQ0VS"
    "VElGSUNBVEUtLS0tLVxuTUlJQzZqQ0NBZEtnQXdJQkFnSUNFQUV3RFFZSktvWklodmNOQVFFTEJRQXdPREVMTUFrR0ExVUVCaE1D"
    "VlZNeEVEQU9CZ05WQkFvTVxyXG5CMlY0WVcxd2JHVXhGekFWQmdOVkJBTU1EbVZ1WjJsdVpTNWxlR0Z0Y0d4bE1CNFhEVEl3TURF"
    "d01UQXdNREF3TUZvWERUUTVNREV3XHJcbk1UQXdNREF3TUZvd09ERUxNQWtHQTFVRUJoTUNWVk14RURBT0JnTlZCQW9NQjJWNFlX"
    "MXdiR1V4RnpBVkJnTlZCQU1NRG1WdVoybHVcclxuWlM1bGVHRnRjR3hsTUlJQklqQU5CZ2txaGtpRzl3MEJBUUVGQUFPQ0FROEFN"
    "SUlCQ2dLQ0FRRUEwb3pJcHU0a2pZOEpncitGTmdua1xyXG5SNkZYZmlKbXppY2I4UmtrNmlydXY4QWExa2F1Rlpzb2F0SHk2UTA4"
    "V2czVElDejAybXYzNG0yblFNVlFFaEJtUllvNFFWdkcwenVuXHJcbmxvSGJMdFVZSUJzaDROait0N3FNU3NXM2c4WVQzSTdaOEJH"
    "MkhRVHlUUjlWQlBWVS9VMGxaQng5cnRFc0l1RGVjeDcreGlsc1RBbUpcclxuZThDUXR4N2puVGtodjJWNnNvZmpkVjQvVkVvR1V1"
    "MkxRWmJTR0FFaU9yMzlXVklKWjY4UXVrRGROWnpFSEVLbTV4bVVmRTMrRHRhdlxyXG5WcHJqZzljeFR5UjRJVUVJelZmZkRIdThT"
    "c2ZUSzhUdWhkNUFNT2tmc0c4dzVWcXhydjk2MHJ3dGhXc2VHQTUzK2dWRmRCVmxGSG50XHJcbnc4R1A2RFNKa3FSZmVFMkROUUlE"
    "QVFBQk1BMEdDU3FHU0liM0RRRUJDd1VBQTRJQkFRQ3ZXUnpaaWYvKysyK3lFc0hIMmZGSk9ZQmhcclxuZ2N0bWQwK0dHVno0cldS"
    "QnhOeHJTZXNEZUNBbnc0VXdBZVBHdkVSV2NhRmdaNms5VzluTjYrVEFIVG9vbXlMem9OTnFtc1J3WnVzWVxyXG50RXhINDNvejRO"
    "SnZibnpPa01oaGhxRVNpcGlFYWFhRDEwZ3ZxTVNKRFJRTlozcmNjY29lSHJBc1Q0ckxLWHBzdWFDQVVVamdRSktVXHJcblBONGdW"
    "dEpQTVpOblZPZWFBak1hcEhVWG1rNk91WXlNSnRYQlp2eUw0UmNESUIxNENCb3pwQnJTa01tQURRVG5taGRUTnZpb3kwQTdcclxu"
    "Qk9YZTdHZW1icXlmZnI2aVltYW5HZGdJdDNFTDR2TGZnWjZLR1pMdXhSSTZjODU2a1I0M1NIc1R2RG9SYkZpeEptazNVNjlaeHd1"
    "OVxyXG5weW8wN1hOdGppYTNcclxuLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLVxuIiwic2lnbmVkRmllbGRzIjoic2FsdCxkYXRh"
    "LHZhbGlkRnJvbSx2YWxpZFRvIiwidmFsaWRGcm9tIjoiMjAzMDAxMDEwMDAwMDAiLCJ2Ml9zaWduYXR1cmUiOiJ2UzBkQUgxUmo3"
    "NmVGcDJXcjN3aU1adkdDbXcvN0E1bWhPUHQ4clN1T3dDcmpsdGJoMTFNenArZWU2Tm5DMnM0cXcxbGltSHBXNDJWcjNERVhZRHkw"
    "ZFZTd1cvZVlLZytrSDRCcjh0SzRsUHlHN1hJYlhQVm1vNndOUlpPZWtISjJBNWVsODc4c0drS0JQUmFqdUEyaFNRYlQ3STN4MHlG"
    "UnFYMWd6QlFNOFNVMElVVG1NS3hZTm5GSXZGaVh6aDFNc1Y0YkQwVW9FcUFLUmJMYU9QK3F0dlRKMm1HdU5UOVNPSTRERTFURlh5"
    "NFY4T1oza2tUbnRUY29rdzkzeUdsUllTam1pc0FqdEd3ZXJkZWNPcnRZb1ByMG1SYVNiM2xSRXg0cXFDQXJIVU5SUkhMeXNiQmJq"
    "RW5rTTM2dCt2eTMveS92WTNPeFZjQTlkaTdkWEFzaGc9PSIsInZhbGlkVG8iOiIyMDMwMDEwMTAwMDIwMCJ9"
)
"""A ticket made elsewhere, valid from 2030-01-01 00:00:00 UTC for 120 seconds; its certificate is inside."""
