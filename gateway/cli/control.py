"""What commands that talk to a running gateway have in common: where it is, who asks, how it is shown."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
import click
from click.core import ParameterSource

from gateway.control.address import Address, UnixAddress, WebAddress, parse_url, read_token
from gateway.control.client import ControlClient
from gateway.control.problems import ControlError

__all__ = ["Connect", "control_options"]

_WHERE: Final = "CONSOLE_GATEWAY_CONTROL"
_FILE: Final = click.Path(path_type=Path)
_WEB_ONLY: Final = {"token_file": "--token-file", "ca": "--ca", "cert": "--cert", "key": "--key"}
_NAMES: Final = ("socket", "url", *_WEB_ONLY)

Connect = Callable[[], ControlClient]
"""Makes the client that the options ask for."""

_F = TypeVar("_F", bound=Callable[..., object])

_OPTIONS: Final = (
    click.option(
        "--socket",
        type=_FILE,
        metavar="PATH",
        help=f"Unix socket of the gateway. The default is what {_WHERE} says, which may be a URL as well, or "
        f"{UnixAddress()}.",
    ),
    click.option("--url", metavar="URL", help="Address of the gateway's control API: https://HOST:PORT."),
    click.option(
        "--token-file",
        type=_FILE,
        envvar="CONSOLE_GATEWAY_TOKEN_FILE",
        show_envvar=True,
        help="With --url: file that holds a token, which others must not be able to read.",
    ),
    click.option(
        "--ca",
        type=_FILE,
        envvar="CONSOLE_GATEWAY_CA",
        show_envvar=True,
        help="With --url: PEM file with the authorities to trust, in place of the system's.",
    ),
    click.option(
        "--cert",
        type=_FILE,
        envvar="CONSOLE_GATEWAY_CERT",
        show_envvar=True,
        help="With --url: PEM file with a client certificate.",
    ),
    click.option(
        "--key",
        type=_FILE,
        envvar="CONSOLE_GATEWAY_KEY",
        show_envvar=True,
        help="With --cert: PEM file with its key, where that is not in the same file.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print what the gateway says, as JSON."),
)


def control_options(command: _F) -> _F:
    """Give a command the options that say where the gateway is, and ``--json``.

    It is called with ``connect`` (see :data:`Connect`) and ``as_json`` in their place.  Options that were
    given to the group before the command count, too.  A :exc:`.ControlError` ends it with one line.
    """

    @functools.wraps(command)
    def wrapped(*args: object, **kwargs: object) -> object:
        context = click.get_current_context()
        for name in _NAMES:
            del kwargs[name]
        kwargs["as_json"] = any(each.params.get("as_json") for each in _ancestry(context))
        kwargs["connect"] = functools.partial(_connect, context)
        try:
            return command(*args, **kwargs)
        except ControlError as error:
            for problem in error.problems:
                click.echo(problem, err=True)
            raise click.ClickException(str(error)) from None

    result: Any = wrapped
    for option in reversed(_OPTIONS):
        result = option(result)
    return result  # type: ignore[no-any-return]


def _ancestry(context: click.Context) -> list[click.Context]:
    """The context and those around it, nearest first."""
    found = []
    current: click.Context | None = context
    while current is not None:
        found.append(current)
        current = current.parent
    return found


def _connect(context: click.Context) -> ControlClient:
    values: dict[str, Any] = {}
    said: set[str] = set()
    for each in reversed(_ancestry(context)):
        given = {name: each.params[name] for name in _NAMES if each.params.get(name) is not None}
        if given.keys() & {"socket", "url"}:
            # The nearer of the two replaces the other as well.
            values = {name: value for name, value in values.items() if name not in ("socket", "url")}
        values |= given
        said |= {name for name in given if each.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    return ControlClient(_address(values, said))


def _address(values: Mapping[str, Any], said: set[str]) -> Address:
    socket, url = values.get("socket"), values.get("url")
    if socket is not None and url is not None:
        raise click.UsageError("--socket and --url exclude each other.")
    source = "--url"
    if socket is None and url is None and (where := os.environ.get(_WHERE)):
        source = _WHERE
        socket, url = (None, where) if "://" in where else (Path(where), None)
    if url is None:
        for name in said & _WEB_ONLY.keys():
            raise click.UsageError(f"{_WEB_ONLY[name]} goes with --url; a Unix socket needs none.")
        return UnixAddress(socket) if socket is not None else UnixAddress()
    try:
        address = parse_url(url)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint=f"'{source}'") from None
    return _with_files(address, values, said)


def _with_files(address: WebAddress, values: Mapping[str, Any], said: set[str]) -> WebAddress:
    if not address.tls and (wrong := said & {"ca", "cert", "key"}):
        raise click.UsageError(f"{_WEB_ONLY[min(wrong)]} goes with https://.")
    if "key" in said and "cert" not in values:
        raise click.UsageError("--key goes with --cert.")
    token_file = values.get("token_file")
    return attrs.evolve(
        address,
        token=read_token(token_file) if token_file is not None else None,
        ca=values.get("ca"),
        certificate=values.get("cert"),
        key=values.get("key"),
    )
