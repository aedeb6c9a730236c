"""What a signature covers: no reading of a genuine message but the one that was signed."""

from __future__ import annotations

import urllib.parse

from gateway.tickets import TicketFault
from tests.unit.tickets import samples
from tests.unit.tickets.samples import (
    DATA,
    NAMES,
    SALT,
    VALID_FROM,
    VALID_TO,
    HostileCase,
    genuine,
    pack,
)


class SignedFields(HostileCase):
    """H1 to H6: what the signature is said to cover."""

    def test_h1_whole_message_in_salt(self) -> None:
        message = SALT + DATA + VALID_FROM + VALID_TO
        data = urllib.parse.quote(samples.target_data(host="192.0.2.66"))
        self.forged(TicketFault.SIGNED_MISSING, salt=message, signedFields="salt", data=data)

    def test_h2_validity_in_an_invented_field(self) -> None:
        fields = samples.fields() | {"signedFields": "salt,data,stamp", "stamp": VALID_FROM + VALID_TO}
        self.refused(pack(fields), TicketFault.FIELD_UNKNOWN)
        # The same through a name that is tolerated as an unsigned field.
        fields = samples.fields() | {"signedFields": "salt,data,digest", "digest": VALID_FROM + VALID_TO}
        self.refused(pack(fields), TicketFault.SIGNED_UNKNOWN)

    def test_h3_signed_salt_alone(self) -> None:
        self.refused(genuine(order=("salt",)), TicketFault.SIGNED_MISSING)

    def test_h4_signed_data_alone(self) -> None:
        self.refused(genuine(order=("data",)), TicketFault.SIGNED_MISSING)
        self.refused(genuine(order=("salt", "data")), TicketFault.SIGNED_MISSING)
        self.refused(genuine(order=("salt", "data", "validFrom")), TicketFault.SIGNED_MISSING)

    def test_h5_name_listed_twice(self) -> None:
        self.refused(genuine(order=(*NAMES, "salt")), TicketFault.SIGNED_DUPLICATE)
        self.refused(genuine(order=("salt", "data", "validFrom", "validFrom")), TicketFault.SIGNED_DUPLICATE)

    def test_h5_unknown_name_listed(self) -> None:
        self.refused(genuine(order=(*NAMES, "certificate")), TicketFault.SIGNED_UNKNOWN)
        self.refused(genuine(order=(*NAMES, "digest"), digest="sha1"), TicketFault.SIGNED_UNKNOWN)
        self.refused(genuine(order=(*NAMES, "")), TicketFault.SIGNED_UNKNOWN)
        for text in ("", ",", "Salt,data,validFrom,validTo", "salt;data;validFrom;validTo"):
            self.forged(TicketFault.SIGNED_UNKNOWN, signedFields=text)

    def test_h5_any_order_of_the_known_names(self) -> None:
        for order in samples.ORDERS:
            assert self.decoder.decode(genuine(order)).target.port == 5901

    def test_h5_white_space_around_names(self) -> None:
        fields = samples.fields()
        spaced = pack(fields | {"signedFields": " salt, data ,validFrom,\tvalidTo "})
        assert self.decoder.decode(spaced) == self.decoder.decode(pack(fields))

    def test_h6_bytes_moved_over_a_border(self) -> None:
        # Unchanged message; the last digit of one field becomes the first of the next.
        order = ("salt", "validFrom", "validTo", "data")
        fields = samples.fields(order)
        self.refused(
            pack(fields | {"validFrom": VALID_FROM[:-1], "validTo": VALID_FROM[-1] + VALID_TO}),
            TicketFault.DATE_GRAMMAR,
        )
        self.refused(
            pack(fields | {"validTo": VALID_TO[:-1], "data": VALID_TO[-1] + DATA}), TicketFault.DATE_GRAMMAR
        )
        self.forged(TicketFault.SALT_GRAMMAR, salt=SALT + DATA[0], data=DATA[1:])
        self.forged(TicketFault.SALT_GRAMMAR, salt="", data=SALT + DATA)
        self.forged(TicketFault.DATE_GRAMMAR, data=DATA + VALID_FROM[0], validFrom=VALID_FROM[1:])

    def test_h6_fields_of_equal_length_renamed(self) -> None:
        self.forged(
            TicketFault.LIFETIME_NEGATIVE,
            signedFields="salt,data,validTo,validFrom",
            validFrom=VALID_TO,
            validTo=VALID_FROM,
        )

    def test_h6_date_taken_for_data(self) -> None:
        # A genuine ticket whose data begins like a date: never readable as a target.
        self.refused(genuine(data=VALID_FROM + DATA), TicketFault.DATA_NOT_JSON)
        self.refused(genuine(data=DATA + "20"), TicketFault.DATA_NOT_JSON)
        self.refused(genuine(data=" " + DATA), TicketFault.DATA_NOT_JSON)
        self.refused(genuine(data=""), TicketFault.DATA_NOT_JSON)
