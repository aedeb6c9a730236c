"""Programs of a host that do as they are told and keep what they were asked: real processes, on PATH."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

__all__ = ["Programs"]

# A shell starts ten times as fast as Python does, and tests start hundreds.
_PROGRAM = """\
#!/bin/sh
cd '{folder}' || exit 99
call="${{0##*/}} $*"
echo "$call" >> calls
for answer in answers/*; do
    read -r prefix < "$answer/prefix"
    case "$call" in
        "$prefix"*)
            read -r status < "$answer/status"
            if [ "$status" = 0 ]; then cat "$answer/text"; else cat "$answer/text" >&2; fi
            exit "$status";;
    esac
done
for word in "$@"; do
    case "$word" in
        start) echo active > service;;
        stop) echo inactive > service;;
        reload) if [ -e fatal ]; then echo failed > service; fi;;
        show)
            read -r state < service
            case "$call" in *CanReload*) cat loaded;; esac
            echo "ActiveState=$state";;
        --zone=*) zone="zones/${{word#*=}}";;
        --query-service=*) if [ -e "$zone/${{word#*=}}" ]; then echo yes; else echo no; exit 1; fi;;
        --add-service=*) : > "$zone/${{word#*=}}";;
        --remove-service=*) rm "$zone/${{word#*=}}" || exit 2;;
    esac
done
"""


class Programs:
    """``systemctl``, ``journalctl`` and ``firewall-cmd``, while a test runs.

    A firewalld whose zone public is active, and a service that does not run.
    """

    def __init__(self, case: SynchronousTestCase, folder: Path, *names: str) -> None:
        self._folder = folder
        self._count = 0
        (folder / "answers").mkdir(parents=True)
        self.forget()
        self.answer("firewall-cmd --state", "running\n")
        self.answer("firewall-cmd --version", "1.3.4\n")
        self.answer("firewall-cmd --get-active-zones", "public (default)\n  interfaces: eth0 eth1\n")
        self.set_service("inactive")
        self.set_loaded()
        self.set_zones({"public": ["ssh"], "dmz": [], "trusted": []})
        for name in names or ("systemctl", "journalctl", "firewall-cmd"):
            program = folder / name
            program.write_text(_PROGRAM.format(folder=folder))
            program.chmod(0o755)
        case.patch(os, "environ", {**os.environ, "PATH": f"{folder}:/usr/bin:/bin"})

    def answer(self, prefix: str, text: str = "", status: int = 0) -> None:
        """Have calls that begin so answered, without any effect; the latest answer counts."""
        self._count += 1
        folder = self._folder / "answers" / f"{9999 - self._count}"
        folder.mkdir()
        (folder / "prefix").write_text(f"{prefix}\n")
        (folder / "text").write_text(text)
        (folder / "status").write_text(f"{status}\n")

    def set_service(self, state: str) -> None:
        (self._folder / "service").write_text(f"{state}\n")

    def set_loaded(self, *, can_reload: bool = True, stale: bool = False) -> None:
        """Say which unit systemd goes by.

        :param stale: its file is another by now.
        """
        can, need = ("yes" if whether else "no" for whether in (can_reload, stale))
        (self._folder / "loaded").write_text(f"CanReload={can}\nNeedDaemonReload={need}\n")

    def end_on_reload(self) -> None:
        """Have the service not survive one."""
        (self._folder / "fatal").touch()

    def set_zones(self, zones: Mapping[str, Iterable[str]]) -> None:
        """Say what is open where."""
        for zone, services in zones.items():
            (self._folder / "zones" / zone).mkdir(parents=True, exist_ok=True)
            for service in services:
                (self._folder / "zones" / zone / service).touch()

    @property
    def service(self) -> str:
        return (self._folder / "service").read_text().strip()

    @property
    def zones(self) -> dict[str, list[str]]:
        folder = self._folder / "zones"
        return {zone.name: sorted(path.name for path in zone.iterdir()) for zone in folder.iterdir()}

    @property
    def calls(self) -> list[str]:
        """What was called since it was forgotten."""
        return (self._folder / "calls").read_text().splitlines()

    @property
    def changes(self) -> list[str]:
        """What was called, questions aside."""
        asked = ("--query", "--state", "--version", "--get-", " show ", "journalctl")
        return [call for call in self.calls if not any(word in call for word in asked)]

    def forget(self) -> None:
        (self._folder / "calls").write_text("")
