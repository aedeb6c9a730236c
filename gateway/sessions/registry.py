"""Who is on which console now, and how many may be.

A place is taken before the upgrade is answered and given back when the session
has ended, so that no limit can be raced.  The places of one ticket make a
:class:`~gateway.sessions.group.Group`: one user on one console, however many
connections the console's protocol opens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from twisted.internet.interfaces import IReactorTime

from gateway.net import client_key
from gateway.reasons import Refusal
from gateway.sessions.group import Group, Member
from gateway.sessions.info import SessionInfo
from gateway.settings import Attach, LimitSettings, SessionSettings
from gateway.tickets import Grant

__all__ = ["Full", "LiveSession", "Place", "Registry"]

_T = TypeVar("_T")


class LiveSession(Member, Protocol):
    """A :class:`gateway.sessions.Session` as whoever finds it in the list sees it."""

    def info(self) -> SessionInfo:
        """What may be told of it now."""

    def announce(self, notice: Mapping[str, Any]) -> None:
        """Tell the page something, if it understands notices."""

    def abort(self) -> None:
        """End it at once, whatever is still to be delivered."""


class Full(Exception):
    """No further session is admitted; ``refusal`` says why, ``detail`` more of it for the log."""

    def __init__(self, refusal: Refusal, detail: str = "") -> None:
        super().__init__(refusal.label)
        self.refusal = refusal
        self.detail = detail


class Registry:
    """Counts places and lists sessions."""

    def __init__(
        self,
        clock: IReactorTime,
        limits: LimitSettings,
        settings: SessionSettings,
        key: Callable[[str], bytes] | None = None,
    ) -> None:
        """
        :param settings: the times of groups, and what happens to others on a console.
        :param key: tells clients apart by their addresses, see :func:`gateway.net.client_key`.
        """
        self._key = key or client_key()
        self._clock = clock
        self._settings = settings
        self.limits = limits
        self.taken = 0
        """Places that are not given back."""
        self.admitting = True
        """Whether an operator lets sessions in."""
        self.draining = False
        """Whether nobody is let in because the gateway waits for its sessions to end."""
        self._closed = False
        self._clients: Counter[bytes] = Counter()
        self._subjects: Counter[str] = Counter()
        self._groups: dict[str, Group] = {}
        self._consoles: dict[str, dict[str, Group]] = {}
        self.sessions: dict[str, LiveSession] = {}
        """Live sessions by id."""

    @property
    def is_open(self) -> bool:
        """Whether sessions are let in."""
        return self.admitting and not self.draining and not self._closed

    def take_place(self, client: str, grant: Grant) -> Place:
        """Take a place for a session of the client address ``client``.

        :raises Full: when a limit is reached, somebody else is on a console that is not to be shared, an
            operator stopped admission, the gateway drains, or :meth:`close` was called.
        """
        group = self._groups.get(grant.id)
        key = self._key(client)
        refusal = self._refusal(key, grant, group)
        if refusal is not None:
            raise Full(refusal)
        if group is None:
            group = Group(self._clock, self._settings, grant)
            self._groups[grant.id] = group
            self._consoles.setdefault(group.console, {})[grant.id] = group
        group.places += 1
        self.taken += 1
        self._clients[key] += 1
        if grant.subject is not None:
            self._subjects[grant.subject] += 1
        return Place(self, client, key, group)

    def others(self, group: Group) -> list[Group]:
        """The other groups on a group's console."""
        return [each for each in self._consoles.get(group.console, {}).values() if each is not group]

    def configure(
        self, limits: LimitSettings, settings: SessionSettings, key: Callable[[str], bytes] | None = None
    ) -> None:
        """Hold whoever comes to other limits, and those who are there to other times."""
        self._key = key or client_key()
        self.limits = limits
        self._settings = settings
        for group in list(self._groups.values()):
            group.configure(settings)

    def open(self) -> None:
        """Admit sessions again."""
        self._closed = False

    def close(self) -> None:
        """Admit no more sessions: the service stops."""
        self._closed = True

    def stop_admitting(self) -> None:
        """Admit no more sessions until :meth:`resume_admitting`; those that there are go on."""
        self.admitting = False

    def resume_admitting(self) -> None:
        """Admit sessions again."""
        self.admitting = True

    def _refusal(self, key: bytes, grant: Grant, group: Group | None) -> Refusal | None:
        limits = self.limits
        if self._closed:
            return Refusal.SHUTTING_DOWN
        if self.draining:
            return Refusal.DRAINING
        if not self.admitting:
            return Refusal.NOT_ADMITTING
        if self.taken >= limits.sessions:
            return Refusal.SESSION_LIMIT
        if self._clients[key] >= limits.sessions_per_client:
            return Refusal.CLIENT_LIMIT
        if grant.subject is not None and self._subjects[grant.subject] >= limits.sessions_per_subject:
            return Refusal.SUBJECT_LIMIT
        if group is not None:
            return None
        others = self._consoles.get(grant.target.console)
        if others and (grant.attach or self._settings.attach) is Attach.REFUSE:
            return Refusal.CONSOLE_IN_USE
        if others and len(others) >= limits.users_per_console:
            return Refusal.CONSOLE_LIMIT
        return None

    def _give_back(self, key: bytes, group: Group) -> None:
        self.taken -= 1
        _count_down(self._clients, key)
        if group.subject is not None:
            _count_down(self._subjects, group.subject)
        group.places -= 1
        if not group.places:
            group.stop()
            del self._groups[group.ticket]
            others = self._consoles[group.console]
            del others[group.ticket]
            if not others:
                del self._consoles[group.console]


class Place:
    """A place taken in a :class:`Registry`."""

    __slots__ = ("_key", "_registry", "client", "group")

    def __init__(self, registry: Registry, client: str, key: bytes, group: Group) -> None:
        """:param key: what the client is counted by."""
        self._registry: Registry | None = registry
        self._key = key
        self.client = client
        self.group = group

    def give_back(self) -> None:
        """Free the place; idempotent."""
        registry, self._registry = self._registry, None
        if registry is not None:
            registry._give_back(self._key, self.group)


def _count_down(counter: Counter[_T], key: _T) -> None:
    counter[key] -= 1
    if not counter[key]:
        # Names that left must not pile up.
        del counter[key]
