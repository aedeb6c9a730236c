"""The options that say where the settings are, alike for every command that reads them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gateway.settings.ovirt_files import DEFAULT_CONF
from gateway.source import DEFAULT_CONFIG, SettingsSource, choose_source

__all__ = ["ovirt_options", "source_of", "source_options"]

_OVIRT = click.option(
    "--ovirt",
    is_flag=True,
    help=f"Read the shell-like files of ovirt-websocket-proxy instead, {DEFAULT_CONF} and others.",
)
_OVIRT_CONF = click.option(
    "--ovirt-conf",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read this file of the same kind, and FILE.d/*.conf, instead.",
)
_CONFIG = click.option(
    "-c",
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help=f"Settings file (TOML), {DEFAULT_CONFIG} if none is named; etc/console-gateway.toml is an "
    "annotated example.",
)


def ovirt_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--ovirt`` and ``--ovirt-conf``, which it gets under these names."""
    return _OVIRT(_OVIRT_CONF(command))


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--config``, ``--ovirt`` and ``--ovirt-conf``; it gets the ``source`` they choose."""

    @functools.wraps(command)
    def choosing(
        *arguments: Any, config: Path | None, ovirt: bool, ovirt_conf: Path | None, **others: Any
    ) -> Any:
        return command(*arguments, source=source_of(config, ovirt, ovirt_conf), **others)

    return _CONFIG(ovirt_options(choosing))


def source_of(config: Path | None, ovirt: bool, ovirt_conf: Path | None) -> SettingsSource:
    """What these options choose.

    :raises click.UsageError: more than one is there.
    """
    try:
        return choose_source(config, ovirt=ovirt, ovirt_conf=ovirt_conf)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
