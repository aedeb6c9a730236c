"""The commands of the engine's host that sign a request: for ssh as words, for people as text to copy."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath
from typing import Final

from gateway.setup.enrolling.tools import Tools
from gateway.setup.errors import SetupError

__all__ = ["common_name", "enrol_command", "enrol_text", "own_sign_text", "request_name"]


_MAX_COMMON_NAME: Final = 64


def request_name(fqdn: str) -> str:
    """Base name of the request and of the certificate."""
    return f"websocket-proxy-{fqdn}"


def common_name(fqdn: str) -> str:
    """What the subject calls the host.  There it has 64 characters (RFC 5280, appendix A.1); its alternative
    name, which counts, has all.
    """
    return fqdn if len(fqdn) <= _MAX_COMMON_NAME else fqdn.partition(".")[0]


def enrol_command(fqdn: str, prefix: str, program: PurePosixPath) -> list[str]:
    """The engine's program and its arguments.

    :param prefix: what subjects of the CA begin with, ``/C=US/O=Example Inc.``, or nothing.
    :raises SetupError: the prefix cannot be an argument.
    """
    if not prefix.isprintable():
        raise SetupError("the name of the engine's CA has characters that no command line can have")
    return [
        str(program),
        f"--name={request_name(fqdn)}",
        f"--subject={prefix}/CN={common_name(fqdn)}",
        f"--san=DNS:{fqdn}",
    ]


def enrol_text(fqdn: str, prefix: str | None, tools: Tools) -> list[str]:
    """Lines of a shell on the engine's host.

    :param prefix: what subjects of the CA begin with; ``None`` if it is to be found out there.
    """
    if prefix is not None:
        program, name, subject, san = map(shlex.quote, enrol_command(fqdn, prefix, tools.remote_enrol))
        return [f"{program} \\", f"    {name} \\", f"    {subject} \\", f"    {san}"]
    program, name, _, san = enrol_command(fqdn, "", tools.remote_enrol)
    ca = tools.remote_pki / "ca.pem"
    find = rf"openssl x509 -noout -text -in {ca} | sed -n 's,^ *DirName:\(.*\)/CN=.*,\1,p'"
    return [
        f"prefix=$({find})",
        f"{program} \\",
        f"    {name} \\",
        f'    --subject="$prefix/CN={common_name(fqdn)}" \\',
        f"    {san}",
    ]


def own_sign_text(fqdn: str, prefix: str | None) -> list[str]:
    """The same where the engine's host, or that of a CA of ``console-gateway pki``, has our program."""
    subject = shlex.quote(f"--subject={prefix or ''}/CN={common_name(fqdn)}")
    return [
        f"console-gateway pki sign --name={request_name(fqdn)} \\",
        f"    {subject} \\",
        f"    --san=DNS:{fqdn}",
    ]
