"""What a browser sees while the gateway does the target's handshakes: a server that asks for what is needed.

Until the target is joined, a :class:`BrowserFace` is the peer of the client's
leg.  Sessions whose target is relayed as it is have none.
"""

from __future__ import annotations

from typing import Final, TypeVar

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime

from gateway.reasons import EndReason
from gateway.relay import HEADROOM, WebSocketLeg
from gateway.rfb import BrowserHandshake, Conversation, Response, RfbError
from gateway.targets import TargetError

__all__ = ["BrowserFace"]

_ENOUGH: Final = 16384
"""So many bytes are taken from a browser unread before it has to wait: more than any has reason to send.

Below that it is still listened to, so that it is missed when it leaves.
"""

_Event = TypeVar("_Event")


class BrowserFace:
    """The peer of a client's leg before there is a target; see :class:`gateway.relay.legs.Peer`."""

    __slots__ = ("_began", "_client", "_clock", "_handshake", "_outgoing", "_received", "_waiting")

    def __init__(self, clock: IReactorTime, client: WebSocketLeg) -> None:
        self._clock = clock
        self._client = client
        self._began = False
        self._handshake: BrowserHandshake | None = None
        self._outgoing = b""
        self._received = b""
        self._waiting: defer.Deferred[None] | None = None

    # -- what a handshake with the target asks for (gateway.targets.Face) ----------

    def begin(self) -> None:
        """Listen to the browser; until then it is not read."""
        if not self._began:
            self._began = True
            self._client.join(self)

    def spoke(self) -> defer.Deferred[bytes]:
        """Fires with what the browser said unasked, which stays to be passed on."""
        return defer.Deferred.fromCoroutine(self._spoken())

    async def ask(self, challenge: bytes) -> bytes:
        """Have the browser answer VNC authentication.

        :raises TargetError: it broke the protocol.
        """
        handshake = self._handshake = BrowserHandshake(authenticate=True)
        await self._talk(handshake)
        handshake.send_challenge(challenge)
        event = await self._talk(handshake)
        assert isinstance(event, Response)
        return event.response

    async def admit(self) -> None:
        """Tell the browser that it may go on: without authentication, unless it was asked.

        :raises TargetError: it broke the protocol.
        """
        if self._handshake is None:
            self._handshake = BrowserHandshake(authenticate=False)
            await self._talk(self._handshake)
        self.judge(True, "")
        while self._outgoing:
            await self._wait()

    def judge(self, ok: bool, reason: str) -> None:
        """Tell the browser what the target thinks of its answer, if it was asked."""
        handshake = self._handshake
        if handshake is None:
            return
        handshake.send_result(ok, reason)
        handshake.next_event()
        self._say(handshake.data_to_send())

    # -- for the session ---------------------------------------------------------------

    def unused(self) -> bytes:
        """What the browser said and nobody has read: it is for the target."""
        read = self._handshake.unused_data if self._handshake is not None else b""
        unused, self._received = read + self._received, b""
        return unused

    # -- the peer of the client's leg --------------------------------------------------

    @property
    def pending(self) -> bytes | None:
        """What waits to be read, when it is so much that no more is taken from the browser."""
        return self._received if len(self._received) >= _ENOUGH else None

    def put(self, buffer: memoryview | bytes, start: int, end: int) -> None:
        """The browser said something."""
        self._received += bytes(buffer[start:end])
        if self.pending is not None:
            self._client.pause()
        self._wake()

    def pause(self) -> None:
        """The browser takes no more: what is said to it waits."""

    def resume(self) -> None:
        """The browser takes bytes again."""
        self._flush()
        self._wake()

    # -- helpers -------------------------------------------------------------------------

    async def _talk(self, conversation: Conversation[_Event]) -> _Event:
        """Go on with the browser until the next event."""
        while True:
            try:
                event = conversation.next_event()
            except RfbError as error:
                self._say(conversation.data_to_send())
                raise TargetError(EndReason.CLIENT_RFB_ERROR, f"the browser: {error}") from None
            self._say(conversation.data_to_send())
            if event is not None:
                return event
            await self._spoken()
            received, self._received = self._received, b""
            self._client.resume()
            conversation.receive_data(received)

    async def _spoken(self) -> bytes:
        while not self._received:
            await self._wait()
        return self._received

    def _say(self, data: bytes) -> None:
        self._outgoing += data
        self._flush()

    def _flush(self) -> None:
        # Behind what the browser has not taken yet, such as the end of the opening handshake.
        # When the session has ended meanwhile, the last word was said.
        if self._outgoing and self._client.pending is None and self._client.peer is self:
            data, self._outgoing = self._outgoing, b""
            buffer = memoryview(bytearray(HEADROOM) + data)
            self._client.put(buffer, HEADROOM, len(buffer))

    def _wait(self) -> defer.Deferred[None]:
        self._waiting = defer.Deferred(self._forget)
        return self._waiting

    def _wake(self) -> None:
        if self._waiting is not None:
            # Not from inside the leg's own event: what follows may join it to the target.
            self._clock.callLater(0, self._fire, self._waiting)
            self._waiting = None

    def _fire(self, waiting: defer.Deferred[None]) -> None:
        if not waiting.called:
            waiting.callback(None)

    def _forget(self, waiting: defer.Deferred[None]) -> None:
        if self._waiting is waiting:
            self._waiting = None
