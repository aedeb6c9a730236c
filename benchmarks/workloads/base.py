"""What every workload states and does."""

from __future__ import annotations

import abc

from benchmarks.contenders import Contender
from benchmarks.stage import Stage
from benchmarks.vocabulary import Metric, Scale, Transport

__all__ = ["MaybeSecured", "Reading", "Workload"]

Reading = tuple[dict[str, float], bool]
"""Figures by metric, and whether the load generator was saturated."""


class Workload(abc.ABC):
    """Something to measure: one call is one round of one contender."""

    name: str
    title: str
    metrics: tuple[Metric, ...]
    transports: tuple[Transport, ...] = (Transport.WSS, Transport.WS)
    once = False
    """One round says it all: nothing in it depends on the machine's mood."""

    def heading(self, scale: Scale) -> str:
        """The title for tables."""
        return self.title

    def suits(self, contender: Contender, transport: Transport, scale: Scale) -> bool:
        """Whether this contender can be measured."""
        return contender.proxied

    @abc.abstractmethod
    def seconds(self, contender: Contender, transport: Transport, scale: Scale) -> float:
        """How long a round takes, roughly."""

    @abc.abstractmethod
    def measure(self, stage: Stage, contender: Contender, transport: Transport, scale: Scale) -> Reading:
        """Measure one round.

        :raises BenchmarkError: it failed.
        """

    def prepare(self, stage: Stage) -> None:  # noqa: B027 - most need nothing
        """Find or start what all contenders need.

        :raises BenchmarkError: it is not here.
        """


class MaybeSecured(Workload):
    """One that is also measured with TLS on both legs, by those who can: with every certificate verified."""

    def __init__(self, *, secured: bool = False) -> None:
        self.secured = secured
        if secured:
            self.name += "-tls"
            self.title += ", TLS to the target"
            self.transports = (Transport.WSS,)

    def suits(self, contender: Contender, transport: Transport, scale: Scale) -> bool:
        return contender.proxied and (contender.secures or not self.secured)
