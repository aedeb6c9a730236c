"""A TOML file that puts the same in force as shell-like configuration files do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from gateway.settings.keys import Section, sections
from gateway.settings.model import Settings
from gateway.settings.ovirt import OvirtConfiguration
from gateway.settings.text import dotted, one_line
from gateway.settings.tomltext import toml_assignment, toml_comment, toml_key

__all__ = ["migrated"]

_HEAD = """\
Console Gateway settings, as 'console-gateway migrate-config' found them. What is not here has its default; \
etc/console-gateway.toml is an example with every setting.

Check it, and run the gateway with it: console-gateway check-config FILE, console-gateway run --config FILE"""


def migrated(configuration: OvirtConfiguration) -> str:
    """The TOML file, which ``load_settings`` reads to the same settings from wherever it is.

    Comments say where each value comes from, and what was left out and why.

    :param configuration: one without problems.
    """
    settings = configuration.settings
    assert settings is not None, "it has problems"
    tables = [
        "\n".join(lines) for section in sections() for lines in _tables(section, settings, configuration)
    ]
    parts = [toml_comment(_HEAD), "\n".join(_notes(configuration, settings)), *tables]
    return "\n\n".join(part for part in parts if part) + "\n"


def _notes(configuration: OvirtConfiguration, settings: Settings) -> Iterator[str]:
    """What was read, and what of it is not in the tables."""
    translation = configuration.translation
    for file in configuration.variables.files:
        yield _line(f"read: {file}")
    if configuration.further is not None:
        yield _line(f"read: {configuration.further}")
    for assigned, why in translation.ignored:
        yield _line(f"left out: {assigned.name} ({assigned.place}): {why}")
    for path, origins in translation.origins.items():
        # Of those that the TOML file sets as well, only assignments of the package's can be here.
        if path in configuration.from_further:
            why = f"{configuration.further} sets {path}"
        elif _value(settings, path) == _value(Settings(), path):
            why = f"as by default ({path})"
        else:
            continue
        for assigned in origins:
            yield _line(f"left out: {assigned.name} ({assigned.place}): {why}")
    left_out = {(each.file, f"line {each.line}, {each.name}") for each, _ in translation.ignored}
    for warning in configuration.warnings:
        if (warning.file, warning.key) not in left_out:
            yield _line(f"note: {warning}")


def _tables(section: Section, settings: Settings, configuration: OvirtConfiguration) -> Iterator[list[str]]:
    default = section.cls()
    for place, table in section.tables(settings):
        lines = [f"[{'.'.join(map(toml_key, place))}]"]
        for field in attrs.fields(section.cls):
            value = getattr(table, field.name)
            if value is None or value == getattr(default, field.name):
                continue
            if not section.many:
                lines.append(_line(_origin(f"{section.name}.{field.name}", configuration)))
            lines.append(toml_assignment(field.name, value))
        if section.many:
            lines.insert(0, _line(_origin(dotted(place), configuration)))
        if section.many or len(lines) > 1:
            yield lines


def _origin(path: str, configuration: OvirtConfiguration) -> str:
    if path in configuration.from_further:
        return f"{configuration.further}"
    origins = configuration.translation.origins.get(path)
    if origins:
        return ", ".join(f"{each.name} ({each.place})" for each in origins)
    if path in configuration.translation.defaults:
        return "because the engine's CA is there"
    return "what follows from the other settings"


def _value(settings: Settings, path: str) -> Any:
    section, _, name = path.partition(".")
    return getattr(getattr(settings, section), name)


def _line(text: str) -> str:
    return f"# {one_line(text)}"
