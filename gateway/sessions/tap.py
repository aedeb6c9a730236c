"""Taps: between a leg and the one it puts to, they look at what passes and change nothing."""

from __future__ import annotations

from collections.abc import Callable

from gateway.relay import Leg, Peer
from gateway.sessions.activity import Activity

__all__ = ["GreetingTap", "InputTap"]


class _Tap:
    """Passes on everything; see :class:`gateway.relay.Peer`."""

    __slots__ = ("_leg",)

    def __init__(self, leg: Peer) -> None:
        """:param leg: is given everything."""
        self._leg = leg

    @property
    def pending(self) -> bytes | None:
        return self._leg.pending

    def pause(self) -> None:
        self._leg.pause()

    def resume(self) -> None:
        self._leg.resume()


class InputTap(_Tap):
    """On the way to the target: tells when the user gave input."""

    __slots__ = ("_activity", "_used")

    def __init__(self, target: Peer, activity: Activity, used: Callable[[], None]) -> None:
        """:param used: is called for everything that has input in it."""
        super().__init__(target)
        self._activity = activity
        self._used = used

    def put(self, buffer: memoryview | bytes, start: int, end: int) -> None:
        # All of it, most of the time: a slice would be a copy or an object more.
        data = buffer if end - start == len(buffer) else buffer[start:end]
        if self._activity.client(data):
            self._used()
        self._leg.put(buffer, start, end)


class GreetingTap(_Tap):
    """On the way to the client: the target's first bytes tell what it speaks.

    Steps out of the way when they have.
    """

    __slots__ = ("_activity", "_learned", "_target")

    def __init__(self, client: Leg, target: Leg, activity: Activity, learned: Callable[[], None]) -> None:
        """:param learned: is called when more may be known."""
        super().__init__(client)
        self._target = target
        self._activity = activity
        self._learned = learned

    def put(self, buffer: memoryview | bytes, start: int, end: int) -> None:
        self._activity.server(buffer[start:end])
        # Before the bytes are passed on, because that may end the session.
        if not self._activity.needs_server and self._target.peer is self:
            self._target.peer = self._leg
        self._learned()
        self._leg.put(buffer, start, end)
