"""The host that is changed: its files, its service, its firewall, and the record of it all."""

from __future__ import annotations
