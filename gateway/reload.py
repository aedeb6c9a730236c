"""What a reload changes: all of the settings that can be, and which need a restart; and having it done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs
from twisted.logger import Logger

from gateway.net import BindError
from gateway.settings import Settings, SettingsError
from gateway.settings.keys import sections
from gateway.systemd import ServiceManager
from gateway.web import PageError

__all__ = ["RESTART", "ReloadReport", "Reloader", "compare"]

RESTART: Final = frozenset(
    {
        "relay.ping_interval",
        "uses.file",
        "uses.limit",
        "uses.timeout",
        "pages.enabled",
        "control.listen",
        "control.tls",
        "metrics.listen",
        "audit.file",
        "audit.journal",
        "audit.syslog",
        "audit.required",
        "log.format",
        "log.level",
        "log.file",
    }
)
"""Settings of what is opened once."""


@attrs.frozen
class ReloadReport:
    """What a reload did.

    :ivar changed: settings that are in force now and were not before, as ``section.key``; files that they
        name were read again in any case.
    :ivar needs_restart: settings that differ from what is in force until the gateway is started again.
    :ivar problems: why nothing was changed, a line for each.
    """

    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class Reloader:
    """Has settings read anew and put in force, and says what came of it."""

    log = Logger()

    def __init__(
        self,
        way: Callable[[], Callable[[], Settings]],
        put_in_force: Callable[[Settings], ReloadReport],
        manager: ServiceManager,
    ) -> None:
        """
        :param way: what reads the settings; raises SettingsError when nothing does, or now is not the time.
        :param put_in_force: does so with all or none; raises SettingsError, BindError or PageError.
        :param manager: is told while it lasts.
        """
        self._way = way
        self._put_in_force = put_in_force
        self._manager = manager

    def reload(self) -> ReloadReport:
        """Do it; settings that are wrong are logged and change nothing."""
        try:
            load = self._way()
            self._manager.reloading()
            try:
                report = self._put_in_force(load())
            finally:
                self._manager.reloaded()
        except (SettingsError, BindError, PageError) as error:
            problems = tuple(str(error).splitlines())
            for problem in problems:
                self.log.error("reload refused, nothing is changed: {problem}", problem=problem)
            return ReloadReport(problems=problems)
        self.log.info(
            "settings are reloaded; changed: {changed}; in force after a restart: {later}",
            changed=", ".join(report.changed) or "no setting, files were read again",
            later=", ".join(report.needs_restart) or "nothing",
        )
        return report


def compare(old: Settings, new: Settings) -> tuple[Settings, ReloadReport]:
    """What is to be in force after a reload, and how it differs.

    :param old: what is in force.
    :param new: what the file says.
    """
    changed: list[str] = []
    needs_restart: list[str] = []
    kept: dict[str, dict[str, Any]] = {}
    for path, section, name, value in _differences(old, new):
        if path in RESTART:
            needs_restart.append(path)
            kept.setdefault(section, {})[name] = value
        else:
            changed.append(path)
    tables = {section: attrs.evolve(getattr(new, section), **values) for section, values in kept.items()}
    return attrs.evolve(new, **tables), ReloadReport(tuple(changed), tuple(needs_restart))


def _differences(old: Settings, new: Settings) -> Iterator[tuple[str, str, str, Any]]:
    """Path, section and key of what differs, and its old value."""
    for section in sections():
        before, after = getattr(old, section.name), getattr(new, section.name)
        if section.many:
            for name in sorted({*before, *after}):
                if before.get(name) != after.get(name):
                    yield f"{section.name}.{name}", section.name, name, None
            continue
        for key in section.keys:
            was = getattr(before, key.name)
            if was != getattr(after, key.name):
                yield key.path, section.name, key.name, was
