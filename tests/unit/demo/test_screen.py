"""The demo console's screen: what it shows, and which parts changed."""

from __future__ import annotations

import datetime
import string

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.demo.canvas import HEIGHT, WIDTH, Canvas, Colour, Damage, TextBox
from gateway.demo.font import GLYPH_HEIGHT, GLYPH_WIDTH, glyph
from gateway.demo.keys import Key, key_name, key_text
from gateway.demo.screen import DemoScreen
from gateway.rfb import Rectangle

EVERYTHING = Rectangle(0, 0, WIDTH, HEIGHT)
NOON = datetime.datetime(2030, 1, 2, 12, 0, 0)


def size(areas: list[Rectangle]) -> int:
    return sum(area.width * area.height for area in areas)


def type_text(screen: DemoScreen, text: str) -> None:
    for character in text:
        keysym = Key.RETURN if character == "\n" else ord(character)
        screen.key(keysym, down=True)
        screen.key(keysym, down=False)


class FontTests(SynchronousTestCase):
    def test_every_printable_character_has_its_own_picture(self) -> None:
        printable = [chr(code) for code in range(0x20, 0x7F)]
        pictures = {glyph(character) for character in printable}
        self.assertEqual(len(pictures), len(printable))
        self.assertNotIn(glyph("\xe9"), pictures)
        for character in printable:
            self.assertEqual([len(row) for row in glyph(character)], [GLYPH_WIDTH] * GLYPH_HEIGHT)

    def test_only_some_characters_go_below_the_line(self) -> None:
        low = {c for c in map(chr, range(0x20, 0x7F)) if any(any(row) for row in glyph(c)[14:])}
        self.assertEqual(low, set("gjpqy,;_"))


class DamageTests(SynchronousTestCase):
    def test_everything_is_new_at_first_and_once(self) -> None:
        damage = Damage()
        self.assertEqual(damage.take(EVERYTHING), [EVERYTHING])
        self.assertEqual(damage.take(EVERYTHING), [])

    def test_takes_whole_tiles_of_the_wanted_area(self) -> None:
        damage = Damage()
        damage.take(EVERYTHING)
        damage.mark(Rectangle(20, 25, 1, 1))
        damage.mark(Rectangle(400, 400, 20, 1))
        self.assertEqual(damage.take(Rectangle(0, 0, 100, 100)), [Rectangle(16, 20, 16, 20)])
        self.assertEqual(damage.take(EVERYTHING), [Rectangle(400, 400, 32, 20)])

    def test_areas_outside_are_nothing(self) -> None:
        damage = Damage()
        for area in (Rectangle(WIDTH, 0, 10, 10), Rectangle(0, 0, 0, 5), Rectangle(-30, -30, 10, 10)):
            self.assertEqual(damage.take(area), [])
        damage.take(EVERYTHING)
        damage.mark(Rectangle(-5, -5, 6, 6))
        self.assertEqual(damage.take(EVERYTHING), [Rectangle(0, 0, 16, 20)])

    @given(
        st.lists(
            st.builds(
                Rectangle,
                st.integers(-50, WIDTH),
                st.integers(-50, HEIGHT),
                st.integers(0, 200),
                st.integers(0, 200),
            ),
            max_size=8,
        )
    )
    def test_covers_what_was_marked_without_overlap(self, marked: list[Rectangle]) -> None:
        damage = Damage()
        damage.take(EVERYTHING)
        for area in marked:
            damage.mark(area)
        taken = damage.take(EVERYTHING)
        covered: set[tuple[int, int]] = set()
        for area in taken:
            tiles = {
                (x, y)
                for x in range(area.x, area.x + area.width, 16)
                for y in range(area.y, area.y + area.height, 20)
            }
            self.assertTrue(covered.isdisjoint(tiles))
            covered |= tiles
        wanted = {
            (x // 16 * 16, y // 20 * 20)
            for area in marked
            for x in {*range(area.x, area.x + area.width, 16), area.x + area.width - 1}
            for y in {*range(area.y, area.y + area.height, 20), area.y + area.height - 1}
            if area.width and area.height and 0 <= x < WIDTH and 0 <= y < HEIGHT
        }
        self.assertEqual(covered, wanted)


class TextBoxTests(SynchronousTestCase):
    def test_redraws_only_what_differs(self) -> None:
        canvas = Canvas()
        box = TextBox(canvas, 0, 0, 20, paper=Colour.PANEL)
        box.write(0, "12:00:00")
        damage = canvas.attach()
        damage.take(EVERYTHING)
        box.write(0, "12:00:00")
        self.assertEqual(damage.take(EVERYTHING), [])
        box.write(0, "12:00:01")
        self.assertEqual(damage.take(EVERYTHING), [Rectangle(80, 0, 16, 20)])

    def test_text_that_is_too_long_is_cut(self) -> None:
        canvas = Canvas()
        TextBox(canvas, WIDTH - 24, 0, 2, paper=Colour.PANEL).write(0, "abcdef")
        (row,) = canvas.read(Rectangle(0, 30, WIDTH, 1))
        self.assertEqual(row, bytes([Colour.BACK]) * WIDTH)


class KeyTests(SynchronousTestCase):
    def test_text(self) -> None:
        for character in string.printable[:95] + "\xe9":
            self.assertEqual(key_text(ord(character)), character)
        self.assertEqual(key_text(0x010020AC), "\u20ac")
        self.assertEqual("".join(key_text(0xFFB0 + digit) for digit in range(10)), string.digits)
        self.assertEqual([key_text(code) for code in (0xFFAB, 0xFFAF, 0xFFBD)], ["+", "/", "="])
        for nothing in (*Key, 0, 0x7F, 0x9F, 0x0100D800, 0x01110000, 0xFFFFFFFF):
            self.assertEqual(key_text(nothing), "")

    def test_names(self) -> None:
        names = [key_name(code) for code in (0x20, 0x41, 0xFFBE, 0xFFC9, Key.PAGE_UP, 0xFE03)]
        self.assertEqual(names, ["Space", "A", "F1", "F12", "Page Up", "keysym 0xfe03"])


class ScreenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.screen = DemoScreen()
        self.damage = self.screen.attach()
        self.screen.tick(NOON)
        self.damage.take(EVERYTHING)

    def changed(self) -> list[Rectangle]:
        return self.damage.take(EVERYTHING)

    def test_typing(self) -> None:
        type_text(self.screen, "Hello, 42!\nsecond")
        self.assertEqual(self.screen.typed, "Hello, 42!\nsecond")
        for _ in range(7):
            self.screen.key(Key.BACKSPACE, down=True)
        self.assertEqual(self.screen.typed, "Hello, 42!")
        self.screen.key(Key.ESCAPE, down=True)
        self.screen.key(Key.BACKSPACE, down=True)
        self.assertEqual(self.screen.typed, "")

    def test_typing_a_letter_changes_little(self) -> None:
        type_text(self.screen, "a")
        changed = self.changed()
        self.assertTrue(changed)
        self.assertLess(size(changed), 20 * 16 * 20)

    def test_long_lines_wrap_and_old_ones_go(self) -> None:
        type_text(self.screen, "x" * 1000)
        lines = self.screen.typed.split("\n")
        self.assertLessEqual(len(lines), 9)
        self.assertTrue(all(len(line) < 62 for line in lines))
        type_text(self.screen, "\n" * 50)
        self.assertEqual(self.screen.typed, "\n" * 8)

    def test_shown_text_depends_only_on_what_was_typed(self) -> None:
        other = DemoScreen()
        other.attach()
        other.tick(NOON)
        area = Rectangle(16, 76, 768, 232)
        type_text(self.screen, "abc\nde")
        self.assertNotEqual(self.screen.pixels(area), other.pixels(area))
        type_text(other, "abX")
        other.key(Key.BACKSPACE, down=True)
        type_text(other, "c\nde")
        self.assertEqual(self.screen.pixels(area), other.pixels(area))

    def test_ctrl_alt_del(self) -> None:
        message = Rectangle(28, 400, 360, 24)
        before = self.screen.pixels(message)
        for keysym in (Key.CONTROL_L, Key.ALT_L, Key.DELETE):
            self.screen.key(keysym, down=True)
        self.assertNotEqual(self.screen.pixels(message), before)
        self.assertIn(Colour.WARM, self.screen.pixels(message))

    def test_control_keys_write_nothing_and_copy(self) -> None:
        type_text(self.screen, "text")
        self.screen.key(Key.CONTROL_L, down=True)
        self.assertIsNone(self.screen.key(ord("d"), down=True))
        self.assertEqual(self.screen.key(ord("c"), down=True), "text")
        self.screen.key(Key.CONTROL_L, down=False)
        self.assertIsNone(self.screen.key(ord("c"), down=True))
        self.assertEqual(self.screen.typed, "textc")

    def test_keys_of_a_viewer_that_left_are_released(self) -> None:
        self.screen.key(Key.CONTROL_L, down=True)
        self.screen.detach(self.damage)
        type_text(self.screen, "a")
        self.assertEqual(self.screen.typed, "a")

    def test_pointer_is_drawn_where_it_is(self) -> None:
        self.screen.pointer(0, 200, 200)
        self.changed()
        here, there = Rectangle(195, 195, 10, 10), Rectangle(595, 255, 10, 10)
        self.assertIn(Colour.WARM, self.screen.pixels(here))
        self.screen.pointer(1, 600, 260)
        self.assertNotIn(Colour.WARM, self.screen.pixels(here))
        self.assertIn(Colour.HOT, self.screen.pixels(there))
        changed = self.changed()
        for x, y in ((200, 200), (600, 260)):
            self.assertTrue(any(a.x <= x < a.x + a.width and a.y <= y < a.y + a.height for a in changed))

    def test_pointer_at_and_beyond_the_edges(self) -> None:
        for x, y in ((0, 0), (WIDTH - 1, HEIGHT - 1), (65535, 65535), (0, 65535)):
            self.screen.pointer(7, x, y)
            self.assertEqual(len(self.screen.pixels(EVERYTHING)), WIDTH * HEIGHT)

    def test_any_part_shows_the_same_picture(self) -> None:
        self.screen.pointer(0, 100, 100)
        whole = self.screen.pixels(EVERYTHING)
        for area in (Rectangle(96, 80, 16, 20), Rectangle(0, 95, WIDTH, 3), Rectangle(90, 100, 1, 1)):
            rows = [whole[y * WIDTH + area.x :][: area.width] for y in range(area.y, area.y + area.height)]
            self.assertEqual(self.screen.pixels(area), b"".join(rows))

    def test_a_second_changes_little(self) -> None:
        self.screen.tick(NOON + datetime.timedelta(seconds=1))
        changed = self.changed()
        self.assertTrue(changed)
        self.assertLess(size(changed), 30 * 16 * 20)

    def test_the_moving_thing_stays_on_its_track(self) -> None:
        for _ in range(500):
            self.screen.tick(NOON)
            for area in self.changed():
                self.assertEqual((area.y, area.height), (540, 20))

    def test_paste(self) -> None:
        panel = Rectangle(16, 444, 768, 84)
        empty = self.screen.pixels(panel)
        self.screen.paste("clipboard \x00\xff\n" * 5000)
        self.assertNotEqual(self.screen.pixels(panel), empty)
        self.screen.paste("")
