"""Hatchling's build hook: fetch the browser library for wheels and editable installs.

An install must not fail because npm is missing or offline: the gateway works
without the page, and says how to complete it.  ``python -m
gateway.web.build_hook`` does the same as ``python -m gateway.web.fetch``.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

__all__: list[str] = []

_WEB = Path("gateway", "web")


def _load_fetch(directory: Path) -> ModuleType:
    """The module ``fetch.py`` by its path: in a build, this package and what it needs are not installed."""
    spec = importlib.util.spec_from_file_location("console_gateway_web_fetch", directory / "fetch.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(directory / "fetch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ModuleNotFoundError:  # Run by hand where nothing is built.
    pass
else:

    class ConsolePageHook(BuildHookInterface[Any]):
        """Completes the console page before its files are collected."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Fetch for a wheel of whatever version (standard or editable); warn when that fails."""
            if self.target_name != "wheel":
                return
            module = _load_fetch(Path(self.root) / _WEB)
            try:
                module.fetch(Path(self.root) / _WEB)
            except module.FetchError as error:
                self.app.display_warning(f"The console page will be missing: {error}")


if __name__ == "__main__":
    sys.exit(_load_fetch(Path(__file__).resolve().parent).main())
