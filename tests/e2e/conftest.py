"""Fixtures of the end-to-end tests: browsers, and a place for what they saw."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Playwright, sync_playwright

from tests.e2e.hypervisor import Hypervisor, run_hypervisor
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


@pytest.fixture(scope="session")
def hypervisor(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hypervisor]:
    """Consoles of every kind behind one gateway; for tests with ``needs(*tests.e2e.hypervisor.ALL)``."""
    with run_hypervisor(playwright, tmp_path_factory.mktemp("hypervisor")) as running:
        yield running
        written = running.gateway.output
    for secret in running.secrets:
        assert secret not in written, "a password is in the log"
