"""``console-gateway token``: make a token for the control API."""

from __future__ import annotations

import click

from gateway.control.tokens import NAME, new_token, token_line
from gateway.settings import Role

__all__ = ["token"]


@click.command(
    epilog="""\b
Example:
  console-gateway token monitoring --role read
"""
)
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    required=True,
    help="read: see everything. operate: end sessions, and stop and resume admission, as well.",
)
def token(name: str, role: str) -> None:
    """Make a token for the control API.

    Prints the token, which is shown this once and is kept nowhere, and the
    line for the file that control.tokens names. NAME says whose it is, in logs
    and in the audit. The file holds only the token's SHA-256: a token is 256
    random bits, which nobody can guess, so there is nothing that a slower hash
    would protect. The gateway reads the file when it starts.
    """
    if not NAME.fullmatch(name):
        raise click.BadParameter(
            "use 1 to 64 letters, digits and the characters . _ @ -", param_hint="'NAME'"
        )
    fresh = new_token()
    click.echo("Token, for its holder alone:")
    click.echo(f"  {fresh}")
    click.echo("Line for the file in control.tokens:")
    click.echo(f"  {token_line(name, Role(role), fresh)}")
