"""What keeps a gateway from working, found out before users do; see :mod:`gateway.cli.doctor`."""

from __future__ import annotations

from gateway.doctor.examine import examine_host, load
from gateway.doctor.finding import Finding, Level
from gateway.doctor.target import check_target

__all__ = ["Finding", "Level", "check_target", "examine_host", "load"]
