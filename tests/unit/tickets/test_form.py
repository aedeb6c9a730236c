"""Hostile texts and JSON, refused before the signature is looked at."""

from __future__ import annotations

import json
import time
import urllib.parse

from twisted.trial.unittest import SynchronousTestCase

from gateway.settings.model import TicketSettings
from gateway.tickets import TicketDecoder, TicketFault, looks_like_ticket
from tests.unit.tickets import samples
from tests.unit.tickets.samples import (
    DATA,
    NAMES,
    NOW,
    SALT,
    VALID_TO,
    HostileCase,
    genuine,
    pack,
    words,
)


class Json(HostileCase):
    """H7 and H8: the object inside."""

    def test_h7_duplicate_keys(self) -> None:
        text = json.dumps(samples.fields())
        self.refused(pack(text[:-1] + f', "validTo": "{VALID_TO}"}}'), TicketFault.DUPLICATE_KEY)
        self.refused(pack(text[:-1] + ', "s\\u0061lt": "AAAAAAAAAAA="}'), TicketFault.DUPLICATE_KEY)

    def test_h7_duplicate_keys_in_data(self) -> None:
        data = samples.target_data()[:-1] + ', "host": "192.0.2.66"}'
        self.refused(genuine(data=data), TicketFault.DATA_KEY_DUPLICATE)

    def test_h8_values_that_are_no_strings(self) -> None:
        values: tuple[object, ...] = (None, True, 20300101000200, 1.5, {}, {"a": "b"}, [], [VALID_TO])
        for name in ("salt", "validTo", "data", "signedFields", "v2_signature", "certificate"):
            for value in values:
                self.refused(pack(samples.fields() | {name: value}), TicketFault.NOT_STRING)

    def test_h8_other_json(self) -> None:
        for text in ("[]", '"salt"', "null", "17", json.dumps([samples.fields()])):
            self.refused(pack(text), TicketFault.NOT_OBJECT)

    def test_h8_no_json(self) -> None:
        for text in (
            "hello",
            "{",
            "{}{}",
            "{'salt': 'x'}",
            '{"salt": "a\nb"}',
            '{"salt": 1' + "0" * 9000 + "}",
        ):
            self.refused(pack(text), TicketFault.NOT_JSON)

    def test_h8_byte_order_mark_and_wide_encodings(self) -> None:
        text = json.dumps(samples.fields())
        self.refused(pack("\ufeff" + text), TicketFault.NOT_JSON)
        self.refused(pack(text.encode("utf-16-le")), TicketFault.NOT_JSON)
        self.refused(pack(text.encode("utf-32-be")), TicketFault.NOT_JSON)
        self.refused(pack(text.encode("utf-16")), TicketFault.NOT_UTF8)

    def test_h8_not_utf8(self) -> None:
        for raw in (b'{"salt": "\xff"}', b'{"salt": "\xc0\xaf"}', b'{"salt": "\xed\xa0\x80"}'):
            self.refused(pack(raw), TicketFault.NOT_UTF8)

    def test_h8_surrogates_and_other_letters(self) -> None:
        self.forged(TicketFault.SALT_GRAMMAR, salt="\ud800" * 12)
        self.forged(TicketFault.DATA_GRAMMAR, data="\ud800")
        self.forged(TicketFault.DATA_GRAMMAR, data=DATA + "\xe9")
        self.forged(TicketFault.SIGNATURE_GRAMMAR, v2_signature="\udcff")
        self.forged(TicketFault.SIGNED_UNKNOWN, signedFields="s\xe4lt")

    def test_fields_unknown_and_missing(self) -> None:
        self.refused(pack(samples.fields() | {"subject": "x"}), TicketFault.FIELD_UNKNOWN)
        for name in (*NAMES, "signedFields", "v2_signature"):
            fields = samples.fields()
            del fields[name]
            self.refused(pack(fields), TicketFault.FIELD_MISSING)
        self.refused(pack({}), TicketFault.FIELD_MISSING)

    def test_salt_grammar(self) -> None:
        for salt in (
            "",
            "APvv/v9+Pw==",
            "APvv/v9+PwF=",
            "APvv_v9-PwE=",
            "APvv/v9+PwE",
            "APvv/v9+PwE=\n",
            SALT + " ",
        ):
            self.refused(genuine(salt=salt), TicketFault.SALT_GRAMMAR)

    def test_date_grammar(self) -> None:
        wrong = words("""
            2030010100000 203001010000000 +2030010100000 2030010100000Z 20300001000000 20300230000000
            20300101240000 20300101006000 20300101000060 00000101000000
        """)
        wrong += ["", "20300101 00000", "20300101000000\n", "\uff12" * 14]
        for text in wrong:
            self.forged(TicketFault.DATE_GRAMMAR, validFrom=text)
            self.forged(TicketFault.DATE_GRAMMAR, validTo=text)


class Text(HostileCase):
    """H9: the text in the path."""

    def setUp(self) -> None:
        super().setUp()
        # One of three "~" gives a plus sign, one of three "?" a slash; two padding characters are wanted too.
        text = json.dumps(samples.fields() | {"certificate": "~~~???"})
        text += " " * ((1 - len(text)) % 3)
        self.ticket = pack(text)
        self.grant = self.decoder.decode(self.ticket)

    def test_h9_sample_uses_everything(self) -> None:
        assert {"+", "/", "="} <= set(self.ticket)
        assert self.ticket.endswith("==")

    def test_h9_forms_of_the_same_text(self) -> None:
        safe = self.ticket.translate(str.maketrans("+/", "-_"))
        forms = [
            self.ticket.rstrip("="),
            safe,
            safe.rstrip("="),
            urllib.parse.quote(self.ticket, safe=""),
            self.ticket.replace("+", "%2b").replace("/", "%2f").replace("=", "%3d"),
            self.ticket.replace("=", "%3D", 1),
            safe.replace("-", "%2D").replace("_", "%5f"),
        ]
        for form in forms:
            assert self.decoder.decode(form) == self.grant

    def test_h9_mixed_alphabets(self) -> None:
        self.refused(self.ticket.replace("+", "-"), TicketFault.NOT_BASE64)
        self.refused(self.ticket.replace("/", "%5F"), TicketFault.NOT_BASE64)

    def test_h9_foreign_characters(self) -> None:
        for foreign in (*words("! ? # . \xe9 \uff21 % %0A %20 %41 %252B %2"), " ", "\n", "\r\n", "\0"):
            for place in (0, 40, len(self.ticket)):
                text = self.ticket[:place] + foreign + "Z" + self.ticket[place:]
                self.refused(text, TicketFault.NOT_BASE64)

    def test_h9_padding(self) -> None:
        body = self.ticket.rstrip("=")
        for text in (body + "=", body + "===", body + "====", "=" + self.ticket, body[:8] + "==" + body[8:]):
            self.refused(text, TicketFault.NOT_BASE64)

    def test_h9_trailing_bytes_after_padding(self) -> None:
        for tail in ("A", "AAAA", "?x=1", "/", self.ticket):
            self.refused(self.ticket + tail, TicketFault.NOT_BASE64)

    def test_h9_surplus_bits(self) -> None:
        body = self.ticket.rstrip("=")
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        last = alphabet.index(body[-1])
        assert last % 16 == 0
        for bits in range(1, 16):
            self.refused(body[:-1] + alphabet[last + bits] + "==", TicketFault.NOT_BASE64)

    def test_h9_impossible_length(self) -> None:
        self.refused("", TicketFault.NOT_BASE64)
        self.refused("A", TicketFault.NOT_BASE64)
        self.refused(self.ticket.rstrip("=")[:-1], TicketFault.NOT_BASE64)
        self.refused("====", TicketFault.NOT_BASE64)


class Shape(SynchronousTestCase):
    """Which request paths are tickets at all."""

    def test_tickets(self) -> None:
        escaped = "%2B%2b%2F%2f%3D%3d%2D%2d%5F%5f"
        for path in (
            samples.WORKED_EXAMPLE,
            "A" * 256,
            "A" * 65536,
            "a-_+/=" * 50,
            escaped * 10,
            "A" * 250 + "%3D%3D",
        ):
            assert looks_like_ticket(path)

    def test_other_paths(self) -> None:
        for path in ("", "favicon.ico", "console/", "A" * 255, "A" * 65537, "%3D" * 21846):
            assert not looks_like_ticket(path)
        for foreign in (
            "%",
            "%3",
            "%20",
            "%2E",
            "%41",
            "%25",
            "%zz",
            ".",
            "?",
            "~",
            " ",
            "\n",
            "\xe9",
            "\uff21",
            "\0",
        ):
            for place in (0, 100, 300):
                assert not looks_like_ticket("A" * place + foreign + "+" * (300 - place))

    def test_linear_time(self) -> None:
        started = time.process_time()
        for path in ("%3D" * 21840 + "%", "A" * 65535 + "!", "A%3D" * 16000 + "\n"):
            assert not looks_like_ticket(path)
        assert time.process_time() - started < 0.2


class Size(HostileCase):
    """H20: too much of anything, refused quickly."""

    def timed(self, ticket: str, fault: TicketFault, decoder: TicketDecoder | None = None) -> None:
        started = time.process_time()
        self.refused(ticket, fault, decoder)
        assert time.process_time() - started < 0.2

    def test_h20_too_long(self) -> None:
        self.timed("A" * 16385, TicketFault.TOO_LONG)
        self.timed("A" * 65536, TicketFault.TOO_LONG)
        self.timed("%2B" * 1000000, TicketFault.TOO_LONG)

    def test_h20_size_is_a_setting(self) -> None:
        ticket = pack(samples.fields() | {"certificate": "x" * 10000})
        self.decoder.decode(ticket)
        exact = samples.decoder(settings=TicketSettings(max_size=len(ticket)))
        exact.decode(ticket)
        self.refused(ticket + "=", TicketFault.TOO_LONG, exact)

    def test_h20_deep_json(self) -> None:
        wide = samples.decoder(settings=TicketSettings(max_size=10000000))
        self.timed(pack("[" * 100000), TicketFault.NESTED, wide)
        self.timed(pack('{"a":' * 100000 + "1" + "}" * 100000), TicketFault.NESTED, wide)
        self.timed(pack('{"salt":' + "[" * 100000 + "]" * 100000 + "}"), TicketFault.NESTED, wide)
        self.timed(pack("[" * 12000), TicketFault.NESTED)

    def test_h20_deep_json_in_data(self) -> None:
        self.timed(genuine(data='%7B"host":' + "%5B" * 3000 + "%7D"), TicketFault.DATA_NESTED)

    def test_h20_many_names(self) -> None:
        wide = samples.decoder(settings=TicketSettings(max_size=10000000))
        for text in ("salt," * 1000000, "," * 1000000, "a," * 1000000, " " * 1000000):
            self.timed(pack(samples.fields() | {"signedFields": text}), TicketFault.SIGNED_UNKNOWN, wide)

    def test_h20_names_with_much_white_space(self) -> None:
        fields = samples.fields()
        self.decoder.decode(pack(fields | {"signedFields": ",".join(NAMES) + " " * 50}))
        self.refused(pack(fields | {"signedFields": ",".join(NAMES) + " " * 200}), TicketFault.SIGNED_UNKNOWN)

    def test_h20_many_keys(self) -> None:
        keys = {str(number): "" for number in range(1000)}
        self.timed(pack(samples.fields() | keys), TicketFault.FIELD_UNKNOWN)

    def test_h20_signature_comes_before_data(self) -> None:
        for data in ("%5B" * 3000, "%zz", "{}"):
            self.forged(TicketFault.SIGNATURE_MISMATCH, data=data)

    def test_h20_signature_comes_before_time(self) -> None:
        self.forged(TicketFault.SIGNATURE_MISMATCH, validTo="20591231235959")
        late = samples.decoder(now=NOW + 86400)
        self.refused(pack(samples.fields() | {"salt": "AAAAAAAAAAA="}), TicketFault.SIGNATURE_MISMATCH, late)
