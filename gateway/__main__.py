"""``python -m gateway`` is ``console-gateway``."""

from gateway.cli import main

main(prog_name="console-gateway")
