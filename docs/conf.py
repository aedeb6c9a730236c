"""Sphinx configuration: ``make docs``."""

from __future__ import annotations

from gateway import __version__

project = "Console Gateway"
author = "The Console Gateway developers"
project_copyright = "The Console Gateway developers"
release = __version__
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]
html_theme = "alabaster"
html_theme_options = {"description": "Consoles of virtual machines in the browser", "fixed_sidebar": True}
