"""Soak test: a real gateway under every kind of client and console server at once, and what is left of them.

``python -m tests.soak`` runs it.  It passes when the gateway answered as it
should and, idle again, is what it was before: the same descriptors, timers
and objects, no more memory than stated, and a log in which every session that
started has exactly one end.
"""
