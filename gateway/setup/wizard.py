"""The setup wizard: asks, obtains, shows, writes, verifies."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

import attrs

from gateway.setup import places
from gateway.setup.asking.environment import Value
from gateway.setup.asking.names import Names
from gateway.setup.asking.questions import (
    NO_ENGINE,
    PORT_KEY,
    Answers,
    ask_all,
    ask_whether,
    confirm_settings,
)
from gateway.setup.closing import Result, close_up
from gateway.setup.enrolling.by_ca import DIRECTORY_KEY
from gateway.setup.enrolling.credentials import Credentials, Tools, Wanted, Wishes, obtain
from gateway.setup.enrolling.engine_options import Login, ask_login
from gateway.setup.errors import SetupError
from gateway.setup.host.firewall import Manager, firewall_plan
from gateway.setup.host.plan import ChangeKind, Plan
from gateway.setup.host.service import replaced_unit, service_link, service_steps
from gateway.setup.host.system import System
from gateway.setup.host.transaction import carry_out
from gateway.setup.installation import answers_file, files_of
from gateway.setup.preview import change_lines, setting_line
from gateway.setup.session import Phase, Session

__all__ = ["Errand", "set_up"]

_ENGINE_STORE: Final = places.PKI / "keys/engine.p12"
"""Only the engine's own host has it."""
_PROGRAM_KEY: Final = "CONSOLE_GATEWAY/program"
_PROGRAM: Final = "console-gateway"
_API_KEYS: Final = ("OVESETUP_ENGINE_CONFIG/apiUser", "QUESTION/1/OVESETUP_ENGINE_API_USER")
_NOT_TOLD: Final = ("DIALOG/", "QUESTION/")
"""Beginnings of keys that generated answer files do not repeat."""


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@attrs.frozen
class Errand:
    """What is wanted of setup, and what it uses of the world."""

    wishes: Wishes = attrs.field(factory=Wishes)
    offline: bool = False
    """Whether no name is looked up."""
    tools: Tools = attrs.field(factory=Tools)
    names: Names = attrs.field(factory=Names)
    now: Callable[[], datetime.datetime] = _now


def set_up(session: Session, errand: Errand) -> tuple[tuple[str, Value], ...]:
    """Set up a gateway.

    :returns: what was answered, as in an answer file; nothing if there was nothing to do.
    :raises SetupError: it cannot be done, and everything is as it was.
    :raises Cancelled: it was not wanted after all, likewise.
    """
    interview, system = session.interview, session.system
    if not ask_whether(interview):
        interview.info("There is nothing to do, and nothing was changed")
        _drop_log(session)
        return ()
    if system.tree.stat(_ENGINE_STORE) is not None:
        raise SetupError(
            f"this is the engine's own host ({_ENGINE_STORE} is here), where engine-setup looks after the "
            "gateway's files; start the gateway with --ovirt there, or set it up on another host"
        )
    answers = ask_all(interview, system, errand.names, offline=errand.offline)
    command = _command(session)
    interview.title("PKI CONFIGURATION")
    credentials = obtain(
        interview,
        system,
        Wanted(answers.fqdn, answers.engine, answers.port),
        now=errand.now,
        tools=errand.tools,
        wishes=errand.wishes,
    )
    try:
        login = _login(session, answers)
        given = _given(session)
        plan = _plan(session, answers, credentials, command, given)
        changed = _install(session, answers, plan)
    except BaseException:
        if session.phase is not Phase.DONE:
            credentials.withdraw()
        raise
    try:
        close_up(session, Result(answers, credentials, command, login), errand.tools)
    finally:
        if changed:
            _settle_log(session)
        else:
            _drop_log(session)
    return given


def _plan(
    session: Session,
    answers: Answers,
    credentials: Credentials,
    command: tuple[str, ...],
    given: tuple[tuple[str, Value], ...],
) -> Plan:
    """What has to be done; without traces of this run if nothing has."""
    system = session.system
    firewall_files, firewall_steps = firewall_plan(system, answers.firewall or Manager.SKIP, answers.port)
    plan = Plan(
        files=(
            *files_of(
                system,
                answers,
                credentials,
                command,
                authority=None if answers.engine else session.environment.get(DIRECTORY_KEY),
            ),
            *firewall_files,
        ),
        links=(service_link(),),
    )
    changes = plan.changes(system)
    if all(change.kind is ChangeKind.UNCHANGED for change in changes):
        return plan
    before, after = service_steps(system, changes)
    log = session.log.place if session.log is not None else None
    return attrs.evolve(
        plan,
        before=(*before, *credentials.steps),
        after=(*firewall_steps, *after),
        files=(*plan.files, answers_file(given, session.stamp)),
        traces=() if log is None else (log,),
        directories=() if log is None else _missing(system, log),
    )


def _install(session: Session, answers: Answers, plan: Plan) -> bool:
    """Do it, if that is wanted; returns whether there was anything to do."""
    interview, system = session.interview, session.system
    changes = plan.changes(system)
    interview.title("CONFIGURATION PREVIEW")
    interview.note("\n".join(_settings(answers)))
    lines = change_lines(changes)
    if not lines:
        interview.info("Everything is there already, and is as it should be: nothing has to be changed")
        session.phase = Phase.DONE
        return False
    interview.note("\n".join(["", "Files:", *lines]))
    steps = [step.description for step in (*plan.before, *plan.after)]
    if steps:
        interview.note("\n".join(["", "Besides:", *(f"  {step}" for step in steps)]))
    packaged = replaced_unit(system)
    if packaged is not None:
        interview.info(f"{places.UNIT} will be in force instead of {packaged}")
    confirm_settings(interview)
    session.phase = Phase.CHANGING
    outcome = carry_out(system, plan, stamp=session.stamp, progress=interview.info)
    session.phase = Phase.DONE
    for backup in outcome.backups:
        interview.info(f"What was there before is kept as {backup}")
    return True


def _settings(answers: Answers) -> list[str]:
    firewall = answers.firewall
    opened = firewall not in (None, Manager.SKIP)
    return [
        setting_line("Configure WebSocket Proxy", True),
        setting_line("Host FQDN", answers.fqdn),
        setting_line("Port", answers.port),
        setting_line("Engine Host FQDN", answers.engine or NO_ENGINE),
        setting_line("Update Firewall", opened),
        setting_line("Firewall manager", firewall.value if firewall and opened else "none"),
    ]


def _command(session: Session) -> tuple[str, ...]:
    """What starts the gateway's program on the host that is set up."""
    interview, system = session.interview, session.system
    told = session.environment.entry(_PROGRAM_KEY)
    if told.value is not None:
        if not isinstance(told.value, str) or not told.value.startswith("/"):
            raise SetupError(
                f"{told.origin}: {_PROGRAM_KEY}: not the path of a program, from the root directory"
            )
        return (told.value,)
    program = _own_program()
    if system.live:
        return program
    if system.tree.stat(PurePosixPath(program[0])) is None:
        interview.warning(
            f"{program[0]} is not in {system.root}, and the service would not start there; install the "
            f"gateway at this path, or say where it is with {_PROGRAM_KEY}=str:/PATH"
        )
    return program


def _own_program() -> tuple[str, ...]:
    """What starts the program that runs now."""
    script = Path(os.path.abspath(sys.argv[0]))
    beside = Path(sys.executable).with_name(_PROGRAM)
    for program in (script, beside):
        if program.name == _PROGRAM and os.access(program, os.X_OK):
            return (str(program),)
    return (sys.executable, "-m", "gateway")


def _login(session: Session, answers: Answers) -> Login | None:
    """With whom the engine's option is looked up; nobody is asked for that who has not begun to say it."""
    environment = session.environment
    if not answers.engine or all(environment.get(key) is None for key in _API_KEYS):
        return None
    return ask_login(session.interview, Wanted(answers.fqdn, answers.engine, answers.port))


def _given(session: Session) -> tuple[tuple[str, Value], ...]:
    """What was answered and told, as in an answer file: questions first, then keys that no question set."""
    environment = session.environment
    told = [
        (key, environment.get(key))
        for key in environment.keys()  # noqa: SIM118 - not a mapping
        if not key.startswith(_NOT_TOLD) and not environment.is_secret(key)
        if environment.get(key) is not None and (environment.entry(key).origin or key == PORT_KEY)
        if not environment.entry(key).remembered
    ]
    # Without this there would be no such file.
    confirmed = ("QUESTION/1/OVESETUP_DIALOG_CONFIRM_SETTINGS", "ok")
    return (*sorted([*session.interview.answers, confirmed]), *told)


def _missing(system: System, place: PurePosixPath) -> tuple[PurePosixPath, ...]:
    """The directories that will have to be made for a file, outermost first."""
    return tuple(parent for parent in [*place.parents][-2::-1] if system.tree.stat(parent) is None)


def _settle_log(session: Session) -> None:
    """Put the log in its place; where that fails, it can be read where it is."""
    log = session.log
    if log is None or log.place is None:
        return
    try:
        session.system.make_directories(log.place)
        log.settle(session.system)
    except SetupError as error:
        session.interview.warning(f"The log stays in {log.path}: {error}")


def _drop_log(session: Session) -> None:
    """Leave no log of a run that changed nothing."""
    if session.log is not None:
        session.log.discard()
