"""``python -m tests.oldest``: constraints that hold every dependency at the oldest supported release."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

__all__ = ["constraints"]


def constraints(project: Path) -> list[str]:
    """The floors in a ``pyproject.toml`` as exact versions."""
    with project.open("rb") as file:
        dependencies = tomllib.load(file)["project"]["dependencies"]
    return [dependency.replace(">=", "==") for dependency in dependencies]


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in constraints(Path(__file__).parents[1] / "pyproject.toml"))
