"""Cleanup: what setup recorded goes again, as far as it is wanted.

The questions have the names and keys that they have always had.  What is the engine's is never touched,
whatever is answered; what changed since setup wrote it goes only if that is wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

import attrs

from gateway.setup import places
from gateway.setup.asking.interview import Interview, Question
from gateway.setup.errors import Cancelled
from gateway.setup.host import firewall, service
from gateway.setup.host.made_ca import FACT, made_cas
from gateway.setup.host.record import Record, RecordedFile, RecordedLink
from gateway.setup.host.records import leftovers, merge_records, read_records
from gateway.setup.host.removal import Left, Removal, emptied, is_changed, remove
from gateway.setup.host.system import System
from gateway.setup.session import Phase, Session

__all__ = ["NO_RECORD", "clean_up"]

NO_RECORD: Final = 11
"""The exit status where there is nothing that setup recorded."""
_ALL: Final = ("OVESETUP_REMOVE_ALL", "OVESETUP_REMOVE/removeAll")
_ENGINE: Final = ("OVESETUP_REMOVE_ENGINE", "OVESETUP_REMOVE/removeEngine")
_GATEWAY: Final = ("OVESETUP_REMOVE_WEBSOCKET_PROXY", "OVESETUP_REMOVE/removeWsp")
_CHANGED: Final = ("OVESETUP_ENGINE_REMOVE_CHANGED", "OVESETUP_REMOVE/removeChanged")
_GROUP: Final = "OVESETUP_REMOVE_GROUP"
_GROUPS_KEY: Final = "OVESETUP_REMOVE/enabledFileGroups"
_CONFIRM: Final = ("OVESETUP_CORE_REMOVE", "OVESETUP_CORE/remove")
_CORE: Final = "core"
_PKI: Final = "ca_pki_wsp"
_SERVICE_FILES: Final = frozenset({places.CONFIGURATION, places.UNIT, places.UNIT_WANTED})
_OK: Final = "OK"
_CANCEL: Final = "Cancel"


def clean_up(session: Session, *, dry_run: bool = False) -> int:
    """Ask what is to go, and remove it.

    :param dry_run: only say what would go.
    :return: the exit status: 0, or :data:`NO_RECORD`.
    :raise SetupError: something cannot be read, or would not go; it says what is left.
    :raise Cancelled: nobody wants it after all.
    """
    interview, system = session.interview, session.system
    records = read_records(system)
    whole = _present(system, merge_records(records.values()))
    if not (whole.files or whole.links or whole.traces) and not any(_is_own(r) for r in records.values()):
        interview.error(
            f"no setup of a gateway is recorded in {system.root.joinpath(*places.RECORDS.parts[1:])}; "
            "nothing was changed"
        )
        return NO_RECORD
    groups = _groups_to_remove(interview, whole)
    removal = _removal(interview, system, whole, records, groups)
    if not (removal.places or removal.authorities or removal.records):
        interview.info("Nothing is to be removed")
        return 0
    _show(interview, system, removal, dry_run=dry_run)
    if dry_run:
        interview.info("Nothing was changed, as this was a dry run")
        return 0
    if not _confirmed(interview):
        raise Cancelled("you did not confirm it")
    session.phase = Phase.CHANGING
    left = remove(system, removal, stamp=session.stamp, progress=interview.info)
    session.phase = Phase.DONE
    _report(interview, system, whole, removal, left)
    return 0


def _present(system: System, record: Record) -> Record:
    """Return what is still there of what is recorded; a directory is there until it was removed."""
    there = system.tree.stat
    return attrs.evolve(
        record,
        files=tuple(file for file in record.files if there(file.place) is not None),
        links=tuple(link for link in record.links if there(link.place) is not None),
        traces=(*(place for place in record.traces if there(place) is not None), *leftovers(system)),
        backups=tuple(place for place in record.backups if there(place) is not None),
        directories=tuple(place for place in record.directories if there(place) is not None),
    )


def _is_own(record: Record) -> bool:
    """Return whether a record tells of a gateway, and of nothing else."""
    return not record.empty and not record.shared


def _groups_to_remove(interview: Interview, whole: Record) -> frozenset[str]:
    """Ask which groups of files are to go; the service and the firewall go with ``core``."""
    optional = sorted(
        {file.group for file in whole.files} - {_CORE} | ({_PKI} if FACT in whole.facts else set())
    )
    interview.title("PRODUCT OPTIONS")
    if whole.shared:
        interview.note(
            "An engine is recorded on this host as well. What is the engine's is not touched: "
            "its own engine-cleanup removes it."
        )
    if interview.confirm(_ALL[0], "Remove everything that setup of the gateway made?", True, key=_ALL[1]):
        return frozenset({_CORE, *optional})
    chosen = set()
    if whole.shared and interview.confirm(_ENGINE[0], "Remove the engine?", False, key=_ENGINE[1]):
        interview.warning("The engine stays: its own engine-cleanup removes it, this program cannot")
    if interview.confirm(_GATEWAY[0], "Remove the gateway?", False, key=_GATEWAY[1]):
        chosen.add(_CORE)
    enabled = interview.environment.get(_GROUPS_KEY)
    for group in optional:
        what = whole.groups.get(group) or group
        if isinstance(enabled, str):
            wanted = group in enabled.replace(",", " ").split()
        else:
            wanted = interview.confirm(f"{_GROUP}/{group}", f"Remove the files of '{what}'?", False)
        if wanted:
            chosen.add(group)
    return frozenset(chosen)


def _removal(
    interview: Interview,
    system: System,
    whole: Record,
    records: Mapping[PurePosixPath, Record],
    groups: frozenset[str],
) -> Removal:
    """Return what goes, and what stays for another time."""
    core = _CORE in groups
    files = [file for file in whole.files if file.group in groups and not _is_engines(whole, file)]
    links = _links(system, whole) if core else []
    changed = {file.place for file in files if is_changed(system, file)}
    changed |= {link.place for link in links if is_changed(system, link)}
    if changed and not _remove_changed(interview, changed):
        files = [file for file in files if file.place not in changed]
        links = [link for link in links if link.place not in changed]
    going = {file.place for file in files} | {link.place for link in links}
    zones = firewall.open_zones(whole.facts) if core else []
    if places.FIREWALLD_SERVICE in going and not zones and firewall.runs(system):
        # A record of another program does not say; without its file no zone can have the service.
        zones = firewall.zones_open_now(system)
    made = made_cas(whole.facts) if _PKI in groups else ()
    remains = attrs.evolve(
        whole,
        files=tuple(f for f in whole.files if f.place not in going and not _is_engines(whole, f)),
        links=tuple(link for link in whole.links if link.place not in going),
        traces=() if core else whole.traces,
        facts=_remaining_facts(whole.facts, groups),
    )
    removal = Removal(
        files=tuple(files),
        links=tuple(links),
        traces=whole.traces if core else (),
        zones=tuple(zones),
        directories=whole.directories if groups else (),
        authorities=tuple(each for each in made if each.is_untouched(system)),
        service=not _SERVICE_FILES.isdisjoint(going),
    )
    if not groups:
        return removal
    if not (remains.files or remains.links or remains.traces or remains.facts):
        remains = Record()
    own = tuple(place for place, record in records.items() if _is_own(record))
    return attrs.evolve(removal, remains=remains, records=own)


def _remaining_facts(facts: Mapping[str, str], groups: frozenset[str]) -> dict[str, str]:
    """What a CA is recorded with goes with the keys, everything else with the gateway."""
    return {name: value for name, value in facts.items() if (_PKI if name == FACT else _CORE) not in groups}


def _links(system: System, whole: Record) -> list[RecordedLink]:
    """Return what is recorded, and what has the service start at boot if another program enabled it."""
    links = list(whole.links)
    target = system.tree.target(places.UNIT_WANTED)
    configured = places.CONFIGURATION in {file.place for file in whole.files}
    if target is not None and configured and places.UNIT_WANTED not in {link.place for link in links}:
        links.append(RecordedLink(places.UNIT_WANTED, target))
    return links


def _is_engines(whole: Record, file: RecordedFile) -> bool:
    """Return whether a file serves an engine on the same host as well."""
    return whole.shared and file.place == places.POST_INSTALL


def _remove_changed(interview: Interview, changed: set[PurePosixPath]) -> bool:
    for place in sorted(changed):
        interview.warning(f"{place} has changed since setup wrote it")
    prompt = "Remove also the files that have changed since setup wrote them?"
    return interview.confirm(_CHANGED[0], prompt, True, key=_CHANGED[1])


def _show(interview: Interview, system: System, removal: Removal, *, dry_run: bool) -> None:
    interview.title("CONFIGURATION PREVIEW")
    lines = []
    if removal.service and service.has_systemd(system):
        lines.append(f"stop and disable {places.SERVICE}")
    if removal.firewalld and firewall.runs(system):
        lines += [f"close the port in zone {zone} of firewalld" for zone in removal.zones]
    lines += [f"remove {place}" for place in removal.places]
    lines += [f"remove the CA in {made.place}, with its keys" for made in removal.authorities]
    lines += [f"remove the directory {place}" for place in emptied(system, removal)]
    head = "This would be done:" if dry_run else "This will be done:"
    interview.note("\n".join([head, *(f"  {line}" for line in lines)]))
    if places.KEY in removal.places:
        interview.note("\nThe private key goes as well: another setup needs a new certificate.")
    if not removal.service and places.CERTIFICATE in removal.places:
        interview.warning("the gateway stays, and will not start without its certificate")


def _authorities_left(system: System, whole: Record) -> list[PurePosixPath]:
    found = dict.fromkeys([places.OWN_CA, *(made.place for made in made_cas(whole.facts))])
    return [place for place in found if system.tree.stat(place) is not None]


def _confirmed(interview: Interview) -> bool:
    name, key = _CONFIRM
    preset = interview.environment.get(key)
    if isinstance(preset, bool):
        return preset
    question = Question(name, "Go on and remove this?", default=_CANCEL, choices=(_OK, _CANCEL), key=key)
    return interview.ask(question) == _OK


def _report(interview: Interview, system: System, whole: Record, removal: Removal, left: Left) -> None:
    interview.title("SUMMARY")
    for line in left.unsettled:
        interview.warning(line)
    if removal.service and not service.has_systemd(system):
        interview.note("No service was stopped: systemd does not run here. Stop the gateway if it runs.")
    for link in removal.links:
        if link.former:
            interview.note(f"Before setup, {link.place} led to {link.former}.")
    packaged = service.replaced_unit(system) if removal.service else None
    if packaged is not None:
        interview.note(f"{packaged} is in force again.")
    for authority in _authorities_left(system, whole):
        interview.note(f"The CA in {authority} stays: it has been used since, or is not of this setup.")
    if whole.backups:
        kept = "\n".join(f"  {place}" for place in whole.backups)
        interview.note(f"Kept, what setup replaced:\n{kept}")
    if not removal.remains.empty:
        interview.note("What was not removed is recorded: another cleanup can remove it.")
    elif left.directories:
        outer = {parent for place in left.directories for parent in place.parents}
        kept = "\n".join(f"  {place}" for place in left.directories if place not in outer)
        interview.note(f"Kept, as something is in them:\n{kept}")
    interview.info("Cleanup is complete")
