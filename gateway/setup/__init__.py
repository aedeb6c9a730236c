"""Setup of a gateway on a host of its own, and its removal."""

from __future__ import annotations
