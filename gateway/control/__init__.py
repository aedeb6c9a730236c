"""What operators see of the gateway and do to it: the control API, its client, metrics, health.

Nothing is imported here: the command line uses the client, and has no use for the server.
"""
