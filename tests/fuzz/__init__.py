"""Fuzz targets: functions of bytes that fail when a parser does not keep its promises.

Each target is a module with ``fuzz(data)``, which returns or raises, and
``SEEDS``, inputs to begin with.  ``python -m tests.fuzz`` runs them.
"""
