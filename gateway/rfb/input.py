"""Whether an RFB client passes on input of its user (RFC 6143, sections 7.1 and 7.5, and extensions).

Keys, pointer events, clipboard texts and power actions are input.  What a
client says of its own accord is not: formats, encodings, update requests,
fences, sizes, answers about the clipboard.

Nothing of a message is kept but the few bytes at its beginning that tell how
long it is.  RFB has no way to skip a message whose type is unknown, and what
is encrypted cannot be read at all.  From such a point on, every byte counts:
nobody who works may be taken for idle, at the price that somebody who only
watches may be taken for busy.
"""

from __future__ import annotations

from typing import Final

from gateway.rfb.auth import CHALLENGE_SIZE
from gateway.rfb.messages import ClientMessage
from gateway.rfb.security import SecurityType
from gateway.rfb.versions import VERSION_SIZE

__all__ = ["RfbInput"]

_CONTINUOUS_UPDATES: Final = 150
_FENCE: Final = 248
_XVP: Final = 250
_DESKTOP_SIZE: Final = 251
_GII: Final = 253
_QEMU: Final = 255

_FIXED: Final = {
    ClientMessage.SET_PIXEL_FORMAT: 20,
    ClientMessage.FRAMEBUFFER_UPDATE_REQUEST: 10,
    ClientMessage.KEY_EVENT: 8,
    ClientMessage.POINTER_EVENT: 6,
    _CONTINUOUS_UPDATES: 10,
    _XVP: 4,
}
_HEADS: Final = {
    ClientMessage.SET_ENCODINGS: 4,
    ClientMessage.CLIENT_CUT_TEXT: 8,
    _FENCE: 9,
    _DESKTOP_SIZE: 8,
    _GII: 4,
    _QEMU: 4,
}
_INPUT: Final = frozenset({ClientMessage.KEY_EVENT, ClientMessage.POINTER_EVENT, _XVP})
"""Of those with a fixed size."""

_SIZES: Final = tuple(_FIXED.get(kind, 0) for kind in range(256))
"""Length in bytes by type; 0 where the message itself tells it, or nobody knows."""
_COUNTS: Final = tuple(kind in _INPUT for kind in range(256))

_POINTER: Final = int(ClientMessage.POINTER_EVENT)
_MARKER: Final = 0x80
"""In the button mask: one more byte of buttons follows, if the client has announced that it sends such."""
_EXTENDED_BUTTONS: Final = (-316).to_bytes(4, "big", signed=True)
"""The pseudo-encoding that announces it."""
_MAX_ENCODINGS: Final = 1024
"""More are no list of encodings: the client speaks otherwise than we think."""

_CLIPBOARD_CAPS: Final = 1 << 24
_CLIPBOARD_BY_USER: Final = 1 << 27 | 1 << 28
"""Notify and provide.  The others announce abilities, or ask for what the console has."""
_FLAGS_END: Final = 12
"""Where the flags of an extended clipboard message end."""

_GII_INJECT: Final = 0
_GII_SIZES: Final = {1: range(2, 3), 2: range(56, 65536), 3: range(4, 5)}
"""Version, device creation and destruction.  Where descriptions disagree, these are what works."""

_QEMU_KEY, _QEMU_AUDIO = range(2)
_QEMU_AUDIO_FORMAT: Final = 2

_V3_3: Final = (b"RFB 003.003\n", b"RFB 003.005\n")
"""Section 7.1.1 has the second read as the first."""
_V3_7: Final = (b"RFB 003.007\n", b"RFB 003.008\n")
_TYPE_END: Final = VERSION_SIZE + 4
"""Where the security type ends that a server of RFB 3.3 has chosen."""

_EVER: Final = 1 << 62
"""More bytes than a connection can carry."""

_AT_VERSION, _AT_CHOICE, _AT_SERVER, _AT_MESSAGE, _AT_ENCODING = range(5)
"""What a head is the beginning of."""


class RfbInput:
    """Follows one client; takes the bytes of its connection as they are relayed, cut anywhere.

    :param authenticated: the client's next byte is ClientInit.  Otherwise the connection begins here.

    :ivar needs_server: the server's next bytes have to be given to :meth:`server`.  It needs 16 at the most.
    """

    __slots__ = (
        "_at",
        "_counts",
        "_encodings",
        "_extended",
        "_fresh",
        "_greeting",
        "_head",
        "_left",
        "_need",
        "needs_server",
    )

    def __init__(self, *, authenticated: bool = False) -> None:
        self.needs_server = not authenticated
        self._greeting = b""
        self._head = b""
        """The beginning of a message, up to what is needed to know its length."""
        self._need = VERSION_SIZE
        """How long the head has to be."""
        self._at = _AT_VERSION
        self._left = 0
        """Bytes to skip."""
        self._counts = False
        """Whether they are input."""
        self._fresh = False
        """A message begins with the next byte."""
        self._encodings = 0
        """To come in the current list."""
        self._extended = False
        """Pointer events may have the marker."""
        if authenticated:
            self._skip(1, _AT_MESSAGE)

    def client(self, data: bytes | memoryview) -> bool:
        """Take bytes of the client; returns whether there was input of the user in them."""
        if self._fresh and data:
            # Nearly always: one message, and all of it.
            kind = data[0]
            if len(data) == _SIZES[kind] and not (kind == _POINTER and self._extended and data[1] & _MARKER):
                return _COUNTS[kind]
        return self._follow(data)

    def server(self, data: bytes | memoryview) -> None:
        """Take bytes of the server, before the client can have answered them."""
        if not self.needs_server:
            return
        self._greeting += data[: _TYPE_END - len(self._greeting)]
        if len(self._greeting) == _TYPE_END:
            self.needs_server = False
            if self._at == _AT_SERVER:
                self._imposed()

    # -- helpers ---------------------------------------------------------------------------

    def _follow(self, data: bytes | memoryview) -> bool:
        place, end = 0, len(data)
        if self._left > end:
            self._left -= end
            return self._counts and end > 0
        found = False
        while place < end:
            if self._left:
                step = min(self._left, end - place)
                self._left -= step
                found = found or self._counts
            else:
                step = min(self._need - len(self._head), end - place)
                self._head += data[place : place + step]
                if len(self._head) == self._need and self._read(self._head):
                    found = True
            place += step
        self._fresh = not self._left and not self._head and self._at == _AT_MESSAGE
        return found

    def _read(self, head: bytes) -> bool:
        """Go on from a head that has the length that was needed; returns whether it is one of input."""
        if self._at == _AT_MESSAGE:
            self._read_message(head)
        elif self._at == _AT_ENCODING:
            self._read_encoding(head)
        elif self._at == _AT_VERSION:
            self._read_version(head)
        elif self._at == _AT_CHOICE:
            self._secure(head[0])
        else:
            # It speaks before its server has chosen.
            self._give_up()
        return self._counts

    def _skip(self, size: int, at: int, need: int = 1, *, counts: bool = False) -> None:
        """Skip so many bytes; then comes something else."""
        self._head = b""
        self._left = size
        self._counts = counts
        self._at = at
        self._need = need

    def _give_up(self) -> None:
        """Nobody knows what follows."""
        self.needs_server = False
        self._skip(_EVER, _AT_MESSAGE, counts=True)

    # -- the handshake (section 7.1) ---------------------------------------------------------

    def _read_version(self, line: bytes) -> None:
        if line in _V3_7:
            self.needs_server = False
            self._skip(0, _AT_CHOICE)
        elif line not in _V3_3:
            self._give_up()
        elif self.needs_server:
            self._skip(0, _AT_SERVER)
        else:
            self._imposed()

    def _imposed(self) -> None:
        """The server has chosen, which is how RFB 3.3 does it (appendix A)."""
        self._secure(int.from_bytes(self._greeting[VERSION_SIZE:], "big"))

    def _secure(self, kind: int) -> None:
        if kind == SecurityType.NONE:
            self._skip(1, _AT_MESSAGE)
        elif kind == SecurityType.VNC_AUTHENTICATION:
            self._skip(CHALLENGE_SIZE + 1, _AT_MESSAGE)
        else:
            self._give_up()

    # -- messages (section 7.5) --------------------------------------------------------------

    def _read_message(self, head: bytes) -> None:
        kind = head[0]
        if kind == _POINTER and self._extended:
            if len(head) == 1:
                # It is input from its first byte on, whatever there is to read yet.
                self._need, self._counts = 2, True
                return
            self._skip(5 if head[1] & _MARKER else 4, _AT_MESSAGE, counts=True)
            return
        size = _SIZES[kind]
        if size:
            self._skip(size - 1, _AT_MESSAGE, counts=_COUNTS[kind])
            return
        need = _HEADS.get(kind)
        if need is None:
            self._give_up()
        elif len(head) < need:
            self._need, self._counts = need, False
        elif kind == ClientMessage.SET_ENCODINGS:
            self._begin_encodings(int.from_bytes(head[2:4], "big"))
        elif kind == ClientMessage.CLIENT_CUT_TEXT:
            self._read_cut_text(head)
        elif kind == _FENCE:
            self._skip(head[8], _AT_MESSAGE)
        elif kind == _DESKTOP_SIZE:
            self._skip(16 * head[6], _AT_MESSAGE)
        elif kind == _GII:
            self._read_gii(head)
        else:
            self._read_qemu(head)

    def _begin_encodings(self, count: int) -> None:
        if count > _MAX_ENCODINGS:
            self._give_up()
            return
        self._extended = False
        self._encodings = count
        if count:
            self._skip(0, _AT_ENCODING, 4)
        else:
            self._skip(0, _AT_MESSAGE)

    def _read_encoding(self, encoding: bytes) -> None:
        if encoding == _EXTENDED_BUTTONS:
            self._extended = True
        self._encodings -= 1
        if self._encodings:
            self._skip(0, _AT_ENCODING, 4)
        else:
            self._skip(0, _AT_MESSAGE)

    def _read_cut_text(self, head: bytes) -> None:
        """A text, or by a negative length an extended message, which begins with flags."""
        size = int.from_bytes(head[4:8], "big", signed=True)
        if size >= 0:
            self._skip(size, _AT_MESSAGE, counts=True)
        elif len(head) == 8 and size <= -4:
            self._need, self._counts = _FLAGS_END, False
        else:
            flags = int.from_bytes(head[8:], "big")
            by_user = not flags & _CLIPBOARD_CAPS and bool(flags & _CLIPBOARD_BY_USER)
            self._skip(8 - size - len(head), _AT_MESSAGE, counts=by_user)

    def _read_gii(self, head: bytes) -> None:
        size = int.from_bytes(head[2:4], "big" if head[1] & 0x80 else "little")
        kind = head[1] & 0x7F
        if kind == _GII_INJECT:
            self._skip(size, _AT_MESSAGE, counts=True)
        elif kind in _GII_SIZES and size in _GII_SIZES[kind]:
            self._skip(size, _AT_MESSAGE)
        else:
            self._give_up()

    def _read_qemu(self, head: bytes) -> None:
        if head[1] == _QEMU_KEY:
            self._skip(8, _AT_MESSAGE, counts=True)
        elif head[1] == _QEMU_AUDIO:
            operation = int.from_bytes(head[2:4], "big")
            if operation <= _QEMU_AUDIO_FORMAT:
                self._skip(6 if operation == _QEMU_AUDIO_FORMAT else 0, _AT_MESSAGE)
            else:
                self._give_up()
        else:
            self._give_up()
