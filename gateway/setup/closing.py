"""The end of a setup: whether it works, and what is left to do elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from gateway.setup import places
from gateway.setup.asking.questions import Answers
from gateway.setup.enrolling.credentials import Credentials, Tools, Wanted
from gateway.setup.enrolling.engine_options import Login, Verdict, tell_option
from gateway.setup.host.firewall import explanation
from gateway.setup.host.service import has_systemd
from gateway.setup.probe import probe
from gateway.setup.session import Session

__all__ = ["Result", "close_up"]

_COMMAND_VALUE: Final = "CONSOLE_GATEWAY/engineCommand"
_WORKS_VALUE: Final = "CONSOLE_GATEWAY/works"
_ATTEMPTS: Final = 10
"""Looks at the port, a second apart, of a service that was started just now."""


@attrs.frozen
class Result:
    """What has been set up."""

    answers: Answers
    credentials: Credentials
    command: tuple[str, ...]
    """Starts the gateway's program."""
    login: Login | None = None
    """With whom the engine's option may be looked up."""


def close_up(session: Session, result: Result, tools: Tools) -> None:
    """Try the gateway, and tell what is left to do."""
    interview, answers = session.interview, result.answers
    interview.title("SUMMARY")
    if session.system.live:
        works = _try(session, result, tools)
        interview.value(_WORKS_VALUE, "yes" if works else "no")
    else:
        interview.note("The service will start with the host; nothing was started now.")
    # Where there is no firewall, that was told at once.
    by_hand = explanation(answers.firewall, answers.port) if answers.firewall is not None else []
    for text in (*_paragraphs(by_hand), *result.credentials.summary):
        interview.note(f"\n{text}")
    if answers.engine:
        _tell_engine(session, result, tools)
    interview.title("END OF SUMMARY")


def _try(session: Session, result: Result, tools: Tools) -> bool:
    """Whether the port serves, verified as a browser would."""
    interview, answers = session.interview, result.answers
    runs = has_systemd(session.system)
    checks = probe(
        answers.fqdn,
        answers.port,
        result.credentials.ca_pem or session.system.read(places.CA_CERTIFICATE),
        attempts=_ATTEMPTS if runs else 1,
        pause=tools.pause,
    )
    for check in checks:
        if check.passed:
            interview.info(check.text)
        else:
            interview.warning(check.text)
    works = all(check.passed for check in checks)
    if works:
        interview.info(f"The gateway works: wss://{answers.fqdn}:{answers.port}/")
    elif runs:
        interview.note(f"\nSee what the service says:\n\n    journalctl --unit {places.SERVICE}")
    else:
        start = " ".join([*result.command, "ovirt-websocket-proxy", "start"])
        interview.note(
            f"\nsystemd does not run here. To start the gateway, as user {answers.user}:\n\n    {start}"
        )
    return works


def _tell_engine(session: Session, result: Result, tools: Tools) -> None:
    """Say how the engine gets to know the gateway, unless it does."""
    interview, answers = session.interview, result.answers
    command = f"engine-config -s WebSocketProxy={answers.fqdn}:{answers.port}"
    interview.value(_COMMAND_VALUE, command)
    if result.login is not None:
        wanted = Wanted(answers.fqdn, answers.engine, answers.port)
        ca = result.credentials.ca_pem or session.system.read(places.CA_CERTIFICATE)
        if tell_option(interview, wanted, result.login, ca, tools) is Verdict.RIGHT:
            return
    interview.note(
        f"\nThe engine has to know where the gateway is. On {answers.engine}, as root:\n\n"
        f"    {command}\n    systemctl restart ovirt-engine"
    )


def _paragraphs(lines: Sequence[str]) -> Iterable[str]:
    """Lines of text joined, so that they can be wrapped; those that are indented are commands, left alone."""
    text: list[str] = []
    for line in lines:
        if line.startswith(" "):
            text.append(f"\n{line}" if not text or not text[-1].startswith(("\n", " ")) else line)
        elif text and not text[-1].lstrip("\n").startswith(" "):
            text[-1] += f" {line}"
        else:
            text.append(line)
    if text:
        yield "\n".join(text)
