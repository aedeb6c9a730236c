from __future__ import annotations

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.settings.ovirt_grammar import MAX_LINE, Assignment, BadLine, expand, parse_lines
from gateway.settings.problems import BadValueError

NAMES = st.from_regex(r"[A-Za-z0-9_]{1,12}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=60)
# What the grammar gives a meaning to comes often.
TANGLED = st.text(st.sampled_from('ab=\\"$ {}#\t\r\n_Ä'), max_size=200)


def values(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in parse_lines(text, found):
        assert isinstance(each, Assignment), each
    return found


def value(text: str) -> str:
    """What stands behind ``A=``."""
    return values(f"A={text}")["A"]


def quoted(text: str) -> str:
    """One way to write a value."""
    return '"' + "".join(f"\\{c}" if c in '\\"$' else c for c in text) + '"'


class ValueTests(SynchronousTestCase):
    def test_unquoted_end(self) -> None:
        for text in ("1 # c", "1#c", "1 2", "1 $", '1 "', "1#${"):
            self.assertEqual(value(text), "1", text)
        self.assertEqual(value(" 1"), "")
        self.assertEqual(value("#1"), "")
        self.assertEqual(value(""), "")

    def test_quotes(self) -> None:
        self.assertEqual(value('"a b" c'), "a b")
        self.assertEqual(value('a"b c"d'), "ab cd")
        self.assertEqual(value('"#"'), "#")
        self.assertEqual(value('""'), "")
        self.assertEqual(value("'x y'"), "'x")
        self.assertEqual(value('"a b'), "a b")
        self.assertEqual(value('a"b # c'), "ab # c")

    def test_blanks(self) -> None:
        self.assertEqual(value("a\tb"), "a\tb")
        self.assertEqual(value("a\t b"), "a\t")

    def test_backslash(self) -> None:
        self.assertEqual(value(r"\a\\\"\ \#\$"), r"""a\" #$""")
        self.assertEqual(value(r'"\a\"\$"'), 'a"$')
        self.assertEqual(value("a\\"), "a")
        self.assertEqual(value('"a\\'), "a")

    def test_references(self) -> None:
        known = {"A": "1 2", "B_2": "x#"}
        self.assertEqual(expand("${A}", known), "1 2")
        self.assertEqual(expand('"${A} ${B_2}"', known), "1 2 x#")
        self.assertEqual(expand("<${NONE}>${}", known), "<>")
        # What was expanded is not looked at again.
        self.assertEqual(expand("${C}", {"C": '${A}"\\'}), '${A}"\\')

    def test_dollars(self) -> None:
        for text in ("$A", "$", "a$", "${A", '"$', "$$", "$ {A}", '"${A"'):
            with self.assertRaises(BadValueError, msg=text):
                expand(text, {"A": "1"})

    def test_single_quotes_keep_nothing_together(self) -> None:
        self.assertEqual(value("'${A}'"), "''")

    def test_growth_is_bounded(self) -> None:
        lines = ["A=" + "x" * 64, *(["A=${A}${A}"] * 60)]
        known: dict[str, str] = {}
        found = list(parse_lines("\n".join(lines), known))
        bad = [each for each in found if isinstance(each, BadLine)]
        self.assertEqual(len(bad), 60 - 7)
        self.assertEqual(len(known["A"]), MAX_LINE)
        self.assertIn("expanded", bad[0].text)

    @given(TEXT)
    def test_any_value_can_be_written(self, text: str) -> None:
        self.assertEqual(value(quoted(text)), text)

    @given(TANGLED)
    def test_expansion_ends_in_a_value_or_an_error(self, text: str) -> None:
        try:
            found = expand(text, {"a": "1"})
        except BadValueError as error:
            self.assertIn("$", text)
            self.assertTrue(str(error).isprintable())
        else:
            self.assertLessEqual(len(found), len(text) + 1)


class LineTests(SynchronousTestCase):
    def bad(self, line: str) -> BadLine:
        known: dict[str, str] = {}
        (found,) = parse_lines(line, known)
        assert isinstance(found, BadLine), found
        self.assertEqual(known, {})
        return found

    def test_ignored(self) -> None:
        self.assertEqual(values("\n \n\t\n# A=1\n  # $\n#"), {})

    def test_assignments(self) -> None:
        self.assertEqual(values("A=1\n  B_2=2\n\tc=3\n4=5"), {"A": "1", "B_2": "2", "c": "3", "4": "5"})
        self.assertEqual(values("A=b=c"), {"A": "b=c"})

    def test_last_one_wins_and_sees_the_others(self) -> None:
        self.assertEqual(values('A=1\nB="${A}x"\nA=2\nC=${A}${B}'), {"A": "2", "B": "1x", "C": "21x"})

    def test_earlier_files_are_seen(self) -> None:
        known = {"A": "1"}
        self.assertEqual(list(parse_lines("B=${A}", known)), [Assignment(1, "B", "1")])
        self.assertEqual(known, {"A": "1", "B": "1"})

    def test_line_ends(self) -> None:
        self.assertEqual(values("A=1\r\nB=2\r\n"), {"A": "1", "B": "2"})
        self.assertEqual(values("A=1\rB=2"), {"A": "1", "B": "2"})
        self.assertEqual(values('A="1\nB=2'), {"A": "1", "B": "2"})

    def test_refused(self) -> None:
        for line in ("A =1", "export A=1", "A-B=1", "A.B=1", "A", "=1", "A: 1", "[a]", "\ufeffA=1", "\0=1"):
            self.assertIn("NAME=VALUE", self.bad(line).text, line)
        self.assertIn("export", self.bad("export A=1").remedy)
        self.assertIn("blanks", self.bad("A =1").remedy)
        self.assertIn("'A'", self.bad("A=$B").text)

    def test_long_lines(self) -> None:
        self.assertEqual(len(value("x" * (MAX_LINE - 2))), MAX_LINE - 2)
        self.assertIn("longer", self.bad("A=" + "x" * (MAX_LINE - 1)).text)
        self.assertIn("longer", self.bad("#" * (MAX_LINE + 1)).text)

    def test_bad_lines_do_not_hide_good_ones(self) -> None:
        known: dict[str, str] = {}
        found = list(parse_lines("A=1\nB\nC=$\nD=4", known))
        self.assertEqual(
            [(each.line, type(each)) for each in found],
            [(1, Assignment), (2, BadLine), (3, BadLine), (4, Assignment)],
        )
        self.assertEqual(known, {"A": "1", "D": "4"})

    def test_nothing_of_a_bad_line_is_quoted(self) -> None:
        self.assertNotIn("hunter2", f"{self.bad('password: hunter2')}{self.bad('P=hunter2$')}")

    @hypothesis_settings(max_examples=50)
    @given(st.lists(st.tuples(NAMES, TEXT), max_size=20))
    def test_round_trip(self, pairs: list[tuple[str, str]]) -> None:
        text = "\n".join(f"{name}={quoted(text)}" for name, text in pairs)
        self.assertEqual(values(text), dict(pairs))

    @given(st.one_of(TANGLED, st.text(max_size=300)))
    def test_anything_is_read(self, text: str) -> None:
        known: dict[str, str] = {}
        found = list(parse_lines(text, known))
        lines = [each.line for each in found]
        self.assertEqual(lines, sorted(set(lines)))
        self.assertLessEqual(len(found), text.count("\n") + text.count("\r") + 1)
        assigned = {each.name: each.value for each in found if isinstance(each, Assignment)}
        self.assertEqual(assigned, known)
