"""The choice of how a certificate is obtained."""

from __future__ import annotations

import datetime
from typing import Final

from gateway.setup.asking.interview import Interview, Question
from gateway.setup.enrolling.enrolment import Style, Wanted, Wishes
from gateway.setup.enrolling.held import examine
from gateway.setup.errors import SetupError
from gateway.setup.host.system import System

__all__ = ["STYLE_KEY", "choose_style"]

STYLE_KEY: Final = "OVESETUP_CONFIG/remoteEngineSetupStyle"
_STYLES: Final = dict(zip("1234", Style, strict=True))
_OLD_STYLES: Final = {"inline": Style.MANUAL_INLINE, "files": Style.MANUAL_FILES}
_OLD_QUESTION: Final = "OVESETUP_CSR_INLINE"
"""How 3.5 asked."""


def choose_style(
    interview: Interview,
    system: System,
    wanted: Wanted,
    *,
    now: datetime.datetime,
    wishes: Wishes | None = None,
) -> Style | None:
    """Find out how to enrol; without an engine, it is at a CA of our own unless somebody says otherwise.

    :returns: ``None`` if nothing has to be enrolled, and nobody has said how it was.
    :raises SetupError: an answer that was given in advance is none of the styles, or needs an engine, or the
        key is unusable.
    """
    preset = interview.environment.get(STYLE_KEY)
    if preset is not None:
        try:
            style = Style(str(preset))
        except ValueError:
            names = ", ".join(style.value for style in Style)
            raise SetupError(f"{STYLE_KEY} is none of {names}") from None
        if style is Style.AUTO_SSH and not wanted.engine:
            raise SetupError(f"{STYLE_KEY} is {style.value}, but there is no engine to log in to")
        return style
    if not examine(system, wanted.fqdn, now, wishes or Wishes()).reason:
        return None
    chosen = _answered_of_old(interview)
    if chosen is None:
        chosen = _ask_style(interview) if wanted.engine else Style.OWN_CA
    interview.environment.set(STYLE_KEY, chosen.value)
    return chosen


def _answered_of_old(interview: Interview) -> Style | None:
    """The style, if an answer file of 3.5 has it."""
    answer = interview.environment.get(f"QUESTION/1/{_OLD_QUESTION}")
    if answer is None or interview.environment.get("QUESTION/1/REMOTE_ENGINE_SETUP_STYLE") is not None:
        return None
    style = _OLD_STYLES.get(str(answer).strip().lower())
    if style is None:
        raise SetupError(f"QUESTION/1/{_OLD_QUESTION} is neither Inline nor Files")
    return style


def _ask_style(interview: Interview) -> Style:
    interview.note(
        "The certificate of this gateway can be obtained in these ways:\n"
        "  1 - over ssh: this host logs in to the engine's host and has it signed there\n"
        "  2 - with files: the request is left in a file, and you bring the certificate in another\n"
        "  3 - here: the request is printed, and you paste the certificate\n"
        "  4 - at a CA of its own, for a gateway without an engine"
    )
    question = Question(
        "REMOTE_ENGINE_SETUP_STYLE", "How is it to be obtained", default="1", choices=tuple(_STYLES)
    )
    return _STYLES[interview.ask(question)]
