"""Fixtures of the end-to-end tests: browsers, and a place for what they saw."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Playwright, sync_playwright

from tests.support.process import ROOT


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Screenshots that are kept after the run."""
    directory = ROOT / "artifacts"
    directory.mkdir(exist_ok=True)
    return directory
