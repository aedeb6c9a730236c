"""What the demo console shows, and how it answers keys, pointer and clipboard.

A model without I/O: :class:`DemoScreen` is told what happened and keeps a
picture up to date.  All viewers share it, as they would share a machine's
screen.
"""

from __future__ import annotations

import datetime

import attrs

from gateway.demo.canvas import HEIGHT, WIDTH, Canvas, Colour, Damage, TextBox
from gateway.demo.keys import Key, key_name, key_text
from gateway.rfb import Rectangle

__all__ = ["DemoScreen"]

_TRACK = Rectangle(16, 546, 768, 6)
_RUNNER_WIDTH = 64
_RUNNER_STEP = 8
_WHEEL = 0b11000
_BUTTONS = (("Left", 1), ("Middle", 2), ("Right", 4))

# The pointer's mark: '#' is coloured, 'o' a dark edge that shows it on any ground.
_CROSS = (
    "........ooooo........",
    "........o###o........",
    "........o###o........",
    "........o###o........",
    "........o###o........",
    "........o###o........",
    "........o###o........",
    "........ooooo........",
    "oooooooo.....oooooooo",
    "o######o.ooo.o######o",
    "o######o.o#o.o######o",
    "o######o.ooo.o######o",
    "oooooooo.....oooooooo",
    "........ooooo........",
    "........o###o........",
    "........o###o........",
    "........o###o........",
    "........o###o........",
    "........o###o........",
    "........o###o........",
    "........ooooo........",
)
_CROSS_RADIUS = len(_CROSS) // 2


@attrs.define
class _Pointer:
    x: int = WIDTH // 2
    y: int = HEIGHT // 2
    buttons: int = 0
    wheel: int = 0

    @property
    def area(self) -> Rectangle:
        return Rectangle(self.x - _CROSS_RADIUS, self.y - _CROSS_RADIUS, len(_CROSS), len(_CROSS))


class DemoScreen:
    """The demo console's screen: clock, typed text, keys, pointer, clipboard."""

    def __init__(self) -> None:
        self._canvas = Canvas()
        self._now = ""
        self._lines = [""]
        self._held: set[int] = set()
        self._keys_received = 0
        self._pointer = _Pointer()
        self._viewers = 0
        self._runner = 0
        self._runner_step = _RUNNER_STEP
        self._draw_frames()
        box = self._canvas
        self._clock_box = TextBox(box, 584, 8, 8, paper=Colour.HEADER, scale=2)
        self._typed_box = TextBox(box, 28, 110, 62, 9, paper=Colour.PANEL, spacing=21)
        self._keys_box = TextBox(box, 28, 354, 30, 3, paper=Colour.PANEL, spacing=24)
        self._pointer_box = TextBox(box, 420, 354, 30, 3, paper=Colour.PANEL, spacing=24)
        self._clip_box = TextBox(box, 28, 482, 62, 2, paper=Colour.PANEL)
        self._viewers_box = TextBox(box, 16, 568, 12, paper=Colour.BACK)
        self._show_typed()
        self._show_keys("none yet")
        self._show_pointer()
        self._clip_box.write(0, "Nothing pasted yet", Colour.DIM)

    @property
    def typed(self) -> str:
        """The text on the screen, lines separated by newlines."""
        return "\n".join(self._lines)

    def attach(self) -> Damage:
        """A viewer arrives.  The result tells which areas it has to be sent."""
        self._count_viewers(1)
        return self._canvas.attach()

    def detach(self, damage: Damage) -> None:
        """A viewer leaves; keys it held are released."""
        self._canvas.detach(damage)
        self._held.clear()
        self._count_viewers(-1)

    def tick(self, now: datetime.datetime) -> None:
        """Show the time, and move what moves."""
        self._now = f"{now:%H:%M:%S}"
        self._clock_box.write(0, self._now, Colour.TITLE)
        self._canvas.fill(self._runner_area, Colour.PANEL)
        if not 0 <= self._runner + self._runner_step <= _TRACK.width - _RUNNER_WIDTH:
            self._runner_step = -self._runner_step
        self._runner += self._runner_step
        self._canvas.fill(self._runner_area, Colour.ACCENT)

    def key(self, keysym: int, down: bool) -> str | None:
        """A key goes down or up.

        :return: text for the viewers' clipboards, when the keys asked to copy.
        """
        if not down:
            self._held.discard(keysym)
            return None
        if Key.is_modifier(keysym):
            self._held.add(keysym)
        self._keys_received += 1
        self._show_keys(key_name(keysym))
        control = not self._held.isdisjoint((Key.CONTROL_L, Key.CONTROL_R))
        alt = not self._held.isdisjoint((Key.ALT_L, Key.ALT_R, Key.META_L, Key.META_R))
        if control and alt and keysym in (Key.DELETE, Key.KP_DELETE):
            self._keys_box.write(2, f"Ctrl+Alt+Del received {self._now}".rstrip(), Colour.WARM)
        elif control and not alt and keysym in (ord("c"), ord("C")):
            self._keys_box.write(2, "Text copied to viewers", Colour.WARM)
            return self.typed
        elif not control and not alt:
            self._type(keysym)
        return None

    def pointer(self, buttons: int, x: int, y: int) -> None:
        """The pointer is at ``(x, y)``, with these buttons down (bit 0 is the left one)."""
        pointer = self._pointer
        self._canvas.touch(pointer.area)
        if buttons & _WHEEL and not pointer.buttons & _WHEEL:
            pointer.wheel += 1 if buttons & 0b10000 else -1
        pointer.x, pointer.y, pointer.buttons = min(x, WIDTH - 1), min(y, HEIGHT - 1), buttons
        self._canvas.touch(pointer.area)
        self._show_pointer()

    def paste(self, text: str) -> None:
        """A viewer's clipboard has new text."""
        width = self._clip_box.columns
        start = " ".join(text[: 2 * width + 1].split())
        more = len(text) > 2 * width
        shown = start[: 2 * width - 3] + "..." if more else start
        self._clip_box.write(0, shown[:width] or "(empty)", Colour.TEXT)
        self._clip_box.write(1, shown[width:], Colour.TEXT)

    def pixels(self, area: Rectangle) -> bytes:
        """The area's pixels as palette indexes (:class:`~gateway.demo.canvas.Colour`), pointer included."""
        rows = self._canvas.read(area)
        mark = self._pointer.area
        if (
            mark.x < area.x + area.width
            and area.x < mark.x + mark.width
            and mark.y < area.y + area.height
            and area.y < mark.y + mark.height
        ):
            self._overlay(rows, area, mark)
        return b"".join(rows)

    def _overlay(self, rows: list[bytes], area: Rectangle, mark: Rectangle) -> None:
        """Draw the pointer's mark over the rows of an area."""
        colours = {"#": Colour.HOT if self._pointer.buttons & 0b111 else Colour.WARM, "o": Colour.BACK}
        for y, pattern in enumerate(_CROSS, mark.y - area.y):
            if not 0 <= y < area.height:
                continue
            row = bytearray(rows[y])
            for x, dot in enumerate(pattern, mark.x - area.x):
                if dot in colours and 0 <= x < area.width:
                    row[x] = colours[dot]
            rows[y] = bytes(row)

    @property
    def _runner_area(self) -> Rectangle:
        return Rectangle(_TRACK.x + self._runner, _TRACK.y, _RUNNER_WIDTH, _TRACK.height)

    def _draw_frames(self) -> None:
        """Everything that never changes."""
        canvas = self._canvas
        canvas.fill(Rectangle(0, 0, WIDTH, 60), Colour.HEADER)
        canvas.fill(Rectangle(0, 60, WIDTH, 3), Colour.ACCENT)
        TextBox(canvas, 16, 8, 15, paper=Colour.HEADER, scale=2).write(0, "Console Gateway", Colour.TITLE)
        TextBox(canvas, 400, 23, 12, paper=Colour.HEADER).write(0, "demo console", Colour.TEXT)
        for caption, x, y, width, height in (
            ("Typed here", 16, 76, 768, 232),
            ("Keyboard", 16, 320, 376, 112),
            ("Pointer", 408, 320, 376, 112),
            ("Clipboard from the viewer", 16, 444, 768, 84),
        ):
            canvas.fill(Rectangle(x, y, width, height), Colour.FRAME)
            canvas.fill(Rectangle(x + 1, y + 1, width - 2, height - 2), Colour.PANEL)
            TextBox(canvas, x + 12, y + 8, len(caption), paper=Colour.PANEL).write(0, caption, Colour.ACCENT)
        canvas.fill(_TRACK, Colour.PANEL)
        hint = "Esc clears the text, Ctrl+C copies it to viewers"
        TextBox(canvas, 208, 568, len(hint), paper=Colour.BACK).write(0, hint, Colour.DIM)

    def _count_viewers(self, change: int) -> None:
        self._viewers += change
        self._viewers_box.write(
            0, f"{self._viewers} viewer" if self._viewers == 1 else f"{self._viewers} viewers", Colour.DIM
        )

    def _type(self, keysym: int) -> None:
        if keysym in (Key.RETURN, Key.KP_ENTER):
            self._lines.append("")
        elif keysym == Key.BACKSPACE:
            self._rub_out()
        elif keysym == Key.ESCAPE:
            self._lines = [""]
        elif keysym == Key.TAB:
            self._add("    ")
        elif text := key_text(keysym):
            self._add(text)
        else:
            return
        # One column stays free for the cursor, and only what fits is kept.
        self._lines = self._lines[-self._typed_box.rows :]
        self._show_typed()

    def _add(self, text: str) -> None:
        if len(self._lines[-1]) + len(text) >= self._typed_box.columns:
            self._lines.append("")
        self._lines[-1] += text

    def _rub_out(self) -> None:
        if self._lines[-1]:
            self._lines[-1] = self._lines[-1][:-1]
        elif len(self._lines) > 1:
            self._lines.pop()

    def _show_typed(self) -> None:
        for row in range(self._typed_box.rows):
            self._typed_box.write(row, self._lines[row] if row < len(self._lines) else "")
        end = len(self._lines) - 1
        self._typed_box.write(end, " ", column=len(self._lines[end]), paper=Colour.WARM)

    def _show_keys(self, last: str) -> None:
        self._keys_box.write(0, f"Keys received  {self._keys_received}")
        self._keys_box.write(1, f"Last key       {last}")

    def _show_pointer(self) -> None:
        pointer = self._pointer
        box = self._pointer_box
        box.write(0, f"Position  {pointer.x}, {pointer.y}")
        box.write(1, "Buttons", paper=Colour.PANEL)
        column = 9
        for name, bit in _BUTTONS:
            lit = bool(pointer.buttons & bit)
            ink, paper = (Colour.BACK, Colour.WARM) if lit else (Colour.DIM, Colour.PANEL)
            box.write(1, f" {name} ", ink, column=column, paper=paper)
            column += len(name) + 2
        box.write(2, f"Wheel     {pointer.wheel:+d}" if pointer.wheel else "Wheel     0")
