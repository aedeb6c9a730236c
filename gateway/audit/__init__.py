"""The audit: who was on which console, for how long, and what operators did; see ``docs/audit.md``."""

from __future__ import annotations

from gateway.audit.audit import Audit, AuditError
from gateway.audit.record import VERSION, Record, Recorder
from gateway.audit.sinks import FileSink, JournalSink, Sink, SyslogSink

__all__ = [
    "VERSION",
    "Audit",
    "AuditError",
    "FileSink",
    "JournalSink",
    "Record",
    "Recorder",
    "Sink",
    "SyslogSink",
]
