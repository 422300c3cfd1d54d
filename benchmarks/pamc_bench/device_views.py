"""Panels of device results as drawings, and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pamc_bench.device_figures import OURS, Origin, Panel
from pamc_bench.plots import Key, Point, bars_plot, points_plot, series_keys
from pamc_bench.rows import Row, Times, sustained_text
from pamc_bench.table import change_text
from pamc_bench.wording import Scale, scale_for

__all__ = ["COLUMNS", "Column", "PanelView", "change_cell", "device_markdown", "notes", "view"]

# Other bundles look like the variants of a build, in turn.
OTHERS = ("separate", "pruned_separately")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a panel: its heading, and its value of a row, in ms, KiB or a count."""

    key: str
    heading: str
    value: Callable[[Row], float | int | None]


def _time(get: Callable[[Times], float]) -> Callable[[Row], float | None]:
    return lambda row: None if row.times is None else get(row.times)


COLUMNS = (
    Column("p50", "p50, ms", _time(lambda times: times.p50)),
    Column("low", "from", _time(lambda times: times.low)),
    Column("high", "to", _time(lambda times: times.high)),
    Column("p90", "p90", _time(lambda times: times.p90)),
    Column("p99", "p99", _time(lambda times: times.p99)),
    Column("least", "min", _time(lambda times: times.least)),
    Column("mean", "mean", _time(lambda times: times.mean)),
    Column("mad", "MAD", _time(lambda times: times.mad)),
    Column("first", "first, ms", _time(lambda times: times.first)),
    Column("load", "load, ms", _time(lambda times: times.load)),
    Column("memory", "memory, KiB", lambda row: row.memory_kib),
    Column("instructions", "instructions", lambda row: row.instructions),
)


@dataclass(frozen=True, slots=True)
class PanelView:
    """A panel with the columns that it has values for, its drawings and its legend."""

    panel: Panel
    columns: tuple[Column, ...]
    scale: Scale
    keys: tuple[Key, ...]
    latency: Markup | None
    scatter: Markup | None

    def text(self, column: Column, row: Row) -> str:
        """One cell."""
        value = column.value(row)
        if value is None:
            return "–"
        return f"{value:,}" if isinstance(value, int) else self.scale.text(value)


def _looks(panel: Panel) -> dict[str, str]:
    """Bundles by the variant that they look like; those beyond have no colour left and are in the table alone."""
    others = [name for name in panel.bundles if name != OURS]
    return {**dict(zip(OTHERS, others, strict=False)), OURS: OURS}


def view(panel: Panel) -> PanelView:
    """A panel, ready to be shown."""
    found = [row for by_bundle in panel.rows.values() for row in by_bundle.values()]
    columns = tuple(column for column in COLUMNS if any(column.value(row) is not None for row in found))
    looks = _looks(panel)
    scale = scale_for("latency", (row.times.least for row in found if row.times is not None))

    def interval(task_set: str, look: str) -> tuple[float, float, float] | None:
        times = panel.times(task_set, looks[look])
        return None if times is None else (times.p50, times.low, times.high)

    points = [
        Point(name, look, row.macs, row.times.p50)
        for look, bundle in looks.items()
        for name, by_bundle in panel.rows.items()
        if (row := by_bundle.get(bundle)) is not None and row.times is not None and row.macs is not None
    ]
    latency = scatter = None
    if panel.timed:
        title = f"latency by task set, {panel.title}"
        latency = bars_plot(list(panel.rows), looks, interval, scale, lambda value: f"{scale.text(value)} ms", title)
        scatter = points_plot(points, looks)
    return PanelView(panel, columns, scale, series_keys(looks), latency, scatter)


def change_cell(panel: Panel, task_set: str, bundle: str) -> str:
    """The change of the median time, or of the instructions where there are no times, against the baseline."""
    pair = panel.pairs.get((task_set, bundle))
    change = None if pair is None else pair.changes.get("slower" if panel.timed else "instructions")
    return "" if change is None else change_text(change)


def device_markdown(
    found: Sequence[Panel],
    sources: Sequence[Origin],
    safe: Callable[[str], str],
    table: Callable[[Sequence[str], Sequence[Sequence[str]], int], str],
) -> list[str]:
    """The parts of a Markdown report about devices; ``safe`` escapes text, ``table`` makes tables."""
    parts: list[str] = ["## On devices\n"] if found else []
    for panel in found:
        shown = view(panel)
        changed = bool(panel.pairs)
        heads = ["task set", "bundle", *(column.heading for column in shown.columns), *(["change"] if changed else [])]
        rows = [
            [
                safe(name),
                safe(bundle),
                *(_exact(column, row) for column in shown.columns),
                *([change_cell(panel, name, bundle) or "–"] if changed else []),
            ]
            for name, by_bundle in panel.rows.items()
            for bundle, row in by_bundle.items()
        ]
        parts += [f"### {safe(panel.title)}\n", table(heads, rows, 2)]
        parts += [f"{safe(note)}\n" for note in notes(panel)]
    for source in sources:
        parts += [f"### Measured on {safe(source.device)}\n"]
        parts.append("".join(f"- {name}: {safe(text)}\n" for name, text in source.lines))
    return parts


def _exact(column: Column, row: Row) -> str:
    value = column.value(row)
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def notes(panel: Panel) -> list[str]:
    """What a reader has to know about the figures of a panel."""
    found = []
    if panel.emulated:
        found.append("Emulated: there are no latencies; instructions are exact.")
    if panel.quick and not panel.emulated:
        found.append("Quick: fewer and shorter blocks than the standard, for a first look.")
    if not panel.complete:
        found.append("Not complete: only the rounds that were finished.")
    by_reasons: dict[tuple[str, ...], list[str]] = {}
    for name, why in panel.unstable.items():
        by_reasons.setdefault(why, []).append(name)
    found += [f"UNSTABLE ({', '.join(names)}): {'; '.join(why)}." for why, names in by_reasons.items()]
    every = (row for by_bundle in panel.rows.values() for row in by_bundle.values())
    found += [f"Sustained, {row.key.task_set}: {text}." for row in every if (text := sustained_text(row))]
    if panel.timed:
        found.append("p50 is the median of the medians of the blocks, from and to bound it with 95 %.")
    return found
