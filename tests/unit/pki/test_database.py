"""The text files of ``openssl ca``."""

from __future__ import annotations

import datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.pki import PkiError
from gateway.pki.database import Entry, Status, database_line, parse_database, parse_serial, serial_text
from gateway.pki.profile import Profile, issued, self_signed
from gateway.pki.subjects import parse_subject
from tests.unit.pki.samples import NOW, SUBJECT, key

LINE = b"V\t271122094854Z\t\t1003\tunknown\t/C=US/O=Exa/CN=y\n"
DAY = datetime.timedelta(days=1)
SUBJECTS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=30)


class DatabaseTests(SynchronousTestCase):
    """database.txt"""

    def test_lines(self) -> None:
        revoked = b"R\t20501122094854Z\t261122094854Z,keyCompromise\t0A\tunknown\t/CN=a\\\tb\\xC3\n"
        first, second = parse_database(b"# comment\n" + LINE + b"\n" + revoked)
        when = datetime.datetime(2027, 11, 22, 9, 48, 54, tzinfo=datetime.UTC)
        self.assertEqual(first, Entry(Status.VALID, when, 0x1003, "/C=US/O=Exa/CN=y"))
        self.assertEqual(second, Entry(Status.REVOKED, when.replace(year=2050), 10, "/CN=a\tb\\xC3"))

    def test_years_of_two_digits(self) -> None:
        years = {b"49": 2049, b"50": 1950, b"00": 2000}
        for digits, year in years.items():
            (entry,) = parse_database(LINE.replace(b"271122", digits + b"1122"))
            self.assertEqual(entry.expires.year, year)

    def test_damage_is_named_by_its_line(self) -> None:
        for line in (
            b"V\t271122094854Z\t\t1003\tunknown",
            b"V\t271122094854Z\t\t1003\tunknown\t/CN=x\tmore",
            b"X\t271122094854Z\t\t1003\tunknown\t/CN=x",
            b"V\t271322094854Z\t\t1003\tunknown\t/CN=x",
            b"V\tnever\t\t1003\tunknown\t/CN=x",
            b"V\t271122094854Z\t\t003\tunknown\t/CN=x",
            b"V\t271122094854Z\t\t-1\tunknown\t/CN=x",
            b"V\t271122094854Z\t261122094854Z\t1003\tunknown\t/CN=x",
            b"R\t271122094854Z\t\t1003\tunknown\t/CN=x",
            b"\xff\xfe",
        ):
            error = self.assertRaises(PkiError, parse_database, LINE + line)
            self.assertIn("line 2", str(error))

    @given(st.binary(max_size=200) | st.text("VRE\t\\0123456789Z\nunknown/CN=", max_size=200).map(str.encode))
    def test_anything(self, data: bytes) -> None:
        try:
            entries = parse_database(data)
        except PkiError as error:
            self.assertTrue(str(error).isprintable())
        else:
            self.assertLessEqual(len(entries), data.count(b"\n") + 1)

    @given(SUBJECTS, st.integers(1, (1 << 159) - 1), st.integers(-3000, 20000))
    def test_what_is_written_can_be_read(self, text: str, serial: int, days: int) -> None:
        escaped = text.replace("\\", "\\\\").replace("/", "\\/")
        try:
            subject = parse_subject(f"/O={escaped}")
        except PkiError:
            return
        ca = self_signed(parse_subject(SUBJECT), key(), begin=NOW - 9000 * DAY, end=NOW + 30000 * DAY)
        end = NOW + days * DAY
        profile = Profile(subject, key().public_key(), (), frozenset({"digitalSignature"}))
        made = issued(profile, ca=ca, ca_key=key(), serial=serial, begin=NOW - 8000 * DAY, end=end)
        line = database_line(made)
        (entry,) = parse_database(LINE + line)[1:]
        self.assertEqual((entry.status, entry.serial, entry.expires), (Status.VALID, serial, end))
        self.assertTrue(line.isascii())
        self.assertEqual(line.count(b"\n"), 1)
        self.assertTrue(entry.subject.startswith("/O="))


class SerialTests(SynchronousTestCase):
    """serial.txt"""

    def test_forms(self) -> None:
        for data, number in ((b"1000\n", 0x1000), (b"0a", 10), (b" 00FF\r\n", 255)):
            self.assertEqual(parse_serial(data), number)
        self.assertEqual([serial_text(number) for number in (10, 255, 0x1000)], ["0A", "FF", "1000"])

    def test_refused(self) -> None:
        for data in (
            b"",
            b"0",
            b"-1",
            b"0x10",
            b"1_0",
            b"10 11",
            b"F" * 40,
            b"1" * 41,
            "\uff11".encode(),
            b"1\n2",
        ):
            self.assertRaises(PkiError, parse_serial, data)

    @given(st.integers(1, (1 << 159) - 1))
    def test_round_trip(self, number: int) -> None:
        self.assertEqual(parse_serial(serial_text(number).encode() + b"\n"), number)
        self.assertEqual(len(serial_text(number)) % 2, 0)

    @given(st.binary(max_size=60))
    def test_anything(self, data: bytes) -> None:
        try:
            self.assertGreater(parse_serial(data), 0)
        except PkiError as error:
            self.assertTrue(str(error).isprintable())
