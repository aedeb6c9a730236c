"""What is known of targets before they are met: rules, whom to believe, and passwords."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from OpenSSL import SSL

from gateway.rfb import Credentials
from gateway.settings import Problem, Settings, SettingsError
from gateway.targets.rules import SecurityRule, SecurityRules
from gateway.targets.secrets import Secrets, load_secrets
from gateway.targets.trust import TargetTls, anonymous_context
from gateway.tickets import Target

__all__ = ["Trusts"]

_T = TypeVar("_T")


class Trusts:
    """The security rules with everything that they name, read from files once."""

    def __init__(self, settings: Settings, *, now: datetime.datetime | None = None) -> None:
        """
        :param now: the time at which client certificates have to be valid; defaults to the present.
        :raises SettingsError: with every problem found in the files.
        :raises ValueError: when *settings* were not checked, and have mistakes.
        """
        self._rules = SecurityRules(settings)
        self._tls: dict[SecurityRule, TargetTls] = {}
        self._secrets: dict[Path, Secrets] = {}
        self._anonymous: SSL.Context | None = None
        problems: list[Problem] = []
        # Rules that differ in other things share what they have in common, and so do their problems.
        made: dict[object, TargetTls | None] = {}
        read: set[Path] = set()
        for rule in self._rules:
            common = (rule.verify, rule.ca, rule.fingerprints, rule.certificate, rule.key)
            if common not in made:
                made[common] = _attempt(problems, partial(TargetTls, rule, now=now))
            tls = made[common]
            if tls is not None:
                self._tls[rule] = tls
            if rule.secrets is not None and rule.secrets not in read:
                read.add(rule.secrets)
                secrets = _attempt(problems, partial(load_secrets, rule.secrets))
                if secrets is not None:
                    self._secrets[rule.secrets] = secrets
            if rule.anonymous and self._anonymous is None:
                self._anonymous = _attempt(problems, anonymous_context)
        if problems:
            raise SettingsError(list(dict.fromkeys(problems)))

    def rule(self, target: Target) -> SecurityRule:
        """The rule for a target."""
        return self._rules.for_target(target.host, target.port)

    def tls(self, rule: SecurityRule) -> TargetTls:
        """How the targets of a rule are verified."""
        return self._tls[rule]

    def anonymous(self) -> SSL.Context:
        """The context for targets without a certificate; only for rules that allow them."""
        assert self._anonymous is not None, "no rule allows this"
        return self._anonymous

    def credentials(self, rule: SecurityRule, target: Target) -> Credentials | None:
        """What the secrets file of a rule has for a target."""
        if rule.secrets is None:
            return None
        return self._secrets[rule.secrets].find(target.host, target.port)


def _attempt(problems: list[Problem], read: Callable[[], _T]) -> _T | None:
    try:
        return read()
    except SettingsError as error:
        problems.extend(error.problems)
        return None
