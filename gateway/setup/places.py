"""Where setup's files are, as paths inside the root directory of the host that is set up."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

__all__ = [
    "ANSWERS",
    "CA_CERTIFICATE",
    "CERTIFICATE",
    "CONFIGURATION",
    "DEFAULTS",
    "DEFAULTS_DIRECTORY",
    "ENGINE_CERTIFICATE",
    "FIREWALLD_EXAMPLE",
    "FIREWALLD_SERVICE",
    "KEY",
    "LOGS",
    "OWN_CA",
    "PKI",
    "POST_INSTALL",
    "RECORDS",
    "SERVICE",
    "UNIT",
    "UNIT_WANTED",
]

_ETC: Final = PurePosixPath("/etc/ovirt-engine")
_SYSTEMD: Final = PurePosixPath("/etc/systemd/system")

PKI: Final = PurePosixPath("/etc/pki/ovirt-engine")
KEY: Final = PKI / "keys/websocket-proxy.key.nopass"
CERTIFICATE: Final = PKI / "certs/websocket-proxy.cer"
ENGINE_CERTIFICATE: Final = PKI / "certs/engine.cer"
CA_CERTIFICATE: Final = PKI / "ca.pem"

CONFIGURATION: Final = _ETC / "ovirt-websocket-proxy.conf.d/10-setup.conf"
RECORDS: Final = _ETC / "uninstall.d"
"""What cleanup removes, a file for each setup."""
FIREWALLD_EXAMPLE: Final = _ETC / "firewalld/ovirt-websocket-proxy.xml"
FIREWALLD_SERVICE: Final = PurePosixPath("/etc/firewalld/services/ovirt-websocket-proxy.xml")

DEFAULTS: Final = PurePosixPath("/etc/ovirt-engine-setup.conf")
DEFAULTS_DIRECTORY: Final = PurePosixPath("/etc/ovirt-engine-setup.conf.d")
POST_INSTALL: Final = DEFAULTS_DIRECTORY / "20-setup-ovirt-post.conf"
"""What the next setup, and cleanup, remember."""
ANSWERS: Final = PurePosixPath("/var/lib/ovirt-engine/setup/answers")
LOGS: Final = PurePosixPath("/var/log/ovirt-engine/setup")

SERVICE: Final = "ovirt-websocket-proxy.service"
UNIT: Final = _SYSTEMD / SERVICE
UNIT_WANTED: Final = _SYSTEMD / "multi-user.target.wants" / SERVICE

OWN_CA: Final = PurePosixPath("/etc/pki/console-gateway-ca")
"""Where setup proposes to have a CA of our own."""
