"""Fuzz target: whether a session's user does something, from the bytes of RFB, SPICE and anything else.

It must not raise, must not depend on how the bytes are cut, must soon have
heard enough of the server, and keep no more than the head of a message.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.rfb import RfbInput
from gateway.sessions.activity import Activity
from gateway.spice import SpiceInput
from gateway.tickets import Kind
from tests.fuzz.source import Source
from tests.unit.rfb import test_input as rfb
from tests.unit.spice import samples as spice
from tests.unit.spice import test_input as messages

__all__ = ["SEEDS", "fuzz"]

_KINDS = (None, *Kind)
_RFB = (rfb.VERSION, b"RFB 003.003\n", b"RFB 003.007\n")
_SERVER = (*_RFB, b"\1\1", b"\1\2", b"\0\0\0\1", b"\0\0\0\2", bytes(16), spice.REPLY, spice.reply([]))
_CLIENT = (
    *_RFB,
    b"\1",
    b"\2",
    rfb.RESPONSE,
    *rfb.SILENT,
    *rfb.INPUT,
    spice.MAIN_LINK,
    spice.INPUTS_LINK,
    spice.link(10, []),
    spice.TICKET,
    *messages.INPUT,
    *messages.COMMON,
    spice.mini(107, spice.agent(4, b"text")),
    spice.full(101, bytes(4)),
)
_MAX_SERVER = 515
_MAX_KEPT = 600
_MAX_STEPS = 64

SEEDS = (
    b"\x00\x00\x00" + rfb.VERSION,
    b"\x10\x02\x05\x09" + bytes(range(64)),
    b"\x01\x04" + bytes(range(0, 250, 3)),
    b"\x08\x01" + bytes(range(255, 0, -5)),
)


def fuzz(data: bytes) -> None:
    """Let two sides say what ``data`` is or describes, in steps and in pieces of them.

    :raises AssertionError: when a promise is not kept; whatever else is raised is a defect as well.
    """
    source = Source(data)
    flags = source.byte()
    kind = _KINDS[flags % len(_KINDS)]
    authenticated = flags & 0x30 == 0x10
    whole, cut = (Activity(kind, authenticated=authenticated) for _ in range(2))
    needed = 0
    for by_client, said in _steps(source):
        place = source.byte() % (len(said) + 1)
        pieces = [said[:place], said[place:]] if flags & 0x40 else [bytes((byte,)) for byte in said]
        if by_client:
            found = [cut.client(piece) for piece in pieces]
            assert any(found) is whole.client(memoryview(bytearray(said))), "the answer depends on the cut"
        else:
            if whole.needs_server:
                assert needed < _MAX_SERVER, "the server was never heard enough"
                needed += len(said)
            whole.server(said)
            for piece in pieces:
                cut.server(piece)
        assert cut.kind is whole.kind, "the kind depends on the cut"
        assert cut.needs_server is whole.needs_server, "what is needed depends on the cut"
        assert _kept(cut) <= _MAX_KEPT, f"{_kept(cut)} bytes kept"


def _steps(source: Source) -> Iterator[tuple[bool, bytes]]:
    """Who says what."""
    for _ in range(_MAX_STEPS):
        if source.empty:
            return
        how = source.byte()
        by_client = how & 3 != 0
        sample = source.pick(_CLIENT if by_client else _SERVER)
        match how >> 5:
            case 0 | 1 | 2 | 3 | 4:
                yield by_client, sample
            case 5:
                yield by_client, source.edited(sample)
            case 6:
                yield by_client, source.take(source.byte())
            case _:
                yield by_client, b"".join(source.pick(_CLIENT) for _ in range(source.byte() % 8))


def _kept(activity: Activity) -> int:
    follower = activity._follower
    values: list[object] = [activity._early, activity._greeting]
    if isinstance(follower, RfbInput | SpiceInput):
        values += [getattr(follower, name) for name in follower.__slots__]
    return sum(len(value) for value in values if isinstance(value, bytes))
