"""Bearer tokens of the control API (RFC 6750), and the file that lists who holds one.

A token is 256 random bits, so its SHA-256 can be stored as it is: there is
nothing to guess that a slow hash or a salt would make slower.  The file has one
line for each token, ``NAME ROLE SHA256``, empty lines, and lines that begin
with ``#``.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs

from gateway.settings import Problem, Role, SettingsError

__all__ = ["NAME", "Token", "find_token", "load_tokens", "new_token", "token_line"]

NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
"""What a holder of a token may be called."""

_SETTING: Final = "control.tokens"
_TOKEN: Final = re.compile(r"cgt_[A-Za-z0-9_-]{43}")
_LINE: Final = re.compile(r"(\S+)[ \t]+(\S+)[ \t]+([0-9a-f]{64})")
_MAX_SIZE: Final = 1 << 20
_MAX_TOKENS: Final = 1000  # each is compared with what is presented
_FORM: Final = "write it as 'console-gateway token' prints it: name, role and SHA-256"


@attrs.frozen
class Token:
    """A line of the file: somebody who holds a token."""

    name: str
    role: Role
    digest: bytes
    """SHA-256 of the token."""


def new_token() -> str:
    """A fresh token."""
    return "cgt_" + secrets.token_urlsafe(32)


def token_line(name: str, role: Role, token: str) -> str:
    """The line of the file for a token."""
    return f"{name} {role.value} {_digest(token).hex()}"


def find_token(tokens: Iterable[Token], presented: str) -> Token | None:
    """Whose token was presented, in a time that tells nothing of those that there are."""
    if not _TOKEN.fullmatch(presented):
        return None
    digest = _digest(presented)
    found = None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            found = token
    return found


def load_tokens(path: Path) -> tuple[Token, ...]:
    """Read the file of tokens.

    :raises SettingsError: with every problem found: the file is missing, not readable, writable by others
        or too large, or a line is not one of ours.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            mode = os.fstat(descriptor).st_mode
            data = stream.read(_MAX_SIZE + 1) if stat.S_ISREG(mode) else None
    except FileNotFoundError:
        raise _error(path, "the file does not exist", "create it or correct the path") from None
    except OSError as error:
        text = f"cannot be read ({error.strerror})"
        raise _error(path, text, "let the service's user read it") from None
    if data is None:
        raise _error(path, "is not a regular file", "name a file of tokens")
    if mode & 0o002:
        text = f"every user can write to it (mode {stat.S_IMODE(mode):04o})"
        raise _error(path, text, f"chmod o-w {path}")
    if len(data) > _MAX_SIZE:
        raise _error(path, "is larger than 1 MiB", "remove tokens that nobody uses")
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise _error(path, "is not UTF-8", _FORM) from None
    tokens: list[Token] = []
    problems = list(_read(path, lines, tokens))
    if problems:
        raise SettingsError(problems)
    return tuple(tokens)


def _read(path: Path, lines: list[str], tokens: list[Token]) -> Iterator[Problem]:
    names: set[str] = set()
    digests: set[bytes] = set()
    roles = {role.value: role for role in Role}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        where = f"{_SETTING}: line {number}"
        match = _LINE.fullmatch(line)
        # The line itself is not quoted: somebody may have put a token there.
        if match is None or not NAME.fullmatch(match[1]):
            yield Problem(path, where, "is no line of a token", _FORM)
            continue
        if match[2] not in roles:
            yield Problem(path, where, "has no known role", "use 'read' or 'operate'")
            continue
        token = Token(match[1], roles[match[2]], bytes.fromhex(match[3]))
        if token.name in names:
            yield Problem(path, where, "has a name that an earlier line has", "give each token its own")
        elif token.digest in digests:
            yield Problem(path, where, "has the SHA-256 of an earlier line", "make a token for each name")
        elif len(tokens) >= _MAX_TOKENS:
            yield Problem(path, where, f"there are more than {_MAX_TOKENS} tokens", "remove some")
            return
        else:
            tokens.append(token)
        names.add(token.name)
        digests.add(token.digest)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("ascii")).digest()


def _error(path: Path, text: str, remedy: str) -> SettingsError:
    return SettingsError([Problem(path, _SETTING, text, remedy)])
