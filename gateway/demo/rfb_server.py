"""The demo's console server: RFB over any Twisted transport, drawing a :class:`DemoScreen`.

Each request for an update is answered once, with what changed; a client that
does not read is not written to.  What waits for one client is therefore never
more than one picture.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable

from twisted.internet import interfaces, protocol, task
from twisted.internet.address import UNIXAddress
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.demo.canvas import HEIGHT, WIDTH, Colour, Damage
from gateway.demo.screen import DemoScreen
from gateway.rfb import (
    ClientCutText,
    ClientEvent,
    ClientReady,
    FramebufferUpdateRequest,
    KeyEvent,
    PixelFormat,
    PointerEvent,
    Rectangle,
    RfbError,
    RfbServer,
    SetPixelFormat,
)

__all__ = ["DemoConsoleFactory"]

_NAME = "Console Gateway demo"
_TICK = 0.2  # Seconds between two moves of the screen.
_HANDSHAKE_TIMEOUT = 10.0  # Seconds.
_CLOSE_TIMEOUT = 5.0  # Seconds to deliver the last words.
_MAX_CLIENTS = 32


class DemoConsoleFactory(protocol.ServerFactory):
    """A console server with one screen, shared by at most 32 clients.

    :param password: asked of every client (VNC authentication: eight characters count).
    :param clock: provider of ``IReactorTime`` that runs the screen; by default the global reactor.
    :param now: source of the time shown.
    """

    noisy = False

    def __init__(
        self,
        password: str,
        clock: interfaces.IReactorTime | None = None,
        now: Callable[[], datetime.datetime] = datetime.datetime.now,
    ) -> None:
        self.password = password
        self.clock = _global_reactor() if clock is None else clock
        self.screen = DemoScreen()
        self._now = now
        self._clients: list[_DemoConsole] = []
        self._connections: set[_DemoConsole] = set()
        self._ticking = task.LoopingCall(self._tick)
        self._ticking.clock = self.clock

    def buildProtocol(self, addr: interfaces.IAddress | None) -> protocol.Protocol | None:
        """A protocol for a new client, or ``None`` (hang up) when there are too many."""
        if len(self._connections) >= _MAX_CLIENTS:
            return None
        console = _DemoConsole(self)
        self._connections.add(console)
        return console

    def stopFactory(self) -> None:
        """The port is closed: let go of those who are still here."""
        for connection in list(self._connections):
            connection.drop()

    def joined(self, client: _DemoConsole) -> None:
        """A client finished its handshake."""
        self._clients.append(client)
        if not self._ticking.running:
            self._ticking.start(_TICK).addErrback(_log_failure)

    def left(self, client: _DemoConsole) -> None:
        """A connection ended, at whatever stage."""
        self._connections.discard(client)
        if client in self._clients:
            self._clients.remove(client)
        if not self._clients and self._ticking.running:
            self._ticking.stop()

    def refresh(self) -> None:
        """Show everybody what changed."""
        for client in self._clients:
            client.update()

    def copy(self, text: str) -> None:
        """Put text on everybody's clipboard."""
        for client in self._clients:
            client.copy(text)

    def _tick(self) -> None:
        self.screen.tick(self._now())
        self.refresh()


@implementer(interfaces.IPushProducer)
class _DemoConsole(protocol.Protocol):
    """One client."""

    _log = Logger()
    transport: interfaces.ITCPTransport

    def __init__(self, factory: DemoConsoleFactory) -> None:
        self._console = factory
        self._rfb = RfbServer(WIDTH, HEIGHT, _NAME, factory.password, os.urandom)
        self._painter = _Painter(self._rfb.pixel_format)
        self._damage: Damage | None = None
        self._wanted: Rectangle | None = None
        self._paused = False
        self._closing = False

    def connectionMade(self) -> None:
        """Greet, and give the client a while to authenticate."""
        if not isinstance(self.transport.getHost(), UNIXAddress):
            self.transport.setTcpNoDelay(True)
        interfaces.IConsumer(self.transport).registerProducer(self, True)
        self._deadline = self._console.clock.callLater(_HANDSHAKE_TIMEOUT, self.drop)
        self._flush()

    def dataReceived(self, data: bytes) -> None:
        """Act on what the client says, then show everybody the outcome."""
        if self._closing:
            return
        self._rfb.receive_data(data)
        try:
            while (event := self._rfb.next_event()) is not None:
                self._handle(event)
        except RfbError as error:
            self._log.info("Demo console closes a connection: {error}", error=error)
            self._flush()
            self._hang_up()
            return
        self._flush()
        self._console.refresh()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """Forget the client."""
        self._closing = True
        if self._deadline.active():
            self._deadline.cancel()
        if self._damage is not None:
            self._console.screen.detach(self._damage)
            self._damage = None
        self._console.left(self)
        self._console.refresh()

    def drop(self) -> None:
        """Close at once."""
        self._closing = True
        self.transport.abortConnection()

    def update(self) -> None:
        """Answer the client's request, if it made one, can take it, and something changed."""
        if self._wanted is None or self._damage is None or self._paused or self._closing:
            return
        areas = self._damage.take(self._wanted)
        if areas:
            self._wanted = None
            screen = self._console.screen
            self._rfb.send_update([(area, self._painter.paint(screen.pixels(area))) for area in areas])
            self._flush()

    def copy(self, text: str) -> None:
        """Send text for the client's clipboard, unless it is too slow to take any."""
        if not self._paused and not self._closing:
            self._rfb.send_cut_text(text.encode("latin-1", "replace"))
            self._flush()

    def pauseProducing(self) -> None:
        """The client reads too slowly."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The client caught up."""
        self._paused = False
        self.update()

    def stopProducing(self) -> None:
        """The connection is going away."""
        self._paused = True

    def _handle(self, event: ClientEvent) -> None:
        screen = self._console.screen
        match event:
            case ClientReady():
                self._deadline.cancel()
                self._damage = screen.attach()
                self._console.joined(self)
            case SetPixelFormat(format=wanted):
                if not wanted.true_colour:
                    raise RfbError("client wants a colour map, which the demo console has not")
                self._painter = _Painter(wanted)
            case FramebufferUpdateRequest(incremental=incremental, area=area):
                self._request(area, everything=not incremental)
            case KeyEvent(down=down, keysym=keysym):
                if (copied := screen.key(keysym, down)) is not None:
                    self._console.copy(copied)
            case PointerEvent(buttons=buttons, x=x, y=y):
                screen.pointer(buttons, x, y)
            case ClientCutText(text=text):
                screen.paste(text.decode("latin-1"))

    def _request(self, area: Rectangle, *, everything: bool) -> None:
        """Remember what the client wants; requests that could not be answered yet are answered as one."""
        if everything and self._damage is not None:
            self._damage.mark(area)
        self._wanted = area if self._wanted is None else _around(self._wanted, area)

    def _hang_up(self) -> None:
        """Close after what was written, but not much later."""
        self._closing = True
        if self._deadline.active():
            self._deadline.cancel()
        self._deadline = self._console.clock.callLater(_CLOSE_TIMEOUT, self.drop)
        interfaces.IConsumer(self.transport).unregisterProducer()
        self.transport.loseConnection()

    def _flush(self) -> None:
        if data := self._rfb.data_to_send():
            self.transport.write(data)


class _Painter:
    """Turns palette indexes into a client's pixels, one byte lane of all pixels at a time."""

    def __init__(self, wanted: PixelFormat) -> None:
        palette = [wanted.pixel(*colour.rgb) for colour in Colour]
        self._lanes = [bytes(lane).ljust(256, b"\0") for lane in zip(*palette, strict=True)]

    def paint(self, indexes: bytes) -> bytes:
        step = len(self._lanes)
        pixels = bytearray(len(indexes) * step)
        for offset, lane in enumerate(self._lanes):
            pixels[offset::step] = indexes.translate(lane)
        return bytes(pixels)


def _around(one: Rectangle, other: Rectangle) -> Rectangle:
    """The smallest area that holds both."""
    x, y = min(one.x, other.x), min(one.y, other.y)
    right = max(one.x + one.width, other.x + other.width)
    bottom = max(one.y + one.height, other.y + other.height)
    return Rectangle(x, y, right - x, bottom - y)


def _global_reactor() -> interfaces.IReactorTime:
    """The reactor; importing it installs it, so not before it is needed."""
    from twisted.internet import reactor

    return reactor


def _log_failure(failure: Failure) -> None:
    Logger().failure("Demo console's screen stopped", failure)
