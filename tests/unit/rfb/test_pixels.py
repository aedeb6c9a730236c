"""Pixel formats."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.rfb import PixelFormat, RfbError

RGB565 = PixelFormat(
    bits_per_pixel=16,
    depth=16,
    red_max=31,
    green_max=63,
    blue_max=31,
    red_shift=11,
    green_shift=5,
    blue_shift=0,
)
BGR233 = PixelFormat(
    bits_per_pixel=8, depth=8, red_max=7, green_max=7, blue_max=3, red_shift=0, green_shift=3, blue_shift=6
)


class PixelFormatTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        for pixel_format in (PixelFormat(), RGB565, BGR233, attrs.evolve(RGB565, big_endian=True)):
            encoded = pixel_format.encode()
            self.assertEqual(len(encoded), PixelFormat.SIZE)
            self.assertEqual(PixelFormat.decode(encoded), pixel_format)

    def test_pixels(self) -> None:
        self.assertEqual(PixelFormat().pixel(1, 2, 3), b"\3\2\1\0")
        self.assertEqual(PixelFormat(big_endian=True).pixel(1, 2, 3), b"\0\1\2\3")
        self.assertEqual(RGB565.pixel(255, 0, 255), (0xF81F).to_bytes(2, "little"))
        self.assertEqual(attrs.evolve(RGB565, big_endian=True).pixel(0, 255, 0), (0x07E0).to_bytes(2, "big"))
        self.assertEqual(BGR233.pixel(255, 255, 255), b"\xff")
        self.assertEqual(BGR233.pixel(0, 0, 255), b"\xc0")

    def test_impossible_formats_are_refused(self) -> None:
        for pixel_format in (
            attrs.evolve(PixelFormat(), bits_per_pixel=24),
            attrs.evolve(PixelFormat(), bits_per_pixel=0),
            attrs.evolve(PixelFormat(), red_max=0),
            attrs.evolve(PixelFormat(), red_max=100),
            attrs.evolve(PixelFormat(), red_shift=25),
            attrs.evolve(PixelFormat(), red_shift=8),
            attrs.evolve(BGR233, blue_shift=7),
        ):
            self.assertRaises(RfbError, PixelFormat.decode, pixel_format.encode())

    def test_colour_map_needs_no_fields(self) -> None:
        mapped = PixelFormat(8, 8, False, False, 0, 0, 0, 0, 0, 0)
        self.assertEqual(PixelFormat.decode(mapped.encode()), mapped)

    @given(st.binary(min_size=16, max_size=16), st.tuples(*[st.integers(0, 255)] * 3))
    def test_whatever_decodes_can_paint(self, data: bytes, colour: tuple[int, int, int]) -> None:
        try:
            pixel_format = PixelFormat.decode(data)
        except RfbError:
            return
        if pixel_format.true_colour:
            self.assertEqual(len(pixel_format.pixel(*colour)), pixel_format.bits_per_pixel // 8)
