"""The files that settings name, read and checked: what can be made of them before anything is served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from OpenSSL import SSL

from gateway.control.server import check_control_files
from gateway.net import FrontIdentity
from gateway.settings import Problem, Settings, SettingsError
from gateway.targets import Trusts
from gateway.tickets import load_engine_keys

__all__ = ["Loaded", "check_files", "load_files"]

_T = TypeVar("_T")


@attrs.frozen
class Loaded:
    """What the files hold."""

    front: FrontIdentity | None
    """For clients, where there are TLS listeners."""
    trusts: Trusts
    """For targets."""
    ticket_keys: tuple[RSAPublicKey, ...]
    """Of the engine."""
    ticket_also: tuple[RSAPublicKey, ...] = ()
    """Accepted beside it."""

    @property
    def context(self) -> SSL.Context | None:
        """For new connections of clients, where there are TLS listeners."""
        return None if self.front is None else self.front.context

    @property
    def expires(self) -> float | None:
        """When the first of the certificates that clients see does, in seconds since the epoch."""
        return None if self.front is None else self.front.not_after.timestamp()

    @property
    def expiring(self) -> str:
        """The setting that names that certificate."""
        return f"{'tls' if self.front is None else self.front.soonest.table}.certificate"


def load_files(settings: Settings, ticket_keys: Sequence[RSAPublicKey] | None = None) -> Loaded:
    """Read every file that the settings name.

    :param ticket_keys: the engine's, instead of those in its certificates.
    :raises SettingsError: with everything that is wrong with them.
    """
    problems: list[Problem] = []

    def attempt(load: Callable[[], _T]) -> _T | None:
        try:
            return load()
        except SettingsError as error:
            problems.extend(error.problems)
            return None

    front = attempt(lambda: FrontIdentity(settings)) if settings.listen.tls else None
    trusts = attempt(lambda: Trusts(settings))
    problems += check_control_files(settings)
    keys: tuple[tuple[RSAPublicKey, ...], tuple[RSAPublicKey, ...]] | None
    if ticket_keys is None:
        keys = attempt(lambda: load_engine_keys(settings.tickets))
    else:
        keys = tuple(ticket_keys), ()
    if problems or trusts is None or keys is None:
        raise SettingsError(problems)
    return Loaded(front, trusts, *keys)


def check_files(settings: Settings) -> list[Problem]:
    """Everything that is wrong with the files that the settings name."""
    try:
        load_files(settings)
    except SettingsError as error:
        return list(error.problems)
    return []
