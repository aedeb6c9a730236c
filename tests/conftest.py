"""What all tests share: peers that may be missing."""

from __future__ import annotations

import signal
from pathlib import Path

import hypothesis
import pytest

from tests.peers import missing, required

# How long an example takes says more about what else the machine does.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# What a shell starts in the background ignores them, and so would every process that a test signals.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have trial's ``mktemp`` and whatever else is relative end in the test's own directory."""
    monkeypatch.chdir(tmp_path)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or in CI fail, a test whose peers are not here."""
    for mark in item.iter_markers("needs"):
        lost = missing(mark.args)
        if lost and required():
            pytest.fail(f"not found: {lost}", pytrace=False)
        elif lost:
            pytest.skip(f"not found: {lost}")
