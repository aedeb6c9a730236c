"""The unit of ``ovirt-websocket-proxy.service``, with the gateway in it.

User, group, environment file and command line are those that the service has always had; see systemd.unit(5),
systemd.service(5) and systemd.exec(5) for the rest.  ``python -m gateway.setup.host.unit COMMAND...`` prints
it; ``etc/ovirt-websocket-proxy.service`` is made so, with ``/opt/console-gateway/bin/console-gateway``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Final

from gateway.setup.errors import SetupError

__all__ = ["unit_text"]

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:=@+,-]+")
_ACCOUNT: Final = "ovirt"
_HOMES: Final = ("/home/", "/root/", "/run/user/")

_UNIT: Final = """\
# Console Gateway in the place of ovirt-websocket-proxy: the same name, account, configuration and options.
#
# What it reads: /etc/ovirt-engine/ovirt-websocket-proxy.conf.d/*.conf and the files beside, as
# "console-gateway check-config --ovirt" shows. For changes to this unit: systemctl edit ovirt-websocket-proxy

[Unit]
Description=oVirt Engine websockets proxy (Console Gateway)
After=network-online.target
Wants=network-online.target
# They would share the directories below.
Conflicts=console-gateway.service

[Service]
Type=notify
NotifyAccess=main
User={user}
Group={group}
# EXTRA_ARGS=-d, and OVIRT_SERVICE_DEBUG=1, are for developers.
EnvironmentFile=-/etc/sysconfig/ovirt-websocket-proxy
ExecStart={command} ovirt-websocket-proxy --systemd=notify $EXTRA_ARGS start
# Says what is wrong with the settings, if anything, and changes nothing then. Where the control socket is
# turned off: ExecReload=/bin/kill -HUP $MAINPID
ExecReload={command} reload
# The gateway reports for as long as its event loop turns.
WatchdogSec=30
Restart=on-failure
RestartSec=2
TimeoutStartSec=30
TimeoutStopSec=30
LimitNOFILE=65536

# /run/console-gateway has control.sock, where the other commands find it. Its mode, 0660, says who may
# operate the gateway: root, and the members of the service's group.
RuntimeDirectory=console-gateway
RuntimeDirectoryMode=0755
# For uses.file = "/var/lib/console-gateway/uses.sqlite".
StateDirectory=console-gateway
StateDirectoryMode=0700
# For audit.file and log.file.
LogsDirectory=console-gateway
LogsDirectoryMode=0750

{capabilities}
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
PrivateDevices=yes
# No PrivateUsers=yes: behind it, every operator but root would be user 65534 in log and audit.
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
UMask=0027

[Install]
WantedBy=multi-user.target
"""


_NO_CAPABILITIES: Final = """\
# Ports below 1024 need: AmbientCapabilities=CAP_NET_BIND_SERVICE, and the same in the next line.
CapabilityBoundingSet="""
_LOW_PORT: Final = """\
# For the port, which is below 1024.
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE"""


def unit_text(
    command: Sequence[str], *, low_port: bool = False, user: str = _ACCOUNT, group: str = _ACCOUNT
) -> str:
    """The unit for a gateway that is started with ``command``.

    :param command: the program, as an absolute path, and arguments that come before that of the subcommand.
    :param low_port: whether it listens on a port below 1024.
    :param user: whom it runs as.
    :raises SetupError: when a unit cannot name that.
    """
    if not command or not command[0].startswith("/"):
        raise SetupError("the program of the gateway is not known by its path; start setup by its full path")
    if not all(part.isprintable() and part for part in command):
        raise SetupError("a unit cannot name the program of the gateway; install it under a plain path")
    # Of a program that lives there, nothing could be read.
    home = "read-only" if command[0].startswith(_HOMES) else "yes"
    capabilities = _LOW_PORT if low_port else _NO_CAPABILITIES
    return _UNIT.format(
        command=" ".join(map(_quoted, command)),
        home=home,
        capabilities=capabilities,
        user=_quoted(user),
        group=_quoted(group),
    )


def _quoted(part: str) -> str:
    # Specifiers and variables are expanded also inside quotes.
    part = part.replace("%", "%%").replace("$", "$$")
    if _PLAIN.fullmatch(part):
        return part
    return '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'


if __name__ == "__main__":
    sys.stdout.write(unit_text(sys.argv[1:]))
