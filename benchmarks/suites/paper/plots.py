"""The plots of a suite: drawings that stand alone and follow the reader's light or dark theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from benchmarks.suites.paper.results import Results
from benchmarks.suites.paper.rows import ROWS
from benchmarks.suites.paper.stats import mean_of
from pamc_bench import svg

__all__ = ["accuracy_plot", "cost_plot"]

WIDTH, HEIGHT = 680.0, 400.0
LEFT, TOP, RIGHT, BOTTOM = 64.0, 52.0, WIDTH - 150, HEIGHT - 52
LINE = 16.0
EDGE = 12.0

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


@dataclass(frozen=True)
class _Axes:
    """Linear axes from ``low`` to ``high`` in both directions."""

    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (RIGHT - LEFT), BOTTOM - up * (BOTTOM - TOP)

    def drawn(self, title: str, x_label: str, y_label: str, x_ticks: Sequence[float]) -> list[Markup]:
        parts = [STYLE, svg.label(EDGE, 20, title, "title"), svg.label(EDGE, TOP - 6, y_label, "value")]
        for tick in _ticks(*self.y):
            _, y = self.at(self.x[0], tick)
            parts += [svg.line(LEFT, y, RIGHT, y, "grid"), svg.label(LEFT - 8, y + 4, f"{tick:g}", "value", "end")]
        for tick in x_ticks:
            x, _ = self.at(tick, self.y[0])
            parts += [
                svg.line(x, BOTTOM, x, BOTTOM + 4, "axis"),
                svg.label(x, BOTTOM + 18, f"{tick:g}", "value", "middle"),
            ]
        middle = (LEFT + RIGHT) / 2
        parts += [svg.line(LEFT, BOTTOM, RIGHT, BOTTOM, "axis"), svg.label(middle, BOTTOM + 38, x_label, "", "middle")]
        return parts


def cost_plot(results: Results, pruner: str) -> Markup:
    """FLOPs by the number of tasks that run: the mean over the sets of each size, with 95 % intervals over seeds."""
    sizes = results.sizes
    lines = {}
    for row in results.rows(pruner):
        found = [results.costs(row, pruner, results.of_size(size), "flops") for size in sizes]
        if all(found):
            lines[row] = [mean_of([value / 1e6 for value in values.values()]) for values in found]
    highest = max((mean.high for means in lines.values() for mean in means), default=1.0)
    axes = _Axes((sizes[0] - 0.2, sizes[-1] + 0.2), (0.0, 1.05 * highest))
    title = f"{results.held['suite']}, {pruner}: cost by number of tasks"
    parts = axes.drawn(title, "tasks that run", "MFLOPs, mean over the sets of a size", sizes)
    for row, means in lines.items():
        hue, _ = STYLES[row]
        places = [axes.at(size, mean.value) for size, mean in zip(sizes, means, strict=True)]
        drawn = [svg.line(*start, *end, f"join {hue}") for start, end in pairwise(places)]
        for place, size, mean in zip(places, sizes, means, strict=True):
            if mean.half is not None:
                drawn.append(svg.line(*axes.at(size, max(mean.low, 0.0)), *axes.at(size, mean.high), f"whisker {hue}"))
            drawn.append(_mark(row, *place))
        parts.append(svg.group(drawn, f"{ROWS[row].label}: {', '.join(f'{mean.value:.3f}' for mean in means)} MFLOPs"))
    order = sorted(lines, key=lambda row: -lines[row][-1].value)
    return svg.drawing(WIDTH, HEIGHT, [*parts, *_legend(order)], title)


def accuracy_plot(results: Results, pruner: str) -> Markup:
    """Mean test accuracy against the FLOPs of all tasks, with 95 % intervals over seeds."""
    everyone = results.of_size(len(results.tasks))
    points = {}
    for row in results.rows(pruner):
        costs = results.costs(row, pruner, everyone, "flops")
        if costs:
            accuracies = results.accuracies(row, pruner, results.tasks)
            points[row] = mean_of([value / 1e6 for value in costs.values()]), mean_of([*accuracies.values()])
    original = mean_of([*results.originals(results.tasks).values()]).value
    right = max((cost.high for cost, _ in points.values()), default=1.0)
    heights = [original, *(end for _, accuracy in points.values() for end in (accuracy.low, accuracy.high))]
    room = max(0.1 * (max(heights) - min(heights)), 0.1)
    axes = _Axes((0.0, 1.05 * right), (min(heights) - room, max(heights) + room))
    title = f"{results.held['suite']}, {pruner}: accuracy against cost"
    parts = axes.drawn(title, "MFLOPs of all tasks at once", "mean test accuracy, %", _ticks(0.0, 1.05 * right))
    _, level = axes.at(0, original)
    parts += [
        svg.line(LEFT, level, RIGHT, level, "axis"),
        svg.label(RIGHT - 4, level - 5, "as trained", "value", "end"),
    ]
    for row, (cost, accuracy) in points.items():
        hue, _ = STYLES[row]
        drawn = []
        if cost.half is not None and accuracy.half is not None:
            across = (max(cost.low, 0.0), cost.high)
            drawn.append(
                svg.line(*axes.at(across[0], accuracy.value), *axes.at(across[1], accuracy.value), f"whisker {hue}")
            )
            drawn.append(
                svg.line(*axes.at(cost.value, accuracy.low), *axes.at(cost.value, accuracy.high), f"whisker {hue}")
            )
        drawn.append(_mark(row, *axes.at(cost.value, accuracy.value)))
        parts.append(svg.group(drawn, f"{ROWS[row].label}: {accuracy.value:.2f} %, {cost.value:.3f} MFLOPs"))
    return svg.drawing(WIDTH, HEIGHT, [*parts, *_legend([*points])], title)


def _legend(rows: Sequence[str]) -> list[Markup]:
    parts = []
    for number, row in enumerate(rows):
        y = TOP + 8 + number * LINE
        parts += [_mark(row, RIGHT + 20, y), svg.label(RIGHT + 32, y + 4, ROWS[row].label)]
    return parts


def _mark(row: str, x: float, y: float) -> Markup:
    hue, shape = STYLES[row]
    return svg.marker(shape, x, y, hue)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between ``low`` and ``high``."""
    steps = svg.ticks(high - low, 5)
    step = steps[1] if len(steps) > 1 else high - low
    first = -int(-low // step)
    return [number * step for number in range(first, int(high / step) + 1)]
