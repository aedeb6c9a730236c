"""What a console server must offer, what the gateway can answer, and the choice between offers.

The order of preference is the same everywhere: TLS with certificates before
anonymous TLS, and inside either the method that proves most first: SASL (both
ends prove that they know the password), Plain, VNC authentication, None.
Where TLS is not required, the types without it come before VeNCrypt: the
certificate of a server that is not expected to have one would most likely not
stand verification, and whoever could tamper with an unprotected offer could
remove VeNCrypt from it anyhow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import attrs

from gateway.rfb.errors import InsecureTarget, NeedsCredentials, RfbError
from gateway.rfb.security import Method, SecurityType, VencryptSubtype, describe

__all__ = ["Credentials", "Requirement"]

_METHODS = (Method.SASL, Method.PLAIN, Method.VNC, Method.NONE)
_WITH_USER_NAME = (Method.SASL, Method.PLAIN)
_DIRECT = sorted(
    (kind for kind in SecurityType if kind.method is not None),
    key=lambda kind: _METHODS.index(kind.method or Method.NONE),
)
_SUBTYPES = sorted(
    VencryptSubtype, key=lambda subtype: (not subtype.verified, _METHODS.index(subtype.method))
)


@attrs.frozen
class Credentials:
    """What the gateway authenticates with."""

    username: str | None
    """For Plain and SASL; ``None`` where only a password is known."""
    password: str = attrs.field(repr=False)


@attrs.frozen
class Requirement:
    """The security one target gets."""

    tls: bool
    """Only VeNCrypt with certificates will do (or without, if ``anonymous``); nothing is downgraded."""
    anonymous: bool = False
    """Whether TLS without certificates may be used when the server offers none with them."""
    credentials: Credentials | None = None
    browser_answers: bool = False
    """The browser answers VNC authentication, and the credentials are used for nothing."""

    def choose_type(self, offered: Collection[int]) -> SecurityType:
        """The best of the security types a server offers.

        :raises InsecureTarget: TLS is required and VeNCrypt not offered.
        :raises NeedsCredentials: the only ones that could be used ask for credentials that are missing.
        :raises RfbError: none is supported.
        """
        if self.tls:
            if SecurityType.VENCRYPT in offered:
                return SecurityType.VENCRYPT
            raise InsecureTarget(
                f"server offers {describe(SecurityType, offered)}; TLS by VeNCrypt is required"
            )
        supported = [kind for kind in _DIRECT if kind in offered]
        for kind in supported:
            if kind.method is not None and self._can(kind.method):
                return kind
        if SecurityType.VENCRYPT in offered:
            return SecurityType.VENCRYPT
        if supported:
            raise self._missing(describe(SecurityType, supported))
        raise RfbError(f"server offers {describe(SecurityType, offered)}, of which nothing is supported")

    def choose_subtype(self, offered: Collection[int]) -> VencryptSubtype:
        """The best of the VeNCrypt subtypes a server offers.

        :raises InsecureTarget: none may be used: no certificates, or a password in the clear.
        :raises NeedsCredentials: those that may be used ask for credentials that are missing.
        """
        allowed = [subtype for subtype in _allowed(self.anonymous) if subtype in offered]
        for subtype in allowed:
            if self._can(subtype.method):
                return subtype
        if allowed:
            raise self._missing(describe(VencryptSubtype, allowed))
        security = "TLS" if self.anonymous else "TLS with certificates"
        raise InsecureTarget(
            f"server's VeNCrypt offers {describe(VencryptSubtype, offered)}; only {security} may be used"
        )

    def _can(self, method: Method) -> bool:
        """Whether the gateway has what the method asks for."""
        if method is Method.NONE:
            return True
        if self.browser_answers:
            return method is Method.VNC
        if self.credentials is None:
            return False
        return method not in _WITH_USER_NAME or bool(self.credentials.username)

    def _missing(self, asked: str) -> NeedsCredentials:
        if self.browser_answers:
            return NeedsCredentials(f"server asks for {asked}, which a browser cannot answer")
        what = "password" if self.credentials is None else "user name"
        return NeedsCredentials(f"server asks for {asked}, and there is no {what} to answer with")


def _allowed(anonymous: bool) -> Iterable[VencryptSubtype]:
    """The subtypes that may ever be chosen, best first: never a plain password that anybody may get."""
    for subtype in _SUBTYPES:
        if subtype.verified or (anonymous and subtype.anonymous and subtype.method is not Method.PLAIN):
            yield subtype
