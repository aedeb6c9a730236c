"""What is known, from which answer file, and who is asked for the rest."""

from __future__ import annotations
