"""How a gateway comes to a certificate, and to what it trusts."""

from __future__ import annotations
