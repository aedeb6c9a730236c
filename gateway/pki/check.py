"""Whether a certificate that arrived is the one that was asked for, and good for a TLS server.

The path to an authority is OpenSSL's work (RFC 5280, section 6), so that no client will see it otherwise;
names are compared as RFC 9525 wants: alternative names alone count.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterable, Sequence
from typing import Final

from cryptography import x509
from cryptography.x509 import Certificate
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL.crypto import X509, X509Store, X509StoreContext, X509StoreContextError, X509StoreFlags
from OpenSSL.crypto import Error as OpenSSLError
from OpenSSL.SSL import X509VerificationCodes
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from gateway.pki.altnames import alt_names_text, is_address, names_of
from gateway.pki.chains import signature_hash
from gateway.pki.errors import CertificateFault, CertificateRejected, printable
from gateway.pki.keys import PublicKey, same_key, strong_key
from gateway.pki.subjects import subject_text

__all__ = ["check_certificate"]

_BROKEN_HASHES: Final = ("MD5", "SHA1")
_SERVERS: Final = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


def check_certificate(
    chain: Sequence[Certificate],
    *,
    public_key: PublicKey,
    authorities: Iterable[Certificate],
    name: str,
    now: datetime.datetime,
) -> tuple[Certificate, ...]:
    """Examine a certificate and put its chain in order.

    :param chain: what arrived, the server's certificate first; the others may come in any order.
    :param public_key: key that the certificate must be for.
    :param authorities: CAs that are trusted.
    :param name: DNS name (ASCII) or IP address that it must carry.
    :param now: with its time zone.
    :returns: the server's certificate and each one's issuer after it, without a self-signed root.
    :raises CertificateRejected: it will not do; the message says which check failed and what was found.
    """
    leaf = chain[0]
    if not same_key(leaf.public_key(), public_key):
        raise _rejected(
            CertificateFault.KEY_MISMATCH,
            leaf,
            "is for another key; use the one that was made for this request",
        )
    path = _path(leaf, chain[1:], [each for each in authorities if _may_sign(each)], now)
    _check_strength(path)
    _check_name(leaf, name)
    _check_purpose(leaf)
    _check_issuers(path[1:])
    root = path[-1]
    return path[:-1] if len(path) > 1 and root.subject == root.issuer else path


def _path(
    leaf: Certificate,
    others: Sequence[Certificate],
    authorities: Sequence[Certificate],
    now: datetime.datetime,
) -> tuple[Certificate, ...]:
    try:
        store = X509Store()
        for authority in authorities:
            store.add_cert(X509.from_cryptography(authority))
        # What an operator trusts is where the path may end, also when that is not a root.
        store.set_flags(X509StoreFlags.PARTIAL_CHAIN)
        store.set_time(now.astimezone(datetime.UTC))
        untrusted = [X509.from_cryptography(each) for each in others]
        context = X509StoreContext(store, X509.from_cryptography(leaf), untrusted)
        return tuple(each.to_cryptography() for each in context.get_verified_chain())
    except X509StoreContextError as error:
        code, culprit, problem = error.errors[0], error.certificate.to_cryptography(), str(error.errors[2])
    except OpenSSLError:
        code, culprit, problem = 0, leaf, "one of the certificates is damaged"
    _forget_errors()
    if code == X509VerificationCodes.ERR_CERT_NOT_YET_VALID:
        raise _rejected(
            CertificateFault.NOT_YET_VALID, culprit, f"{_dates(culprit)}; compare the clocks of both hosts"
        )
    if code == X509VerificationCodes.ERR_CERT_HAS_EXPIRED:
        raise _rejected(CertificateFault.EXPIRED, culprit, f"{_dates(culprit)}; have a new one signed")
    known = "; ".join(f"'{printable(subject_text(each.subject))}'" for each in authorities) or "none"
    raise _rejected(
        CertificateFault.UNKNOWN_AUTHORITY,
        leaf,
        f"is from '{printable(subject_text(leaf.issuer))}' and does not lead to the trusted CA ({known}): "
        f"{printable(problem)}; have it signed by that CA, or give the right ca.pem",
    )


def _forget_errors() -> None:
    """Empty OpenSSL's queue of errors, where it keeps why a signature was wrong.

    What is left there is taken for an error of the next TLS connection of this thread.  Whatever fails next
    empties it, and nothing is surer to fail than this.
    """
    with contextlib.suppress(OpenSSLError):
        X509Store().load_locations("/dev/null/none")


def _check_strength(path: Sequence[Certificate]) -> None:
    for place, certificate in enumerate(path):
        if weakness := strong_key(certificate.public_key()):
            raise _rejected(CertificateFault.WEAK, certificate, f"has a key that is {weakness}; replace it")
        # A root is trusted for being there: its own signature protects nothing.
        last = place == len(path) - 1 and place > 0
        digest = signature_hash(certificate)
        if not last and digest in _BROKEN_HASHES:
            raise _rejected(
                CertificateFault.WEAK, certificate, f"is signed with {digest}; have it signed with SHA-256"
            )


def _check_name(leaf: Certificate, name: str) -> None:
    try:
        if is_address(name):
            verify_certificate_ip_address(leaf, name)
        else:
            verify_certificate_hostname(leaf, name)
    except (VerificationError, CertificateError, ValueError):
        found = ", ".join(alt_names_text(names_of(leaf.extensions))) or "none"
        raise _rejected(
            CertificateFault.WRONG_NAME,
            leaf,
            f"is not for {printable(name)}: its alternative names are {printable(found)}; "
            f"have it signed again with that name (--san)",
        ) from None


def _check_purpose(leaf: Certificate) -> None:
    remedy = "have it signed as one for a TLS server"
    if _may_sign(leaf, only_if_said=True):
        raise _rejected(CertificateFault.NOT_FOR_SERVERS, leaf, f"is that of a CA; {remedy}")
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
        # ECDHE, all that TLS 1.3 has and 1.2 should, signs with the key.
        if not usage.digital_signature:
            raise _rejected(
                CertificateFault.NOT_FOR_SERVERS, leaf, f"has a key usage without digitalSignature; {remedy}"
            )
    except x509.ExtensionNotFound:
        pass
    if not _may_serve(leaf):
        raise _rejected(
            CertificateFault.NOT_FOR_SERVERS, leaf, f"has an extended key usage without serverAuth; {remedy}"
        )


def _check_issuers(issuers: Sequence[Certificate]) -> None:
    """What an issuer may not be used for, neither may what it issued: so clients take it, roots aside."""
    for issuer in issuers:
        if issuer.subject != issuer.issuer and not _may_serve(issuer):
            raise _rejected(
                CertificateFault.NOT_FOR_SERVERS,
                issuer,
                "has an extended key usage without serverAuth; have another CA sign",
            )


def _may_serve(certificate: Certificate) -> bool:
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return not _SERVERS.isdisjoint(purposes)


def _may_sign(certificate: Certificate, *, only_if_said: bool = False) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        # Version 1 certificates cannot say it; a root among the authorities is one by being there.
        return not only_if_said and certificate.version is x509.Version.v1


def _dates(certificate: Certificate) -> str:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return f"is valid from {begin:%F %T} to {end:%F %T} UTC"


def _rejected(fault: CertificateFault, certificate: Certificate, problem: str) -> CertificateRejected:
    subject = printable(subject_text(certificate.subject)) or "(empty)"
    return CertificateRejected(fault, f"the certificate of '{subject}' {problem}")
