"""Subjects, alternative names, key usages: what people type."""

from __future__ import annotations

import ipaddress

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.pki import PkiError, parse_alt_names, parse_subject, subject_text
from gateway.pki.altnames import alt_names_text
from gateway.pki.subjects import common_name, one_line_name
from gateway.pki.usage import (
    default_usage,
    key_usage,
    parse_key_usage,
    parse_purposes,
    purpose_names,
    usage_names,
)
from tests.unit.pki.samples import key

PRINTABLE = st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.sampled_from(" /\\=,+")
VALUES = st.text(PRINTABLE, min_size=1, max_size=20).filter(str.isprintable)
KINDS = st.sampled_from(
    ["O", "OU", "CN", "ST", "L", "emailAddress", "UID", "DC", "2.5.4.12", "1.3.6.1.4.1.5"]
)
HOSTILE = st.text("/\\=COUN.,:DSIP*-_ \0\n\x1baé1", max_size=60) | st.text(max_size=40)


class SubjectTests(SynchronousTestCase):
    """``/C=US/O=Example/CN=x``."""

    def test_known_forms(self) -> None:
        name = parse_subject(r"/C=US/O=Exam\/ple\\ Inc./CN=gw.example.com")
        self.assertEqual(
            [(each.oid, each.value) for each in name],
            [
                (NameOID.COUNTRY_NAME, "US"),
                (NameOID.ORGANIZATION_NAME, "Exam/ple\\ Inc."),
                (NameOID.COMMON_NAME, "gw.example.com"),
            ],
        )
        self.assertEqual(common_name(name), "gw.example.com")

    def test_the_slash(self) -> None:
        name = parse_subject("/")
        self.assertEqual([(each.oid, each.value) for each in name], [(NameOID.COMMON_NAME, "/")])
        self.assertEqual(subject_text(name), "/")

    def test_names_of_attributes_in_any_case(self) -> None:
        self.assertEqual(parse_subject("/c=US/cn=x"), parse_subject("/C=US/CN=x"))

    def test_refused(self) -> None:
        for text in (
            "",
            "CN=x",
            "//",
            "/CN",
            "/CN=",
            "/X=y",
            "/C=USA",
            "/C=1",
            "/CN=" + "x" * 65,
            "/CN=a\nb",
            "/CN=a\\",
            "/CN=x/",
            "/3.1=x",
            "/1.99=x",
            "/O=x" * 21,
            "/O=" + "x" * 3000,
        ):
            error = self.assertRaises(PkiError, parse_subject, text)
            self.assertTrue(str(error).isprintable(), text)

    @given(st.lists(st.tuples(KINDS, VALUES), min_size=1, max_size=8))
    def test_round_trip(self, parts: list[tuple[str, str]]) -> None:
        escaped = [(kind, value.replace("\\", "\\\\").replace("/", "\\/")) for kind, value in parts]
        text = "".join(f"/{kind}={value}" for kind, value in escaped)
        name = parse_subject(text)
        self.assertEqual([each.value for each in name], [value for _, value in parts])
        self.assertEqual(parse_subject(subject_text(name)), name)

    @given(HOSTILE)
    def test_anything(self, text: str) -> None:
        try:
            name = parse_subject(text)
        except PkiError as error:
            self.assertTrue(str(error).isprintable())
        else:
            self.assertEqual(parse_subject(subject_text(name)), name)

    def test_one_line(self) -> None:
        name = parse_subject(r"/O=a\/b+c/CN=Grün\\")
        self.assertEqual(one_line_name(name), r"/O=a\/b\+c/CN=Gr\xC3\xBCn" + "\\")
        several = [x509.NameAttribute(oid, "x") for oid in (NameOID.COMMON_NAME, NameOID.LOCALITY_NAME)]
        text = one_line_name(x509.Name([x509.RelativeDistinguishedName(several)]))
        self.assertIn(text, ("/CN=x+L=x", "/L=x+CN=x"))


class AltNameTests(SynchronousTestCase):
    """``DNS:gw.example.com,IP:192.0.2.1``."""

    def test_forms(self) -> None:
        found = parse_alt_names(
            ["DNS:GW.Example.com., IP:192.0.2.1", "other", "2001:db8::1", "dns:*.example.com"]
        )
        texts = ["DNS:gw.example.com", "IP:192.0.2.1", "DNS:other", "IP:2001:db8::1", "DNS:*.example.com"]
        self.assertEqual(alt_names_text(found), texts)
        self.assertEqual(parse_alt_names(texts), found)
        self.assertIsInstance(found[1], x509.IPAddress)

    def test_twice_counts_once(self) -> None:
        self.assertEqual(len(parse_alt_names(["a,A,DNS:a.", "a"])), 1)

    def test_refused(self) -> None:
        for text in (
            "",
            "a,",
            ",",
            "DNS:",
            "IP:gw",
            "DNS:192.0.2.1",
            "IP:1.2.3",
            "1.2.3",
            "URI:http://x",
            "email:a@b",
            "a b",
            "-a",
            "a..b",
            "a.*.b",
            "*",
            "gw.exämple.com",
            "a\nb",
            "x" * 64,
            ".".join(["x" * 60] * 5),
            "dirName:x",
        ):
            error = self.assertRaises(PkiError, parse_alt_names, [text])
            self.assertTrue(str(error).isprintable(), text)

    def test_bounds(self) -> None:
        self.assertEqual(len(parse_alt_names([",".join(f"h{i}" for i in range(100))])), 100)
        self.assertRaises(PkiError, parse_alt_names, [f"h{i}" for i in range(101)])
        self.assertRaises(PkiError, parse_alt_names, ["a," * 20000 + "a"])

    @given(st.lists(st.ip_addresses(), min_size=1, max_size=5, unique=True))
    def test_addresses(self, addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> None:
        found = parse_alt_names(f"IP:{each}" for each in addresses)
        self.assertEqual([each.value for each in found], addresses)

    @given(st.lists(HOSTILE, max_size=3))
    def test_anything(self, texts: list[str]) -> None:
        try:
            found = parse_alt_names(texts)
        except PkiError as error:
            self.assertTrue(str(error).isprintable())
        else:
            self.assertEqual(parse_alt_names(alt_names_text(found)), found)
            if found:
                x509.SubjectAlternativeName(found).public_bytes()


class UsageTests(SynchronousTestCase):
    """Key usage and extended key usage."""

    def test_names(self) -> None:
        names = parse_key_usage("digitalSignature, contentCommitment,keyAgreement,encipherOnly")
        usage = key_usage(names)
        self.assertTrue(usage.content_commitment)
        self.assertEqual(set(usage_names(usage)), names)
        self.assertEqual(usage_names(key_usage(default_usage(key().public_key()))), ["digitalSignature"])

    def test_not_for_cas(self) -> None:
        for text in ("keyCertSign", "digitalSignature,cRLSign", "", "DigitalSignature", "a\nb", "x" * 2000):
            self.assertTrue(str(self.assertRaises(PkiError, parse_key_usage, text)).isprintable())
        self.assertRaises(PkiError, key_usage, {"encipherOnly"})

    def test_purposes(self) -> None:
        found = parse_purposes("serverAuth,1.3.6.1.4.1.2312.13.1.2.1.1, serverAuth")
        self.assertEqual(found[0], ExtendedKeyUsageOID.SERVER_AUTH)
        self.assertEqual(purpose_names(found), ["serverAuth", "1.3.6.1.4.1.2312.13.1.2.1.1"])

    @given(st.text("0123456789.,serverAuth", max_size=40) | st.text(max_size=20))
    def test_any_purposes(self, text: str) -> None:
        try:
            found = parse_purposes(text)
        except PkiError as error:
            self.assertTrue(str(error).isprintable())
        else:
            x509.ExtendedKeyUsage(found).public_bytes()
