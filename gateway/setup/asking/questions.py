"""What setup asks by itself: whether, under which names, and what about the firewall.

Names of questions and of keys are those that answer files have always had.
"""

from __future__ import annotations

from typing import Final

import attrs

from gateway.setup.asking.fqdn import NameCheck, Need
from gateway.setup.asking.interview import Interview, Question
from gateway.setup.asking.names import Names
from gateway.setup.errors import AnswerError, Cancelled, SetupError
from gateway.setup.host.firewall import Manager, detect
from gateway.setup.host.system import System

__all__ = ["NO_ENGINE", "PORT_KEY", "Answers", "ask_all", "ask_whether", "confirm_settings"]

_WHETHER_KEY: Final = "OVESETUP_CONFIG/websocketProxyConfig"
_FQDN_KEY: Final = "OVESETUP_CONFIG/fqdn"
_ENGINE_KEY: Final = "OVESETUP_ENGINE_CONFIG/fqdn"
_ENGINE_ANSWER: Final = "QUESTION/1/OVESETUP_NETWORK_FQDN_the_engine"
_OLD_ENGINE_ANSWER: Final = "QUESTION/1/REMOTE_ENGINE_HOST"
"""As in 3.5."""
PORT_KEY: Final = "OVESETUP_CONFIG/websocketProxyPort"
_UPDATE_KEY: Final = "OVESETUP_CONFIG/updateFirewall"
_MANAGER_KEY: Final = "OVESETUP_CONFIG/firewallManager"
_MANAGER_ANSWER: Final = "QUESTION/1/OVESETUP_CONFIG_FIREWALL_MANAGER"
_REVERSE_KEY: Final = "OVESETUP_CONFIG/fqdnReverseValidation"
_ABROAD_KEY: Final = "OVESETUP_CONFIG/fqdnNonLoopback"
_CONFIRM_KEY: Final = "OVESETUP_DIALOG/confirmSettings"
_USER_KEY: Final = "OVESETUP_SYSTEM/userEngine"
_GROUP_KEY: Final = "OVESETUP_SYSTEM/groupEngine"
_ACCOUNT: Final = "ovirt"
_PORT: Final = 6100
_PORTS: Final = range(1, 65536)
NO_ENGINE: Final = "none"
"""The answer for a gateway that has a CA of its own instead of an engine."""
_STYLE_KEY: Final = "OVESETUP_CONFIG/remoteEngineSetupStyle"
_STYLE_ANSWER: Final = "QUESTION/1/REMOTE_ENGINE_SETUP_STYLE"
_OWN_CA: Final = "own_ca"
_OWN_CA_ANSWER: Final = "4"


@attrs.frozen
class Answers:
    """What setup has to know besides keys and certificates."""

    fqdn: str
    """This host, as browsers know it."""
    engine: str
    """The engine's host; empty where there is none."""
    port: int
    firewall: Manager | None
    """What opens the port; ``SKIP`` if somebody else sees to that, and ``None`` if there is no firewall."""
    user: str
    group: str


def ask_whether(interview: Interview) -> bool:
    """Ask whether to do anything at all."""
    interview.title("PRODUCT OPTIONS")
    return interview.confirm(
        "OVESETUP_CONFIG_WEBSOCKET_PROXY",
        "Set up the console gateway on this host?",
        True,
        key=_WHETHER_KEY,
    )


def ask_all(interview: Interview, system: System, names: Names, *, offline: bool) -> Answers:
    """Ask what there is to know about names, port and firewall.

    :param offline: whether no name is looked up.
    """
    environment = interview.environment
    port = _port(interview)
    user = str(environment.get(_USER_KEY) or _ACCOUNT)
    group = str(environment.get(_GROUP_KEY) or _ACCOUNT)
    # Who is missing will still be missing after all the questions.
    system.account(user, group)
    interview.title("NETWORK CONFIGURATION")
    need = Need.NOT if offline else Need.MUST if system.live else Need.SHOULD
    fqdn = interview.ask(
        Question(
            "OVESETUP_NETWORK_FQDN_this",
            "Fully qualified name of this host, as browsers will find it",
            # Finding it out may take a while.
            default=names.own_name() if system.live and environment.get(_FQDN_KEY) is None else None,
            key=_FQDN_KEY,
            check=NameCheck(
                interview,
                names,
                _FQDN_KEY,
                need,
                lookup=system.live,
                reverse=environment.get(_REVERSE_KEY) is True,
                abroad=environment.get(_ABROAD_KEY) is True,
            ),
        )
    )
    firewall = _firewall(interview, system, port)
    engine = _engine(interview, NameCheck(interview, names, _ENGINE_KEY, need), fqdn)
    return Answers(fqdn, engine, port, firewall, user, group)


def confirm_settings(interview: Interview) -> None:
    """Ask whether to go ahead.

    :raises Cancelled: if not.
    """
    environment = interview.environment
    entry = environment.entry(_CONFIRM_KEY)
    if isinstance(entry.value, bool):
        environment.put(_CONFIRM_KEY, attrs.evolve(entry, value="OK" if entry.value else "Cancel"))
    answer = interview.ask(
        Question(
            "OVESETUP_DIALOG_CONFIRM_SETTINGS",
            "Set up the gateway like this?",
            default="OK",
            choices=("OK", "Cancel"),
            key=_CONFIRM_KEY,
        )
    )
    if answer == "Cancel":
        raise Cancelled("the settings were not confirmed")


def _engine(interview: Interview, check: NameCheck, own: str) -> str:
    """The engine's name, or nothing: then the gateway gets a CA of its own."""

    def checked(answer: str) -> str:
        if answer.strip().lower() == NO_ENGINE:
            return NO_ENGINE
        name = check(answer)
        if name == own:
            raise AnswerError(
                f"{name} is the name of this host already, and a gateway of its own is on another host than "
                f"the engine; give the engine's name, or '{NO_ENGINE}'"
            )
        return name

    environment = interview.environment
    interview.title("OVIRT ENGINE CONFIGURATION")
    old = environment.entry(_OLD_ENGINE_ANSWER)
    if old.value is not None and environment.get(_ENGINE_ANSWER) is None:
        environment.put_default(_ENGINE_KEY, old)
    style = environment.get(_STYLE_KEY)
    alone = style == _OWN_CA or environment.get(_STYLE_ANSWER) == _OWN_CA_ANSWER
    engine = interview.ask(
        Question(
            "OVESETUP_NETWORK_FQDN_the_engine",
            f"Fully qualified name of the engine's host ('{NO_ENGINE}' for a gateway without an engine)",
            default=NO_ENGINE if alone else None,
            key=_ENGINE_KEY,
            check=checked,
        )
    )
    if engine != NO_ENGINE:
        return engine
    if style not in (None, _OWN_CA):
        raise SetupError(f"{_STYLE_KEY}: {style} needs an engine; without one it can only be {_OWN_CA}")
    environment.set(_STYLE_KEY, _OWN_CA)
    return ""


def _port(interview: Interview) -> int:
    entry = interview.environment.entry(PORT_KEY)
    value = _PORT if entry.value is None else entry.value
    if (
        isinstance(value, str)
        and value.isascii()
        and value.isdecimal()
        and len(value) <= len(str(_PORTS[-1]))
    ):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value not in _PORTS:
        origin = f"{entry.origin}: " if entry.origin else ""
        raise SetupError(f"{origin}{PORT_KEY}: not a port; it is a number from 1 to {_PORTS[-1]}")
    interview.environment.set(PORT_KEY, value)
    return value


def _firewall(interview: Interview, system: System, port: int) -> Manager | None:
    environment = interview.environment
    found = detect(system)
    if not found:
        interview.info(f"No firewall was found; if there is one, open TCP port {port} in it")
        return None
    if not interview.confirm(
        "OVESETUP_UPDATE_FIREWALL",
        "Configure the firewall of this host?",
        True,
        key=_UPDATE_KEY,
    ):
        return Manager.SKIP
    choices = (*(manager.value for manager in found), Manager.SKIP.value)
    entry = environment.entry(_MANAGER_KEY)
    if entry.remembered and entry.value not in choices:
        environment.set(_MANAGER_KEY, None)
    # Where firewalld runs, the rules are its own, with whatever tool it makes them.
    sole = found[0] if len(found) == 1 or (system.live and found[0] is Manager.FIREWALLD) else None
    if (
        sole is not None
        and environment.get(_MANAGER_KEY) is None
        and environment.get(_MANAGER_ANSWER) is None
    ):
        interview.info(f"The firewall of this host is managed by {sole.value}")
        return sole
    return Manager(
        interview.ask(
            Question(
                "OVESETUP_CONFIG_FIREWALL_MANAGER",
                "Manager of the firewall to configure",
                default=found[0].value,
                choices=choices,
                key=_MANAGER_KEY,
            )
        )
    )
