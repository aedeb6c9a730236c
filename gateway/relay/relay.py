"""The relay: two legs joined, and the rules by which they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime

from gateway.reasons import EndReason
from gateway.relay.framed import WebSocketLeg
from gateway.relay.frames import FrameError
from gateway.relay.legs import Leg, Peer

__all__ = ["Ending", "Relay"]

_VIOLATIONS = {
    1003: EndReason.UNSUPPORTED_DATA,
    1009: EndReason.MESSAGE_TOO_BIG,
}

_GOING_AWAY = 1001
"""Close code for a target whose client is gone, however it went (RFC 6455, section 7.4.1)."""

_PATIENCE = 12
"""An orderly end that makes progress may take this many close timeouts in all."""


@attrs.frozen
class Ending:
    """How a relay ended."""

    reason: EndReason
    detail: str = ""
    """More for the log; never shown to the client."""


class Relay:
    """Join a client's leg to a target's and see both to their end.

    The client is there from the start; :meth:`join` adds the target when it
    has been dialled.  ``ending`` is called once when the end is decided, and
    ``ended`` once when both sockets are closed.
    """

    __slots__ = (
        "_clock",
        "_close_timeout",
        "_deadline",
        "_ended",
        "_ending",
        "_timer",
        "client",
        "how",
        "target",
    )

    def __init__(
        self,
        clock: IReactorTime,
        client: WebSocketLeg,
        *,
        close_timeout: float,
        ending: Callable[[Ending], None],
        ended: Callable[[Ending], None],
    ) -> None:
        """
        :param close_timeout: seconds without progress after which an orderly end becomes a hard one; in
            all it may take twelve times as long.
        """
        self._clock = clock
        self._close_timeout = close_timeout
        self._ending = ending
        self._ended = ended
        self._timer: Any = None
        self._deadline = 0.0
        self.how: Ending | None = None
        self.client = client
        self.target: Leg | None = None
        client.owner = self
        client.await_peer()

    def join(self, target: Leg, *, to_target: Peer | None = None, to_client: Peer | None = None) -> None:
        """Begin to relay; only while :attr:`how` is ``None``.

        :param to_target: is put the client's payload in place of the target's leg, and
        :param to_client: the target's in place of the client's leg; they pass on all that they are given.
        """
        self.target = target
        target.owner = self
        target.join(to_client or self.client)
        if self.how is None:
            # What came behind the target's opening handshake may have been its end.
            self.client.join(to_target or target)

    def end(self, reason: EndReason, detail: str = "", *, code: int | None = None, message: str = "") -> None:
        """End in order; the first reason counts.

        :param code: close code to send instead of the reason's own; with ``CLIENT_CLOSED`` always, and
            ``None`` for an empty close frame.
        :param message: what the client is told in place of the reason's public text, 123 bytes at most.
        """
        if self.how is not None:
            return
        self.how = Ending(reason, detail)
        self._timer = self._clock.callLater(self._close_timeout, self._timed_out)
        self._deadline = self._clock.seconds() + _PATIENCE * self._close_timeout
        # Called once and let go: a session that its relay refers to would outlive them both as a cycle.
        ending, self._ending = self._ending, _nothing
        ending(self.how)
        if self.target is not None:
            # What a client says is for the target too; what went wrong between it and us is not.
            self.target.finish(code if reason is EndReason.CLIENT_CLOSED else _GOING_AWAY)
        if reason.code is None:
            self.client.abort()
        else:
            if code is None and reason is not EndReason.CLIENT_CLOSED:
                code = reason.code
            self.client.finish(code, message or reason.public)
        self._check_ended()

    def give_up(self) -> None:
        """Cut an end short that takes too long."""
        self.client.give_up()
        if self.target is not None:
            self.target.give_up()
        self._check_ended()

    # -- what the legs report ------------------------------------------------------

    def reached_end(self, leg: Leg) -> None:
        if leg is self.client:
            self.end(EndReason.CLIENT_GONE)
        else:
            self.end(*_excused(leg, EndReason.TARGET_CLOSED, ""))

    def said_close(self, leg: Leg, code: int | None) -> None:
        # A client that said why it leaves gets its own code back (RFC 6455, section 5.5.1), and so does a
        # target; the other side learns it as well.
        reason = EndReason.CLIENT_CLOSED if leg is self.client else EndReason.TARGET_CLOSED
        self.end(reason, f"code {code}" if code is not None else "no code", code=code)

    def violated(self, leg: Leg, error: FrameError) -> None:
        if leg is self.client:
            reason = _VIOLATIONS.get(error.code, EndReason.PROTOCOL_ERROR)
            self.end(reason, str(error), code=error.code)
        else:
            # The code is owed to the target and nobody else.
            self.end(EndReason.TARGET_PROTOCOL_ERROR, str(error))

    def broke(self, leg: Leg, detail: str) -> None:
        if self.how is None:
            # The broken side must be gone before the orderly end asks it to say goodbye.
            reason = EndReason.CLIENT_GONE
            if leg is not self.client:
                reason, detail = _excused(leg, EndReason.TARGET_LOST, detail)
                leg.owner = None
                leg.abort()
            self.end(reason, detail)
        else:
            leg.abort()

    def failed(self, leg: Leg) -> None:
        if self.how is None:
            self.end(EndReason.INTERNAL_ERROR)
        else:
            leg.abort()

    def progressed(self) -> None:
        if self._timer is not None:
            self._timer.reset(max(0, min(self._close_timeout, self._deadline - self._clock.seconds())))

    def closed(self, leg: Leg) -> None:
        self._check_ended()

    # -- helpers ---------------------------------------------------------------------

    def _timed_out(self) -> None:
        self._timer = None
        self.give_up()

    def _check_ended(self) -> None:
        if self.how is None or not self.client.is_closed:
            return
        if self.target is not None and not self.target.is_closed:
            return
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        ended, self._ended = self._ended, _nothing
        ended(self.how)


def _excused(leg: Leg, reason: EndReason, detail: str) -> tuple[EndReason, str]:
    """Why a target left that has said nothing."""
    excuse = leg.excuse() if leg.excuse is not None and not leg.received else None
    return excuse or (reason, detail)


def _nothing(ending: Ending) -> None:
    """Stands for a callback that was called already."""
