"""The encoder's styles, a ticket made elsewhere, and keys that follow one another."""

from __future__ import annotations

import datetime
import json
import urllib.parse

import pytest
from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from gateway.settings import Attach, TargetSecurity
from gateway.settings.model import TicketSettings
from gateway.tickets import EngineKeys, Kind, Target, TicketDecoder, TicketRefused, TicketStyle, encode_ticket
from gateway.tickets.armour import unarmour
from tests.unit.tickets import samples
from tests.unit.tickets.samples import NOW, START, words

MINUTES = datetime.timedelta(minutes=2)
KUBEVIRT = Target(
    "cluster.example.com",
    6443,
    path="/apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/b/vnc",
    token="a.b-c_d~e+f/g==",
)


def encode(target: Target, style: TicketStyle, certificate: x509.Certificate | None = None) -> str:
    return encode_ticket(
        samples.engine_key(), target, certificate=certificate, valid_from=START, lifetime=MINUTES, style=style
    )


def fields_of(ticket: str) -> dict[str, str]:
    fields: dict[str, str] = json.loads(unarmour(ticket, 65536))
    return fields


class WorkedExample(SynchronousTestCase):
    """A ticket that another implementation has made."""

    def setUp(self) -> None:
        self.fields = fields_of(samples.WORKED_EXAMPLE)
        self.certificate = x509.load_pem_x509_certificate(self.fields["certificate"].encode())
        key = self.certificate.public_key()
        assert isinstance(key, samples.PublicKey)
        self.key = key

    def test_decodes(self) -> None:
        grant = TicketDecoder(EngineKeys([self.key]), TicketSettings(), lambda: NOW).decode(
            samples.WORKED_EXAMPLE
        )
        assert grant.target == Target("10.20.30.40", 5901, tls=True)
        assert grant.valid_from == START
        assert grant.valid_to == START + MINUTES

    def test_our_encoder_writes_the_same(self) -> None:
        target = Target("10.20.30.40", 5901, tls=True)
        salt = bytes.fromhex("00fbeffeff7e3f01")
        ticket = encode_ticket(
            samples.engine_key(),
            target,
            certificate=self.certificate,
            valid_from=START,
            lifetime=MINUTES,
            salt=salt,
        )
        ours = unarmour(ticket, 65536).decode()
        theirs = unarmour(samples.WORKED_EXAMPLE, 65536).decode()
        # All but the signature, which is another key's, byte for byte.
        assert ours.replace(fields_of(ticket)["v2_signature"], self.fields["v2_signature"]) == theirs


class Styles(SynchronousTestCase):
    """How each style writes."""

    def setUp(self) -> None:
        self.certificate = samples.certificate_of(samples.engine_key())
        self.target = Target("10.20.30.40", 5900)

    def test_engine(self) -> None:
        ticket = encode(self.target, TicketStyle.ENGINE, self.certificate)
        fields = fields_of(ticket)
        names = words("salt data certificate signedFields validFrom v2_signature validTo")
        assert list(fields) == names
        assert fields["signedFields"] == "salt,data,validFrom,validTo"
        assert b": " not in unarmour(ticket, 65536)
        plain = '{"port":"5900","host":"10.20.30.40","ssl_target":false}'
        assert fields["data"] == urllib.parse.quote(plain, safe="")
        lines = fields["certificate"].split("\r\n")
        assert len(lines[1]) == 76
        assert lines[0].startswith("-----BEGIN CERTIFICATE-----\n")
        assert lines[-1] == "-----END CERTIFICATE-----\n"

    def test_web_admin(self) -> None:
        fields = fields_of(encode(self.target, TicketStyle.WEB_ADMIN))
        assert fields["data"] == (
            "%7B%22host%22:%2210.20.30.40%22,%22port%22:%225900%22,%22ssl_target%22:false,"
            "%22path%22:null,%22token%22:null%7D"
        )
        assert "certificate" not in fields

    def test_library(self) -> None:
        ticket = encode(self.target, TicketStyle.LIBRARY, self.certificate)
        fields = fields_of(ticket)
        names = words("salt validFrom validTo data signedFields v2_signature certificate")
        assert list(fields) == names
        assert fields["signedFields"] == "salt,validFrom,validTo,data"
        assert unarmour(ticket, 65536).startswith(b'{"salt": "')
        assert "\r" not in fields["certificate"]
        assert len(fields["certificate"].split("\n")[1]) == 64

    def test_all_styles_say_the_same(self) -> None:
        for style in TicketStyle:
            for target in (self.target, KUBEVIRT, Target("::1", 5900, tls=True)):
                assert samples.decoder().decode(encode(target, style, self.certificate)).target == target

    def test_what_engines_do_not_write(self) -> None:
        """The two keys are there when they say something, at the end, in every style."""
        target = Target("10.20.30.40", 5900, security=TargetSecurity.TLS, server_name="host1.example.com")
        for style in TicketStyle:
            plain = list(json.loads(urllib.parse.unquote(fields_of(encode(self.target, style))["data"])))
            ticket = encode(target, style)
            items = json.loads(urllib.parse.unquote(fields_of(ticket)["data"]))
            assert list(items) == [*plain, "security", "server_name"]
            assert (items["security"], items["server_name"]) == ("tls", "host1.example.com")
            assert samples.decoder().decode(ticket).target == target

    def test_token_in_each_style(self) -> None:
        tokens = {
            style: fields_of(encode(KUBEVIRT, style))["data"].rpartition("%22")[0] for style in TicketStyle
        }
        assert tokens[TicketStyle.ENGINE].endswith("a.b-c_d%7Ee%2Bf%2Fg%3D%3D")
        assert tokens[TicketStyle.WEB_ADMIN].endswith("a.b-c_d~e+f/g==")
        assert tokens[TicketStyle.LIBRARY].endswith("a.b-c_d~e+f/g==")

    def test_whole_seconds(self) -> None:
        start = datetime.datetime(
            2030, 1, 1, 2, 0, 10, 999999, datetime.timezone(datetime.timedelta(hours=2))
        )
        ticket = encode_ticket(
            samples.engine_key(),
            self.target,
            certificate=None,
            valid_from=start,
            lifetime=datetime.timedelta(seconds=90),
        )
        fields = fields_of(ticket)
        assert (fields["validFrom"], fields["validTo"]) == ("20300101000010", "20300101000140")

    def test_two_tickets_differ(self) -> None:
        tickets = [fields_of(encode(self.target, TicketStyle.ENGINE)) for _ in range(2)]
        assert tickets[0]["salt"] != tickets[1]["salt"]

    def test_extensions(self) -> None:
        ticket = encode_ticket(
            samples.engine_key(),
            Target("host1", 5900, kind=Kind.SPICE),
            certificate=None,
            valid_from=START,
            lifetime=MINUTES,
            subject="Alice [a]",
            attach=Attach.TAKE_OVER,
        )
        assert json.loads(urllib.parse.unquote(fields_of(ticket)["data"])) == {
            "host": "host1",
            "port": "5900",
            "ssl_target": False,
            "kind": "spice",
            "attach": "take-over",
            "subject": "Alice [a]",
        }
        grant = samples.decoder().decode(ticket)
        assert (grant.subject, grant.attach, grant.target.kind) == (
            "Alice [a]",
            Attach.TAKE_OVER,
            Kind.SPICE,
        )

    def test_bad_subjects(self) -> None:
        for subject in ("", " a", "a ", "a\nb", "\x1b", "h\u00f6st", "a" * 257):
            with pytest.raises(ValueError, match="'subject' is not"):
                encode_ticket(
                    samples.engine_key(),
                    self.target,
                    certificate=None,
                    valid_from=START,
                    lifetime=MINUTES,
                    subject=subject,
                )

    def test_bad_arguments(self) -> None:
        good, second = self.target, datetime.timedelta(seconds=1)
        far = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
        cases: tuple[tuple[Target, datetime.datetime, datetime.timedelta, bytes | None], ...] = (
            (Target("0x7f.1", 5900), START, second, None),
            (Target("host1.", 5900), START, second, None),
            (Target("h\u00f6st", 5900), START, second, None),
            (Target("host1", 0), START, second, None),
            (Target("host1", 65536), START, second, None),
            (Target("host1", 5900, path="/x"), START, second, None),
            (Target("host1", 5900, token="t"), START, second, None),
            (Target("host1", 5900, security=TargetSecurity.TICKET), START, second, None),
            (Target("host1", 5900, server_name=""), START, second, None),
            (Target("host1", 5900, server_name="127.1"), START, second, None),
            (Target("host1", 5900, server_name="host2."), START, second, None),
            (good, START.replace(tzinfo=None), second, None),
            (good, START, -second, None),
            (good, START, second / 2, None),
            (good, far, second, None),
            (good, START, second, b"short"),
        )
        for target, start, lifetime, salt in cases:
            with pytest.raises(ValueError, match=r"\w"):
                encode_ticket(
                    samples.engine_key(),
                    target,
                    certificate=None,
                    valid_from=start,
                    lifetime=lifetime,
                    salt=salt,
                )


class Keys(SynchronousTestCase):
    """Several keys, and other sizes."""

    def test_roll_over(self) -> None:
        both = samples.decoder(samples.engine_key(), samples.other_key())
        for key in (samples.engine_key(), samples.other_key()):
            assert both.decode(samples.genuine(key=key)).target.port == 5901
        with pytest.raises(TicketRefused):
            both.decode(samples.genuine(key=samples.large_key()))

    def test_keys_of_different_sizes(self) -> None:
        both = samples.decoder(samples.engine_key(), samples.large_key())
        for key in (samples.engine_key(), samples.large_key()):
            assert both.decode(samples.genuine(key=key)).target.port == 5901

    def test_salt_length_of_a_larger_key(self) -> None:
        fields = samples.fields(key=samples.large_key())
        message = "".join(fields[name] for name in samples.NAMES).encode()
        pinned = samples.decoder(samples.large_key())
        for length in (32, 222, 349):
            fields["v2_signature"] = samples.sign(message, samples.large_key(), length)
            with pytest.raises(TicketRefused):
                pinned.decode(samples.pack(fields))
        fields["v2_signature"] = samples.sign(message, samples.large_key(), 350)
        pinned.decode(samples.pack(fields))

    def test_no_key(self) -> None:
        with pytest.raises(ValueError, match="key"):
            EngineKeys([])
