"""The shipped units, judged by systemd itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.peers import needs
from tests.support.process import ROOT

pytestmark = needs("systemd")


def _installed(directory: Path) -> list[Path]:
    """The units with a program that exists here: verification insists on one."""
    units = []
    for name in ("console-gateway.service", "console-gateway.socket", "ovirt-websocket-proxy.service"):
        text = (ROOT / "etc" / name).read_text(encoding="utf-8")
        assert "/opt/console-gateway/bin/console-gateway" in text or name.endswith(".socket")
        unit = directory / name
        unit.write_text(
            text.replace("/opt/console-gateway/bin/console-gateway", "/bin/true"), encoding="utf-8"
        )
        units.append(unit)
    return units


def test_verify_is_clean(tmp_path: Path) -> None:
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *_installed(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    # Unknown keys and sections are complaints on standard error with status 0.
    ours = [line for line in result.stderr.splitlines() if "console-gateway" in line or "ovirt" in line]
    assert (result.returncode, ours) == (0, [])


def test_exposure_is_low(tmp_path: Path) -> None:
    for unit in _installed(tmp_path):
        if unit.suffix == ".service":
            result = subprocess.run(
                ["systemd-analyze", "security", "--offline=true", "--threshold=30", unit],
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert result.returncode == 0, result.stdout[-2000:]
