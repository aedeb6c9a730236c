"""The twistd plug-in's options and service maker: ``twistd console-gateway [--config FILE | --ovirt]``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.application.service import IService
from twisted.logger import globalLogPublisher
from twisted.python import usage

from gateway.settings import SettingsError
from gateway.settings.ovirt_files import DEFAULT_CONF
from gateway.signals import hold_signals
from gateway.source import DEFAULT_CONFIG, SettingsSource, choose_source

__all__ = ["Options", "makeService"]


class Options(usage.Options):
    """Command-line options of the plug-in."""

    synopsis = "[--config FILE | --ovirt | --ovirt-conf FILE]"
    longdesc = (
        "Puts VNC, SPICE and serial consoles of virtual machines in browsers, through one door that checks "
        "a signed ticket. twistd writes the log; with log.file set, the gateway's own log goes there as well."
    )
    optParameters = (
        ("config", "c", None, f"Settings file (TOML) [default: {DEFAULT_CONFIG}]"),
        ("ovirt-conf", None, None, "A file of this kind, which is read with FILE.d/*.conf, instead"),
    )
    optFlags = (
        ("ovirt", None, f"Read the shell-like files of ovirt-websocket-proxy, {DEFAULT_CONF} and others"),
    )

    def postOptions(self) -> None:
        try:
            self.source()
        except ValueError as error:
            raise usage.UsageError(str(error)) from None

    def source(self) -> SettingsSource:
        """What the options choose.

        :raises ValueError: they choose several.
        """
        config, ovirt_conf = self["config"], self["ovirt-conf"]
        return choose_source(
            None if config is None else Path(config),
            ovirt=bool(self["ovirt"]),
            ovirt_conf=None if ovirt_conf is None else Path(ovirt_conf),
        )


def makeService(options: Options) -> IService:
    """Build the service and bind its ports.

    :raises SystemExit: with one line for each thing that is wrong, before twistd leaves the foreground.
    """
    hold_signals()
    # Not before, because that takes its time.
    from gateway.logs import make_observer
    from gateway.net import BindError
    from gateway.ownership import own_process
    from gateway.predecessor import predecessor
    from gateway.service import make_service

    predecessor().detach()
    source = options.source()
    try:
        settings = source.load()
        service = make_service(settings)
        # Bound here and not when the service starts, so that a failure is the exit status of the command.
        service.bind()
        reopened: list[Callable[[], object]] = []
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

    own_process(service, reactor, source.load, *reopened)
    return service
