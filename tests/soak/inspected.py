"""The gateway's command line, with a census on request: ``python -m tests.soak.inspected run ...``.

On SIGRTMIN one line goes to the gateway's log that counts what is alive:
timers, descriptors, places taken, and objects of the gateway by type.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections import Counter
from typing import Any, Final

from twisted.logger import Logger

from gateway.cli import main
from gateway.net import install_reactor
from gateway.sessions import Events, Registry

__all__ = ["ALIVE", "FREED", "NAMESPACE", "install"]

NAMESPACE: Final = "soak"
"""Of the census in the log."""
ALIVE: Final = "alive "
"""Begins the name of a field with the number of objects of a type."""
FREED: Final = "freed "
"""The same for those that only the garbage collector found."""

_FOREIGN = frozenset(
    {
        "OpenSSL.SSL.Connection",
        "socket.socket",
        "twisted.internet.defer.Deferred",
        "twisted.python.failure.Failure",
        "twisted.web.http_headers.Headers",
        "builtins.coroutine",
    }
)
"""Types of others that sessions are made of."""

_log = Logger(namespace=NAMESPACE)


def install(reactor: Any) -> None:
    """Answer SIGRTMIN from inside the reactor."""
    number = 0

    def take() -> None:
        nonlocal number
        number += 1
        _forget()
        # What only the garbage collector finds is freed late; it is counted apart.
        early = _objects()
        gc.collect()
        late = _objects()
        registries = [each for each in gc.get_objects() if type(each) is Registry]
        _log.info(
            "census {number}",
            number=number,
            timers=len(reactor.getDelayedCalls()),
            readers=len(reactor.getReaders()),
            writers=len(reactor.getWriters()),
            blocks=sys.getallocatedblocks(),
            places=sum(registry.taken + len(registry._clients) for registry in registries),
            # A field for each, because a long one would be cut.
            **{FREED + name: count for name, count in (early - late).items()},
            **{ALIVE + name: count for name, count in late.items()},
        )

    signal.signal(signal.SIGRTMIN, lambda *_: reactor.callFromThread(take))


def _forget() -> None:
    """Let go of the latest events: kept on purpose, up to a number that a short soak does not reach."""
    for each in gc.get_objects():
        if type(each) is Events:
            each.recent.clear()


def _objects() -> Counter[str]:
    """Live objects that sessions are made of, by type."""
    counts: Counter[str] = Counter()
    for each in gc.get_objects():
        kind = type(each)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name.startswith("gateway.") or name in _FOREIGN:
            counts[name] += 1
    return counts


if __name__ == "__main__":
    # The one that ``run`` will ask for, and before anything imports Twisted's.
    install_reactor()
    from twisted.internet import reactor

    reactor.callWhenRunning(install, reactor)
    main(prog_name="console-gateway")
