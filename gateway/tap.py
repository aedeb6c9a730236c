"""The twistd plug-in's options and service maker: ``twistd console-gateway --config FILE``."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

from twisted.application.service import IService
from twisted.logger import globalLogPublisher
from twisted.python import usage

from gateway.logs import make_observer
from gateway.net import BindError
from gateway.predecessor import predecessor
from gateway.service import make_service
from gateway.settings import SettingsError, load_settings
from gateway.signals import on_signal
from gateway.successor import own_command

__all__ = ["DEFAULT_CONFIG", "Options", "makeService"]

DEFAULT_CONFIG = "/etc/console-gateway/console-gateway.toml"


class Options(usage.Options):
    """Command-line options of the plug-in."""

    synopsis = "[--config FILE]"
    longdesc = (
        "Puts VNC, SPICE and serial consoles of virtual machines in browsers, through one door that checks "
        "a signed ticket. twistd writes the log; with log.file set, the gateway's own log goes there as well."
    )
    optParameters = (("config", "c", DEFAULT_CONFIG, "Settings file (TOML)"),)


def makeService(options: Options) -> IService:
    """Build the service and bind its ports.

    :raises SystemExit: with one line for each thing that is wrong, before twistd leaves the foreground.
    """
    predecessor().detach()
    config = Path(options["config"])
    try:
        settings = load_settings(config)
        service = make_service(settings)
        # Bound here and not when the service starts, so that a failure is the exit status of the command.
        service.bind()
        reopened = [service.reopen]
        if settings.log.file is not None:
            observer = make_observer(settings.log)
            globalLogPublisher.addObserver(observer)
            reopened.append(observer.reopen)
    except (SettingsError, BindError, OSError) as error:
        problems = str(error).splitlines()
        for problem in problems:
            predecessor().complain(problem)
        raise SystemExit("\n".join(f"console-gateway: {problem}" for problem in problems)) from None
    # The one that twistd was told to use.
    from twisted.internet import reactor

    service.load = partial(load_settings, config)
    on_signal(reactor, signal.SIGUSR1, *reopened)
    on_signal(reactor, signal.SIGHUP, service.reload_soon)
    on_signal(reactor, signal.SIGUSR2, service.hand_over_soon)
    service.handing_over.command = own_command()
    service.handing_over.leave = reactor.stop
    return service
