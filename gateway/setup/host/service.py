"""The service of the gateway: stopped before its files change, started after, and asked whether it runs.

One that runs and only gets other certificates or settings is reloaded instead, and its sessions go on.
systemd does that where it is the one that runs; a root directory that does not run only gets the files.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final

from gateway.setup import places
from gateway.setup.errors import SetupError
from gateway.setup.host.plan import Change, ChangeKind, PlannedLink, Step
from gateway.setup.host.system import System

__all__ = [
    "has_systemd",
    "last_words",
    "reload_units",
    "replaced_unit",
    "service_link",
    "service_steps",
    "stop_service",
]

_RUNS: Final = PurePosixPath("/run/systemd/system")
_PACKAGED: Final = (PurePosixPath("/usr/lib/systemd/system"), PurePosixPath("/lib/systemd/system"))
_UP: Final = frozenset({"active", "activating", "reloading", "deactivating"})
"""States in which there are processes, or will be."""
_START: Final = 120
"""Seconds; the unit says itself how long it may take."""
_LINES: Final = 20
_LINE: Final = 300
_NEED_RESTART: Final = frozenset({places.UNIT, places.UNIT_WANTED, places.CONFIGURATION})
"""What says how the service runs, and where it listens."""


def has_systemd(system: System) -> bool:
    """Return whether systemd runs this host (sd_booted(3))."""
    return system.live and system.tree.stat(_RUNS) is not None and system.has("systemctl")


def replaced_unit(system: System) -> PurePosixPath | None:
    """Return a unit of the same name that a package installed, and that ours is in force instead of."""
    for directory in _PACKAGED:
        if system.tree.stat(directory / places.SERVICE) is not None:
            return directory / places.SERVICE
    return None


def service_link() -> PlannedLink:
    """Return what has the service start at boot, as ``systemctl enable`` would make it."""
    return PlannedLink(places.UNIT_WANTED, str(places.UNIT))


def service_steps(
    system: System, changes: Iterable[Change] | None = None
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Return what to do before the files change, and after; nothing where systemd does not run.

    :param changes: what becomes of the gateway's files; unless given, anything may.
    :raise SetupError: systemd does not say how the service is.
    """
    if not has_systemd(system):
        return (), ()
    if changes is not None and _reload_will_do(system, changes):
        return (), (_Reload(),)
    stop = _Stop()
    return (stop,), (_Start(stop),)


def reload_units(system: System) -> None:
    """Have systemd read its units again.

    :raise SetupError: it does not.
    """
    _systemctl(system, "daemon-reload")


def stop_service(system: System) -> bool:
    """Stop the service, whatever it does, and return whether there was something to stop.

    :raise SetupError: it does not stop.
    """
    if _state(system) not in _UP:
        return False
    _systemctl(system, "stop", places.SERVICE, timeout=_START)
    return True


def last_words(system: System, since: float = 0, count: int = 1) -> str:
    """Return the last line that the service itself logged, or nothing.

    :param since: seconds since the epoch; what it logged before does not count.
    :param count: how many lines it may be.
    """
    # By --unit there would be what systemd says of the service as well, which always has the last word.
    # Lines of ExecReload= are the service's.
    wanted = [f"_SYSTEMD_UNIT={places.SERVICE}", f"--since=@{since:.6f}", f"--lines={_LINES}"]
    try:
        log = system.run(["journalctl", "--output=cat", "--no-pager", *wanted])
    except SetupError:
        return ""
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith("-- ")]
    return "; ".join("".join(c if c.isprintable() else "?" for c in line[:_LINE]) for line in lines[-count:])


class _Stop(Step):
    """Stops the service if it runs; undone, it runs again as it did."""

    description = "Stopping the service"

    def __init__(self) -> None:
        self.ran = False

    def prepare(self, system: System) -> Mapping[str, str]:
        self.ran = _state(system) in _UP
        return {}

    def apply(self, system: System) -> None:
        stop_service(system)

    def revert(self, system: System) -> None:
        """Nothing yet: the unit may still be the new one."""

    def settle(self, system: System) -> None:
        reload_units(system)
        if self.ran:
            _systemctl(system, "start", places.SERVICE, timeout=_START)


class _Start(Step):
    """Starts the service with its new unit, and looks whether it runs."""

    description = "Starting the service"

    def __init__(self, stop: _Stop) -> None:
        self._stop = stop

    def apply(self, system: System) -> None:
        reload_units(system)
        _do("start", "started", system)

    def revert(self, system: System) -> None:
        stop_service(system)
        # It may count as failed now; nor is that to stay.
        with contextlib.suppress(SetupError):
            _systemctl(system, "reset-failed", places.SERVICE)


class _Reload(Step):
    """Has the running service read its files; undone, it reads those that were there before."""

    description = "Reloading the service"

    def __init__(self) -> None:
        self._refused = False

    def prepare(self, system: System) -> Mapping[str, str]:
        if _state(system) != "active":
            raise SetupError(f"{places.SERVICE} does not run any more; run setup again to have it started")
        return {}

    def apply(self, system: System) -> None:
        self._refused = True
        # What is wrong comes before the line that says that it was in vain.
        _do("reload", "reloaded", system, count=2)
        self._refused = False

    def revert(self, system: System) -> None:
        """Nothing yet: the files are still the new ones."""

    def settle(self, system: System) -> None:
        verb = "reload" if _state(system) in _UP else "start"
        try:
            _systemctl(system, verb, places.SERVICE, timeout=_START)
        except SetupError:
            # A reload that fails changes nothing: where no file of ours was the reason, it goes on as before.
            if not self._refused or _state(system) != "active":
                raise


def _reload_will_do(system: System, changes: Iterable[Change]) -> bool:
    """Whether the service runs from the unit that stays, and will go on to listen where it does."""
    if any(c.place in _NEED_RESTART and c.kind is not ChangeKind.UNCHANGED for c in changes):
        return False
    shown = _properties(system, "ActiveState", "CanReload", "NeedDaemonReload")
    return shown == {"ActiveState": "active", "CanReload": "yes", "NeedDaemonReload": "no"}


def _do(verb: str, done: str, system: System, count: int = 1) -> None:
    """Have the service start or reload, and look whether it runs then.

    :param count: how many lines of what the service said meanwhile are told if it fails.
    :raise SetupError: it failed, or does not run.
    """
    began = time.time()
    try:
        _systemctl(system, verb, places.SERVICE, timeout=_START)
    except SetupError as error:
        said = last_words(system, began, count)
        raise SetupError(f"{error}{f'; its log ends with: {said}' if said else ''}") from None
    if _state(system) != "active":
        said = last_words(system, began, count) or "nothing"
        raise SetupError(f"{places.SERVICE} was {done} but does not run; its log ends with: {said}")


def _state(system: System) -> str:
    """Return what systemd calls the state of the service; ``inactive`` if it knows none such."""
    return _properties(system, "ActiveState").get("ActiveState", "")


def _properties(system: System, *names: str) -> dict[str, str]:
    shown = system.run(["systemctl", "show", "--property", ",".join(names), places.SERVICE])
    pairs = (line.partition("=") for line in shown.splitlines())
    return {name: value.strip() for name, _, value in pairs if name in names}


def _systemctl(system: System, *arguments: str, timeout: float = 60) -> None:
    system.run(["systemctl", *arguments], timeout=timeout)
