"""Records of what setup wrote: ``/etc/ovirt-engine/uninstall.d/STAMP-uninstall.conf``.

An INI file with a section for each group of files (``file_group_core``) that lists names and digests; a
section of our own, ``console_gateway``, lists what that format has no words for: directories, links, logs,
backups, and facts about the service and the firewall.  Records of the engine's own setup have that format
too, and are read with care: what is not a place of ours is counted, never touched.
"""

from __future__ import annotations

import configparser
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Final

import attrs

from gateway.setup import places
from gateway.setup.errors import SetupError
from gateway.setup.host.ours import is_our_backup, is_our_directory, is_ours

__all__ = [
    "Record",
    "RecordedFile",
    "RecordedLink",
    "digest_of",
    "parse_record",
]

_VERSION: Final = 1
_OWN: Final = "console_gateway"
_GROUP: Final = "file_group_"
_DESCRIPTIONS: Final = {
    "ca_pki_wsp": "Keys and certificates of the console gateway",
    "core": "Configuration of the console gateway",
}
_OPTIONAL: Final = frozenset({"ca_pki_wsp"})
_OTHERS_CORE: Final = frozenset(
    {places.CONFIGURATION, places.FIREWALLD_EXAMPLE, places.FIREWALLD_SERVICE, places.POST_INSTALL}
)
"""Files of a gateway in the group ``core`` of records that are not of this program."""
_Known = Callable[[PurePosixPath], bool]
_LINES: Final = 10_000
_GROUP_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_FACT: Final = re.compile(r"[a-z]+(\.[a-z]+)+", re.ASCII)


@attrs.frozen
class RecordedFile:
    """A file that setup wrote.

    :ivar digest: ``sha256:`` or ``md5:`` and the digest of what it wrote; nothing if the record has none.
    """

    place: PurePosixPath
    group: str
    digest: str = ""

    def wrote(self, content: bytes) -> bool:
        """Return whether ``content`` is what setup wrote, as far as the record knows."""
        kind, _, digest = self.digest.partition(":")
        if not digest:
            return True
        hasher = hashlib.sha256 if kind == "sha256" else _md5
        return hasher(content).hexdigest() == digest.lower()


@attrs.frozen
class RecordedLink:
    """A symbolic link that setup made.

    :ivar former: where one that it replaced led, or nothing.
    """

    place: PurePosixPath
    target: str
    former: str = ""


@attrs.frozen
class Record:
    """What one setup wrote, or several.

    :ivar groups: the groups of files and what they are called.
    :ivar traces: files that setup wrote and that change later, such as logs.
    :ivar facts: what the steps of setup noted for cleanup.
    :ivar foreign: files that are not a gateway's, as far as they are named; they are the engine's.
    :ivar foreign_lines: lines of other files that were changed for the engine.
    """

    files: tuple[RecordedFile, ...] = ()
    groups: Mapping[str, str] = attrs.field(factory=dict)
    links: tuple[RecordedLink, ...] = ()
    directories: tuple[PurePosixPath, ...] = ()
    traces: tuple[PurePosixPath, ...] = ()
    backups: tuple[PurePosixPath, ...] = ()
    facts: Mapping[str, str] = attrs.field(factory=dict)
    foreign: tuple[str, ...] = ()
    foreign_lines: int = 0

    @property
    def empty(self) -> bool:
        """Whether it names nothing that a gateway's setup wrote."""
        return not (self.files or self.links or self.directories or self.traces or self.facts)

    @property
    def shared(self) -> bool:
        """Whether it names what is not a gateway's."""
        return bool(self.foreign or self.foreign_lines)

    def render(self) -> bytes:
        """Return the file; what is foreign is not in it."""
        lines = ["# What setup of the console gateway wrote; console-gateway cleanup removes it."]
        for group in sorted({"core", *(file.group for file in self.files)}):
            lines += ["", f"[{_GROUP}{group}]"]
            lines.append(f"description = {self.groups.get(group) or _DESCRIPTIONS.get(group, group)}")
            lines.append(f"optional = {group in _OPTIONAL}")
            for index, file in enumerate((f for f in self.files if f.group == group), 1):
                kind, _, digest = file.digest.partition(":")
                lines.append(f"file.{index:03}.name = {file.place}")
                lines += [f"file.{index:03}.{kind} = {digest}"] if digest else []
        lines += ["", f"[{_OWN}]", f"version = {_VERSION}"]
        for index, link in enumerate(self.links, 1):
            lines += [f"link.{index:03}.name = {link.place}", f"link.{index:03}.target = {link.target}"]
            lines += [f"link.{index:03}.former = {link.former}"] if link.former else []
        for kind, found in (
            ("directory", self.directories),
            ("trace", self.traces),
            ("backup", self.backups),
        ):
            lines += [f"{kind}.{index:03}.name = {place}" for index, place in enumerate(found, 1)]
        lines += [f"{name} = {value}" for name, value in sorted(self.facts.items())]
        # The format's other readers substitute what follows a percent sign.
        return "".join(f"{line.replace('%', '%%')}\n" for line in lines).encode()


def digest_of(content: bytes) -> str:
    """Return the digest that a :class:`RecordedFile` has for ``content``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def parse_record(data: bytes, name: str) -> Record:
    """Read a record.

    :param name: what to call it in messages.
    :raise SetupError: it is not in that format, or of a later version than this.
    """
    if data.count(b"\n") > _LINES:
        raise SetupError(f"{name} has more than {_LINES} lines, which is not what setup writes")
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#", ";"))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(data.decode("utf-8"))
    except (configparser.Error, UnicodeDecodeError, AttributeError, ValueError) as error:
        raise SetupError(f"{name} is not a record of setup: {_first_line(error)}") from None
    record = _own(parser[_OWN], name) if parser.has_section(_OWN) else Record()
    groups = {}
    for section in parser.sections():
        if section.startswith(_GROUP):
            group = section.removeprefix(_GROUP)
            if not _GROUP_NAME.fullmatch(group):
                raise SetupError(f"{name} has a group of files with a name that none can have")
            groups[group] = _printable(parser[section].get("description", group))
            record = _add_files(record, group, parser[section], parser.has_section(_OWN))
        elif section == "unremovable":
            names = _indexed(parser[section], "file").values()
            record = attrs.evolve(record, foreign=record.foreign + tuple(n.get("name", "") for n in names))
    ours = {file.group for file in record.files}
    return attrs.evolve(record, groups={key: text for key, text in groups.items() if key in ours})


def _own(section: Mapping[str, str], name: str) -> Record:
    version = section.get("version", "")
    if version != str(_VERSION):
        raise SetupError(
            f"{name} is of version {_printable(version)!r}, this program knows {_VERSION}; use a later one"
        )
    links = [
        RecordedLink(
            PurePosixPath(entry["name"]), _percent(entry["target"]), _percent(entry.get("former", ""))
        )
        for entry in _indexed(section, "link").values()
        if "target" in entry and _is(entry, is_ours)
    ]
    return Record(
        links=tuple(links),
        directories=_named(section, "directory", is_our_directory),
        traces=_named(section, "trace", is_ours),
        backups=_named(section, "backup", is_our_backup),
        facts={key: _percent(value) for key, value in section.items() if _FACT.fullmatch(key)},
    )


def _add_files(record: Record, group: str, section: Mapping[str, str], own: bool) -> Record:
    ours, foreign = [], []
    for entry in _indexed(section, "file").values():
        digest = next((f"{kind}:{entry[kind]}" for kind in ("sha256", "md5") if kind in entry), "")
        if _is(entry, is_ours) and (own or _gateways(group, entry["name"])):
            ours.append(RecordedFile(PurePosixPath(entry["name"]), group, digest))
        else:
            foreign.append(entry.get("name", ""))
    return attrs.evolve(
        record,
        files=record.files + tuple(ours),
        foreign=record.foreign + tuple(foreign),
        foreign_lines=record.foreign_lines + len(_indexed(section, "line")),
    )


def _gateways(group: str, name: str) -> bool:
    """Return whether a file in a record of the engine's setup belongs to the gateway alone.

    ``engine.cer``, for one, is the engine's where there is one, and the gateway's in its own group.
    """
    return group == "ca_pki_wsp" or (group == "core" and PurePosixPath(name) in _OTHERS_CORE)


def _indexed(section: Mapping[str, str], kind: str) -> dict[str, dict[str, str]]:
    """Return the entries ``KIND.NNN.FIELD`` by number."""
    found: dict[str, dict[str, str]] = {}
    for key, value in section.items():
        parts = key.split(".", 2)
        if len(parts) == 3 and parts[0] == kind and parts[1].isdecimal():
            found.setdefault(parts[1], {})[parts[2]] = value or ""
    return found


def _named(
    section: Mapping[str, str], kind: str, known: Callable[[PurePosixPath], bool]
) -> tuple[PurePosixPath, ...]:
    return tuple(PurePosixPath(e["name"]) for e in _indexed(section, kind).values() if _is(e, known))


def _is(entry: Mapping[str, str], known: Callable[[PurePosixPath], bool]) -> bool:
    """Return whether the entry names a place, and in its plainest form, for which ``known`` is true."""
    name = entry.get("name", "")
    place = PurePosixPath(name)
    return str(place) == name and ".." not in place.parts and known(place)


def _percent(value: str) -> str:
    return value.replace("%%", "%")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:200])


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return _printable(lines[0]) if lines else type(error).__name__


def _md5(content: bytes) -> hashlib._Hash:
    return hashlib.md5(content, usedforsecurity=False)
