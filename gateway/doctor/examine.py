"""All checks that need no network beyond this host, in the order in which they are shown."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

from gateway.doctor.files import check_certificates, check_engine, check_permissions
from gateway.doctor.finding import Finding, fail, ok, warn
from gateway.doctor.front import check_front
from gateway.doctor.host import check_clock, check_descriptors, check_masker, check_name, check_user
from gateway.doctor.running import check_control, check_ports
from gateway.loaded import check_files
from gateway.settings import Problem, Settings
from gateway.source import SettingsSource

__all__ = ["examine_host", "load"]


def load(source: SettingsSource) -> tuple[Settings | None, list[Finding]]:
    """Read settings and every file that they name.

    :returns: settings that can be worked with, or ``None``.
    """
    examined = source.examine()
    settings, problems = examined.settings, examined.problems
    findings = [warn("settings", *_words(each)) for each in examined.warnings]
    if settings is None or problems:
        return None, findings + [fail("settings", *_words(each)) for each in problems]
    files = [examined.placed(problem) for problem in check_files(settings)]
    if files:
        return settings, findings + [fail("settings", *_words(each)) for each in files]
    return settings, [*findings, ok("settings", f"{source}: no problems found")]


def _words(problem: Problem) -> tuple[str, str]:
    where = f"{problem.file}: {problem.key}" if problem.key else str(problem.file)
    return f"{where}: {problem.text}", problem.remedy


def examine_host(
    settings: Settings | None, now: datetime.datetime, names: Sequence[str]
) -> Iterator[Finding]:
    """Everything about this host, and about the gateway that runs on it.

    :param settings: without them, only what does not depend on them.
    :param names: under which browsers reach the gateway.
    """
    yield from check_user()
    yield from check_clock()
    yield from check_masker()
    yield from check_name()
    if settings is None:
        return
    yield from check_permissions(settings)
    yield from check_front(settings, now, names)
    yield from check_engine(settings, now)
    yield from check_certificates(settings, now)
    running = check_control(settings)
    yield from running.findings
    yield from check_ports(settings, runs=running.pid is not None)
    yield from check_descriptors(settings.limits, running.pid)
