"""What holds for every ticket, good or bad."""

from __future__ import annotations

import datetime
import itertools
import json
import math
import string
import urllib.parse

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.settings import Attach, TargetSecurity
from gateway.tickets import Grant, Kind, Target, TicketRefused, TicketStyle, encode_ticket, looks_like_ticket
from tests.unit.tickets import samples
from tests.unit.tickets.samples import NAMES, NOW, ORDERS, SALT, START, VALID_FROM, VALID_TO, pack

LABELS = st.from_regex(r"[A-Za-z_](?:[A-Za-z0-9_-]{0,20}[A-Za-z0-9_])?", fullmatch=True)
HOSTS = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.lists(LABELS, min_size=1, max_size=5).map(".".join),
)
TOKENS = st.from_regex(r"[A-Za-z0-9._~+/-]{1,100}=?=?", fullmatch=True)
PATH = "/apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/b/vnc"
SECURITY = st.sampled_from([None, TargetSecurity.AUTO, TargetSecurity.VENCRYPT, TargetSecurity.TLS])
KINDS = st.none() | st.sampled_from(Kind)
PRINTABLE = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
SUBJECTS = st.none() | st.text(PRINTABLE, min_size=1, max_size=256).filter(
    lambda text: text.strip(" ") == text
)
ATTACH = st.none() | st.sampled_from(Attach)
TARGETS = st.builds(
    Target,
    host=HOSTS,
    port=st.integers(1, 65535),
    tls=st.booleans(),
    security=SECURITY,
    server_name=HOSTS | st.none(),
    kind=KINDS,
) | st.builds(
    Target,
    host=HOSTS,
    port=st.integers(1, 65535),
    path=st.just(PATH),
    token=TOKENS | st.none(),
    server_name=HOSTS | st.none(),
    kind=KINDS,
)
STARTS = st.datetimes(datetime.datetime(1971, 1, 1), datetime.datetime(9998, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=datetime.UTC)
)


def outcome(ticket: str, now: float = NOW) -> Grant | None:
    """What a decoder makes of it; any other exception than a refusal fails the test."""
    try:
        return samples.decoder(now=now).decode(ticket)
    except TicketRefused as refused:
        line = str(refused)
    assert len(line) < 100
    assert line.isprintable()
    return None


class RoundTrip(SynchronousTestCase):
    """What was encoded is decoded."""

    @settings(deadline=None)
    @given(
        TARGETS,
        SUBJECTS,
        ATTACH,
        STARTS,
        st.integers(0, 3600),
        st.binary(min_size=8, max_size=8),
        st.sampled_from(TicketStyle),
    )
    def test_encode_decode(
        self,
        target: Target,
        subject: str | None,
        attach: Attach | None,
        start: datetime.datetime,
        seconds: int,
        salt: bytes,
        style: TicketStyle,
    ) -> None:
        lifetime = datetime.timedelta(seconds=seconds)
        ticket = encode_ticket(
            samples.engine_key(),
            target,
            certificate=None,
            valid_from=start,
            lifetime=lifetime,
            subject=subject,
            attach=attach,
            salt=salt,
            style=style,
        )
        assert looks_like_ticket(ticket)
        grant = samples.decoder(now=start.timestamp()).decode(ticket)
        assert grant.target == target
        assert (grant.subject, grant.attach) == (subject, attach)
        assert grant.valid_from == start.replace(microsecond=0)
        assert grant.valid_to - grant.valid_from == lifetime


class NoOtherReading(SynchronousTestCase):
    """A genuine message has one meaning, however it is cut, ordered and named."""

    def test_every_order_read_in_every_order(self) -> None:
        for signed_order in ORDERS:
            fields = samples.fields(signed_order)
            message = "".join(fields[name] for name in signed_order)
            grant = outcome(pack(fields))
            assert grant is not None
            for order in ORDERS:
                reading = self.cut(message, order) | {
                    "signedFields": ",".join(order),
                    "v2_signature": fields["v2_signature"],
                }
                assert outcome(pack(reading)) in (grant, None)

    def test_equal_dates_may_change_places(self) -> None:
        fields = samples.fields(validTo=VALID_FROM)
        start = START.timestamp()
        swapped = fields | {"signedFields": "salt,data,validTo,validFrom"}
        assert outcome(pack(fields), start) == outcome(pack(swapped), start) != None  # noqa: E711

    @settings(deadline=None, max_examples=300)
    @given(
        st.data(),
        st.sampled_from(ORDERS),
        st.lists(st.sampled_from((*NAMES, "digest", "signature", "certificate", "")), min_size=1, max_size=6),
    )
    def test_any_cut_under_any_names(
        self, data: st.DataObject, signed: tuple[str, ...], names: list[str]
    ) -> None:
        fields = samples.fields(signed)
        message = "".join(fields[name] for name in signed)
        grant = outcome(pack(fields))
        cuts = sorted(
            data.draw(
                st.lists(
                    st.integers(0, len(message)) | st.sampled_from((12, 14, 26, 28, 40)),
                    min_size=len(names) - 1,
                    max_size=len(names) - 1,
                )
            )
        )
        pieces = [message[begin:end] for begin, end in itertools.pairwise((0, *cuts, len(message)))]
        rest = {"salt": SALT, "data": samples.DATA, "validFrom": VALID_FROM, "validTo": VALID_TO}
        forged = rest | dict(zip(names, pieces, strict=True))
        forged |= {"signedFields": ",".join(names), "v2_signature": fields["v2_signature"]}
        assert outcome(pack(forged)) in (grant, None)

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(st.sampled_from((VALID_FROM, VALID_TO, SALT, "20", "{", "}", "%7B", "%7D")), max_size=4),
        st.lists(st.sampled_from((VALID_FROM, VALID_TO, SALT, "20", "{", "}", "%7B", "%7D")), max_size=4),
        st.sampled_from(ORDERS),
    )
    def test_a_signer_who_can_be_made_to_sign_odd_data(
        self, before: list[str], after: list[str], signed: tuple[str, ...]
    ) -> None:
        """The signed data holds what looks like other fields; at most one reading is accepted."""
        fields = samples.fields(signed, data="".join((*before, samples.DATA, *after)))
        message = "".join(fields[name] for name in signed)
        readings = []
        for order in ORDERS:
            reading = self.cut(message, order) | {
                "signedFields": ",".join(order),
                "v2_signature": fields["v2_signature"],
            }
            grant = outcome(pack(reading))
            if grant is not None and grant not in readings:
                readings.append(grant)
        assert len(readings) <= 1

    @settings(deadline=None)
    @given(st.data())
    def test_fields_dropped_doubled_or_reordered(self, data: st.DataObject) -> None:
        fields = samples.fields()
        grant = outcome(pack(fields))
        items = list(fields.items())
        pairs = data.draw(st.permutations(items) | st.lists(st.sampled_from(items), max_size=8))
        members = ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs)
        whole = sorted(name for name, _ in pairs) == sorted(fields)
        assert outcome(pack("{" + members + "}")) == (grant if whole else None)

    @staticmethod
    def cut(message: str, order: tuple[str, ...]) -> dict[str, str]:
        """The only cut of a message in this order whose fields have their lengths."""
        lengths = {"salt": 12, "validFrom": 14, "validTo": 14, "data": len(message) - 40}
        pieces, position = {}, 0
        for name in order:
            pieces[name] = message[position : position + lengths[name]]
            position += lengths[name]
        return pieces


class Mutation(SynchronousTestCase):
    """One character changed anywhere: refused, or the same grant."""

    def setUp(self) -> None:
        self.ticket = encode_ticket(
            samples.engine_key(),
            Target("host1.example.com", 5900, tls=True),
            certificate=None,
            valid_from=START,
            lifetime=datetime.timedelta(seconds=120),
        )
        self.grant = outcome(self.ticket)
        assert self.grant is not None

    def test_every_place(self) -> None:
        alphabet = string.ascii_letters + string.digits + "+/"
        for place, character in enumerate(self.ticket):
            other = alphabet[(alphabet.find(character) + 1 + place % 61) % 64]
            mutant = self.ticket[:place] + other + self.ticket[place + 1 :]
            assert outcome(mutant) in (self.grant, None), place

    @settings(deadline=None, max_examples=300)
    @given(st.data())
    def test_any_character(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.ticket) - 1))
        text = data.draw(st.sampled_from([*string.printable, ""]) | st.text(max_size=3))
        keep = data.draw(st.integers(0, 1))
        mutant = self.ticket[:place] + text + self.ticket[place + 1 - keep :]
        assert outcome(mutant) in (self.grant, None)

    @settings(deadline=None, max_examples=300)
    @given(st.data())
    def test_any_character_of_the_json(self, data: st.DataObject) -> None:
        text = json.dumps(samples.fields(NAMES))
        grant = outcome(pack(text))
        place = data.draw(st.integers(0, len(text) - 1))
        character = data.draw(st.characters(codec="utf-8"))
        assert outcome(pack(text[:place] + character + text[place + 1 :])) in (grant, None)


class AnyInput(SynchronousTestCase):
    """Nothing but a refusal is ever raised."""

    @given(st.text() | st.text(alphabet=string.ascii_letters + string.digits + "+/=-_%"))
    def test_text(self, text: str) -> None:
        assert outcome(text) is None
        looks_like_ticket(text * 50)

    @given(st.binary())
    def test_bytes_in_base64(self, raw: bytes) -> None:
        assert outcome(pack(raw)) is None

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda children: (
                st.lists(children) | st.dictionaries(st.text() | st.sampled_from(NAMES), children)
            ),
            max_leaves=6,
        )
    )
    def test_json(self, value: object) -> None:
        assert outcome(pack(json.dumps(value))) is None

    @given(
        st.dictionaries(st.sampled_from((*NAMES, "signedFields", "v2_signature", "certificate")), st.text())
    )
    def test_fields(self, fields: dict[str, str]) -> None:
        assert outcome(pack(json.dumps(samples.fields() | fields))) is None or fields.keys() <= {
            "certificate"
        }

    @settings(deadline=None)
    @given(st.text(), st.booleans())
    def test_signed_data(self, text: str, quoted: bool) -> None:
        assert (
            outcome(samples.genuine(data=urllib.parse.quote(text) if quoted else text.encode().decode()))
            is None
        )

    @settings(deadline=None)
    @given(
        st.dictionaries(
            st.sampled_from(("host", "port", "ssl_target", "path", "token", "kind", "attach", "subject")),
            st.none()
            | st.booleans()
            | st.text()
            | st.integers()
            | st.floats()
            | st.lists(st.text())
            | HOSTS
            | st.sampled_from(("vnc", "share", "alice")),
        )
    )
    def test_signed_target(self, items: dict[str, object]) -> None:
        data = urllib.parse.quote(samples.target_data(**items))
        grant = outcome(samples.genuine(data=data))
        if grant is not None:
            assert 1 <= grant.target.port <= 65535
            assert grant.target.host.isascii()
            assert grant.target.host.isprintable()
            assert grant.subject is None or (grant.subject.isascii() and grant.subject.isprintable())

    @given(st.floats(allow_nan=False) | st.sampled_from((math.inf, -math.inf)))
    def test_clock(self, now: float) -> None:
        grant = outcome(self.ticket, now)
        assert (grant is not None) == (START.timestamp() - 5 <= now <= START.timestamp() + 125)

    def setUp(self) -> None:
        self.ticket = samples.genuine()
