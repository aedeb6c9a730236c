"""Having a user confirm what arrived by a way that nobody vouches for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import attrs

from gateway.setup.asking.interview import Interview, Question
from gateway.setup.errors import AnswerError, SetupError

__all__ = ["Shown", "confirm", "same_certificate_fingerprint"]

_YES: Final = frozenset({"yes", "y"})
_NO: Final = frozenset({"no", "n"})

_T = TypeVar("_T")


@attrs.frozen
class Shown:
    """What is to be confirmed."""

    name: str
    """Of the question."""
    what: str
    """In a few words: "the host key of engine.example.com"."""
    compare: str
    """How the user finds out the right fingerprint: a command and where to run it."""
    fingerprints: tuple[str, ...]
    """SHA-256; the first one is the one that "yes" confirms."""
    key: str | None = None


def confirm(interview: Interview, shown: Shown, match: Callable[[str], _T | None], best: _T) -> _T:
    """Show fingerprints and have one confirmed: by "yes", or by the fingerprint itself.

    :param match: finds what a fingerprint belongs to.
    :param best: what "yes" confirms.
    :returns: what was confirmed.
    :raises SetupError: it was not.
    """
    found: list[_T] = []

    def check(answer: str) -> str:
        word = answer.strip().lower()
        if word in _NO:
            raise SetupError(f"{shown.what} was not confirmed, so it is not used")
        if word in _YES:
            if interview.unattended or interview.in_advance:
                raise AnswerError("nobody is there to look at it; give the fingerprint itself")
            found.append(best)
            return shown.fingerprints[0]
        matching = match(answer)
        if matching is None:
            raise AnswerError(
                f"{shown.what} has the SHA-256 fingerprint {_listed(shown.fingerprints)}, not that one; "
                "somebody may have tampered with it"
            )
        found.append(matching)
        return answer.strip()

    interview.note(
        f"Nothing vouches for {shown.what} yet. Its SHA-256 fingerprint is\n  {shown.fingerprints[0]}\n"
        f"Compare it with the right one; {shown.compare}"
    )
    prompt = f"Is this the right fingerprint of {shown.what} (Yes, No, or the right fingerprint)"
    interview.ask(Question(shown.name, prompt, check=check, key=shown.key))
    return found[-1]


def same_certificate_fingerprint(answer: str, actual: str) -> bool:
    """Whether an answer is this fingerprint, in whatever way hexadecimal digits are written."""
    wanted = answer.strip().lower().removeprefix("sha256:").replace("sha256 fingerprint=", "")
    return wanted.replace(":", "").replace(" ", "") == actual.replace(":", "").lower()


def _listed(fingerprints: Sequence[str]) -> str:
    return " or ".join(fingerprints)
