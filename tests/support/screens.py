"""Whether what is seen is what there is to see."""

from __future__ import annotations

import time
from collections.abc import Callable

from PIL import Image, ImageChops

__all__ = ["assert_shows", "wait_for_rest"]

_CURSOR = (9, 16)
"""Size of a character cell: the text cursor blinks."""
_REST = 1.5
"""Seconds; the firmware of a machine without a guest waits for less between its lines."""


def assert_shows(
    seen: Callable[[], Image.Image], truth: Callable[[], Image.Image], timeout: float = 15
) -> Image.Image:
    """Wait until a picture shows the screen to the pixel, but for one character cell, and return it.

    :param seen: takes the picture.
    :param truth: takes the screen.
    :raises AssertionError: it does not within ``timeout`` seconds, or the screen is blank all the time.
    """
    deadline = time.monotonic() + timeout
    while True:
        picture, screen = seen(), truth()
        wrong = _difference(picture, screen)
        if _is_blank(screen):
            wrong = "the screen is blank, which proves nothing"
        if not wrong:
            return picture
        assert time.monotonic() < deadline, wrong
        time.sleep(0.2)


def wait_for_rest(screen: Callable[[], Image.Image], timeout: float = 20) -> None:
    """Wait until a machine has shown the same for a while.

    :param screen: takes the screen.
    :raises AssertionError: it does not within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    last, since = screen(), time.monotonic()
    while _is_blank(last) or time.monotonic() < since + _REST:
        assert time.monotonic() < deadline, "the screen never came to rest"
        time.sleep(0.1)
        now = screen()
        if _difference(now, last):
            last, since = now, time.monotonic()


def _difference(one: Image.Image, other: Image.Image) -> str:
    """What is different, in words; empty where nothing is but the text cursor."""
    if one.size != other.size:
        return f"{one.size} is seen of {other.size}"
    box = ImageChops.difference(one, other).getbbox()
    if box is None or (box[2] - box[0] <= _CURSOR[0] and box[3] - box[1] <= _CURSOR[1]):
        return ""
    return f"pixels differ within {box}"


def _is_blank(screen: Image.Image) -> bool:
    return len(screen.getcolors() or []) < 2
