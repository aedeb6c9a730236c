"""What is measured. :data:`WORKLOADS` holds everything in the order in which it runs."""

from __future__ import annotations

from benchmarks.workloads.base import Workload
from benchmarks.workloads.bulk import BULK, SECURED_BULK
from benchmarks.workloads.connect import CONNECT
from benchmarks.workloads.latency import LATENCY, SECURED_SESSIONS
from benchmarks.workloads.memory import MEMORY
from benchmarks.workloads.vnc import VNC

__all__ = ["WORKLOADS", "Workload"]

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (*BULK, *LATENCY, *CONNECT, *MEMORY, *VNC, *SECURED_BULK, *SECURED_SESSIONS)
}
