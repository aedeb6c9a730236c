"""What the engine believes about its gateway: the option ``WebSocketProxy``, read through its REST API.

``GET /ovirt-engine/api/options/WebSocketProxy`` with basic authentication
(RFC 7617), over verified HTTPS and nothing else.  Setup tells; it never sets
the option and never fails because of it.
"""

from __future__ import annotations

import base64
import enum
import http
import json
import ssl
from typing import Final

import attrs

from gateway.pki.errors import printable
from gateway.setup.asking.interview import Interview, Question
from gateway.setup.enrolling.enrolment import Wanted
from gateway.setup.enrolling.fetch import Fault, FetchError, fetch, trusting
from gateway.setup.enrolling.tools import Tools
from gateway.setup.errors import AnswerError, SetupError

__all__ = [
    "Login",
    "Option",
    "Verdict",
    "ask_login",
    "judge_option",
    "parse_option",
    "read_option",
    "tell_option",
]

_PATH: Final = "/ovirt-engine/api/options/WebSocketProxy"
_LIMIT: Final = 65536
_MAX_VALUES: Final = 100
_MAX_VALUE: Final = 1000
_MAX_LOGIN: Final = 1000
_OFF: Final = "Off"


class Verdict(enum.Enum):
    """How the option compares with this gateway."""

    RIGHT = "right"
    OFF = "off"
    OTHER = "other"


@attrs.frozen
class Login:
    """A user of the engine, ``admin@internal`` for example."""

    user: str
    password: str = attrs.field(repr=False)

    @property
    def header(self) -> str:
        """Value of the field Authorization."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")


@attrs.frozen
class Option:
    """The option's value, and what it means here."""

    value: str
    verdict: Verdict


def ask_login(interview: Interview, wanted: Wanted) -> Login | None:
    """Ask with whom to look the option up; that is one of setup's questions, so it comes before the preview.

    :returns: ``None`` if nobody wants to know.
    """
    user = interview.ask(
        Question(
            "OVESETUP_ENGINE_API_USER",
            f"User of {wanted.engine} who may read its options, like admin@internal (empty: no check)",
            default="",
            check=_checked_user,
            key="OVESETUP_ENGINE_CONFIG/apiUser",
        )
    )
    if not user:
        return None
    password = Question(
        "OVESETUP_ENGINE_API_PASSWORD",
        f"Password of {user}",
        hidden=True,
        check=_checked_password,
        key="OVESETUP_ENGINE_CONFIG/apiPassword",
    )
    return Login(user, interview.ask(password))


def tell_option(
    interview: Interview, wanted: Wanted, login: Login, ca: bytes | None, tools: Tools
) -> Verdict | None:
    """Look the option up, and tell what is to be done; a failure is a warning.

    :param ca: PEM of the CA that the engine's web server is verified with, besides those of this host.
    :returns: ``None`` if it could not be found out.
    """
    should = f"{wanted.fqdn}:{wanted.port}"
    remedy = f"on the engine's host, run: engine-config -s WebSocketProxy={should}, and restart ovirt-engine"
    try:
        option = judge_option(read_option(wanted, login, trusting(ca), tools), wanted)
    except SetupError as error:
        interview.warning(f"The engine's option WebSocketProxy could not be read: {error}")
        return None
    if option.verdict is Verdict.RIGHT:
        interview.info(f"The engine's option WebSocketProxy is {should}, as it should be")
    elif option.verdict is Verdict.OFF:
        interview.warning(f"The engine's option WebSocketProxy is Off; {remedy}")
    else:
        value = printable(option.value)
        interview.warning(f"The engine's option WebSocketProxy is {value}, not {should}; {remedy}")
    return option.verdict


def read_option(wanted: Wanted, login: Login, context: ssl.SSLContext, tools: Tools) -> str:
    """The option's value.

    :raises SetupError: it cannot be read; the message never has the password.
    """
    port = tools.https_port
    url = f"https://{wanted.engine if port == 443 else f'{wanted.engine}:{port}'}{_PATH}"
    headers = {"Accept": "application/json", "Authorization": login.header}
    try:
        page = fetch(
            url,
            context=context,
            headers=headers,
            address=tools.engine_address,
            limit=_LIMIT,
            timeout=tools.timeout,
            redirects=0,
        )
    except FetchError as error:
        if error.fault is Fault.UNTRUSTED:
            raise SetupError(f"{error}; the password was not sent") from None
        raise
    if page.status in {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN}:
        raise SetupError(
            f"{wanted.engine} does not let {printable(login.user)} in (HTTP status {page.status})"
        )
    if page.status != http.HTTPStatus.OK:
        raise SetupError(f"{url}: HTTP status {page.status}")
    return parse_option(page.body)


def parse_option(body: bytes) -> str:
    """The value in an answer of the API, that of the version "general" where there are several.

    The answer may have anything in it; numbers and booleans count as text, as the API has them.

    :raises SetupError: it is none.
    """
    try:
        found: object = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise SetupError("the engine's answer is no JSON") from None
    for name in ("system_option", "values", "system_option_value"):
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif name != "system_option":
            raise SetupError("the engine's answer has no value of the option")
    entries = found if isinstance(found, list) else [found]
    values = [each for each in entries[:_MAX_VALUES] if isinstance(each, dict)]
    values.sort(key=lambda each: each.get("version") != "general")
    for each in values:
        value = each.get("value")
        if isinstance(value, str) and len(value) <= _MAX_VALUE:
            return value
    raise SetupError("the engine's answer has no value of the option")


def judge_option(value: str, wanted: Wanted) -> Option:
    """Compare the option with this gateway; names of hosts are compared without case."""
    text = value.strip()
    if text == _OFF or not text:
        return Option(_OFF, Verdict.OFF)
    host, _, port = text.rpartition(":")
    same = host.lower().rstrip(".") == wanted.fqdn.lower().rstrip(".") and port == str(wanted.port)
    return Option(text, Verdict.RIGHT if same else Verdict.OTHER)


def _checked_user(answer: str) -> str:
    user = answer.strip()
    if ":" in user or not user.isprintable() or len(user) > _MAX_LOGIN:
        raise AnswerError("a user is written like admin@internal, without colon")
    return user


def _checked_password(answer: str) -> str:
    if len(answer) > _MAX_LOGIN or any(ord(character) < 32 for character in answer):
        raise AnswerError(f"a password has up to {_MAX_LOGIN} characters on one line")
    return answer
