"""A gateway's host as the original's setup leaves it: the same places, owners, modes and formats."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from gateway.setup import places
from tests.support.enginehost import EngineHost
from tests.support.hosts import OVIRT, Host

__all__ = ["install_original"]

_SHARE: Final = PurePosixPath("/usr/share/ovirt-engine/services/ovirt-websocket-proxy")
_STAMP: Final = "20250301120000"

_SHIPPED: Final = """\
# Defaults; local changes go to /etc/ovirt-engine/ovirt-websocket-proxy.conf.d
PROXY_HOST=*
PROXY_PORT=6100
SOURCE_IS_IPV6=False
SSL_CERTIFICATE=
SSL_KEY=
SSL_ONLY=False
SSL_MIN_VERSION=TLSv1.2
SSL_CIPHERS="HIGH:!aNULL"
CERT_FOR_DATA_VERIFICATION=
TRACE_ENABLE=False
TRACE_FILE=
ENGINE_USR={root}/usr/share/ovirt-engine
PACKAGE_NAME=ovirt-engine
"""
_LOCAL: Final = f"""\
PROXY_PORT={{port}}
SSL_CERTIFICATE={places.CERTIFICATE}
SSL_KEY={places.KEY}
CERT_FOR_DATA_VERIFICATION={places.ENGINE_CERTIFICATE}
SSL_ONLY=True
"""
_REMEMBERED: Final = """\
[environment:default]
OVESETUP_CORE/generatedByVersion=str:4.5.7
OVESETUP_CONFIG/fqdn=str:{fqdn}
OVESETUP_CONFIG/firewallManager=none:None
OVESETUP_CONFIG/websocketProxyConfig=bool:True
OVESETUP_CONFIG/websocketProxyPort=int:{port}
OVESETUP_ENGINE_CONFIG/fqdn=str:{engine}
"""


def install_original(host: Host, engine: EngineHost, port: int) -> None:
    """Write what the original has on a host after it was set up."""
    key, request = host.path(places.KEY), host.path("/tmp/request")
    key.parent.mkdir(parents=True)
    make = f"openssl req -new -newkey rsa:2048 -nodes -keyout {key} -out {request} -subj"
    subprocess.run([*make.split(), "/CN=\\/"], check=True, capture_output=True)
    certificate = engine.sign(request.read_bytes(), host.name)
    request.unlink()
    remembered = _REMEMBERED.format(fqdn=host.name, engine=engine.host.name, port=port)
    files: dict[PurePosixPath, str] = {
        _SHARE / "ovirt-websocket-proxy.conf": _SHIPPED.format(root="" if host.holder else host.root),
        places.CONFIGURATION: _LOCAL.format(port=port),
        places.CERTIFICATE: certificate.decode(),
        places.ENGINE_CERTIFICATE: (engine.pki / "certs/engine.cer").read_text(),
        places.POST_INSTALL: remembered,
    }
    listed = [place for place in files if _SHARE not in place.parents]
    files[places.RECORDS / f"{_STAMP}-uninstall.conf"] = _record([*listed, places.KEY], files)
    for place, text in files.items():
        host.path(place).parent.mkdir(parents=True, exist_ok=True)
        host.path(place).write_text(text)
        host.path(place).chmod(0o644)
    for place in (places.KEY, places.CERTIFICATE, places.ENGINE_CERTIFICATE):
        host.path(place).chmod(0o600)
        os.chown(host.path(place), OVIRT, OVIRT)


def _record(listed: Sequence[PurePosixPath], texts: Mapping[PurePosixPath, str]) -> str:
    """What its setup wrote, with a digest of each file."""
    lines = []
    for group, optional in (("core", False), ("ca_pki_wsp", True)):
        lines += [f"[file_group_{group}]", f"description = {group}", f"optional = {optional}"]
        chosen = [place for place in listed if (places.PKI in place.parents) == optional]
        for number, place in enumerate(chosen):
            digest = hashlib.sha256(texts.get(place, "").encode()).hexdigest()
            lines += [f"file.{number:03}.name = {place}", f"file.{number:03}.sha256 = {digest}"]
    return "\n".join([*lines, "", "[unremovable]", ""])
