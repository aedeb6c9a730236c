"""The certificates that clients are shown, each for the names it is for (SNI; RFC 6066, section 3).

Everything is read and checked at once, and what comes of it never changes: to
renew a certificate, make another :class:`FrontIdentity` and use its context
from then on.  Connections that have begun keep the one that they began with.

OpenSSL resumes a session before it looks at the name, with the ticket keys of
the context that the connection began with and whatever session id context the
others have.  Where there are several certificates, a client could therefore
resume under one name what it had begun under another, which a server must not
let it (RFC 6066, section 3).  So nothing is resumed then.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL

from gateway.net.tls import ServerIdentity, load_pair, server_context
from gateway.settings import (
    BadValueError,
    Problem,
    Settings,
    SettingsError,
    TlsSettings,
    dotted,
    parse_server_name,
    shown,
)

__all__ = ["FrontIdentity", "NameTable", "ShownCertificate", "certificate_names"]

_T = TypeVar("_T")


@attrs.frozen
class ShownCertificate:
    """One of the certificates that clients may be shown."""

    table: str
    """The table of the settings that names it: ``tls``, or ``certificates.NAME``."""
    names: tuple[str, ...]
    """What it is chosen by; with ``tls``, which is also shown where none is found, its own names."""
    not_after: datetime.datetime
    """UTC."""
    fingerprint: str
    """SHA-256 of the whole certificate, 64 lower-case hexadecimal digits."""


class NameTable(Generic[_T]):
    """What belongs to a server name: an exact one comes before ``*.``, which stands for one label."""

    def __init__(self) -> None:
        self._exact: dict[bytes, _T] = {}
        self._below: dict[bytes, _T] = {}

    def claim(self, name: str, value: _T) -> _T:
        """Enter a name, as :func:`gateway.settings.parse_server_name` spells it, unless it is there already.

        :returns: what the name belongs to now.
        """
        if name.startswith("*"):
            return self._below.setdefault(name[1:].encode("ascii"), value)
        return self._exact.setdefault(name.encode("ascii"), value)

    def find(self, name: bytes) -> _T | None:
        """What belongs to a name that a client sent, in any case, with or without a final dot."""
        if not name.isascii():
            return None
        name = name.lower().removesuffix(b".")
        found = self._exact.get(name)
        if found is None and (dot := name.find(b".")) > 0:
            found = self._below.get(name[dot:])
        return found


@attrs.frozen(eq=False)
class _Entry:
    """A certificate that is ready to be shown."""

    about: ShownCertificate
    context: SSL.Context


class FrontIdentity:
    """What the TLS listeners of the front show to clients.

    :ivar context: for new connections; it takes others by itself where the client's name asks for that.
    :ivar certificates: what may be shown, the default first.
    """

    def __init__(self, settings: Settings, *, now: datetime.datetime | None = None) -> None:
        """
        :param now: the time to check validity at; defaults to the present.
        :raises SettingsError: with everything that is wrong with ``tls`` and all ``certificates``: what
            :func:`gateway.net.load_identity` finds, names that cannot be read, and names claimed twice.
        """
        problems: list[Problem] = []
        self._names: NameTable[_Entry] = NameTable()
        default = _attempt(lambda: _default(settings.tls, now), problems)
        entries = [
            entry
            for name in settings.certificates
            if (entry := _attempt(lambda name=name: self._add(settings, name, now), problems))  # type: ignore[misc]
        ]
        if problems or default is None:
            raise SettingsError(dict.fromkeys(problems))
        for name in default.about.names:
            # What nobody else claims: an exact name of its own comes before the asterisk of another.
            self._names.claim(name, default)
        self.context = default.context
        self.certificates = tuple(entry.about for entry in (default, *entries))
        self._default = default
        if entries:
            self._choose_by_name(entries)

    @property
    def not_after(self) -> datetime.datetime:
        """When the first of the certificates expires, UTC."""
        return self.soonest.not_after

    @property
    def soonest(self) -> ShownCertificate:
        """The certificate that expires first."""
        return min(self.certificates, key=lambda certificate: certificate.not_after)

    def shown_for(self, name: str | None) -> ShownCertificate:
        """The certificate that a client sees.

        :param name: what it asks for by SNI; ``None`` where it asks for nothing.
        """
        found = None if name is None else self._names.find(name.encode("utf-8", "replace"))
        return (found or self._default).about

    def _add(self, settings: Settings, name: str, now: datetime.datetime | None) -> _Entry:
        """Read one table of ``certificates``, and enter its names."""
        table = settings.certificates[name]
        place = dotted(("certificates", name))
        tls = attrs.evolve(settings.tls, certificate=table.certificate, key=table.key)
        identity = load_pair(tls.certificate, tls.key, place, now=now)
        assert tls.certificate is not None
        names = _names_to_claim(place, tls.certificate, table.names, identity.chain[0])
        entry = _ready(place, tls, identity, names)
        problems = []
        for each in entry.about.names:
            other = self._names.claim(each, entry)
            if other is not entry:
                text = f"{shown(each)} is claimed by {other.about.table} as well"
                remedy = "list under names, in each of the two, what it is to be shown for"
                problems.append(Problem(tls.certificate, f"{place}.names", text, remedy))
        if problems:
            raise SettingsError(problems)
        return entry

    def _choose_by_name(self, entries: Iterable[_Entry]) -> None:
        default, find = self.context, self._names.find

        def choose(connection: SSL.Connection) -> None:
            name = connection.get_servername()
            if name is not None and (found := find(name)) is not None and found.context is not default:
                connection.set_context(found.context)

        default.set_options(SSL.OP_NO_TICKET)
        default.set_tlsext_servername_callback(choose)
        for entry in entries:
            # A second ClientHello (RFC 8446, section 4.1.4) comes to the callback again, when the connection
            # holds on to this context alone: the callback must live as long.
            entry.context.set_app_data(default)


def certificate_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names of a certificate by which it can be chosen, as ``parse_server_name`` spells them.

    Others are left out: addresses, which SNI has none of, and patterns that no client honours.

    :raises ValueError: when the extension with the names is damaged.
    """
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    except Exception:
        raise ValueError("the subjectAltName is damaged") from None
    return tuple(dict.fromkeys(_spelt(extension.value.get_values_for_type(x509.DNSName))))


def _spelt(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        try:
            yield parse_server_name(name)
        except BadValueError:
            continue


def _attempt(make: Callable[[], _T], problems: list[Problem]) -> _T | None:
    try:
        return make()
    except SettingsError as error:
        problems.extend(error.problems)
        return None


def _default(tls: TlsSettings, now: datetime.datetime | None) -> _Entry:
    identity = load_pair(tls.certificate, tls.key, "tls", now=now)
    try:
        names = certificate_names(identity.chain[0])
    except ValueError:
        names = ()
    return _ready("tls", tls, identity, names)


def _names_to_claim(
    place: str, file: Path, listed: tuple[str, ...], certificate: x509.Certificate
) -> tuple[str, ...]:
    """:raises SettingsError: there are none, or some cannot be read."""
    if not listed:
        remedy = "list the names that it is to be shown for"
        try:
            names = certificate_names(certificate)
            text = "" if names else "the certificate has no DNS name that it could be chosen by"
        except ValueError as error:
            names, text = (), str(error)
        if text:
            raise SettingsError([Problem(file, f"{place}.names", text, remedy)])
        return names
    chosen: dict[str, None] = {}
    problems = []
    for item in listed:
        try:
            chosen[parse_server_name(item)] = None
        except BadValueError as error:
            problems.append(Problem(file, f"{place}.names", error.text, error.remedy))
    if problems:
        raise SettingsError(problems)
    return tuple(chosen)


def _ready(place: str, tls: TlsSettings, identity: ServerIdentity, names: tuple[str, ...]) -> _Entry:
    fingerprint = identity.chain[0].fingerprint(hashes.SHA256()).hex()
    about = ShownCertificate(place, names, identity.not_after, fingerprint)
    return _Entry(about, server_context(tls, identity, f"{place}.certificate"))
