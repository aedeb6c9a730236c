"""What setup knows, by the names that answer files use: ``OVESETUP_CONFIG/fqdn`` and the like.

Values have the types of answer files (:mod:`gateway.setup.asking.answerfile`).  Several lines of text are one
text with line feeds.  Passwords are known as such and never come out of here in a text for people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, TypeAlias

import attrs

__all__ = ["HIDDEN", "Entry", "Environment", "Value"]

Value: TypeAlias = str | int | bool | None

HIDDEN: Final = "**FILTERED**"
"""What stands in a text where a password was."""
_SECRET: Final = re.compile(r"passw|passphrase|secret|token|credential", re.IGNORECASE)
_SHORTEST: Final = 4
"""Characters of a password that is looked for in texts; shorter ones are everywhere."""
_ORDINARY: Final = re.compile(r"[A-Za-z]{1,11}")
"""What may as well be part of a name or a command, where it has to stay: only alone is it a password."""


@attrs.frozen
class Entry:
    """A value and where it comes from."""

    value: Value = attrs.field(repr=False)
    origin: str = ""
    """For messages: file and line, or empty for what setup found out or was told by the user."""
    remembered: bool = False
    """From a former setup, so that whatever is said now counts more."""


class Environment:
    """Values by key.  A key that is there with no value (``None``) is to be asked for."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._concealed: set[str] = set()
        self._secrets: set[str] = set()

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __repr__(self) -> str:
        return f"<Environment of {len(self._entries)} keys>"

    def get(self, key: str) -> Value:
        """The value of ``key``, ``None`` when there is none."""
        entry = self._entries.get(key)
        return entry.value if entry is not None else None

    def entry(self, key: str) -> Entry:
        """The value of ``key`` and its origin."""
        return self._entries.get(key, Entry(None))

    def set(self, key: str, value: Value, origin: str = "") -> None:
        """Give ``key`` a value, whatever it had."""
        self.put(key, Entry(value, origin))

    def put(self, key: str, entry: Entry) -> None:
        """Give ``key`` a value with its origin, whatever it had."""
        self._entries[key] = entry
        value = entry.value
        # Paths and switches are no passwords, unless a question says so.
        if self.is_secret(key) and (key in self._concealed or not str(value).startswith("/")):
            self._remember_secret(value)

    def put_default(self, key: str, entry: Entry) -> None:
        """Give ``key`` a value unless the key is there, if only with no value."""
        if key not in self._entries:
            self.put(key, entry)

    def keys(self) -> Iterator[str]:
        """All keys in order."""
        yield from sorted(self._entries)

    def conceal(self, key: str) -> None:
        """Treat the value of ``key`` as a password from now on."""
        self._concealed.add(key)
        self._remember_secret(self.get(key))

    def is_secret(self, key: str) -> bool:
        """Whether ``key`` holds a password: it was concealed, or its name says so."""
        return key in self._concealed or _SECRET.search(key) is not None

    def conceal_text(self, text: str) -> None:
        """Treat ``text`` as a password wherever it appears."""
        self._remember_secret(text)

    def scrub(self, text: str) -> str:
        """``text`` with the passwords in it covered."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            if _ORDINARY.fullmatch(secret):
                text = re.sub(rf"(?<![\w.@/-]){secret}(?![\w.@/-])", HIDDEN, text)
            else:
                text = text.replace(secret, HIDDEN)
        return text

    def _remember_secret(self, value: Value) -> None:
        text = "" if value is None or isinstance(value, bool) else str(value)
        if len(text) >= _SHORTEST:
            self._secrets.add(text)
