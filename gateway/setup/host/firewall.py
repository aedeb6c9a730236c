"""The firewall: opened for the gateway's port, and nothing else.

firewalld is told; what manages its rules otherwise gets no rule from us, and its administrator the commands.
A firewall that does not run is left so: starting one could lock the administrator out.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from typing import Final

from gateway.setup import places
from gateway.setup.errors import SetupError
from gateway.setup.host.plan import PlannedFile, Step
from gateway.setup.host.system import System

__all__ = [
    "Manager",
    "detect",
    "explanation",
    "firewall_plan",
    "open_zones",
    "reload",
    "runs",
    "service_xml",
    "withdraw",
    "zones_open_now",
]

_SERVICE: Final = places.FIREWALLD_SERVICE.stem
_OLDEST: Final = (0, 2, 6)
_VERSION: Final = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", re.ASCII)
_ZONE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_/-]{0,63}", re.ASCII)
_ZONES: Final = 100
_ZONES_FACT: Final = "firewall.zones"
"""What the record calls the zones that were opened."""

_XML: Final = """\
<?xml version="1.0" encoding="utf-8"?>
<service>
  <short>{name}</short>
  <description>Consoles of virtual machines, for browsers: the Console Gateway's WebSocket port</description>
  <port protocol="tcp" port="{port}"/>
</service>
"""


class Manager(enum.Enum):
    """Who manages the firewall of a host; the values are otopi's."""

    FIREWALLD = "firewalld"
    NFTABLES = "nftables"
    IPTABLES = "iptables"
    SKIP = "skip"
    """Nobody, or not us: a choice that there always is, and that is never detected."""


def detect(system: System) -> tuple[Manager, ...]:
    """Return the managers there are, the one that is to be preferred first; perhaps none.

    On the running host firewalld counts while it runs; elsewhere, if it is installed.
    """
    found = []
    if system.has("firewall-cmd") and (not system.live or _runs(system)):
        found.append(Manager.FIREWALLD)
    if system.has("nft"):
        found.append(Manager.NFTABLES)
    if system.has("iptables"):
        found.append(Manager.IPTABLES)
    return tuple(found)


def firewall_plan(
    system: System, manager: Manager, port: int
) -> tuple[tuple[PlannedFile, ...], tuple[Step, ...]]:
    """Return the files to write, and what to do after that.

    An example of a service file is always among the files.  On a host that does not run, nothing is done
    beyond files.
    """
    content = service_xml(port)
    files = [PlannedFile(places.FIREWALLD_EXAMPLE, content)]
    if manager is not Manager.FIREWALLD:
        return tuple(files), ()
    files.append(PlannedFile(places.FIREWALLD_SERVICE, content))
    return tuple(files), (_OpenFirewalld(),) if system.live else ()


def service_xml(port: int) -> bytes:
    """Return a service file of firewalld, firewalld.service(5), for the gateway's port."""
    return _XML.format(name=_SERVICE, port=_checked(port)).encode()


def explanation(manager: Manager, port: int) -> list[str]:
    """Return what there is to do by hand, as lines with the commands; nothing if all is done."""
    port = _checked(port)
    if manager is Manager.FIREWALLD:
        return []
    if manager is Manager.NFTABLES:
        return [
            f"nftables is not changed. To let connections to port {port} in, add this rule to the chain that",
            "your input goes through (here: filter in the table inet filter; see nft list ruleset), and to",
            "/etc/nftables.conf or /etc/sysconfig/nftables.conf, so that it is there after the next boot:",
            f"    nft insert rule inet filter input tcp dport {port} ct state new accept",
        ]
    if manager is Manager.IPTABLES:
        rule = f"INPUT -p tcp --dport {port} -m conntrack --ctstate NEW -j ACCEPT"
        return [
            f"iptables is not changed. To let connections to port {port} in, run these, and save the rules",
            "as your distribution does (netfilter-persistent save, or service iptables save):",
            f"    iptables -I {rule}",
            f"    ip6tables -I {rule}",
        ]
    return [
        f"No firewall is changed. Let connections to tcp port {port} in if one is in the way; for firewalld",
        "these commands do it:",
        f"    cp {places.FIREWALLD_EXAMPLE} {places.FIREWALLD_SERVICE.parent}/",
        "    firewall-cmd --reload",
        f"    firewall-cmd --permanent --add-service={_SERVICE}",
        "    firewall-cmd --reload",
    ]


def open_zones(facts: Mapping[str, str]) -> list[str]:
    """Return the zones that records say were opened; a name that no zone can have is none."""
    return [zone for zone in facts.get(_ZONES_FACT, "").split()[:_ZONES] if _ZONE.fullmatch(zone)]


def zones_open_now(system: System) -> list[str]:
    """Return the active zones that let the gateway's port in.

    :raise SetupError: firewalld does not say.
    """
    return [zone for zone in _active_zones(system) if _is_open(system, zone)]


def withdraw(system: System, zones: Iterable[str]) -> None:
    """Close zones again, permanently; they are closed from the next :func:`reload` on.

    :raise SetupError: firewalld refuses.
    """
    for zone in zones:
        if _is_open(system, zone):
            system.run(["firewall-cmd", "--permanent", f"--zone={zone}", f"--remove-service={_SERVICE}"])


def reload(system: System) -> None:
    """Have firewalld do what its files say.

    :raise SetupError: it does not.
    """
    system.run(["firewall-cmd", "--reload"])


def runs(system: System) -> bool:
    """Return whether firewalld runs on this host, and can be told."""
    return system.live and system.has("firewall-cmd") and _runs(system)


class _OpenFirewalld(Step):
    """Adds the service to each active zone that has it not."""

    description = "Opening the port in firewalld"

    def __init__(self) -> None:
        self._zones: list[str] = []

    def prepare(self, system: System) -> Mapping[str, str]:
        if not _runs(system):
            raise SetupError("firewalld does not run; start it, or choose to skip the firewall")
        self._zones = [zone for zone in _active_zones(system) if not _is_open(system, zone)]
        return {_ZONES_FACT: " ".join(self._zones)} if self._zones else {}

    def apply(self, system: System) -> None:
        reload(system)
        for zone in self._zones:
            system.run(["firewall-cmd", "--permanent", f"--zone={zone}", f"--add-service={_SERVICE}"])
        if self._zones:
            reload(system)

    def revert(self, system: System) -> None:
        withdraw(system, self._zones)

    def settle(self, system: System) -> None:
        reload(system)


def _runs(system: System) -> bool:
    try:
        state = system.run(["firewall-cmd", "--state"])
        version = system.run(["firewall-cmd", "--version"])
    except SetupError:
        return False
    found = _VERSION.search(version)
    return state.strip() == "running" and found is not None and _numbers(found) >= _OLDEST


def _active_zones(system: System) -> list[str]:
    """Return the zones that have an interface or a source; if none has, the one that all falls into."""
    # A zone is a line that is not indented; what follows its name ("(default)") is no part of it.
    lines = system.run(["firewall-cmd", "--get-active-zones"]).splitlines()
    zones = [line.split()[0] for line in lines if line.strip() and not line[0].isspace()]
    if not zones:
        zones = system.run(["firewall-cmd", "--get-default-zone"]).split()[:1]
    if not zones or len(zones) > _ZONES or not all(_ZONE.fullmatch(zone) for zone in zones):
        raise SetupError("firewalld says nothing sensible about its zones; choose to skip the firewall")
    return zones


def _is_open(system: System, zone: str) -> bool:
    # "no" comes with an exit status of 1, and so does what asks for a service that it does not know yet.
    query = ["firewall-cmd", "--permanent", f"--zone={zone}", f"--query-service={_SERVICE}"]
    try:
        return system.run(query).strip() == "yes"
    except SetupError:
        return False


def _numbers(match: re.Match[str]) -> tuple[int, ...]:
    return tuple(int(number or 0) for number in match.groups())


def _checked(port: int) -> int:
    if not 1 <= port <= 65535:
        raise ValueError("a port is from 1 to 65535")
    return port
