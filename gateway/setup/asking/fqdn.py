"""Names of hosts, as setup accepts them."""

from __future__ import annotations

import enum
import ipaddress
import re
from typing import Final

import attrs

from gateway.pki import is_address
from gateway.setup.asking.interview import Interview, Question
from gateway.setup.asking.names import Names
from gateway.setup.errors import AnswerError, Cancelled

__all__ = ["NameCheck", "Need"]

_MAX_NAME: Final = 253
"""RFC 1035, section 2.3.4, in characters; certificates have no more either."""
_MAX_LABEL: Final = 63
_CHARACTERS: Final = re.compile(r"[A-Za-z0-9.-]+")
_DOTTED: Final = re.compile(r"[0-9.]+")
"""10.1.2 and the like are addresses for resolvers, too."""
_LOCAL: Final = frozenset({"localhost", "localhost4", "localhost6"})
_ANSWERS: Final = ("Yes", "No", "Abort")


class Need(enum.Enum):
    """What it means when a name cannot be resolved."""

    MUST = "must"
    """It will not do."""
    SHOULD = "should"
    """It is a warning: somebody else's resolver counts."""
    NOT = "not"
    """Nobody asks."""


@attrs.frozen
class NameCheck:
    """The checks that the name of one host goes through.

    :ivar key: where the name is kept; it is in the name of the question about local names.
    :ivar need: what it means when it cannot be resolved.
    :ivar lookup: whether a warning is due when the DNS does not know it.
    :ivar reverse: whether its addresses must lead back to it.
    :ivar abroad: whether addresses of the loopback interface will not do.
    """

    interview: Interview
    names: Names
    key: str
    need: Need = Need.MUST
    lookup: bool = False
    reverse: bool = False
    abroad: bool = False

    def __call__(self, name: str) -> str:
        """Check a name.

        :returns: the name as certificates have it: lower-case, without a final dot.
        :raises AnswerError: if it is no name that a certificate can be for, or fails a check.
        :raises Cancelled: if whoever is asked gives up.
        """
        name = name.strip().lower().removesuffix(".")
        _check_form(name)
        if "." not in name:
            self.interview.warning(f"{name} is not fully qualified: others may not find it by this name")
        if _is_local(name):
            self._confirm(name)
        if self.need is not Need.NOT:
            self._check_addresses(name)
        return name

    def _confirm(self, name: str) -> None:
        answer = self.interview.ask(
            Question(
                f"queryEnvKey_warnverify_{self.key}",
                f"Every host calls itself {name}; browsers elsewhere will not get here by it. Use it anyway?",
                default="No",
                choices=_ANSWERS,
            )
        )
        if answer == "Abort":
            raise Cancelled(f"{name} was not to be used")
        if answer == "No":
            raise AnswerError(f"{name} is not confirmed; give the name by which others know the host")

    def _check_addresses(self, name: str) -> None:
        addresses = self.names.resolve(name)
        if not addresses:
            problem = f"{name} cannot be resolved; add it to the DNS or to /etc/hosts"
            if self.need is Need.MUST:
                raise AnswerError(problem)
            self.interview.warning(problem)
        elif self.lookup and self.names.lookup(name) is False:
            self.interview.warning(f"The DNS does not know {name}: others may not find it by this name")
        if self.lookup and addresses and not any(map(self.names.is_own, addresses)):
            self.interview.warning(
                f"{name} leads to {addresses[0]}, which is no address of this host: is it the right name? "
                "(It may be, behind address translation)"
            )
        if self.abroad and any(ipaddress.ip_address(address).is_loopback for address in addresses):
            raise AnswerError(f"{name} leads to the loopback interface; others cannot get here by it")
        if self.reverse and name not in {
            found for address in addresses for found in self.names.reverse(address)
        }:
            raise AnswerError(f"no address of {name} leads back to this name; correct the reverse zone")


def _check_form(name: str) -> None:
    if not name:
        raise AnswerError("a name is needed")
    if len(name) > _MAX_NAME:
        raise AnswerError(f"longer than {_MAX_NAME} characters")
    if _DOTTED.fullmatch(name) or is_address(name):
        raise AnswerError(f"{name} is an address; give the host's fully qualified name")
    if _CHARACTERS.fullmatch(name) is None:
        remedy = "" if name.isascii() else "; write it in its ASCII form, with 'xn--'"
        raise AnswerError(f"only letters, digits, '-' and '.' may be in the name of a host{remedy}")
    for label in name.split("."):
        if not label or len(label) > _MAX_LABEL or label.startswith("-") or label.endswith("-"):
            raise AnswerError(
                f"a part of the name is empty, over {_MAX_LABEL} characters, or begins or ends with '-'"
            )


def _is_local(name: str) -> bool:
    return name in _LOCAL or name.endswith((".localhost", ".localdomain"))
