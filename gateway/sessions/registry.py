"""Who is on which console now, and how many may be.

A place is taken before the upgrade is answered and given back when the session
has ended, so that no limit can be raced.  The places of one ticket make a
:class:`~gateway.sessions.group.Group`: one user on one console, however many
connections the console's protocol opens.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from gateway.reasons import Refusal
from gateway.sessions.group import Group
from gateway.settings import Attach, LimitSettings, SessionSettings
from gateway.tickets import Grant

if TYPE_CHECKING:
    from gateway.sessions.session import Session

__all__ = ["Full", "Place", "Registry"]


class Full(Exception):
    """No further session is admitted; ``refusal`` says why, ``detail`` more of it for the log."""

    def __init__(self, refusal: Refusal, detail: str = "") -> None:
        super().__init__(refusal.label)
        self.refusal = refusal
        self.detail = detail


class Registry:
    """Counts places and lists sessions."""

    def __init__(self, clock: IReactorTime, limits: LimitSettings, settings: SessionSettings) -> None:
        """:param settings: the times of groups, and what happens to others on a console."""
        self._clock = clock
        self._settings = settings
        self.limits = limits
        self.taken = 0
        """Places that are not given back."""
        self.admitting = True
        """Whether an operator lets sessions in."""
        self._closed = False
        self._clients: Counter[str] = Counter()
        self._subjects: Counter[str] = Counter()
        self._groups: dict[str, Group] = {}
        self._consoles: dict[str, dict[str, Group]] = {}
        self.sessions: dict[str, Session] = {}
        """Live sessions by id."""

    @property
    def is_open(self) -> bool:
        """Whether sessions are let in."""
        return self.admitting and not self._closed

    def take_place(self, client: str, grant: Grant) -> Place:
        """Take a place for a session of the client address ``client``.

        :raises Full: when a limit is reached, somebody else is on a console that is not to be shared, an
            operator stopped admission, or :meth:`close` was called.
        """
        group = self._groups.get(grant.id)
        refusal = self._refusal(client, grant, group)
        if refusal is not None:
            raise Full(refusal)
        if group is None:
            group = Group(self._clock, self._settings, grant)
            self._groups[grant.id] = group
            self._consoles.setdefault(group.console, {})[grant.id] = group
        group.places += 1
        self.taken += 1
        self._clients[client] += 1
        if grant.subject is not None:
            self._subjects[grant.subject] += 1
        return Place(self, client, group)

    def others(self, group: Group) -> list[Group]:
        """The other groups on a group's console."""
        return [each for each in self._consoles.get(group.console, {}).values() if each is not group]

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

    def _refusal(self, client: str, grant: Grant, group: Group | None) -> Refusal | None:
        limits = self.limits
        if self._closed:
            return Refusal.SHUTTING_DOWN
        if not self.admitting:
            return Refusal.NOT_ADMITTING
        if self.taken >= limits.sessions:
            return Refusal.SESSION_LIMIT
        if self._clients[client] >= limits.sessions_per_client:
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

    def _give_back(self, client: str, group: Group) -> None:
        self.taken -= 1
        _count_down(self._clients, client)
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

    __slots__ = ("_registry", "client", "group")

    def __init__(self, registry: Registry, client: str, group: Group) -> None:
        self._registry: Registry | None = registry
        self.client = client
        self.group = group

    def give_back(self) -> None:
        """Free the place; idempotent."""
        registry, self._registry = self._registry, None
        if registry is not None:
            registry._give_back(self.client, self.group)


def _count_down(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        # Names that left must not pile up.
        del counter[key]
