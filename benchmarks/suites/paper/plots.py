"""The plots of a suite: drawings that stand alone and follow the reader's light or dark theme."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup

from benchmarks.suites.paper.pareto import Curves, Point, point_of
from benchmarks.suites.paper.results import Results
from benchmarks.suites.paper.rows import ROWS
from benchmarks.suites.paper.stats import Mean, mean_of
from pamc_bench import svg

__all__ = ["accuracy_plot", "cost_plot", "pareto_plot"]

WIDTH, HEIGHT = 680.0, 400.0
LEFT, TOP, RIGHT, BOTTOM = 64.0, 52.0, WIDTH - 150, HEIGHT - 52
LINE = 16.0
EDGE = 12.0
PARETO_FRAME = 76.0, 72.0, WIDTH - 20, 452.0
COLUMNS, PARETO_LINE = 3, 26.0
ASIDE = 0.04
BEYOND = 0.25
"""How far bars may stretch an axis, in parts of what the means take up."""

# The hues of pamc's reports (Okabe and Ito 2008); a shape goes with each, so that colour is never all there is.
STYLES: Mapping[str, tuple[str, str]] = {
    "b1": ("c0", "square"),
    "b2-concat": ("c1", "diamond"),
    "b2-mtz": ("c1", "triangle"),
    "pam": ("c2", "circle"),
    "pam-paper": ("c2", "square"),
    "pam-all": ("c2", "triangle"),
    "pam-lattice": ("c2", "diamond"),
    "branch": ("c3", "triangle"),
    "random": ("c4", "square"),
    "share": ("c5", "circle"),
    "hard": ("c6", "diamond"),
    "fresh": ("c6", "triangle"),
}
STYLE = (
    Markup(
        "<style>"
        "svg{background:#fff;--ink:#1d232a;--quiet:#59636e;--rule:#d7dce1;--page:#fff;"
        "--c0:#1d232a;--c1:#c7530a;--c2:#0b6fb3;--c3:#009e73;--c4:#98a1ab;--c5:#882255;--c6:#b8860b}"
        "@media (prefers-color-scheme:dark){svg{background:#14181c;--ink:#e3e7eb;--quiet:#9aa5b0;--rule:#333b43;"
        "--page:#14181c;--c0:#e3e7eb;--c1:#ee8a4a;--c2:#4fa8e6;--c3:#2fc79c;--c4:#737d87;--c5:#d67fb0;--c6:#e0b93f}}"
        "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,Arial,'DejaVu Sans',sans-serif;fill:var(--ink)}"
        "text.title{font-size:14px;font-weight:600}text.value{fill:var(--quiet);font-variant-numeric:tabular-nums}"
        ".grid{stroke:var(--rule)}.axis{stroke:var(--quiet)}.whisker{stroke-width:1.2}.join{stroke-width:1.6}"
        "circle,polygon,rect.mark{stroke:var(--page)}"
    )
    + Markup("").join(
        Markup(".c{0}{{fill:var(--c{0})}}line.c{0}{{stroke:var(--c{0})}}").format(hue) for hue in range(7)
    )
    + Markup("</style>")
)
# A drawing that is shown small, on a phone, gets letters that can be read there.
PARETO_STYLE = STYLE + Markup(
    "<style>.whisker{opacity:.45}.whole{fill:var(--page);stroke:var(--ink);stroke-width:2}"
    "@media (max-width:500px){text,text.title{font-size:20px}}</style>"
)


class _Bar(NamedTuple):
    """A value with its interval, in the units of an axis."""

    low: float
    value: float
    high: float


NOTHING = _Bar(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class _Axes:
    """Linear axes from ``low`` to ``high`` in both directions, in a frame: left, top, right and bottom."""

    x: tuple[float, float]
    y: tuple[float, float]
    frame: tuple[float, float, float, float] = (LEFT, TOP, RIGHT, BOTTOM)

    def at(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = self.frame
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return left + across * (right - left), bottom - up * (bottom - top)

    def drawn(self, title: str, x_label: str, y_label: str, x_ticks: Mapping[float, str]) -> list[Markup]:
        """``x_ticks`` are what is written at places of the axis."""
        left, _, right, bottom = self.frame
        parts = [svg.label(EDGE, 20, title, "title"), svg.label(EDGE, 46, y_label, "value")]
        for tick in _ticks(*self.y):
            _, y = self.at(self.x[0], tick)
            parts += [svg.line(left, y, right, y, "grid"), svg.label(left - 8, y + 4, f"{tick:g}", "value", "end")]
        for tick, text in x_ticks.items():
            x, _ = self.at(tick, self.y[0])
            parts += [svg.line(x, bottom, x, bottom + 4, "axis"), svg.label(x, bottom + 20, text, "value", "middle")]
        middle = (left + right) / 2
        parts += [svg.line(left, bottom, right, bottom, "axis"), svg.label(middle, bottom + 44, x_label, "", "middle")]
        return parts

    def bars(self, x: _Bar, y: _Bar, css: str) -> list[Markup]:
        """Both intervals, cut at the frame; none around what has no interval."""
        across = max(x.low, self.x[0]), min(x.high, self.x[1])
        up = max(y.low, self.y[0]), min(y.high, self.y[1])
        drawn = []
        if across[0] < across[1]:
            drawn.append(svg.line(*self.at(across[0], y.value), *self.at(across[1], y.value), css))
        if up[0] < up[1]:
            drawn.append(svg.line(*self.at(x.value, up[0]), *self.at(x.value, up[1]), css))
        return drawn


def cost_plot(results: Results, pruner: str) -> Markup:
    """FLOPs by the number of tasks that run: the mean over the sets of each size, with 95 % intervals over seeds."""
    sizes = results.sizes
    lines = {}
    for row in results.rows(pruner):
        found = [results.costs(row, pruner, results.of_size(size), "flops") for size in sizes]
        if all(found):
            lines[row] = [mean_of([value / 1e6 for value in values.values()]) for values in found]
    _, highest = _reach([NOTHING, *(_bar(mean) for means in lines.values() for mean in means)])
    axes = _Axes((sizes[0] - 0.3, sizes[-1] + 0.3), (0.0, highest))
    title = f"{results.held['suite']}, {pruner}: cost by number of tasks"
    ticks = {size: str(size) for size in sizes}
    bars, told = {}, {}
    for number, (row, means) in enumerate(lines.items()):
        # Side by side, so that the bars of one row do not hide those of another.
        aside = ASIDE * (number - (len(lines) - 1) / 2)
        places = [size + aside for size in sizes]
        bars[row] = [(_Bar(x, x, x), _bar(mean)) for x, mean in zip(places, means, strict=True)]
        told[row] = f"{', '.join(f'{mean.value:.3f}' for mean in means)} MFLOPs"
    parts = [STYLE, *axes.drawn(title, "tasks that run", "MFLOPs, mean over the sets of a size", ticks)]
    parts += _joined(axes, bars, told)
    order = sorted(lines, key=lambda row: -lines[row][-1].value)
    return svg.drawing(WIDTH, HEIGHT, [*parts, *_legend(order)], title)


def accuracy_plot(results: Results, pruner: str) -> Markup:
    """Mean test accuracy against the FLOPs of all tasks, with 95 % intervals over seeds."""
    everyone = results.of_size(len(results.tasks))
    points = {row: found for row in results.rows(pruner) if (found := point_of(results, row, pruner, everyone))}
    original = mean_of([*results.originals(results.tasks).values()]).value
    _, right = _reach([NOTHING, *(_bar(point.cost) for point in points.values())])
    heights = [_Bar(original, original, original), *(_bar(point.accuracy) for point in points.values())]
    axes = _Axes((0.0, right), _reach(heights))
    title = f"{results.held['suite']}, {pruner}: accuracy against cost"
    ticks = {tick: f"{tick:g}" for tick in _ticks(0.0, right)}
    _, level = axes.at(0, original)
    parts = [
        STYLE,
        *axes.drawn(title, "MFLOPs of all tasks at once", "mean test accuracy, %", ticks),
        svg.line(LEFT, level, RIGHT, level, "axis"),
        svg.label(RIGHT - 4, level - 5, "as trained", "value", "end"),
    ]
    parts += _joined(
        axes,
        {row: [(_bar(point.cost), _bar(point.accuracy))] for row, point in points.items()},
        {row: _told(point) for row, point in points.items()},
    )
    return svg.drawing(WIDTH, HEIGHT, [*parts, *_legend([*points])], title)


def pareto_plot(curves: Curves) -> Markup:
    """Mean test accuracy against expected FLOPs on a log axis, a curve a row, with 95 % intervals over seeds."""
    points = {row: found for row in curves.rows if (found := curves.points(row))}
    whole = curves.unpruned
    every = [whole, *(point for found in points.values() for point in found)]
    costs, accuracies = [_log_bar(point.cost) for point in every], [_bar(point.accuracy) for point in every]
    axes = _Axes(_reach(costs), _reach(accuracies), PARETO_FRAME)
    left, _, right, bottom = axes.frame
    title = f"{curves.own.held['suite']}, {curves.pruner}: accuracy against expected cost"
    ticks = {math.log10(tick): f"{tick:g}" for tick in _log_ticks(*(10**end for end in axes.x))}
    x, level = axes.at(math.log10(whole.cost.value), whole.accuracy.value)
    parts = [
        PARETO_STYLE,
        *axes.drawn(title, "expected cost: MFLOPs, mean of all task sets", "mean test accuracy, %", ticks),
        svg.line(left, level, right, level, "axis"),
        svg.label(x - 12, level - 8, "as trained", "value", "end"),
        svg.group([svg.circle(x, level, 6, "whole")], f"as trained: {_told(whole)}"),
    ]
    parts += _joined(
        axes,
        {row: [(_log_bar(point.cost), _bar(point.accuracy)) for point in found] for row, found in points.items()},
        {row: "; ".join(map(_told, found)) for row, found in points.items()},
        size=6.0,
    )
    top, column = bottom + 78, (WIDTH - 2 * EDGE) / COLUMNS
    for number, row in enumerate(points):
        x, y = 2 * EDGE + number % COLUMNS * column, top + number // COLUMNS * PARETO_LINE
        parts += [_mark(row, x, y - 5, size=6.0), svg.label(x + 16, y, ROWS[row].label)]
    return svg.drawing(WIDTH, top + (len(points) - 1) // COLUMNS * PARETO_LINE + EDGE, parts, title)


def _joined(
    axes: _Axes, bars: Mapping[str, Sequence[tuple[_Bar, _Bar]]], told: Mapping[str, str], size: float = 4.5
) -> list[Markup]:
    """A mark at each point of each row, joined by lines. The bars of all rows lie under the marks of all."""
    under, over = [], []
    for row, found in bars.items():
        hue, _ = STYLES[row]
        under += [line for x, y in found for line in axes.bars(x, y, f"whisker {hue}")]
        places = [axes.at(x.value, y.value) for x, y in found]
        drawn = [svg.line(*start, *end, f"join {hue}") for start, end in pairwise(places)]
        drawn += [_mark(row, *place, size=size) for place in places]
        over.append(svg.group(drawn, f"{ROWS[row].label}: {told[row]}"))
    return under + over


def _told(point: Point) -> str:
    return f"{point.accuracy.value:.2f} %, {point.cost.value:.3f} MFLOPs"


def _bar(mean: Mean) -> _Bar:
    return _Bar(mean.low, mean.value, mean.high)


def _log_bar(mean: Mean) -> _Bar:
    """An interval that reaches below nothing has no lower end on a log axis."""
    return _Bar(math.log10(mean.low) if mean.low > 0 else -math.inf, math.log10(mean.value), math.log10(mean.high))


def _reach(bars: Iterable[_Bar]) -> tuple[float, float]:
    """The ends of an axis: all values are on it, and bars as far as ``BEYOND`` goes."""
    lows, values, highs = zip(*bars, strict=True)
    beyond = BEYOND * (max(values) - min(values)) or 0.1
    low, high = max(min(lows), min(values) - beyond), min(max(highs), max(values) + beyond)
    room = max(0.08 * (high - low), 0.01)
    return low - room, high + room


def _legend(rows: Sequence[str]) -> list[Markup]:
    parts = []
    for number, row in enumerate(rows):
        y = TOP + 8 + number * LINE
        parts += [_mark(row, RIGHT + 20, y), svg.label(RIGHT + 32, y + 4, ROWS[row].label)]
    return parts


def _mark(row: str, x: float, y: float, size: float = 4.5) -> Markup:
    hue, shape = STYLES[row]
    return svg.marker(shape, x, y, hue, size)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between ``low`` and ``high``."""
    steps = svg.ticks(high - low, 5)
    step = steps[1] if len(steps) > 1 else high - low
    first = -int(-low // step)
    return [number * step for number in range(first, int(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every power of ten between ``low`` and ``high``; round numbers where those are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    found = [factor * 10.0**power for power in powers for factor in (1, 2, 5) if low <= factor * 10.0**power <= high]
    return found if len(found) > 2 else _ticks(low, high)
