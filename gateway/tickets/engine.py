"""The keys of the engine: the one in use, others beside it, and the former one for a while.

When the engine gets a new certificate, tickets of the former one are still on
their way: :meth:`EngineKeys.replace` accepts them for a bounded time more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, calculate_max_pss_salt_length
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gateway.settings import Problem, SettingsError
from gateway.settings.model import TicketSettings
from gateway.tickets.keys import KeyFileError, load_verification_key

__all__ = ["EngineKey", "EngineKeys", "load_engine_keys"]

_SHA256: Final = SHA256()
_REMEDY: Final = "name the certificate of the engine that signs the tickets"
_MAX_FORMER: Final = 8
"""Former keys that are accepted at once, since each of them is tried for a forged ticket."""


@attrs.frozen
class EngineKey:
    """A key that tickets are verified with, and what is computed once for it."""

    key: RSAPublicKey = attrs.field(eq=False, repr=False)
    size: int = attrs.field(eq=False)
    """Length of its signatures, in bytes."""
    padding: PSS = attrs.field(eq=False, repr=False)
    fingerprint: str
    """SHA-256 of the public key (SubjectPublicKeyInfo), 64 lower-case hexadecimal digits."""

    @classmethod
    def of(cls, key: RSAPublicKey) -> EngineKey:
        """Prepare a key."""
        # The length is given as a number: the library's MAX_LENGTH accepts any length when it verifies.
        padding = PSS(MGF1(_SHA256), calculate_max_pss_salt_length(key, _SHA256))
        digest = Hash(_SHA256)
        digest.update(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        return cls(key, (key.key_size + 7) // 8, padding, digest.finalize().hex())

    def accepts(self, signature: bytes, message: bytes) -> bool:
        """Whether its owner has signed the message."""
        try:
            self.key.verify(signature, message, self.padding, _SHA256)
        except InvalidSignature:
            return False
        return True


class EngineKeys:
    """The keys that are accepted at this moment.

    A *former* key is one that was replaced and is still accepted, until its
    time is over.  Keys beside the present one never become former: who takes
    one away means it.
    """

    log = Logger()

    def __init__(
        self,
        keys: Iterable[RSAPublicKey],
        also: Iterable[RSAPublicKey] = (),
        *,
        clock: IReactorTime | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        :param keys: the engine's public key; several where there are several engines.
        :param also: keys that are accepted beside it.
        :param clock: tells when a former key's time is over, for the log.
        :param now: the clock that a former key's time is held against, in seconds from any beginning.  It
            should not be one that can be set back.
        :raises ValueError: no key at all.
        """
        self._keys, self._also = _prepared(keys, also)
        self._clock = clock
        self._now = now
        self._former: dict[EngineKey, float] = {}
        self._timer: Any = None
        if not self._keys:
            raise ValueError("at least one verification key is needed")

    def accepted(self) -> tuple[EngineKey, ...]:
        """What tickets are verified with now: the present key, those beside it, former ones."""
        if not self._former:
            return (*self._keys, *self._also)
        self._forget()
        return (*self._keys, *self._also, *self._former)

    def former(self) -> dict[EngineKey, float]:
        """Former keys, and for how many seconds they are still accepted."""
        self._forget()
        now = self._now()
        return {key: end - now for key, end in self._former.items()}

    def replace(
        self, keys: Iterable[RSAPublicKey], also: Iterable[RSAPublicKey] = (), *, overlap: float
    ) -> None:
        """Accept other keys from now on, and for a while those that they replace.

        A key that was former already gets no more time by this, but perhaps less.

        :param overlap: how long, in seconds; 0 for not at all.
        :raises ValueError: no key at all; nothing is changed then.
        """
        present, beside = _prepared(keys, also)
        if not present:
            raise ValueError("at least one verification key is needed")
        end = self._now() + overlap
        former = {key: min(until, end) for key, until in self._former.items()}
        # Those that were replaced most recently come last.
        former |= dict.fromkeys(self._keys, end)
        withdrawn = [key for key in self._also if key not in (*present, *beside, *former)]
        for key in (*present, *beside):
            former.pop(key, None)
        fresh = former.keys() - self._former
        while len(former) > _MAX_FORMER:
            withdrawn.append(oldest := next(iter(former)))
            del former[oldest]
        self._keys, self._also, self._former = present, beside, former
        self._say_gone(withdrawn)
        self._forget()
        for key in self._former.keys() & fresh:
            self.log.info(
                "tickets of the engine's former key {key} are accepted for {left:.0f} seconds more",
                key=key.fingerprint[:16],
                left=overlap,
            )
        self._wait()

    def close(self) -> None:
        """Wait for nothing any more; idempotent."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _forget(self) -> None:
        """Take away the former keys whose time is over."""
        now = self._now()
        gone = [key for key, end in self._former.items() if end <= now]
        for key in gone:
            del self._former[key]
        self._say_gone(gone)

    def _say_gone(self, keys: Iterable[EngineKey]) -> None:
        for key in keys:
            self.log.info(
                "tickets of the engine's former key {key} are no longer accepted", key=key.fingerprint[:16]
            )

    def _wait(self) -> None:
        self.close()
        if self._clock is not None and self._former:
            delay = min(self._former.values()) - self._now()
            # The two clocks need not agree, so this is asked again where it was too early.
            self._timer = self._clock.callLater(max(0.0, delay), self._time_is_over)

    def _time_is_over(self) -> None:
        self._timer = None
        self._forget()
        self._wait()


def load_engine_keys(settings: TicketSettings) -> tuple[tuple[RSAPublicKey, ...], tuple[RSAPublicKey, ...]]:
    """Read the engine's keys: that of ``certificate``, and those of ``also``.

    :raises SettingsError: with every file that cannot be used.
    """
    problems: list[Problem] = []

    def load(setting: str, path: Path) -> Iterator[RSAPublicKey]:
        try:
            yield load_verification_key(path)
        except KeyFileError as error:
            problems.append(Problem(error.path, setting, error.problem, _REMEDY))

    keys: tuple[RSAPublicKey, ...] = ()
    if settings.certificate is None:
        problems.append(Problem(Path("settings"), "tickets.certificate", "is not set", _REMEDY))
    else:
        keys = tuple(load("tickets.certificate", settings.certificate))
    also = tuple(key for path in settings.also for key in load("tickets.also", path))
    if problems:
        raise SettingsError(problems)
    return keys, also


def _prepared(
    keys: Iterable[RSAPublicKey], also: Iterable[RSAPublicKey]
) -> tuple[tuple[EngineKey, ...], tuple[EngineKey, ...]]:
    """Each key once."""
    present = dict.fromkeys(map(EngineKey.of, keys))
    beside = dict.fromkeys(map(EngineKey.of, also))
    return tuple(present), tuple(key for key in beside if key not in present)
