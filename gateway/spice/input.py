"""Whether a SPICE client passes on input of its user.

SPICE opens a connection for each of its channels.  Input is what the inputs
channel carries (keys and pointer), what is typed into a port (a serial line
of the machine), and on the main channel clipboard and files for the guest's
agent.  All other channels carry none: screen, cursor, sound, devices.

Constants and layouts are those of spice-protocol's ``protocol.h``,
``enums.h`` and ``vd_agent.h``; numbers are little-endian.  Nothing of a
message is kept but its header.  Where the connection cannot be followed (an
unknown version, or an authentication other than SPICE's own), every byte
counts from then on, so that nobody who works is taken for idle.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Container
from typing import Final

__all__ = ["SpiceInput"]

_MAGIC: Final = b"REDQ"
_MAJOR: Final = 2
_LINK: Final = struct.Struct("<4sIII")
"""SpiceLinkHeader: magic, major, minor, size of what follows."""
_MESSAGE: Final = struct.Struct("<IBBIII")
"""SpiceLinkMess: connection, type and number of the channel, counts of capabilities, where they are."""
_REPLY: Final = struct.Struct("<I162sIII")
"""SpiceLinkReply: error, public key, counts of capabilities, where they are."""
_MAX_LINK: Final = 4096
"""Longest body of a link message that servers take."""
_MAX_REPLY: Final = 512
"""Most bytes of the server's that are read."""

_AUTH_SELECTION: Final = 1 << 0
_MINI_HEADER: Final = 1 << 3
_AUTH_SPICE: Final = 1
_TICKET_SIZE: Final = 128

_MINI: Final = struct.Struct("<HI")
"""SpiceMiniDataHeader: type, size."""
_FULL: Final = struct.Struct("<QHII")
"""SpiceDataHeader: serial, type, size, list of sub-messages."""
_AGENT_DATA: Final = 107
_AGENT: Final = struct.Struct("<IIQI")
"""VDAgentMessage: protocol, type, opaque, size."""
_AGENT_INPUT: Final = frozenset({4, 7, 10, 12})
"""Clipboard and its grab; the start and the data of a file transfer."""

_EVER: Final = 1 << 62
"""More bytes than a connection can carry."""


class _Channel(enum.IntEnum):
    """Channels that something is known of."""

    MAIN = 1
    DISPLAY = 2
    INPUTS = 3
    CURSOR = 4
    PLAYBACK = 5
    RECORD = 6
    SMARTCARD = 8
    USBREDIR = 9
    PORT = 10
    WEBDAV = 11


_SILENT: Final = frozenset(_Channel) - {_Channel.MAIN, _Channel.INPUTS, _Channel.PORT}
_OWN: Final = range(101, 65536)
"""Message types of a channel itself; below are acknowledgements and the like, which every channel has."""
_INPUT: Final[dict[int, Container[int]]] = {
    _Channel.MAIN: range(0),
    _Channel.PORT: range(101, 103),
}
"""Types of messages that are input; of other channels, all of their own are."""


class _At(enum.Enum):
    """What a head is the beginning of."""

    LINK = enum.auto()
    LINK_MESSAGE = enum.auto()
    CAPABILITIES = enum.auto()
    SERVER = enum.auto()
    """Nothing: it is the server's turn."""
    MECHANISM = enum.auto()
    MESSAGE = enum.auto()


class SpiceInput:
    """Follows one client of one channel; takes the bytes of its connection as they are relayed, cut anywhere.

    :ivar needs_server: the server's next bytes have to be given to :meth:`server`.  It needs 512 at the most.
    """

    __slots__ = (
        "_agent_counts",
        "_agent_head",
        "_agent_left",
        "_at",
        "_capabilities",
        "_channel",
        "_counts",
        "_fresh",
        "_head",
        "_header",
        "_in_agent_data",
        "_input",
        "_left",
        "_need",
        "_offered",
        "_reply",
        "_rest",
        "needs_server",
    )

    def __init__(self) -> None:
        self.needs_server = True
        self._reply = b""
        """The beginning of what the server says."""
        self._head = b""
        """The beginning of what the client says, up to what is needed to know how it goes on."""
        self._need = _LINK.size
        """How long the head has to be."""
        self._at = _At.LINK
        self._left = 0
        """Bytes to skip."""
        self._counts = False
        """Whether they are input."""
        self._rest = 0
        """Of the link message, behind what is read."""
        self._channel = 0
        self._capabilities = 0
        """The common ones of the client."""
        self._offered: int | None = None
        """Those of the server."""
        self._header = _FULL
        self._input: Container[int] = _OWN
        self._fresh = False
        """A message with the short header begins with the next byte."""
        self._in_agent_data = False
        """The bytes to skip are the agent's."""
        self._agent_head = b""
        self._agent_left = 0
        self._agent_counts = False

    def client(self, data: bytes | memoryview) -> bool:
        """Take bytes of the client; returns whether there was input of the user in them."""
        if self._fresh and len(data) >= 6:
            # Nearly always: one message, and all of it.
            kind, size = _MINI.unpack_from(data)
            if len(data) == 6 + size and (kind != _AGENT_DATA or self._channel != _Channel.MAIN):
                return kind in self._input
        return self._follow(data)

    def server(self, data: bytes | memoryview) -> None:
        """Take bytes of the server, before the client can have answered them."""
        if not self.needs_server:
            return
        self._reply += data[: _MAX_REPLY - len(self._reply)]
        if self._read_reply():
            self.needs_server = False
            self._reply = b""
            self._agree()
        elif len(self._reply) == _MAX_REPLY or not _MAGIC.startswith(self._reply[:4]):
            self._give_up()

    # -- helpers ---------------------------------------------------------------------------

    def _follow(self, data: bytes | memoryview) -> bool:
        place, end = 0, len(data)
        if self._left > end and not self._in_agent_data:
            self._left -= end
            return self._counts and end > 0
        found = False
        while place < end:
            if self._left:
                step = min(self._left, end - place)
                self._left -= step
                if self._in_agent_data:
                    found = self._read_agent(data[place : place + step]) or found
                else:
                    found = found or self._counts
            else:
                step = min(self._need - len(self._head), end - place)
                self._head += data[place : place + step]
                if len(self._head) == self._need:
                    self._read(self._head)
                    found = found or self._counts
            place += step
            if self._at is _At.SERVER:
                self._agree()
        self._fresh = not self._left and not self._head and self._at is _At.MESSAGE and self._header is _MINI
        return found

    def _read(self, head: bytes) -> None:
        """Go on from a head that has the length that was needed."""
        if self._at is _At.MESSAGE:
            self._read_header(head)
        elif self._at is _At.LINK:
            self._read_link(head)
        elif self._at is _At.LINK_MESSAGE:
            self._read_link_message(head)
        elif self._at is _At.CAPABILITIES:
            self._capabilities = int.from_bytes(head, "little")
            self._skip(self._rest, _At.SERVER)
        elif self._at is _At.MECHANISM and int.from_bytes(head, "little") == _AUTH_SPICE:
            self._skip(_TICKET_SIZE, _At.MESSAGE, self._header.size)
        else:
            # Another mechanism; or a client that speaks before the server has.
            self._give_up()

    def _skip(self, size: int, at: _At, need: int = 1, *, counts: bool = False) -> None:
        """Skip so many bytes; then comes something else."""
        self._head = b""
        self._left = size
        self._counts = counts
        self._at = at
        self._need = need

    def _stop(self, *, counts: bool) -> None:
        """Everything that follows is alike."""
        self.needs_server = False
        self._reply = b""
        self._skip(_EVER, _At.MESSAGE, counts=counts)

    def _give_up(self) -> None:
        """Nobody knows what follows."""
        self._stop(counts=True)

    # -- how a connection begins -------------------------------------------------------------

    def _read_link(self, head: bytes) -> None:
        magic, major, _, size = _LINK.unpack(head)
        if magic != _MAGIC or major != _MAJOR or not _MESSAGE.size <= size <= _MAX_LINK:
            self._give_up()
            return
        self._rest = size - _MESSAGE.size
        self._skip(0, _At.LINK_MESSAGE, _MESSAGE.size)

    def _read_link_message(self, head: bytes) -> None:
        _, self._channel, _, common, _, offset = _MESSAGE.unpack(head)
        if self._channel in _SILENT:
            self._stop(counts=False)
            return
        self._input = _INPUT.get(self._channel, _OWN)
        before = offset - _MESSAGE.size
        if not common:
            self._skip(self._rest, _At.SERVER)
        elif 0 <= before <= self._rest - 4:
            self._rest -= before + 4
            self._skip(before, _At.CAPABILITIES, 4)
        else:
            self._give_up()

    def _read_reply(self) -> bool:
        """Read the server's common capabilities, which the first word has; false for "not yet"."""
        reply = self._reply
        if not reply.startswith(_MAGIC) or len(reply) < _LINK.size + _REPLY.size:
            return False
        _, _, common, _, offset = _REPLY.unpack_from(reply, _LINK.size)
        if not common:
            self._offered = 0
            return True
        place = _LINK.size + int(offset)
        word = reply[place : place + 4]
        if len(word) < 4:
            return False
        self._offered = int.from_bytes(word, "little")
        return True

    def _agree(self) -> None:
        """Go on as soon as both sides have said what they can do."""
        if self._offered is None or self._at is not _At.SERVER or self._left:
            return
        both = self._capabilities & self._offered
        self._header = _MINI if both & _MINI_HEADER else _FULL
        if both & _AUTH_SELECTION:
            self._skip(0, _At.MECHANISM, 4)
        else:
            self._skip(_TICKET_SIZE, _At.MESSAGE, self._header.size)

    # -- messages ----------------------------------------------------------------------------

    def _read_header(self, head: bytes) -> None:
        fields = self._header.unpack(head)
        kind, size = fields[-2:] if self._header is _MINI else fields[1:3]
        self._in_agent_data = kind == _AGENT_DATA and self._channel == _Channel.MAIN
        self._skip(size, _At.MESSAGE, self._header.size, counts=kind in self._input)

    def _read_agent(self, data: bytes | memoryview) -> bool:
        """Messages to the guest's agent, which are cut into messages of the channel."""
        found = False
        place, end = 0, len(data)
        while place < end:
            if self._agent_left:
                step = min(self._agent_left, end - place)
                self._agent_left -= step
            else:
                step = min(_AGENT.size - len(self._agent_head), end - place)
                self._agent_head += data[place : place + step]
                if len(self._agent_head) < _AGENT.size:
                    break
                _, kind, _, self._agent_left = _AGENT.unpack(self._agent_head)
                self._agent_head = b""
                self._agent_counts = kind in _AGENT_INPUT
            found = found or self._agent_counts
            place += step
        return found
