"""The client's side up to the upgrade: request heads, tickets at the gate, refusals, pages."""

from __future__ import annotations

from gateway.front.door import Front
from gateway.front.gate import Gate, Refused
from gateway.front.refusals import RefusalResource
from gateway.front.watch import Closing, Watch

__all__ = ["Closing", "Front", "Gate", "RefusalResource", "Refused", "Watch"]
