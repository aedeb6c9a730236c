"""The X Window System keysyms that the demo console knows (X11 protocol, appendix A)."""

from __future__ import annotations

import enum

__all__ = ["Key", "key_name", "key_text"]


class Key(enum.IntEnum):
    """Keys that write nothing."""

    BACKSPACE = 0xFF08
    TAB = 0xFF09
    RETURN = 0xFF0D
    ESCAPE = 0xFF1B
    HOME = 0xFF50
    LEFT = 0xFF51
    UP = 0xFF52
    RIGHT = 0xFF53
    DOWN = 0xFF54
    PAGE_UP = 0xFF55
    PAGE_DOWN = 0xFF56
    END = 0xFF57
    INSERT = 0xFF63
    KP_ENTER = 0xFF8D
    KP_DELETE = 0xFF9F
    SHIFT_L = 0xFFE1
    SHIFT_R = 0xFFE2
    CONTROL_L = 0xFFE3
    CONTROL_R = 0xFFE4
    CAPS_LOCK = 0xFFE5
    META_L = 0xFFE7
    META_R = 0xFFE8
    ALT_L = 0xFFE9
    ALT_R = 0xFFEA
    SUPER_L = 0xFFEB
    SUPER_R = 0xFFEC
    DELETE = 0xFFFF

    @classmethod
    def is_modifier(cls, keysym: int) -> bool:
        """Whether the key changes the meaning of others while it is held."""
        return cls.SHIFT_L <= keysym <= cls.SUPER_R


_KEYPAD = 0xFF80
_KEYPAD_TEXT = (*range(0xFFAA, 0xFFBA), 0xFFBD)  # Operators, digits and '=': ASCII plus the offset above.
_FUNCTION = range(0xFFBE, 0xFFCA)
_UNICODE = 0x01000000


def key_text(keysym: int) -> str:
    """What the key writes: one character, or nothing."""
    if 0x20 <= keysym <= 0x7E or 0xA0 <= keysym <= 0xFF:
        return chr(keysym)
    if keysym in _KEYPAD_TEXT:
        return chr(keysym - _KEYPAD)
    code = keysym - _UNICODE
    if 0x100 <= code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF:
        return chr(code)
    return ""


def key_name(keysym: int) -> str:
    """What to call the key on a screen."""
    if keysym == ord(" "):
        return "Space"
    if text := key_text(keysym):
        return text
    if keysym in _FUNCTION:
        return f"F{keysym - _FUNCTION.start + 1}"
    try:
        return Key(keysym).name.replace("_", " ").title()
    except ValueError:
        return f"keysym {keysym:#x}"
