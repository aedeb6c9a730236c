"""Pixel formats (RFC 6143, section 7.4)."""

from __future__ import annotations

import struct

import attrs

from gateway.rfb.errors import RfbError

__all__ = ["PixelFormat"]

_LAYOUT = struct.Struct(">BBBBHHHBBB3x")


@attrs.frozen
class PixelFormat:
    """How a pixel travels.  The default is 32 bits, little-endian, 0x00RRGGBB."""

    bits_per_pixel: int = 32
    depth: int = 24
    big_endian: bool = False
    true_colour: bool = True
    red_max: int = 255
    green_max: int = 255
    blue_max: int = 255
    red_shift: int = 16
    green_shift: int = 8
    blue_shift: int = 0

    SIZE = _LAYOUT.size
    """Length of the encoded form, in bytes."""

    @classmethod
    def decode(cls, data: bytes) -> PixelFormat:
        """Read the 16-byte form.

        :raises RfbError: no such format can exist: sizes other than 8, 16 and 32 bits, or colours that
            are not whole bit fields inside a pixel.
        """
        bits, depth, big, true_colour, *colours = _LAYOUT.unpack(data)
        pixel_format = cls(bits, depth, bool(big), bool(true_colour), *colours)
        pixel_format._check()
        return pixel_format

    def encode(self) -> bytes:
        """The 16-byte form."""
        return _LAYOUT.pack(*attrs.astuple(self))

    def pixel(self, red: int, green: int, blue: int) -> bytes:
        """One true-colour pixel on the wire.  Components are 0 to 255."""
        value = (
            _scale(red, self.red_max) << self.red_shift
            | _scale(green, self.green_max) << self.green_shift
            | _scale(blue, self.blue_max) << self.blue_shift
        )
        return value.to_bytes(self.bits_per_pixel // 8, "big" if self.big_endian else "little")

    def _check(self) -> None:
        if self.bits_per_pixel not in (8, 16, 32):
            raise RfbError(f"pixel format with {self.bits_per_pixel} bits per pixel")
        if not self.true_colour:
            return
        fields = 0
        for top, shift in (
            (self.red_max, self.red_shift),
            (self.green_max, self.green_shift),
            (self.blue_max, self.blue_shift),
        ):
            field = top << shift
            if not top or top & (top + 1) or field >> self.bits_per_pixel or field & fields:
                raise RfbError("pixel format whose colours are not separate bit fields of a pixel")
            fields |= field


def _scale(component: int, top: int) -> int:
    return (component * top + 127) // 255
