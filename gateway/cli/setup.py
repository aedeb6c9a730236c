"""``console-gateway setup``: set up a gateway on a host of its own."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli import answers

__all__ = ["setup"]

_FILE = click.Path(path_type=Path)


@click.command(
    epilog="""\b
Examples:
  console-gateway setup
  console-gateway setup --generate-answer answers.conf
  console-gateway setup --config-append answers.conf --accept-defaults
  console-gateway setup --otopi-environment \\
      "OVESETUP_CONFIG/websocketProxyPort=int:443 OVESETUP_CONFIG/fqdn=str:wsp.example.org"
  console-gateway setup --root /mnt/image --config-append answers.conf --offline
  console-gateway setup --renew
"""
)
@click.option(
    "--root",
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default="/",
    show_default=True,
    help="Root directory of the host to set up: an image that is not running, for example. Only files are "
    "written then; nothing is started.",
)
@click.option("--config", metavar="FILE", type=_FILE, help="More defaults, in the format of answer files.")
@answers.config_append
@click.option(
    "--otopi-environment",
    metavar="TEXT",
    default="",
    help="Values in the form 'KEY=type:value KEY=type:value'. Passwords do not belong here.",
)
@answers.accept_defaults
@click.option(
    "--generate-answer",
    metavar="FILE",
    type=_FILE,
    help="Write what was answered to this file, for --config-append; passwords are left out.",
)
@answers.dialect
@click.option(
    "--log",
    metavar="FILE",
    type=_FILE,
    help="Log to this file instead of /var/log/ovirt-engine/setup.",
)
@click.option("--offline", is_flag=True, help="Do not look up whether names are known.")
@click.option(
    "--engine-ca",
    metavar="FILE",
    type=_FILE,
    help="PEM file with the certificate of the engine's CA, if you have it: all else is verified by it.",
)
@click.option("--new-key", is_flag=True, help="Make a new key, and enrol it, although there is one.")
@click.option(
    "--renew",
    is_flag=True,
    help="Enrol a new certificate for the key, and fetch the engine's certificate again, although what is "
    "there will do.",
)
def setup(
    root: Path,
    config: Path | None,
    config_append: tuple[Path, ...],
    otopi_environment: str,
    accept_defaults: bool,
    generate_answer: Path | None,
    dialect: str | None,
    log: Path | None,
    offline: bool,
    engine_ca: Path | None,
    new_key: bool,
    renew: bool,
) -> None:
    """Set up a gateway for an engine on this host.

    Asks what it has to know, obtains a certificate from the engine's CA (over ssh, with files, by copy and
    paste, or from a CA of its own), fetches what tickets are verified with, shows what it is going to change,
    and does it in one transaction: all of it, or nothing. Then the service is started, or
    reloaded where it runs already, and tried.

    It may be run again at any time: what is right stays as it is, a certificate that nears its end is
    renewed, and keys are kept.

    The exit status is 0 when all is done, 1 when it failed, 2 when the command line is wrong, 130 when it
    was cancelled. Unless it is 0, nothing was changed, or the message says so.

    To take it all away again: console-gateway cleanup.
    """
    import resource

    from gateway.setup.outset import run_setup
    from gateway.setup.session import Manner

    # What a core file would have of this process is keys and passwords.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    manner = Manner(
        "setup",
        root=root,
        config=config,
        append=config_append,
        settings=otopi_environment,
        accept_defaults=accept_defaults,
        dialect=dialect,
        log=log,
    )
    raise SystemExit(
        run_setup(
            manner,
            generate=generate_answer,
            engine_ca=engine_ca,
            offline=offline,
            new_key=new_key,
            renew=renew,
        )
    )
