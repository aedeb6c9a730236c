"""What the types cannot say of ``[certificates.NAME]``: each alone, and all together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gateway.settings.certificates import parse_server_name
from gateway.settings.model import Settings
from gateway.settings.problems import BadValueError
from gateway.settings.text import dotted

__all__ = ["check_certificates"]

_MAX_CERTIFICATES: Final = 200
"""Reading them takes about a millisecond each, in which nothing else is done."""
_MAX_ENGINES: Final = 8
_NAME: Final = re.compile(r"[a-z0-9-]{1,64}")

_Found = Iterator[tuple[str, str, str]]


def check_certificates(settings: Settings) -> _Found:
    """Every problem with the names of certificates, and with the number of the engine's.

    Two that claim the same name are found when the files are read, since names may come from there.
    """
    if len(settings.certificates) > _MAX_CERTIFICATES:
        yield "certificates", f"more than {_MAX_CERTIFICATES} certificates", "remove some"
        return
    for name, table in settings.certificates.items():
        place = dotted(("certificates", name))
        if not _NAME.fullmatch(name):
            remedy = "use 1 to 64 lower-case letters, digits and hyphens; server names go under names"
            yield place, "is no name of a table", remedy
        if table.certificate is None:
            yield f"{place}.certificate", "is not set", "name the PEM file of the certificate"
        for item in table.names:
            try:
                parse_server_name(item)
            except BadValueError as error:
                yield f"{place}.names", error.text, error.remedy
    if len(settings.tickets.also) > _MAX_ENGINES:
        # Each is tried for a ticket that nobody signed.
        yield "tickets.also", f"more than {_MAX_ENGINES} certificates", "remove those that sign no longer"
