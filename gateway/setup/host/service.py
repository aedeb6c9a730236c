"""The service of the gateway: stopped before its files change, started after, and asked whether it runs.

systemd does that where it is the one that runs; a root directory that does not run only gets the files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from gateway.setup import places
from gateway.setup.errors import SetupError
from gateway.setup.host.plan import PlannedLink, Step
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


def service_steps(system: System) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Return what to do before the files change, and after; nothing where systemd does not run."""
    if not has_systemd(system):
        return (), ()
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


def last_words(system: System) -> str:
    """Return the last line that the service logged, or nothing."""
    try:
        log = system.run(
            ["journalctl", "--unit", places.SERVICE, "--lines", "1", "--output", "cat", "--no-pager"]
        )
    except SetupError:
        return ""
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith("-- ")]
    return "".join(c if c.isprintable() else "?" for c in lines[-1][:300]) if lines else ""


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
        try:
            _systemctl(system, "start", places.SERVICE, timeout=_START)
        except SetupError as error:
            said = last_words(system)
            raise SetupError(f"{error}{f'; its log ends with: {said}' if said else ''}") from None
        if _state(system) != "active":
            said = last_words(system) or "nothing"
            raise SetupError(f"{places.SERVICE} was started but does not run; its log ends with: {said}")

    def revert(self, system: System) -> None:
        stop_service(system)
        # It may count as failed now; nor is that to stay.
        with contextlib.suppress(SetupError):
            _systemctl(system, "reset-failed", places.SERVICE)


def _state(system: System) -> str:
    """Return what systemd calls the state of the service; ``inactive`` if it knows none such."""
    shown = system.run(["systemctl", "show", "--property", "ActiveState", places.SERVICE])
    return shown.strip().removeprefix("ActiveState=")


def _systemctl(system: System, *arguments: str, timeout: float = 60) -> None:
    system.run(["systemctl", *arguments], timeout=timeout)
