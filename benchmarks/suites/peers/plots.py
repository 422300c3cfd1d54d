"""Time by the number of tasks that are asked for, a panel for each runtime."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from markupsafe import Markup

from benchmarks.suites.paper.plots import STYLE
from benchmarks.suites.peers.results import Results
from pamc_bench import svg

__all__ = ["STYLES", "time_plot"]

PANEL, HEIGHT, LEFT, GAP = 300.0, 360.0, 52.0, 56.0
TOP, BOTTOM = 64.0, HEIGHT - 48
LEGEND = 150.0
LINE = 17.0

STYLES: Mapping[str, tuple[str, str]] = {
    "separate": ("c0", "square"),
    "all-outputs": ("c0", "diamond"),
    "torch-pruning": ("c1", "triangle"),
    "alone": ("c4", "square"),
    "hard": ("c6", "diamond"),
    "mtz": ("c6", "triangle"),
    "pam": ("c3", "circle"),
    "pam-all": ("c3", "triangle"),
    "ours": ("c2", "circle"),
}
"""The hue and the shape of every row: colour is never all there is."""


def time_plot(results: Results) -> Markup:
    """Median time in ms, the mean over the task sets of each size, with intervals over the blocks."""
    width = LEFT + len(results.runtimes) * (PANEL + GAP) - GAP + LEGEND
    title = f"{results.held['suite']}: time of an inference by the number of tasks asked for"
    parts: list[Markup] = [STYLE, svg.label(12, 22, title, "title")]
    for number, runtime in enumerate(results.runtimes):
        parts += _panel(results, runtime, LEFT + number * (PANEL + GAP))
    right = width - LEGEND + 16
    for number, row in enumerate(results.rows):
        y = TOP + 8 + number * LINE
        parts += [_mark(row, right, y), svg.label(right + 12, y + 4, results.label(row))]
    return svg.drawing(width, HEIGHT, parts, title)


def _panel(results: Results, runtime: str, left: float) -> list[Markup]:
    sizes = range(1, len(results.tasks) + 1)
    rows = [row for row in results.rows if results.has(row, runtime)]
    found = {row: [results.expected(row, runtime, results.of_size(size)) for size in sizes] for row in rows}
    highest = 1.05 * max(item.high for items in found.values() for item in items)

    def at(size: float, ms: float) -> tuple[float, float]:
        across = (size - 0.8) / (len(sizes) - 0.6)
        return left + across * PANEL, BOTTOM - ms / highest * (BOTTOM - TOP)

    parts = [svg.label(left, TOP - 14, f"{runtime}, ms")]
    for tick in svg.ticks(highest):
        _, y = at(1, tick)
        parts += [svg.line(left, y, left + PANEL, y, "grid"), svg.label(left - 6, y + 4, f"{tick:g}", "value", "end")]
    for size in sizes:
        x, _ = at(size, 0)
        parts.append(svg.label(x, BOTTOM + 18, str(size), "value", "middle"))
    parts.append(svg.line(left, BOTTOM, left + PANEL, BOTTOM, "axis"))
    parts.append(svg.label(left + PANEL / 2, BOTTOM + 36, "tasks asked for", "", "middle"))
    for row, items in found.items():
        hue, _ = STYLES[row]
        places = [at(size, item.value) for size, item in zip(sizes, items, strict=True)]
        drawn = [svg.line(*start, *end, f"join {hue}") for start, end in pairwise(places)]
        for size, item, place in zip(sizes, items, places, strict=True):
            drawn.append(svg.line(*at(size, item.low), *at(size, item.high), f"whisker {hue}"))
            drawn.append(_mark(row, *place))
        told = ", ".join(f"{item.value:.4f}" for item in items)
        parts.append(svg.group(drawn, f"{results.label(row)}, {runtime}: {told} ms"))
    return parts


def _mark(row: str, x: float, y: float) -> Markup:
    hue, shape = STYLES[row]
    return svg.marker(shape, x, y, hue)
