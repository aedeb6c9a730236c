"""Settings in words: what is in force, the reference, and the annotated example, all from the model.

``python -m gateway.settings.describe reference`` prints ``docs/configuration.md``, ``... example`` prints
``etc/console-gateway.toml``.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from gateway.settings.keys import Key, Section, sections, type_name
from gateway.settings.model import Settings
from gateway.settings.security import TargetSecurity, Verification
from gateway.settings.tomltext import toml_assignment, toml_comment, toml_key, toml_value

__all__ = ["describe", "example", "reference"]

_REFERENCE_HEAD = """\
# Configuration

Console Gateway reads one [TOML](https://toml.io/en/v1.0.0) file. Every key has a default except the
certificates, so that a working file is short:

```toml
[tls]
certificate = "/etc/console-gateway/server.pem"
key = "/etc/console-gateway/server.key"

[tickets]
certificate = "/etc/console-gateway/engine.pem"
```

`etc/console-gateway.toml` is the same with every other key as a comment.

Check a file before it is used:

```console
$ console-gateway check-config /etc/console-gateway/console-gateway.toml
```

This prints the settings that would be in force and every problem at once, one line each: the file, the key,
what is wrong, what to do. The exit status is 0 when there is no problem and 1 otherwise. The service does the
same checks when it starts.

- Unknown tables and keys are errors; a misspelt key never falls back to its default in silence.
- Types are strict: a number in quotes is not a number. Where a number is asked for, a whole number will do.
- Bounds are inclusive.
- A relative path is taken from the directory of the settings file.
- The file may have up to 1 MiB, in UTF-8.

## Endpoints

`listen.tls` and `listen.plain` are lists of strings in these forms. A backslash takes the next character
literally: `\\:` is a colon of a path. TOML itself wants it doubled in `"..."`, but not in `'...'`.

| form | listens on |
| --- | --- |
| `tcp:6100` | port 6100 of every IPv4 and IPv6 address; port 0 is any free port |
| `tcp:6100:interface=192.0.2.1` | one address, which must be literal |
| `tcp:6100:interface=[2001:db8::1]` | one IPv6 address, in brackets |
| `unix:/run/console-gateway/ws.sock:mode=660` | a Unix socket; absolute path, mode 660 if left out |
| `systemd:console-gateway.socket` | the inherited socket of this name (`FileDescriptorName=`) |
| `systemd:0` | the inherited socket with this index |

## Secrets file

`security.secrets` names another TOML file, which alone holds passwords. It has one table for each target or
group of targets, in the forms that the `targets` of a rule have, in quotes:

```toml
["*.hosts.example.com"]
password = "2xQvT8bn"

["vnc.example.com:5901"]
username = "console"
password = "correct horse"

["192.0.2.0/24"]
password = "9fKw3LsA"
```

An entry with a port comes before those without; among these, the first of the file counts. `username`, of up
to 255 bytes, is for targets that ask for one; `password` has up to 1024 bytes, of which VNC authentication
uses the first eight. The file may have up to 1 MiB and must not be accessible to every user
(`chmod o= FILE`).
"""

_EXAMPLE_HEAD = """\
Console Gateway settings.

Lines that begin with '#' and a key show the default of that key, or an example where there is no default; \
remove the '#' to change it. The keys that are set below are the ones that every installation has to set. \
Relative paths are taken from the directory of this file.

After a change: console-gateway check-config FILE"""

_NEEDED = {
    "tls.certificate": Path("/etc/console-gateway/server.pem"),
    "tls.key": Path("/etc/console-gateway/server.key"),
    "tickets.certificate": Path("/etc/console-gateway/engine.pem"),
}
_OPTIONAL = {
    "security.ca": Path("/etc/console-gateway/hosts-ca.pem"),
    "security.certificate": Path("/etc/console-gateway/client.pem"),
    "security.key": Path("/etc/console-gateway/client.key"),
    "security.secrets": Path("/etc/console-gateway/secrets.toml"),
    "uses.file": Path("/var/lib/console-gateway/uses.sqlite"),
    "control.tokens": Path("/etc/console-gateway/tokens"),
    "control.certificate": Path("/etc/console-gateway/control.pem"),
    "control.key": Path("/etc/console-gateway/control.key"),
    "control.client_ca": Path("/etc/console-gateway/operators-ca.pem"),
    "audit.file": Path("/var/log/console-gateway/audit.jsonl"),
    "log.file": Path("/var/log/console-gateway/console-gateway.log"),
}
_EXAMPLES: dict[str, dict[str, Any]] = {
    "certificates": {
        "certificate": Path("/etc/console-gateway/dmz.pem"),
        "key": Path("/etc/console-gateway/dmz.key"),
        "names": ("consoles.dmz.example.com", "*.consoles.dmz.example.com"),
    },
    "rules": {
        "targets": ("*.lab.example.com", "192.0.2.0/24", "console.example.com:5901"),
        "ports": ("5900-5999",),
        "mode": TargetSecurity.AUTO,
        "verify": Verification.FINGERPRINT,
        "fingerprints": ("ddd1e06f5d0c4f0ad2bb8b3b7c7aa3f6fcb2bd4a2b0fb7e0c1c0d4e5b61d8e29",),
    },
}

_QUOTED = re.compile(r"(?<!\w)'([^']+)'(?!\w)")  # not the apostrophe inside a word


def describe(settings: Settings) -> str:
    """What is in force, as TOML that :func:`load_settings` reads back to the same settings.

    Keys without a value, and values of fields marked ``secret`` in the model, are comments instead; what a
    rule inherits is left out.
    """
    tables = [_table(place, values) for section in sections() for place, values in section.tables(settings)]
    return "\n\n".join(tables) + "\n"


def reference() -> str:
    """The configuration reference in Markdown."""
    return "\n".join([_REFERENCE_HEAD, *_reference_tables()])


def example() -> str:
    """A settings file with every key, its meaning and its default as comments."""
    parts = [toml_comment(_EXAMPLE_HEAD)]
    for section in sections():
        if section.many:
            parts.extend(_example_table(section))
        else:
            parts.append(f"{toml_comment(section.doc)}\n[{section.name}]")
            parts.extend(_example_key(key) for key in section.keys)
    return "\n\n".join(parts) + "\n"


def _table(place: tuple[str, ...], values: Any) -> str:
    lines = [f"[{'.'.join(map(toml_key, place))}]"]
    for field in attrs.fields(type(values)):
        value = getattr(values, field.name)
        if value is None:
            if not field.metadata.get("inherited"):
                lines.append(f"# {field.name} is not set")
        elif field.metadata.get("secret"):
            lines.append(f"# {field.name} is set, but not shown")
        else:
            lines.append(toml_assignment(field.name, value))
    return "\n".join(lines)


def _reference_tables() -> Iterator[str]:
    for section in sections():
        yield f"## `[{section.title}]`\n\n{_code(section.doc)}\n"
        inherited = [f"`{key.name}`" for key in section.keys if key.inherited]
        if inherited:
            yield f"Beside the keys below, a table may have these of `[security]`: {', '.join(inherited)}.\n"
        yield "| key | type | default | bounds | meaning |\n| --- | --- | --- | --- | --- |"
        for key in section.keys:
            if key.inherited:
                continue
            default = "none" if key.default is None else f"`{toml_value(key.default)}`"
            bounds = " ".join(filter(None, (key.bounds, key.unit)))
            # A cell ends at a bar, also inside code.
            cells = (f"`{key.name}`", _code(type_name(key.type)), default, bounds, _code(key.doc))
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        yield ""


def _example_key(key: Key) -> str:
    bounds = " ".join(filter(None, (key.bounds, key.unit)))
    doc = toml_comment(f"{key.doc} ({bounds})" if bounds else key.doc)
    if key.path in _NEEDED:
        return f"{doc}\n{toml_assignment(key.name, _NEEDED[key.path])}"
    value = _OPTIONAL[key.path] if key.default is None else key.default
    return f"{doc}\n#{toml_assignment(key.name, value)}"


def _example_table(section: Section) -> Iterator[str]:
    """One table of many, as a comment: keys of its own, and a few of those that it may inherit."""
    yield f"{toml_comment(section.doc)}\n#[{section.name}.example]"
    example = _EXAMPLES[section.name]
    instead = [toml_comment("What differs from [security], for instance:")]
    for key in section.keys:
        if key.name not in example:
            continue
        assignment = f"#{toml_assignment(key.name, example[key.name])}"
        if key.inherited:
            instead.append(assignment)
        else:
            yield f"{toml_comment(key.doc)}\n{assignment}"
    if len(instead) > 1:
        yield "\n".join(instead)


def _code(text: str) -> str:
    return _QUOTED.sub(r"`\1`", text)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gateway.settings.describe", description=__doc__)
    parser.add_argument("what", choices=("reference", "example"))
    what = parser.parse_args().what
    sys.stdout.write(reference() if what == "reference" else example())


if __name__ == "__main__":
    _main()
