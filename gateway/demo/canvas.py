"""A paletted picture that remembers which of its tiles changed, for any number of watchers."""

from __future__ import annotations

import enum

from gateway.demo.font import GLYPH_HEIGHT, glyph
from gateway.rfb import Rectangle

__all__ = ["CHARACTER_WIDTH", "HEIGHT", "WIDTH", "Canvas", "Colour", "Damage", "TextBox"]

WIDTH = 800
"""Of the picture, in pixels."""
HEIGHT = 600
"""Of the picture, in pixels."""
CHARACTER_WIDTH = 12
"""From one character to the next, in pixels."""

_TILE_WIDTH = 16
_TILE_HEIGHT = 20
_COLUMNS = WIDTH // _TILE_WIDTH
_ROWS = HEIGHT // _TILE_HEIGHT


class Colour(enum.IntEnum):
    """The palette: an index into the picture's bytes, and its red, green and blue."""

    rgb: tuple[int, int, int]

    def __new__(cls, index: int, red: int, green: int, blue: int) -> Colour:
        """A member that is its index."""
        member = int.__new__(cls, index)
        member._value_ = index
        member.rgb = (red, green, blue)
        return member

    BACK = 0, 13, 17, 28
    PANEL = 1, 23, 29, 45
    FRAME = 2, 48, 58, 84
    HEADER = 3, 46, 60, 138
    TITLE = 4, 255, 255, 255
    TEXT = 5, 229, 234, 243
    DIM = 6, 147, 160, 186
    ACCENT = 7, 88, 214, 190
    WARM = 8, 255, 190, 92
    HOT = 9, 255, 112, 112


class Damage:
    """What one watcher has not seen yet, in whole tiles."""

    def __init__(self) -> None:
        self._tiles = bytearray(b"\1" * (_COLUMNS * _ROWS))

    def mark(self, area: Rectangle) -> None:
        """The area changed.  Parts outside the picture are ignored."""
        left, top, right, bottom = _tiles_of(area)
        for row in range(top, bottom):
            start = row * _COLUMNS
            self._tiles[start + left : start + right] = b"\1" * (right - left)

    def take(self, area: Rectangle) -> list[Rectangle]:
        """The changed tiles that touch ``area``, as few rectangles; they count as seen from now on."""
        left, top, right, bottom = _tiles_of(area)
        taken: list[tuple[int, int, int, int]] = []
        for row in range(top, bottom):
            for first, last in self._take_runs(row * _COLUMNS + left, row * _COLUMNS + right):
                run = (first - row * _COLUMNS, row, last - row * _COLUMNS, row + 1)
                _stack(taken, run)
        return [
            Rectangle(x0 * _TILE_WIDTH, y0 * _TILE_HEIGHT, (x1 - x0) * _TILE_WIDTH, (y1 - y0) * _TILE_HEIGHT)
            for x0, y0, x1, y1 in taken
        ]

    def _take_runs(self, position: int, end: int) -> list[tuple[int, int]]:
        runs: list[tuple[int, int]] = []
        while (first := self._tiles.find(1, position, end)) >= 0:
            last = self._tiles.find(0, first, end)
            position = end if last < 0 else last
            self._tiles[first:position] = bytes(position - first)
            runs.append((first, position))
        return runs


class Canvas:
    """The picture: one palette index a pixel, row by row."""

    def __init__(self) -> None:
        self._pixels = bytearray([Colour.BACK]) * (WIDTH * HEIGHT)
        self._watchers: list[Damage] = []

    def attach(self) -> Damage:
        """A new watcher, to whom everything is new."""
        damage = Damage()
        self._watchers.append(damage)
        return damage

    def detach(self, damage: Damage) -> None:
        """Forget a watcher."""
        self._watchers.remove(damage)

    def touch(self, area: Rectangle) -> None:
        """Tell the watchers that the area changed."""
        for damage in self._watchers:
            damage.mark(area)

    def fill(self, area: Rectangle, colour: Colour) -> None:
        """Paint an area that lies inside the picture."""
        row = bytes([colour]) * area.width
        for y in range(area.y, area.y + area.height):
            self._pixels[y * WIDTH + area.x : y * WIDTH + area.x + area.width] = row
        self.touch(area)

    def draw(self, x: int, y: int, character: str, ink: Colour, paper: Colour, scale: int) -> None:
        """Draw one character in a cell of 12 by 20 pixels (times ``scale``) with its corner at ``(x, y)``."""
        width = CHARACTER_WIDTH * scale
        colours = bytes([paper, ink]).ljust(256, b"\0")
        for index, row in enumerate((b"", *glyph(character), b"")):
            wide = b"".join(row[i : i + 1] * scale for i in range(len(row))) if scale > 1 else row
            line = wide.ljust(width, b"\0").translate(colours)
            for repeat in range(scale):
                start = (y + index * scale + repeat) * WIDTH + x
                self._pixels[start : start + len(line)] = line
        self.touch(Rectangle(x, y, width, (GLYPH_HEIGHT + 2) * scale))

    def read(self, area: Rectangle) -> list[bytes]:
        """The rows of an area that lies inside the picture."""
        starts = range(area.y * WIDTH + area.x, (area.y + area.height) * WIDTH + area.x, WIDTH)
        return [bytes(self._pixels[start : start + area.width]) for start in starts]


class TextBox:
    """A block of text on the picture; writing redraws only the characters that differ."""

    def __init__(
        self,
        canvas: Canvas,
        x: int,
        y: int,
        columns: int,
        rows: int = 1,
        *,
        paper: Colour,
        scale: int = 1,
        spacing: int = 20,
    ) -> None:
        self._canvas = canvas
        self._x = x
        self._y = y
        self.columns = columns
        self.rows = rows
        self._paper = paper
        self._scale = scale
        self._spacing = spacing
        self._shown = [[(" ", Colour.TEXT, paper)] * columns for _ in range(rows)]
        self._whole: list[tuple[str, Colour] | None] = [None] * rows  # Rows nothing was written over.

    def write(
        self, row: int, text: str, ink: Colour = Colour.TEXT, *, column: int = 0, paper: Colour | None = None
    ) -> None:
        """Replace a row from ``column`` on.  With ``paper`` the text alone is replaced, on that colour."""
        whole = (text, ink) if column == 0 and paper is None else None
        if whole is not None and whole == self._whole[row]:
            return
        self._whole[row] = whole
        room = self.columns - column
        text = text[:room] if paper is not None else text[:room].ljust(room)
        for position, character in enumerate(text, column):
            cell = (character, ink, self._paper if paper is None else paper)
            if cell != self._shown[row][position]:
                self._shown[row][position] = cell
                x = self._x + position * CHARACTER_WIDTH * self._scale
                self._canvas.draw(x, self._y + row * self._spacing, *cell, self._scale)


def _tiles_of(area: Rectangle) -> tuple[int, int, int, int]:
    """The tiles an area touches: left, top, right, bottom; the last two are exclusive."""
    left, top = max(area.x, 0), max(area.y, 0)
    right, bottom = min(area.x + area.width, WIDTH), min(area.y + area.height, HEIGHT)
    if right <= left or bottom <= top:
        return 0, 0, 0, 0
    return left // _TILE_WIDTH, top // _TILE_HEIGHT, -(-right // _TILE_WIDTH), -(-bottom // _TILE_HEIGHT)


def _stack(taken: list[tuple[int, int, int, int]], run: tuple[int, int, int, int]) -> None:
    """Add a run of one row; one that continues a rectangle right above makes it higher."""
    x0, y0, x1, y1 = run
    for index in range(len(taken) - 1, -1, -1):
        above = taken[index]
        if above[3] < y0:
            break
        if above[3] == y0 and (above[0], above[2]) == (x0, x1):
            taken[index] = (x0, above[1], x1, y1)
            return
    taken.append(run)
