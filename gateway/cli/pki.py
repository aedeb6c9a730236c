"""``console-gateway pki``: keys, requests, certificates, and a small certificate authority."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from secrets import randbelow
from typing import Final

import click

from gateway.cli.password import PasswordSource, password_options
from gateway.cli.pki_show import show
from gateway.cli.pki_sign import keep_keys, renew, sign, told
from gateway.pki import (
    Authority,
    KeyKind,
    PasswordNeeded,
    PkiError,
    PrivateKey,
    generate_key,
    key_pem,
    load_key,
    make_request,
    read_file,
    subject_text,
)
from gateway.pki.altnames import alt_name, alt_names_text
from gateway.pki.armour import MAX_PEM
from gateway.pki.authority import DEFAULT_CA_DAYS, MAX_CA_DAYS
from gateway.pki.files import PRIVATE, Changes

__all__ = ["pki"]

_FILE: Final = click.Path(path_type=Path)
_KINDS: Final = {kind.value: kind for kind in KeyKind}
_MAX_COMMON_NAME: Final = 64


@click.group(
    epilog="""\b
From nothing to a certificate:
  console-gateway pki init-ca /etc/console-gateway/ca
  console-gateway pki request gw.example.com
  console-gateway pki sign --directory /etc/console-gateway/ca \\
      --in gw.example.com.req --out gw.example.com.pem --requested-names
  console-gateway pki show gw.example.com.pem
"""
)
def pki() -> None:
    """Make keys and requests, sign them with a small CA, and look at the results.

    The CA is for those who have none. Its directory is laid out like that of oVirt's engine, so that either
    this or the engine's own tools can sign there.
    """


@pki.command(
    "init-ca",
    epilog="""\b
Examples:
  console-gateway pki init-ca /etc/console-gateway/ca
  console-gateway pki init-ca ca --key-kind ec --encrypt --subject "/C=US/O=Example/CN=Console CA"
  console-gateway pki init-ca ca --password-file /root/ca.password
""",
)
@click.argument("directory", type=_FILE)
@click.option("--subject", help="Name of the CA. By default, one made of this host's name and a number.")
@click.option(
    "--key-kind", type=click.Choice(sorted(_KINDS)), default="rsa", show_default=True, help="Kind of key."
)
@click.option(
    "--bits", type=click.IntRange(2048, 8192), default=3072, show_default=True, help="Size of an RSA key."
)
@click.option(
    "--days",
    type=click.IntRange(1, MAX_CA_DAYS),
    default=DEFAULT_CA_DAYS,
    show_default=True,
    help="Life of the CA.",
)
@click.option("--encrypt", is_flag=True, help="Ask for a password, and encrypt the CA's key with it.")
@password_options
def init_ca(
    directory: Path,
    subject: str | None,
    key_kind: str,
    bits: int,
    days: int,
    encrypt: bool,
    password: PasswordSource,
) -> None:
    """Make a certificate authority in DIRECTORY.

    It signs servers' certificates, and no other CAs. Clients that are to trust it need its ca.pem;
    private/ca.pem is its key and must stay where it is. An existing CA is never overwritten.
    """
    with told():
        secret = password.given()
        if secret is None and encrypt:
            secret = password.asked("the new CA's key", confirm=True)
        authority = Authority.create(
            directory,
            subject=subject if subject is not None else _ca_subject(),
            kind=_KINDS[key_kind],
            bits=bits,
            days=days,
            password=secret,
        )
    ca = authority.certificate
    click.echo(f"{directory / 'ca.pem'}: {subject_text(ca.subject)}, until {ca.not_valid_after_utc:%F}")


@pki.command(
    epilog="""\b
Examples:
  console-gateway pki request gw.example.com
  console-gateway pki request gw.example.com 192.0.2.1 --key tls.key --out tls.req
  console-gateway pki request gw.example.com --key-kind ec --subject "/O=Example/CN=gw.example.com" --out -
""",
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "--key", type=_FILE, help="The private key. One that exists is used and kept. [default: NAME.key]"
)
@click.option("--out", type=_FILE, help="The request; - is standard output. [default: NAME.req]")
@click.option("--subject", help="Subject, such as /C=US/O=Example/CN=gw.example.com. [default: /CN=NAME]")
@click.option(
    "--key-kind",
    type=click.Choice(sorted(_KINDS)),
    default="rsa",
    show_default=True,
    help="Kind of a new key.",
)
@click.option(
    "--bits", type=click.IntRange(2048, 8192), default=2048, show_default=True, help="Size of a new RSA key."
)
def request(
    names: tuple[str, ...], key: Path | None, out: Path | None, subject: str | None, key_kind: str, bits: int
) -> None:
    """Make a private key, and a request for a certificate.

    NAME is the host name or address that browsers use; there may be several. The key is for its owner alone
    (mode 0600) and not encrypted, since the gateway reads it unattended. The request goes to whoever signs.
    """
    with told():
        wanted = [alt_name(name) for name in names]
        stem = names[0].replace(":", "-").replace("*", "_")
        key, out = key or Path(f"{stem}.key"), out or Path(f"{stem}.req")
        if subject is None:
            subject = f"/CN={wanted[0].value}"
            if len(subject) > _MAX_COMMON_NAME + len("/CN="):
                raise PkiError("the name is too long for a common name; give another --subject")
        if key.absolute() == out.absolute():
            raise PkiError(f"{key}: cannot hold both key and request; choose another --out")
        if os.path.lexists(key):
            private, origin = _existing_key(key), "used, and kept as it was"
        else:
            private, origin = generate_key(_KINDS[key_kind], bits), "new"
        pem = make_request(private, subject, alt_names_text(wanted))
        to_output = str(out) == "-"
        with Changes() as changes:
            if origin == "new":
                changes.write(key, key_pem(private), mode=PRIVATE, replace=False)
            if not to_output:
                keep_keys(out)
                changes.write(out, pem)
            changes.commit()
        if to_output:
            click.echo(pem, nl=False)
    click.echo(f"{key}: {origin}", err=to_output)
    click.echo(f"{out}: {subject}, {', '.join(alt_names_text(wanted))}", err=to_output)


for _command in (sign, renew, show):
    pki.add_command(_command)


def _existing_key(path: Path) -> PrivateKey:
    data = read_file(path, MAX_PEM)
    try:
        return load_key(data)
    except PasswordNeeded:
        raise PkiError(f"{path}: encrypted, which the gateway cannot use; give another --key") from None
    except PkiError as error:
        raise PkiError(f"{path}: {error}") from None


def _ca_subject() -> str:
    host = socket.getfqdn()[:50]
    plain = "".join(char for char in host if char.isascii() and (char.isalnum() or char in ".-"))
    # A second CA of this host is another CA, and must not be taken for the first.
    return f"/O=Console Gateway/CN={plain or 'ca'}.{10000 + randbelow(90000)}"
