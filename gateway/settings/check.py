"""What the types of the model cannot say: do the values make sense, alone and together?

Nothing is opened here; the rooms that own certificates, keys and sockets check those.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gateway.settings.check_certificates import check_certificates
from gateway.settings.check_control import check_control
from gateway.settings.check_proxies import check_proxies
from gateway.settings.check_security import check_security
from gateway.settings.keys import sections
from gateway.settings.model import Settings
from gateway.settings.patterns import parse_target
from gateway.settings.problems import BadValueError, Problem
from gateway.settings.text import dotted
from gateway.settings.values import (
    Endpoint,
    endpoints_overlap,
    normalise_host,
    parse_endpoint,
    parse_name_pattern,
    parse_network,
    parse_origin,
    parse_ports,
    parse_socket_key,
    parse_socket_path,
)

__all__ = ["check_settings"]

_MAX_ENDPOINTS = 64  # each is compared with each

_Found = Iterator[tuple[str, str, str]]

_READERS: dict[str, Callable[[str], Any]] = {
    "listen.tls": parse_endpoint,
    "listen.plain": parse_endpoint,
    "front.origins": parse_origin,
    "abuse.exempt": parse_network,
    "targets.networks": parse_network,
    "targets.names": parse_name_pattern,
    "targets.ports": lambda text: parse_ports([text]),
    "targets.proxy_protocol": parse_target,
    "control.listen": parse_endpoint,
    "control.tls": parse_endpoint,
    "control.hosts": normalise_host,
    "metrics.listen": parse_endpoint,
}
_LISTENING = ("listen.tls", "listen.plain", "control.listen", "control.tls", "metrics.listen")


def check_settings(settings: Settings, path: Path) -> list[Problem]:
    """Every problem of *settings*, whether they were loaded or made in code.

    :param path: The file they are said to come from.
    """
    parts = (
        _bounds,
        _items,
        _endpoints,
        _sockets,
        _needed,
        check_certificates,
        check_security,
        check_control,
        check_proxies,
    )
    found = itertools.chain.from_iterable(part(settings) for part in parts)
    return [Problem(path, *problem) for problem in found]


def _bounds(settings: Settings) -> _Found:
    for section in sections():
        numbers = [key for key in section.keys if key.type in (int, float)]
        for place, table in section.tables(settings) if numbers else ():
            for key in numbers:
                value = getattr(table, key.name)
                # Written so that NaN fails.
                if not ((key.low is None or value >= key.low) and (key.high is None or value <= key.high)):
                    unit = f" {key.unit}" if key.unit else ""
                    amount = value if abs(value) < 10**15 else "the number"
                    remedy = f"use {key.bounds}{unit}"
                    yield dotted((*place, key.name)), f"{amount} is out of bounds", remedy


def _items(settings: Settings) -> _Found:
    for path, reader in _READERS.items():
        for item in _listed(settings, path):
            try:
                reader(item)
            except BadValueError as error:
                yield path, error.text, error.remedy


def _listed(settings: Settings, path: str) -> tuple[str, ...]:
    section, _, name = path.partition(".")
    items: tuple[str, ...] = getattr(getattr(settings, section), name)
    return items


def _endpoints(settings: Settings) -> _Found:
    places = [(path, item) for path in _LISTENING for item in _listed(settings, path)]
    if len(places) > _MAX_ENDPOINTS:
        yield "listen", f"more than {_MAX_ENDPOINTS} endpoints", "remove some"
        return
    if not settings.listen.tls and not settings.listen.plain:
        yield "listen.tls", "there is no endpoint to listen on", "add one here or to listen.plain: 'tcp:6100'"
    seen: list[tuple[str, Endpoint]] = []
    for path, item in places:
        try:
            endpoint = parse_endpoint(item)
        except ValueError:
            continue  # said by _items()
        for where, other in seen:
            if endpoints_overlap(endpoint, other):
                yield path, f"'{endpoint}' clashes with '{other}' under {where}", "keep one of them"
                break
        seen.append((path, endpoint))


def _sockets(settings: Settings) -> _Found:
    seen: set[tuple[str, int]] = set()
    for name, path in settings.targets.sockets.items():
        for reader, text in ((parse_socket_key, name), (parse_socket_path, path)):
            try:
                reader(text)
            except BadValueError as error:
                yield "targets.sockets", error.text, error.remedy
        try:
            key = parse_socket_key(name)
        except ValueError:
            continue
        if key in seen:
            yield "targets.sockets", f"'{name}' is listed twice in different spellings", "keep one of them"
        seen.add(key)


def _needed(settings: Settings) -> _Found:
    if settings.listen.tls and settings.tls.certificate is None:
        yield (
            "tls.certificate",
            "is not set, but listen.tls has endpoints",
            "name the PEM file of the server certificate, or move the endpoints to listen.plain",
        )
    if settings.tickets.certificate is None:
        yield "tickets.certificate", "is not set", "name the PEM file of the engine's certificate"
