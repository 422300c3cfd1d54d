"""The plots of the HTML report. All are drawn for a phone's width and scale up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pamc.bundle.manifest import Manifest, Timing
from pamc.task_sets import sort_task_sets, task_set_text
from pamc_bench import svg
from pamc_bench.figures import HEADINGS, VARIANTS, Measure, measures, task_sets
from pamc_bench.wording import Scale, count_text, scale_for

__all__ = [
    "Key",
    "OwnersBar",
    "Point",
    "bars_plot",
    "latency_plot",
    "macs_plot",
    "owner_keys",
    "owners_plot",
    "points_plot",
    "scatter_plot",
    "series_keys",
    "variant_keys",
]

WIDTH = 360.0
BAR = 11.0
HUES = 8
HATCHES = 3


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a legend: a drawn sample and its name."""

    sample: Markup
    name: str


@dataclass(frozen=True, slots=True)
class OwnersBar:
    """The units of one channel space, as one bar."""

    space: str
    units: int
    bar: Markup


@dataclass(frozen=True, slots=True)
class Point:
    """One task set of one series: MACs against milliseconds."""

    task_set: str
    series: str
    macs: float
    ms: float


def _mark(variant: str, x: float, y: float, size: float) -> Markup:
    """A sample of a variant: shapes differ as well as colours."""
    css = f"v-{variant}"
    if variant == "separate":
        return svg.rect(x - size, y - size, 2 * size, 2 * size, css)
    if variant == "bundle":
        return svg.circle(x, y, 1.15 * size, css)
    reach = 1.4 * size
    return svg.path([(x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y)], css)


def series_keys(series: Mapping[str, str]) -> tuple[Key, ...]:
    """A legend: ``series`` are names by the variant whose colour and shape they have."""
    return tuple(Key(svg.drawing(14, 14, [_mark(look, 7, 7, 4.5)], name), name) for look, name in series.items())


def variant_keys(variants: Sequence[str]) -> tuple[Key, ...]:
    """The legend of the variants."""
    return series_keys({name: HEADINGS[name] for name in variants})


def bars_plot(
    names: Sequence[str],
    series: Mapping[str, str],
    row: Callable[[str, str], tuple[float, float, float] | None],
    scale: Scale,
    tip: Callable[[float], str],
    title: str,
) -> Markup:
    """Bars to ``value`` with whiskers from ``low`` to ``high``, grouped by task set; None leaves a bar out.

    ``series`` are their names by the variant that they look like, ``row`` takes a task set and that variant.
    """
    shown = {name: [(look, row(name, look)) for look in series] for name in names}
    highest = max((item[2] for cells in shown.values() for _, item in cells if item), default=0.0) or 1.0
    room = WIDTH - 12 - svg.CHARACTER * len(scale.text(highest))
    parts: list[Markup] = []
    y = 0.0
    for name, cells in shown.items():
        parts.append(svg.label(0, y + 12, svg.shorten(name, WIDTH), "name"))
        y += 18
        for look, item in cells:
            if item is None:
                continue
            value, low, high = (number / highest * room for number in item)
            middle = y + BAR / 2
            drawn = [svg.rect(0, y, value, BAR, f"v-{look}")]
            if high > low:
                drawn.append(svg.line(low, middle, high, middle, "whisker"))
                drawn += [svg.line(end, middle - 3, end, middle + 3, "whisker") for end in (low, high)]
            drawn.append(svg.label(max(value, high) + 6, y + BAR - 1.5, scale.text(item[0]), "value"))
            parts.append(svg.group(drawn, f"{name}, {series[look]}: {tip(item[0])}"))
            y += BAR + 3
        y += 8
    return svg.drawing(WIDTH, y, parts, title)


def _headings(variants: Sequence[str]) -> dict[str, str]:
    return {name: HEADINGS[name] for name in variants}


def _macs_text(value: float) -> str:
    return f"{count_text(value)} MACs"


def macs_plot(manifest: Manifest) -> Markup:
    """MACs of every task set, one bar per variant."""
    macs = measures(manifest)[0]

    def row(name: str, variant: str) -> tuple[float, float, float] | None:
        value = macs.rows[name].get(variant)
        return None if value is None else (value, value, value)

    scale = scale_for("count", macs.values)
    return bars_plot(task_sets(manifest), _headings(macs.variants), row, scale, _macs_text, "MACs by task set")


def _timings(manifest: Manifest) -> Mapping[str, Mapping[str, Timing]]:
    return manifest.latency.sets if manifest.latency is not None else {}


def latency_plot(manifest: Manifest, latency: Measure) -> Markup:
    """Median latency of every task set with whiskers from the 10th to the 90th percentile."""
    timings = _timings(manifest)

    def row(name: str, variant: str) -> tuple[float, float, float] | None:
        timing = timings.get(name, {}).get(variant)
        return None if timing is None else (timing.p50_ms, timing.p10_ms, timing.p90_ms)

    scale = scale_for("latency", latency.values)

    def tip(value: float) -> str:
        return f"{scale.text(value)} ms"

    return bars_plot(list(latency.rows), _headings(latency.variants), row, scale, tip, "latency by task set")


def scatter_plot(manifest: Manifest, latency: Measure) -> Markup:
    """MACs against milliseconds; the dashed line is the time in proportion to MACs, through the largest bundle set."""
    macs = measures(manifest)[0]
    points = [
        Point(name, variant, macs.rows[name][variant], latency.rows[name][variant])
        for variant in VARIANTS
        for name in latency.rows
        if variant in macs.rows[name] and variant in latency.rows[name]
    ]
    return points_plot(points, HEADINGS)


def points_plot(points: Sequence[Point], series: Mapping[str, str]) -> Markup:
    """Points of the names ``series``; the line is proportional, through the last point of the bundle's series."""
    left, top, right, bottom = 46.0, 22.0, WIDTH - 14, 264.0
    x_scale, y_scale = scale_for("count", (p.macs for p in points)), scale_for("latency", (p.ms for p in points))
    x_max = 1.05 * max((p.macs for p in points), default=1.0) or 1.0
    y_max = 1.05 * max((p.ms for p in points), default=1.0) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        return left + x / x_max * (right - left), bottom - y / y_max * (bottom - top)

    parts: list[Markup] = []
    for tick in svg.ticks(y_max):
        y = at(0, tick)[1]
        parts += [svg.line(left, y, right, y, "grid"), svg.label(left - 6, y + 4, f"{tick:g}", "value", "end")]
    for tick in svg.ticks(x_max):
        x = at(tick, 0)[0]
        text = f"{tick / x_scale.divisor:,g}"
        parts += [svg.line(x, bottom, x, bottom + 4, "axis"), svg.label(x, bottom + 17, text, "value", "middle")]
    parts += [svg.line(left, bottom, right, bottom, "axis"), svg.line(left, top, left, bottom, "axis")]
    unit = f", {x_scale.unit}" if x_scale.unit else ""
    parts += [svg.label(right, bottom + 34, f"MACs{unit}", "value", "end"), svg.label(0, 11, "ms, median", "value")]
    largest = next((p for p in reversed(points) if p.series == "bundle" and p.macs > 0), None)
    if largest is not None:
        reach = min(x_max / largest.macs, y_max / largest.ms if largest.ms > 0 else x_max / largest.macs)
        parts.append(svg.line(*at(0, 0), *at(reach * largest.macs, reach * largest.ms), "proportion"))
    for point in points:
        tip = f"{point.task_set}, {series[point.series]}: {_macs_text(point.macs)}, {y_scale.text(point.ms)} ms"
        parts.append(svg.group([_mark(point.series, *at(point.macs, point.ms), 4.5)], tip))
    return svg.drawing(WIDTH, bottom + 40, parts, "MACs against latency")


def _owner_styles(manifest: Manifest) -> dict[str, tuple[str, str | None]]:
    """Colour class and hatch class of each task set that owns units.

    The singles come first and the set of all tasks is always neutral, so that both keep their colours between builds.
    """
    tasks = manifest.task_names
    everyone = task_set_text(tasks)
    found = {name for counts in manifest.owners.values() for name in counts}
    others = [name for name in sort_task_sets(found - set(tasks), tasks) if name != everyone]
    styles: dict[str, tuple[str, str | None]] = {}
    for index, name in enumerate([*tasks, *others]):
        turn = index // HUES % (HATCHES + 1)
        styles[name] = (f"o{index % HUES}", f"hatch{turn}" if turn else None)
    if len(tasks) > 1:
        styles[everyone] = ("o-all", None)
    return {name: styles[name] for name in sort_task_sets(found, tasks)}


def _fill(x: float, width: float, height: float, style: tuple[str, str | None]) -> list[Markup]:
    colour, hatch = style
    parts = [svg.rect(x, 0, width, height, colour)]
    if hatch:
        parts.append(svg.rect(x, 0, width, height, hatch))
    return parts


def owner_keys(manifest: Manifest) -> tuple[Key, ...]:
    """The legend of the owners."""
    return tuple(
        Key(svg.drawing(14, 14, _fill(0, 14, 14, style), name), name) for name, style in _owner_styles(manifest).items()
    )


def owners_plot(manifest: Manifest) -> tuple[OwnersBar, ...]:
    """One bar per channel space: the shares of its units by owners, with their numbers where there is room."""
    styles = _owner_styles(manifest)
    width, height = WIDTH - 20, 20.0
    bars = []
    for space, counts in manifest.owners.items():
        units = sum(counts.values())
        parts: list[Markup] = []
        x = 0.0
        for name, style in styles.items():
            count = counts.get(name, 0)
            if not count:
                continue
            share = count / units * width
            drawn = _fill(x, share, height, style)
            if share > svg.CHARACTER * (len(str(count)) + 1):
                drawn.append(svg.label(x + share / 2, height - 5.5, str(count), f"on-{style[0]}", "middle"))
            parts.append(svg.group(drawn, f"{name}: {count} of {units} units"))
            x += share
            if x < width - 0.5:
                parts.append(svg.line(x, 0, x, height, "gap"))
        bars.append(OwnersBar(space, units, svg.drawing(width, height, parts, f"owners of {space}")))
    return tuple(bars)
