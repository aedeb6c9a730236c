"""A certificate authority in a directory, with the layout of oVirt's engine and the files of ``openssl ca``.

``ca.pem`` and ``private/ca.pem`` are the CA, ``serial.txt`` and ``database.txt`` its memory.  What
``requests/NAME.req`` asks for goes to ``certs/NAME.cer``, and once more to ``certs/SERIAL.pem``; both hold
the PEM block alone.  A certificate that is replaced is kept as ``certs/NAME.cer.YYYYMMDDhhmmss`` (UTC).
"""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, Unpack

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509 import Certificate

from gateway.pki.armour import MAX_PEM
from gateway.pki.chains import chain_pem, days_left, parse_chain
from gateway.pki.database import Status
from gateway.pki.errors import PkiError, printable
from gateway.pki.files import about, read_file
from gateway.pki.foundation import found, refuse_occupied
from gateway.pki.keys import (
    KeyKind,
    PrivateKey,
    PublicKey,
    generate_key,
    key_pem,
    load_key,
    same_key,
    strong_key,
)
from gateway.pki.lock import exclusive
from gateway.pki.profile import Profile, Terms, issued, planned, renewed, self_signed
from gateway.pki.register import Register
from gateway.pki.requests import load_request
from gateway.pki.subjects import parse_subject

__all__ = ["DEFAULT_CA_DAYS", "DEFAULT_DAYS", "MAX_CA_DAYS", "MAX_DAYS", "Authority"]

DEFAULT_DAYS: Final = 397
"""Days from now; with the day before, this makes the 398 that browsers take from public CAs."""
MAX_DAYS: Final = 1827
DEFAULT_CA_DAYS: Final = 3650
MAX_CA_DAYS: Final = 7300

_BEFORE: Final = datetime.timedelta(days=1)
"""Certificates begin in the past: clocks differ."""
_CA_FILES: Final = ("ca", "qemu-ca")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:+-]{0,199}\Z")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@attrs.frozen
class Authority:
    """A CA that can sign.  Get one by :meth:`create` or :meth:`open`."""

    directory: Path
    certificate: Certificate
    _key: PrivateKey = attrs.field(repr=False)
    _ca_file: str = "ca"
    _clock: Callable[[], datetime.datetime] = attrs.field(default=_now, repr=False)

    @classmethod
    def create(
        cls,
        directory: Path,
        *,
        subject: str,
        kind: KeyKind = KeyKind.RSA,
        bits: int = 3072,
        days: int = DEFAULT_CA_DAYS,
        password: bytes | None = None,
        clock: Callable[[], datetime.datetime] = _now,
    ) -> Authority:
        """Make a CA in a directory, which may exist, but not with a CA in it.

        :param subject: its name, such as ``/C=US/O=Example/CN=Example console CA``.
        :param bits: size of an RSA key.
        :param days: life from now, up to 7300 days.
        :param password: encrypts the key.
        :raises PkiError: there is a CA already, an option is out of range, or a file cannot be written;
            nothing is left behind.
        """
        if not 1 <= days <= MAX_CA_DAYS:
            raise PkiError(f"a CA lives 1 to {MAX_CA_DAYS} days, not {days}; choose another --days")
        name = parse_subject(subject)
        refuse_occupied(directory)
        key = generate_key(kind, bits)
        now = clock().replace(microsecond=0)
        certificate = self_signed(name, key, begin=now - _BEFORE, end=now + datetime.timedelta(days=days))
        found(directory, chain_pem([certificate]), key_pem(key, password))
        return cls(directory, certificate, key, "ca", clock)

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        ca_file: str = "ca",
        password: bytes | None = None,
        clock: Callable[[], datetime.datetime] = _now,
    ) -> Authority:
        """Open the CA of a directory.

        :param ca_file: ``ca``, or ``qemu-ca`` for the other one that oVirt's engine has.
        :param password: of its key.
        :raises PasswordNeeded: the key is encrypted, and the password missing or wrong.
        :raises PkiError: a file is missing, damaged, or not the CA's.
        """
        if ca_file not in _CA_FILES:
            raise PkiError(f"'{printable(ca_file, 60)}' is no CA of such a directory; use ca or qemu-ca")
        path, key_path = directory / f"{ca_file}.pem", directory / "private" / f"{ca_file}.pem"
        chain = _chain(path)
        data = read_file(key_path, MAX_PEM)
        with about(key_path):
            key = load_key(data, password)
        for certificate in chain:
            if same_key(certificate.public_key(), key.public_key()):
                break
        else:
            raise PkiError(f"{key_path}: not the key of {path}; restore the pair")
        if not _is_ca(certificate):
            raise PkiError(f"{path}: not the certificate of a CA; make one with 'pki init-ca'")
        return cls(directory, certificate, key, ca_file, clock)

    def enrol(
        self,
        name: str,
        *,
        days: int | None = None,
        timeout: float = 20,
        cert_dir: str = "certs",
        req_dir: str = "requests",
        **terms: Unpack[Terms],
    ) -> Path:
        """Sign ``requests/NAME.req`` to ``certs/NAME.cer``.

        :param days: life from now, 397 unless said; never beyond the CA's own end.
        :param timeout: seconds to wait while another run signs.
        :param cert_dir: another directory for the certificate, relative to the CA's.
        :param req_dir: another directory for the request.
        :param terms: what the certificate says, see :class:`gateway.pki.profile.Terms`.
        :returns: path of the certificate.
        :raises PkiError: it was not signed, and every file is as it was.
        """
        _checked_name(name)
        path = self._inside(req_dir) / f"{name}.req"
        data = read_file(path, MAX_PEM)
        with about(path):
            request = load_request(data)
        profile = planned(request, **terms)
        out = self._inside(cert_dir) / f"{name}.cer"
        with self._locked(timeout):
            self._issue(profile, days, out, backup=True)
        return out

    def sign(
        self,
        request: bytes,
        *,
        days: int | None = None,
        timeout: float = 20,
        out: Path | None = None,
        **terms: Unpack[Terms],
    ) -> bytes:
        """Sign a request, PEM, that is somewhere else; otherwise like :meth:`enrol`.

        :param out: where to write the certificate to as well, in the same step.
        :returns: the certificate, PEM.
        """
        profile = planned(load_request(request), **terms)
        with self._locked(timeout):
            return chain_pem([self._issue(profile, days, out, backup=False)])

    def renew(
        self,
        name: str,
        *,
        within: float = 60,
        days: int | None = None,
        san: str | Sequence[str] | None = None,
        timeout: float = 20,
        cert_dir: str = "certs",
    ) -> Path | None:
        """Sign ``certs/NAME.cer`` again, with new dates, if it ends soon: same key, subject and names.

        :param within: days that may be left.
        :param san: names to add.
        :returns: its path, or None if more days are left.
        :raises PkiError: it is not of this CA, revoked, or could not be signed; every file is as it was.
        """
        _checked_name(name)
        path = self._inside(cert_dir) / f"{name}.cer"
        with self._locked(timeout):
            old = _chain(path)[0]
            self._check_own(old, path)
            left = days_left(old, self._clock())
            if left > within:
                return None
            if days_left(self.certificate, self._clock()) <= max(left, 0):
                raise PkiError(f"{path}: ends with its CA; renew the CA first")
            key = old.public_key()
            if weakness := strong_key(key):
                raise PkiError(f"{path}: its key is {weakness}; make another key and request")
            assert isinstance(key, PublicKey)
            self._issue(renewed(old, key, san), days, path, backup=True)
        return path

    def _issue(self, profile: Profile, days: int | None, out: Path | None, *, backup: bool) -> Certificate:
        begin, end = self._validity(days)

        def make(serial: int) -> Certificate:
            return issued(profile, ca=self.certificate, ca_key=self._key, serial=serial, begin=begin, end=end)

        return Register(self.directory).enter(make, out, self._clock() if backup else None)

    def _validity(self, days: int | None) -> tuple[datetime.datetime, datetime.datetime]:
        days = DEFAULT_DAYS if days is None else days
        if not 1 <= days <= MAX_DAYS:
            raise PkiError(f"a certificate lives 1 to {MAX_DAYS} days, not {days}; choose another --days")
        now = self._clock().replace(microsecond=0)
        first, last = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        if not first <= now < last:
            raise PkiError(
                f"{self.directory / self._ca_file}.pem: valid from {first:%F} to {last:%F} only; "
                "compare the clock, or make a new CA"
            )
        # Both ends count (RFC 5280, 4.1.2.5).
        end = now + datetime.timedelta(days=days, seconds=-1)
        return max(now - _BEFORE, first), min(end, last)

    def _check_own(self, certificate: Certificate, path: Path) -> None:
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            raise PkiError(f"{path}: not signed by this CA; sign a request instead") from None
        for entry in Register(self.directory).entries():
            if entry.serial == certificate.serial_number and entry.status is Status.REVOKED:
                raise PkiError(f"{path}: revoked; make another key and request")

    @contextlib.contextmanager
    def _locked(self, timeout: float) -> Iterator[None]:
        """Hold the lock of this CA, and that of the main one: both write the same database."""
        with contextlib.ExitStack() as stack:
            main = self.directory / "ca.pem"
            if self._ca_file != "ca" and main.exists():
                stack.enter_context(exclusive(main, timeout))
            stack.enter_context(exclusive(self.directory / f"{self._ca_file}.pem", timeout))
            yield

    def _inside(self, directory: str) -> Path:
        path = PurePosixPath(directory)
        if path.is_absolute() or ".." in path.parts or not directory.isprintable():
            raise PkiError(
                f"'{printable(directory, 80)}' leads elsewhere; use a directory inside {self.directory}"
            )
        return self.directory / path


def _chain(path: Path) -> tuple[Certificate, ...]:
    data = read_file(path, MAX_PEM)
    with about(path):
        return parse_chain(data)


def _checked_name(name: str) -> None:
    if not _NAME.match(name):
        raise PkiError(
            f"'{printable(name, 80)}' is not a name for files; "
            "use up to 200 letters, digits and . _ - @ : +, with a letter or digit first"
        )


def _is_ca(certificate: Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
