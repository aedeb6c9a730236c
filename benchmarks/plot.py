"""A picture of a run: horizontal bars of each peer's cost as a multiple of ours, on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape

from benchmarks.stats import paired_ratio
from benchmarks.vocabulary import Results
from benchmarks.workloads import WORKLOADS

__all__ = ["plot"]

_COLOURS = {"websockify": "#c8553d", "nginx": "#3b7a57", "haproxy": "#4169a1"}
_LEFT, _WIDTH, _RIGHT = 290, 520, 70
_BAR, _GAP, _TOP = 11, 9, 58
_FONT = "font-family='sans-serif' font-size='11'"
_SHOWN = {"cpu", "memory", "echo_p99"}


def plot(results: Results, headings: Mapping[str, str]) -> str:
    """An SVG document; bars to the right of the middle line are dearer than Console Gateway."""
    groups = list(_groups(results, headings))
    ratios = [ratio for _, bars in groups for _, ratio in bars] or [1.0]
    low = min(-0.5, math.floor(2 * math.log10(min(ratios))) / 2)
    high = max(0.5, math.ceil(2 * math.log10(max(ratios))) / 2)
    scale = _WIDTH / (high - low)

    def x(ratio: float) -> float:
        return _LEFT + (math.log10(ratio) - low) * scale

    parts: list[str] = []
    y = float(_TOP)
    for title, bars in groups:
        middle = y + len(bars) * _BAR / 2 + 4
        parts.append(
            f"<text x='{_LEFT - 8}' y='{middle:.1f}' text-anchor='end' {_FONT}>{escape(title)}</text>"
        )
        for peer, ratio in bars:
            begin, end = sorted((x(1.0), x(ratio)))
            parts.append(
                f"<rect x='{begin:.1f}' y='{y:.1f}' width='{max(1.0, end - begin):.1f}' height='{_BAR - 2}' "
                f"fill='{_COLOURS[peer]}'><title>{escape(title)}: {peer} {ratio:.2f}</title></rect>"
                f"<text x='{max(end, x(1.0)) + 4:.1f}' y='{y + _BAR - 3:.1f}' {_FONT} fill='#555'>"
                f"{_figure(ratio)}</text>"
            )
            y += _BAR
        y += _GAP
    axis = "".join(_axis(x, low, high, y))
    legend = "".join(
        f"<rect x='{_LEFT + 110 * place}' y='28' width='10' height='10' fill='{colour}'/>"
        f"<text x='{_LEFT + 110 * place + 15}' y='37' {_FONT}>{peer}</text>"
        for place, (peer, colour) in enumerate(_COLOURS.items())
    )
    width, height = _LEFT + _WIDTH + _RIGHT, y + 24
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height:.0f}' "
        f"viewBox='0 0 {width} {height:.0f}' role='img'>"
        f"<rect width='100%' height='100%' fill='#fff'/>"
        f"<text x='{_LEFT}' y='18' {_FONT} font-weight='bold'>Cost as a multiple of Console Gateway's</text>"
        f"{legend}{axis}{''.join(parts)}</svg>\n"
    )


def _figure(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 99.5 else f"{ratio:.0f}"


def _axis(x: object, low: float, high: float, bottom: float) -> Iterator[str]:
    assert callable(x)
    for power in range(math.ceil(low), math.floor(high) + 1):
        for factor in (1, 3):
            value = factor * 10.0**power
            if not low <= math.log10(value) <= high:
                continue
            colour = "#333" if value == 1 else "#ddd"
            yield (
                f"<line x1='{x(value):.1f}' y1='{_TOP - 8}' x2='{x(value):.1f}' y2='{bottom:.1f}' "
                f"stroke='{colour}'/><text x='{x(value):.1f}' y='{bottom + 14:.1f}' text-anchor='middle' "
                f"{_FONT}>{value:g}x</text>"
            )


def _groups(results: Results, headings: Mapping[str, str]) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    for (name, transport), outcomes in results.items():
        for metric in WORKLOADS[name].metrics:
            if metric.name not in _SHOWN or not metric.compared or "ours" not in outcomes:
                continue
            ours = outcomes["ours"].values.get(metric.name, [])
            bars = []
            for peer in _COLOURS:
                values = outcomes[peer].values.get(metric.name, []) if peer in outcomes else []
                ratio = paired_ratio(values, ours)
                if ratio is not None and ratio > 0:
                    bars.append((peer, ratio))
            if bars:
                suffix = "" if metric.name != "echo_p99" else ", p99"
                yield f"{transport.value} {headings[name]}{suffix}", bars
