"""The statistics of few rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

__all__ = ["median", "paired_ratio", "spread"]


def median(values: Sequence[float]) -> float:
    """The median; of an even number, the mean of the middle two."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> float:
    """Half the distance between the extremes, as a share of the median; 0 where the median is."""
    middle = median(values)
    return (max(values) - min(values)) / 2 / abs(middle) if middle else 0.0


def paired_ratio(peer: Sequence[float], ours: Sequence[float]) -> float | None:
    """How many times the peer's figure is ours: the median over rounds of the ratio within each.

    Rounds are interleaved, so a mood of the machine meets both sides of a
    ratio. Where a round of either failed, the ratio of the medians is taken.

    :returns: ``None`` where there is nothing to compare, or ours is not above zero.
    """
    if not peer or not ours:
        return None
    if len(peer) != len(ours) or min(ours) <= 0:
        own = median(ours)
        return median(peer) / own if own > 0 else None
    return median([theirs / own for theirs, own in zip(peer, ours, strict=True)])
