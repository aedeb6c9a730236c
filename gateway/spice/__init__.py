"""SPICE, without I/O: as much of it as it takes to see whether somebody works."""

from gateway.spice.input import SpiceInput

__all__ = ["SpiceInput"]
