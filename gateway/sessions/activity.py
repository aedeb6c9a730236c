"""Whether the user of a session does something, whatever its console speaks.

The first bytes tell what that is: servers of RFB greet (RFC 6143, section
7.1.1), clients of SPICE begin with a magic word.  On anything else, such as a
serial line, every byte of the client is input.
"""

from __future__ import annotations

from typing import Final, Protocol

from gateway.rfb import RfbInput
from gateway.spice import SpiceInput
from gateway.tickets import Kind

__all__ = ["Activity"]

_RFB: Final = b"RFB "
_SPICE: Final = b"REDQ"
_SIZE: Final = 4
"""Length of either, in bytes."""


class Activity:
    """Follows one session; takes bytes in the order in which they are relayed, cut anywhere.

    Nothing it is given makes it raise, and it keeps no more than the head of a message, or 512 bytes of what
    the server says first.

    :param kind: what the console server speaks, as far as anybody has said; what is seen counts more.
    :param authenticated: it is RFB, and the gateway did the handshakes: the client's next byte is ClientInit.

    :ivar kind: what the console server speaks, or ``None`` as long as nobody knows.
    """

    __slots__ = ("_early", "_follower", "_greeting", "kind")

    def __init__(self, kind: Kind | None = None, *, authenticated: bool = False) -> None:
        self.kind = Kind.VNC if authenticated else kind
        self._follower: _Follower | None = RfbInput(authenticated=True) if authenticated else None
        """``None`` as long as the bytes have not told."""
        self._early = b""
        """What the client has said until then: the beginning of something that would tell."""
        self._greeting = b""
        """What the server has said until then."""

    @property
    def needs_server(self) -> bool:
        """Whether the server's next bytes have to be given to :meth:`server`.

        Once it is false, it stays so; at the latest when 515 bytes were given.
        """
        return self._follower is None or self._follower.needs_server

    def client(self, data: bytes | memoryview) -> bool:
        """Take bytes of the client, unmasked; returns whether there was input of the user in them."""
        follower = self._follower
        return self._begin(data) if follower is None else follower.client(data)

    def server(self, data: bytes | memoryview) -> None:
        """Take bytes of the server; in vain once :attr:`needs_server` is false."""
        if self._follower is not None:
            self._follower.server(data)
            return
        greeting = self._greeting
        head = (greeting + data[:_SIZE])[:_SIZE]
        if head == _RFB:
            follower = self._decide(Kind.VNC, RfbInput())
            follower.server(data)
            follower.client(self._early)
        elif _RFB.startswith(head):
            self._greeting = head
        else:
            self._decide(Kind.SERIAL, _Line())

    # -- helpers ---------------------------------------------------------------------------

    def _begin(self, data: bytes | memoryview) -> bool:
        """The client speaks, and nobody knows what."""
        early = self._early
        head = (early + data[:_SIZE])[:_SIZE]
        if head == _SPICE:
            follower = self._decide(Kind.SPICE, SpiceInput())
        elif head == _RFB:
            # Before its server: it is impatient, but nothing else says so.
            follower = self._decide(Kind.VNC, RfbInput())
        elif _SPICE.startswith(head) or _RFB.startswith(head):
            self._early = head
            return False
        else:
            follower = self._decide(Kind.SERIAL, _Line())
        found = follower.client(early)
        return follower.client(data) or found

    def _decide(self, kind: Kind, follower: _Follower) -> _Follower:
        self.kind = kind
        self._follower = follower
        follower.server(self._greeting)
        return follower


class _Follower(Protocol):
    """What follows a protocol."""

    needs_server: bool

    def client(self, data: bytes | memoryview) -> bool: ...

    def server(self, data: bytes | memoryview) -> None: ...


class _Line:
    """A serial line, or anything else."""

    __slots__ = ("needs_server",)

    def __init__(self) -> None:
        self.needs_server = False

    def client(self, data: bytes | memoryview) -> bool:
        return len(data) > 0

    def server(self, data: bytes | memoryview) -> None:
        pass
