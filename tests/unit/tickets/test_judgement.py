"""Who signed, for how long, and what a refusal tells."""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.reasons import Refusal
from gateway.settings.model import TicketSettings
from gateway.tickets import TicketDecoder, TicketFault, TicketRefused
from gateway.tickets.armour import armour
from tests.unit.tickets import samples
from tests.unit.tickets.samples import (
    NAMES,
    NOW,
    VALID_FROM,
    VALID_TO,
    HostileCase,
    genuine,
    pack,
)


class Time(HostileCase):
    """H10 and H11: validity."""

    def at(self, offset: float, settings: TicketSettings | None = None) -> TicketDecoder:
        """A decoder this many seconds after the ticket's begin."""
        return samples.decoder(now=samples.START.timestamp() + offset, settings=settings)

    def test_h10_valid_for_decades(self) -> None:
        self.refused(genuine(validTo="20591231235959"), TicketFault.LIFETIME_TOO_LONG)
        self.refused(genuine(validTo="99991231235959"), TicketFault.LIFETIME_TOO_LONG)
        self.refused(genuine(validFrom="00010101000000"), TicketFault.LIFETIME_TOO_LONG)

    def test_h10_cap_is_a_setting(self) -> None:
        hour = genuine(validTo="20300101010000")
        assert self.decoder.decode(hour).valid_to == samples.START + datetime.timedelta(hours=1)
        self.refused(genuine(validTo="20300101010001"), TicketFault.LIFETIME_TOO_LONG)
        minute = self.at(0, TicketSettings(max_lifetime=60))
        self.refused(genuine(), TicketFault.LIFETIME_TOO_LONG, minute)
        minute.decode(genuine(validTo="20300101000100"))

    def test_negative_lifetime(self) -> None:
        self.refused(genuine(validFrom=VALID_TO, validTo=VALID_FROM), TicketFault.LIFETIME_NEGATIVE)

    def test_h11_clock_behind_the_engine(self) -> None:
        self.at(-5).decode(genuine())
        assert (
            self.refused(genuine(), TicketFault.NOT_YET_VALID, self.at(-5.01)).refusal is Refusal.TICKET_EARLY
        )
        exact = TicketSettings(skew=0)
        self.at(0, exact).decode(genuine())
        self.refused(genuine(), TicketFault.NOT_YET_VALID, self.at(-0.01, exact))

    def test_h11_clock_ahead_of_the_engine(self) -> None:
        self.at(125).decode(genuine())
        assert self.refused(genuine(), TicketFault.EXPIRED, self.at(125.01)).refusal is Refusal.TICKET_EXPIRED
        exact = TicketSettings(skew=0)
        self.at(120, exact).decode(genuine())
        self.refused(genuine(), TicketFault.EXPIRED, self.at(120.01, exact))


class Signature(HostileCase):
    """H13, H14 and H21: who signed."""

    def test_h13_other_salt_lengths(self) -> None:
        fields = samples.fields()
        message = "".join(fields[name] for name in NAMES).encode()
        for length in (0, 1, 32, 64, 221):
            fields["v2_signature"] = samples.sign(message, salt_length=length)
            self.refused(pack(fields), TicketFault.SIGNATURE_MISMATCH)
        fields["v2_signature"] = samples.sign(message, salt_length=222)
        self.decoder.decode(pack(fields))

    def test_h13_sha1_signature_alone(self) -> None:
        fields = samples.fields(order=(*NAMES, "digest"), digest="sha1")
        del fields["v2_signature"]
        message = "".join(fields[name] for name in (*NAMES, "digest")).encode()
        self.refused(pack(fields | {"signature": samples.sign_sha1(message)}), TicketFault.LEGACY_SIGNATURE)

    def test_h13_sha1_signature_in_place_of_the_other(self) -> None:
        fields = samples.fields()
        message = "".join(fields[name] for name in NAMES).encode()
        self.forged(TicketFault.SIGNATURE_MISMATCH, v2_signature=samples.sign_sha1(message))

    def test_h13_only_the_weak_signature_valid(self) -> None:
        fields = samples.fields()
        message = "".join(fields[name] for name in NAMES).encode()
        fields |= {"signature": samples.sign_sha1(message), "v2_signature": samples.sign(message + b" ")}
        self.refused(pack(fields), TicketFault.SIGNATURE_MISMATCH)

    def test_h13_own_certificate_enclosed(self) -> None:
        certificate = samples.certificate_of(samples.other_key()).public_bytes(Encoding.PEM).decode()
        fields = samples.fields(key=samples.other_key()) | {"certificate": certificate}
        self.refused(pack(fields), TicketFault.SIGNATURE_MISMATCH)

    def test_h13_signature_size(self) -> None:
        self.refused(genuine(key=samples.large_key()), TicketFault.SIGNATURE_SIZE)
        signature = base64.b64decode(samples.fields()["v2_signature"])
        for wrong in (signature[:-1], signature + b"\0", b"\0" + signature, b"x"):
            self.forged(TicketFault.SIGNATURE_SIZE, v2_signature=armour(wrong))
        for same_size in (bytes(256), b"\xff" * 256):
            self.forged(TicketFault.SIGNATURE_MISMATCH, v2_signature=armour(same_size))

    def test_h13_signature_grammar(self) -> None:
        good = samples.fields()["v2_signature"]
        for text in ("", "=", good[:-1], good + "\n", good + "AAAA", "!" + good, good.rstrip("=")):
            self.forged(TicketFault.SIGNATURE_GRAMMAR, v2_signature=text)

    def test_h14_certificate_is_ignored(self) -> None:
        grant = self.decoder.decode(pack(samples.fields() | {"certificate": ""}))
        other = samples.certificate_of(samples.other_key()).public_bytes(Encoding.PEM).decode()
        fields = samples.fields()
        for text in ("", "no certificate", other):
            assert self.decoder.decode(pack(fields | {"certificate": text})).target == grant.target
        assert self.decoder.decode(pack(fields)).target == grant.target

    def test_h21_ticket_for_another_purpose(self) -> None:
        # Same format, another signer below the same authority.
        data = '{"command":"public_keys","version":1,"key_fp":"","key_type":"","key_content":""}'
        self.refused(genuine(key=samples.other_key(), data=data), TicketFault.SIGNATURE_MISMATCH)
        # The same by the engine itself: the target is missing.
        self.refused(genuine(data=data), TicketFault.DATA_KEY_UNKNOWN)
        self.refused(genuine(data='{"uuid":"x","ops":["read"]}'), TicketFault.DATA_KEY_UNKNOWN)
        self.refused(genuine(data="10.20.30.40:5901"), TicketFault.DATA_NOT_JSON)


class Secrecy(HostileCase):
    """What a refusal tells."""

    SECRETS: Mapping[str, str] = {
        "host": "secret host",
        "port": "5959599",
        "path": "/secret/path",
        "token": "secret token",
    }

    def test_nothing_of_the_ticket_in_the_exception(self) -> None:
        tickets = [genuine(data=samples.target_data(**{name: value})) for name, value in self.SECRETS.items()]
        tickets += [
            pack('{"salt": "secret'),
            pack(b"secret\xff"),
            "secret!",
            pack("secret"),
            genuine(salt="secret"),
        ]
        for ticket in tickets:
            with pytest.raises(TicketRefused) as caught:
                self.decoder.decode(ticket)
            error: BaseException | None = caught.value
            while error is not None:
                text = f"{error!s} {error!r} {error.args!r} {vars(error)!r}"
                for secret in ("secret", "5959599", ticket):
                    assert secret not in text
                error = error.__context__

    def test_one_short_line(self) -> None:
        error = self.refused(genuine(data="{}"), TicketFault.DATA_KEY_MISSING)
        assert re.search(r"\Adata-key-missing \(ticket [0-9a-f]{16}\)\Z", str(error))
        assert str(self.refused("!", TicketFault.NOT_BASE64)) == "not-base64 (ticket unknown)"

    def test_id_is_the_one_of_the_grant(self) -> None:
        fields = samples.fields()
        grant = self.decoder.decode(pack(fields))
        late = self.refused(pack(fields), TicketFault.EXPIRED, samples.decoder(now=NOW + 3600))
        altered = self.refused(pack(fields | {"salt": "AAAAAAAAAAA="}), TicketFault.SIGNATURE_MISMATCH)
        assert {grant.id} == {late.ticket_id, altered.ticket_id}

    def test_token_is_not_in_the_grants_repr(self) -> None:
        path = "/apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/b/vnc"
        grant = self.decoder.decode(genuine(data=samples.target_data(path=path, token="hidden")))
        assert grant.target.token == "hidden"
        assert "hidden" not in repr(grant) + str(grant.target)

    def test_labels_are_distinct_and_every_fault_explains_itself(self) -> None:
        assert len({fault.label for fault in TicketFault}) == len(TicketFault)
        for fault in TicketFault:
            assert re.search(r"\A[a-z0-9-]+\Z", fault.label)
            assert fault.explanation.endswith(".")
            assert fault.refusal in Refusal
