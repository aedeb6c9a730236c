"""Answer files of both generations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from gateway.setup.asking.answerfile import (
    MAX_SIZE,
    AnswerFile,
    Section,
    parse_answers,
    parse_settings,
    parse_value,
    render_answers,
)
from gateway.setup.asking.environment import Value
from gateway.setup.errors import SetupError

OLD = b"""# action=setup
[environment:default]
OVESETUP_CONFIG/fqdn=str:wsp.example.org
OVESETUP_CONFIG/websocketProxyConfig=bool:True
OVESETUP_CONFIG/updateFirewall=bool:False
OVESETUP_CONFIG/websocketProxyPort=int:6100
OVESETUP_CONFIG/firewallManager=none:None
"""
CHAIN = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
LONG = """[environment:default]
OVESETUP_CONFIG/wspCertificateChain=multi-str:-----BEGIN CERTIFICATE-----
 AAAA
 -----END CERTIFICATE-----
; a remark
OTHER=str:x
"""

KEYS = st.from_regex(r"[A-Za-z][A-Za-z0-9_./-]{0,30}", fullmatch=True)
LINES = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20).map(str.strip)
"""What a line can hold: blanks at its ends are not kept."""
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-(10**18) + 1, 10**18 - 1), LINES)


def only(file: AnswerFile, section: Section = Section.DEFAULT) -> dict[str, Value]:
    return {item.key: item.value for item in file.sections[section]}


class AnswerFileTests(unittest.SynchronousTestCase):
    def test_environment_keys(self) -> None:
        file = parse_answers(OLD, "a.conf")
        self.assertEqual(
            only(file),
            {
                "OVESETUP_CONFIG/fqdn": "wsp.example.org",
                "OVESETUP_CONFIG/websocketProxyConfig": True,
                "OVESETUP_CONFIG/updateFirewall": False,
                "OVESETUP_CONFIG/websocketProxyPort": 6100,
                "OVESETUP_CONFIG/firewallManager": None,
            },
        )
        self.assertEqual(file.sections[Section.DEFAULT][0].origin, "a.conf, line 3")
        self.assertEqual(file.warnings, ())

    def test_windows_ends_of_lines_and_a_byte_order_mark(self) -> None:
        self.assertEqual(
            only(parse_answers(b"\xef\xbb\xbf" + OLD.replace(b"\n", b"\r\n"), "a")),
            only(parse_answers(OLD, "a")),
        )

    def test_several_lines(self) -> None:
        for text in (LONG, LONG.replace("multi-str:", "multi-str:\n ")):
            self.assertEqual(
                only(parse_answers(text.encode(), "a")),
                {"OVESETUP_CONFIG/wspCertificateChain": CHAIN, "OTHER": "x"},
            )

    def test_all_sections(self) -> None:
        text = "\n".join(f"[{section.value}]\nK=str:{section.name}" for section in Section)
        file = parse_answers(text.encode(), "a")
        for section in Section:
            self.assertEqual(only(file, section), {"K": section.name})

    def test_booleans_as_the_format_has_them(self) -> None:
        for text, value in (("f", False), ("F", False), ("false", False), ("False", False), ("True", True)):
            file = parse_answers(f"[environment:default]\nK=bool:{text}".encode(), "a")
            self.assertEqual((only(file), file.warnings), ({"K": value}, ()))

    def test_what_looks_like_no_and_is_yes(self) -> None:
        for text in ("no", "No", "0", "off", "FALSE", "none", ""):
            file = parse_answers(f"[environment:default]\nK=bool:{text}".encode(), "a.conf")
            self.assertEqual(only(file), {"K": True})
            (warning,) = file.warnings
            self.assertIn("a.conf, line 2: K", warning)
            self.assertIn("bool:False", warning)

    def test_what_is_wrong_is_named_with_its_line(self) -> None:
        head = "[environment:default]\n"
        for text, words in {
            "K=str:x": ("line 1", "before the first section"),
            "[environment:defaults]": ("line 1", "not a section", "[environment:enforce]"),
            "[environment:default": ("line 1", "not a section"),
            head + "K": ("line 2", "KEY=type:value"),
            head + "=str:x": ("line 2", "key is empty"),
            head + "K=x": ("line 2", "K", "no type"),
            head + "K=text:x": ("line 2", "K", "text is not a type", "multi-str"),
            head + "K=int:x": ("line 2", "K", "not an integer"),
            head + "K=int:" + "9" * 5000: ("line 2", "not an integer"),
            head + "K=str:x\n y": ("line 2", "more than one line"),
            head + "K=str:x\n\nK=str:y": ("line 4", "in line 2 already"),
            head + "K=str:\0": ("line 2", "NUL"),
            head + "K=str:\udcff": ("line 2", "UTF-8"),
            "#" * (MAX_SIZE + 1): ("bytes",),
        }.items():
            error = self.assertRaises(
                SetupError, parse_answers, text.encode("utf-8", "surrogateescape"), "a.conf"
            )
            for word in ("a.conf", *words):
                self.assertIn(word, str(error))
            self.assertNotIn("\n", str(error))

    def test_values_are_not_in_messages(self) -> None:
        for line in ("K=hunter22", "K=hunter22:x", "K=int:hunter22", "hunter22"):
            text = f"[environment:default]\n{line}"
            error = self.assertRaises(SetupError, parse_answers, text.encode(), "a")
            if line != "K=hunter22:x":
                self.assertNotIn("hunter22", str(error))

    @given(st.dictionaries(KEYS, VALUES, max_size=8))
    def test_what_is_written_is_read_again(self, values: dict[str, Value]) -> None:
        file = parse_answers(render_answers(values.items(), "a comment"), "a")
        self.assertEqual(only(file), values)

    @given(st.lists(LINES.filter(lambda line: line and line[0] not in "#;"), min_size=2, max_size=6))
    def test_lines_are_read_again(self, lines: list[str]) -> None:
        value = "\n".join(lines)
        file = parse_answers(render_answers([("K", value), ("L", 1)], "a comment"), "a")
        self.assertEqual(only(file), {"K": value, "L": 1})

    @given(
        st.binary(max_size=200)
        | st.text(alphabet="[]=:# \nenvirometdfault/str", max_size=200).map(str.encode)
    )
    def test_anything_is_read_or_refused_in_a_line(self, data: bytes) -> None:
        try:
            parse_answers(data, "a")
        except SetupError as error:
            self.assertNotIn("\n", str(error))


class SettingsTests(unittest.SynchronousTestCase):
    def test_keys_on_the_command_line(self) -> None:
        file = parse_settings("A/b=bool:True C=str:'two words' D=none:None E=int:5", "--x")
        self.assertEqual(only(file, Section.INIT), {"A/b": True, "C": "two words", "D": None, "E": 5})
        self.assertEqual(only(parse_settings("", "--x"), Section.INIT), {})

    def test_what_is_wrong(self) -> None:
        for text in ("A", "A=b", "A='b", "=str:x", "A=object:x"):
            error = self.assertRaises(SetupError, parse_settings, text, "--x")
            self.assertIn("--x", str(error))

    def test_a_value_alone(self) -> None:
        self.assertEqual(parse_value("str:a:b", "here"), "a:b")
        self.assertRaises(SetupError, parse_value, "a", "here")
