"""What setup writes, where, and whose it is."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

from gateway import __version__
from gateway.setup import places
from gateway.setup.asking.answerfile import Section, parse_answers, render_answers
from gateway.setup.asking.environment import Environment, Value
from gateway.setup.asking.questions import NO_ENGINE, PORT_KEY, Answers
from gateway.setup.enrolling.by_ca import DIRECTORY_KEY
from gateway.setup.enrolling.credentials import Credentials
from gateway.setup.host.firewall import Manager
from gateway.setup.host.plan import PlannedFile
from gateway.setup.host.system import System
from gateway.setup.host.unit import unit_text

__all__ = ["answers_file", "configuration", "files_of", "post_install"]

_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o644
_LOW: Final = 1024
"""Ports below are for those who have a capability."""
_PKI_GROUP: Final = "ca_pki_wsp"
_COMMENT: Final = "Written by console-gateway setup: what the next setup, and cleanup, remember"


def files_of(
    system: System,
    answers: Answers,
    credentials: Credentials,
    command: Sequence[str],
    *,
    authority: Value = None,
) -> tuple[PlannedFile, ...]:
    """The files of a gateway that is set up, those of the firewall aside.

    :param command: starts the gateway's program.
    :param authority: the directory of the CA of our own, if there is one.
    """
    private = functools.partial(
        PlannedFile, user=answers.user, group=answers.group, mode=_PRIVATE, file_group=_PKI_GROUP
    )
    files = [
        PlannedFile(places.CONFIGURATION, configuration(answers.port)),
        private(places.KEY, credentials.key_pem),
        private(places.CERTIFICATE, credentials.certificate_pem),
        private(places.ENGINE_CERTIFICATE, credentials.engine_pem),
    ]
    # A CA certificate that was there is somebody else's: it is read, and nothing more.
    if credentials.ca_pem is not None and "ca" in credentials.fresh:
        files.append(PlannedFile(places.CA_CERTIFICATE, credentials.ca_pem, file_group=_PKI_GROUP))
    unit = unit_text(command, low_port=answers.port < _LOW, user=answers.user, group=answers.group)
    files += [
        _post_install_file(post_install(system, answers, authority)),
        PlannedFile(places.UNIT, unit.encode()),
    ]
    return tuple(files)


def configuration(port: int) -> bytes:
    """``10-setup.conf``, as the programs of oVirt read it."""
    return (
        f"PROXY_PORT={port}\n"
        f"SSL_CERTIFICATE={places.CERTIFICATE}\n"
        f"SSL_KEY={places.KEY}\n"
        f"CERT_FOR_DATA_VERIFICATION={places.ENGINE_CERTIFICATE}\n"
        "SSL_ONLY=True\n"
    ).encode()


def post_install(system: System, answers: Answers, authority: Value = None) -> bytes:
    """What is remembered.  What others remember in the same file stays in it."""
    values: dict[str, Value] = {}
    there = system.read(places.POST_INSTALL)
    if there is not None:
        former = parse_answers(there, str(places.POST_INSTALL))
        values.update((item.key, item.value) for item in former.sections.get(Section.DEFAULT, ()))
    opened = answers.firewall not in (None, Manager.SKIP)
    values.update(
        {
            "OVESETUP_CORE/generatedByVersion": __version__,
            "OVESETUP_CONFIG/fqdn": answers.fqdn,
            "OVESETUP_CONFIG/firewallManager": answers.firewall.value
            if answers.firewall and opened
            else None,
            # Where there was no firewall, one may come.
            "OVESETUP_CONFIG/updateFirewall": None if answers.firewall is None else opened,
            "OVESETUP_CONFIG/websocketProxyConfig": True,
            PORT_KEY: answers.port,
            **({} if authority is None else {DIRECTORY_KEY: authority}),
            "OVESETUP_ENGINE_CONFIG/fqdn": answers.engine or NO_ENGINE,
        }
    )
    return render_answers(sorted(values.items()), _COMMENT)


def _post_install_file(content: bytes) -> PlannedFile:
    """What is remembered: for all to read, unless others remember passwords in it."""
    found = parse_answers(content, str(places.POST_INSTALL)).sections.get(Section.DEFAULT, ())
    secret = any(item.value and Environment().is_secret(item.key) for item in found)
    return PlannedFile(places.POST_INSTALL, content, mode=_PRIVATE if secret else _PUBLIC)


def answers_file(values: Sequence[tuple[str, Value]], stamp: str) -> PlannedFile:
    """The answers of this run, from which another can be made."""
    content = render_answers(values, "Answers to console-gateway setup")
    return PlannedFile(places.ANSWERS / f"{stamp}-setup.conf", content, mode=_PRIVATE)
