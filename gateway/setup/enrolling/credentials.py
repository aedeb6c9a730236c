"""What this host identifies itself with, and whom it trusts: what is there is used, the rest obtained.

A key is kept unless a new one is wanted.  A certificate is kept while it is
for that key and this host, chains to the CA, has a subject alternative name,
and is more than 60 days from its end; otherwise a new one is enrolled with
the same key.  What the engine gives out is kept when it is there.  Nothing is
written to the host here, but for a request where the user wants one.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable

import attrs

from gateway.pki import (
    PkiError,
    PrivateKey,
    chain_pem,
    dn_prefix,
    generate_key,
    key_pem,
    make_request,
    parse_chain,
)
from gateway.setup import places
from gateway.setup.asking.interview import Interview
from gateway.setup.enrolling.by_ca import OwnAuthority
from gateway.setup.enrolling.by_files import enrol_with_files
from gateway.setup.enrolling.by_inline import enrol_inline
from gateway.setup.enrolling.by_ssh import enrol_over_ssh
from gateway.setup.enrolling.engine_pki import EnginePki
from gateway.setup.enrolling.enrolment import Credentials, Judge, Style, Wanted, Wishes
from gateway.setup.enrolling.held import Held, examine
from gateway.setup.enrolling.style import choose_style
from gateway.setup.enrolling.suitable import check_engine_certificate
from gateway.setup.enrolling.tools import Tools
from gateway.setup.errors import AnswerError, SetupError
from gateway.setup.host.system import System

__all__ = ["Credentials", "Style", "Tools", "Wanted", "Wishes", "choose_style", "obtain"]


def obtain(
    interview: Interview,
    system: System,
    wanted: Wanted,
    *,
    now: Callable[[], datetime.datetime],
    tools: Tools | None = None,
    wishes: Wishes | None = None,
) -> Credentials:
    """Use what is there, and obtain what is missing.

    :param now: tells the time, with its time zone.
    :returns: everything; call its ``withdraw`` if setup comes to nothing afterwards.
    :raises SetupError: something cannot be had; the host is as it was.
    """
    tools, wishes = tools or Tools(), wishes or Wishes()
    began = now()
    style = choose_style(interview, system, wanted, now=began, wishes=wishes)
    held = examine(system, wanted.fqdn, began, wishes)
    if held.reason:
        interview.info(f"A certificate is needed: {held.reason}")
    else:
        interview.info(f"The certificate of {wanted.fqdn} is kept: it is right, and lasts")
    engine_held = _engine_held(interview, held, began)
    work = _Work(interview, system, wanted, now, tools, wishes, held, style, engine_held)
    # Where there is no engine, only a CA of our own can have what is missing.
    own = style is Style.OWN_CA or (style is None and not wanted.engine)
    return work.own() if own and not work.complete else work.engine()


@attrs.define
class _Work:
    """One run of :func:`obtain`."""

    interview: Interview
    system: System
    wanted: Wanted
    now: Callable[[], datetime.datetime]
    tools: Tools
    wishes: Wishes
    held: Held
    style: Style | None
    engine_held: bytes | None = attrs.field(repr=False)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        held, wishes = self.held, self.wishes
        there = not held.reason and held.ca is not None and self.engine_held is not None
        return there and not wishes.renew and wishes.engine_ca is None

    def engine(self) -> Credentials:
        """From the engine."""
        held, wishes = self.held, self.wishes
        key, key_data = self._key()
        trust = EnginePki(
            self.interview, self.wanted, self.tools, self.now(), given=wishes.engine_ca, held=held.ca
        )
        chain, engine = held.chain_pem, None if wishes.renew else self.engine_held
        ca = held.ca if wishes.engine_ca is None else trust.ca()
        withdraw: Callable[[], None] = _nothing
        if held.reason:
            if self.style is Style.AUTO_SSH:
                chain, engine, ca = self._over_ssh(key)
            else:
                chain, withdraw = self._by_hand(key, trust)
        assert chain is not None
        try:
            if ca is None:
                ca = trust.ca(parse_chain(chain))
                self._recheck(key, chain, ca)
            engine = engine or trust.engine_certificate()
        except BaseException:
            withdraw()
            raise
        return attrs.evolve(self._credentials(key_data, chain, engine, ca), withdraw=withdraw)

    def own(self) -> Credentials:
        """From a CA of our own."""
        key, key_data = self._key()
        authority = OwnAuthority.ask(self.interview, self.system, self.wanted.fqdn)
        with authority.opened() as book:
            chain, ca = self.held.chain_pem, self.held.ca or book.ca
            if self.held.reason or chain is None:
                chain, ca = book.sign(make_request(key), self.wanted.fqdn), book.ca
            engine = self.engine_held or book.ticket_certificate()
            judge = Judge(key, self.wanted.fqdn, self.now, lambda _: parse_chain(ca))
            try:
                chain = judge.accept(chain)
            except AnswerError as error:
                raise SetupError(str(error)) from None
            credentials = self._credentials(key_data, chain, engine, ca)
            return attrs.evolve(credentials, steps=book.plan(), summary=book.summary())

    def _recheck(self, key: PrivateKey, chain: bytes, ca: bytes) -> None:
        """Judge a certificate by a CA that was not here when it was examined."""
        try:
            Judge(key, self.wanted.fqdn, self.now, lambda _: parse_chain(ca)).accept(chain)
        except AnswerError as error:
            raise SetupError(f"{places.CERTIFICATE}: {error}; have it renewed (--renew)") from None

    def _key(self) -> tuple[PrivateKey, bytes]:
        if self.held.key is not None and self.held.key_pem is not None:
            return self.held.key, self.held.key_pem
        self.interview.info("Making a key")
        key = generate_key()
        return key, key_pem(key)

    def _over_ssh(self, key: PrivateKey) -> tuple[bytes, bytes, bytes]:
        signed = enrol_over_ssh(self.interview, self.wanted, make_request(key), self.tools)
        # What a verified channel brought is right, whatever was here before.
        try:
            authorities = parse_chain(signed.ca)
            judge = Judge(key, self.wanted.fqdn, self.now, lambda _: authorities)
            chain = judge.accept(signed.certificate)
            engine = parse_chain(signed.engine)[:1]
        except (PkiError, AnswerError) as error:
            raise SetupError(f"{self.wanted.engine}: {error}") from None
        check_engine_certificate(self.interview, engine[0], self.now())
        return chain, chain_pem(engine), chain_pem(authorities)

    def _by_hand(self, key: PrivateKey, trust: EnginePki) -> tuple[bytes, Callable[[], None]]:
        judge = Judge(key, self.wanted.fqdn, self.now, trust.authorities, trust.settle)
        request = make_request(key)
        trust.prepare(engine=self.wishes.renew or self.engine_held is None, renew=self.wishes.renew)
        known = self.wishes.engine_ca or self.held.ca
        prefix = dn_prefix(parse_chain(known)[0]) if known is not None else None
        if self.style is Style.MANUAL_INLINE:
            chain = enrol_inline(self.interview, self.wanted, request, judge, self.tools, prefix)
            return chain, _nothing
        return enrol_with_files(self.interview, self.wanted, request, judge, self.tools, prefix)

    def _credentials(self, key: bytes, chain: bytes, engine: bytes, ca: bytes) -> Credentials:
        held = self.held
        engine, ca = _unless_same(held.engine, engine), _unless_same(held.ca, ca)
        pairs = {
            "key": (held.key_pem, key),
            "certificate": (held.chain_pem, chain),
            "engine": (held.engine, engine),
            "ca": (held.ca, ca),
        }
        fresh = frozenset(name for name, (before, after) in pairs.items() if before != after)
        style = self.style if held.reason else None
        return Credentials(key, chain, engine, ca, fresh, style)


def _engine_held(interview: Interview, held: Held, now: datetime.datetime) -> bytes | None:
    """The engine's certificate that is here, if it is of any use."""
    if held.engine is None:
        return None
    try:
        check_engine_certificate(interview, parse_chain(held.engine)[0], now)
    except (PkiError, SetupError) as error:
        interview.warning(f"{places.ENGINE_CERTIFICATE} is of no use, and is replaced: {error}")
        return None
    return held.engine


def _unless_same(before: bytes | None, after: bytes) -> bytes:
    """What is there if it has the same certificates, with whatever text is around them."""
    try:
        if before is not None and parse_chain(before) == parse_chain(after):
            return before
    except PkiError:
        pass
    return after


def _nothing() -> None:
    """There is nothing to take back."""
