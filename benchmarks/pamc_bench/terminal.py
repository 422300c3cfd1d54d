"""The report that `pamc build` prints: plain text, with colour where the terminal has it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from pamc.bundle.manifest import Manifest
from pamc_bench.figures import HEADINGS, Measure, expected_macs, formats, measures, quantized_formats, scores, task_sets
from pamc_bench.wording import (
    change_text,
    drop_text,
    drop_word,
    marks_legend,
    metric_text,
    scale_for,
    score_text,
    summary,
    totals_text,
    workload_text,
)

__all__ = ["render_terminal"]

STYLES = {"more": "31", "less": "32", "over": "1;31", "title": "1", "quiet": "2"}
SHORT = HEADINGS | {"pruned_separately": "pruned"}
GAP = "  "
NAMES = 18  # columns for the names of task sets, at least


@dataclass(frozen=True, slots=True)
class _Cell:
    text: str = ""
    style: str | None = None


@dataclass(frozen=True, slots=True)
class _Columns:
    """Columns under a common title; ``cells`` are by row, then by column."""

    title: str
    heads: tuple[str, ...]
    cells: tuple[tuple[_Cell, ...], ...]


def _clean(text: str) -> str:
    # A name must not be able to move the cursor or set colours.
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "?", text)


def _paint(text: str, style: str | None, color: bool) -> str:
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if color and style else text


def _pad(cell: _Cell, width: int, color: bool) -> str:
    text = _clean(cell.text)
    return " " * max(0, width - cell_len(text)) + _paint(text, cell.style, color)


def _split(name: str, width: int) -> list[str]:
    """A task set in lines of at most ``width``, broken after a ``+``."""
    lines = [""]
    for part in re.findall(r"[^+]+\+?", _clean(name)):
        if lines[-1] and cell_len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return lines


def _widths(columns: _Columns) -> list[int]:
    rows = [tuple(_Cell(head) for head in columns.heads), *columns.cells]
    return [max(cell_len(_clean(row[i].text)) for row in rows) for i in range(len(columns.heads))]


def _total(columns: _Columns) -> int:
    return max(sum(_widths(columns)) + len(GAP) * (len(columns.heads) - 1), cell_len(_clean(columns.title)))


def _table(names: Sequence[str], groups: Sequence[_Columns], width: int, color: bool) -> list[str]:
    """Lines of one table: the task sets, then the column groups side by side."""
    totals = [_total(group) for group in groups]
    room = max(NAMES, width - sum(totals) - 3 * len(groups))
    names_lines = [_split(name, room) for name in names]
    first = max(cell_len(line) for lines in [["task set"], *names_lines] for line in lines)
    inner = [[*_widths(group)] for group in groups]
    for widths, total, group in zip(inner, totals, groups, strict=True):
        widths[0] += total - sum(widths) - len(GAP) * (len(group.heads) - 1)

    def line(left: str, rows: Sequence[Sequence[_Cell]]) -> str:
        text = left + " " * (first - cell_len(left))
        for cells, widths in zip(rows, inner, strict=True):
            text += "   " + GAP.join(_pad(cell, size, color) for cell, size in zip(cells, widths, strict=True))
        return text.rstrip()

    titles = [_pad(_Cell(group.title, "title"), total, color) for group, total in zip(groups, totals, strict=True)]
    lines = ["   ".join([" " * first, *titles]), line("task set", [[_Cell(head) for head in g.heads] for g in groups])]
    lines.append("─" * (first + sum(totals) + 3 * len(groups)))
    for index, parts in enumerate(names_lines):
        lines.append(line(parts[0], [group.cells[index] for group in groups]))
        lines += parts[1:]
    return lines


def _beside(names: Sequence[str], groups: Iterable[_Columns], width: int) -> list[list[_Columns]]:
    """Groups in rows that leave space for the names of the task sets, broken after a ``+`` where they are long."""
    longest = max(cell_len(part) for name in names for part in _split(name, NAMES))
    rows: list[list[_Columns]] = [[]]
    used = longest
    for group in groups:
        used += _total(group) + 3
        if rows[-1] and used > width:
            rows.append([])
            used = longest + _total(group) + 3
        rows[-1].append(group)
    return [row for row in rows if row]


def _measure_columns(measure: Measure, names: Sequence[str]) -> _Columns:
    scale = scale_for("latency" if measure.timed else "count", measure.values)
    heads = [SHORT[variant] for variant in measure.variants]
    if measure.against:
        heads.append(f"vs {SHORT[measure.against]}")
    rows = []
    for name in names:
        values = measure.rows.get(name, {})
        cells = [_Cell(scale.text(values[v]) if v in values else "–") for v in measure.variants]
        if measure.against:
            change = measure.change(name)
            cells.append(_Cell(change_text(change), change.kind if change and change.kind in STYLES else None))
        rows.append(tuple(cells))
    return _Columns(f"{measure.title}, {scale.unit}" if scale.unit else measure.title, tuple(heads), tuple(rows))


def _size_columns(manifest: Manifest, names: Sequence[str]) -> _Columns | None:
    found = formats(manifest)
    if not found:
        return None
    entries = [manifest.task_sets[name].bytes for name in names]
    scale = scale_for("bytes", (size for entry in entries for size in entry.values()))
    rows = [tuple(_Cell(scale.text(entry[name]) if name in entry else "–") for name in found) for entry in entries]
    return _Columns(f"size, {scale.unit}", found, tuple(rows))


def _score_columns(manifest: Manifest, names: Sequence[str]) -> list[_Columns]:
    columns = []
    heading = "sep. → bundle" + (f" → {manifest.numerics.method}" if quantized_formats(manifest) else "")
    by_set = {name: {score.task.name: score for score in scores(manifest, name)} for name in names}
    for task in manifest.tasks:
        rows = []
        for name in names:
            score = by_set[name].get(task.name)
            if score is None:
                rows.append((_Cell(), _Cell()))
                continue
            before, after = score_text(task.metric, score.separate), score_text(task.metric, score.bundle)
            fall = drop_text(task.metric, score.drop)
            over = _Cell(f"{fall} OVER", "over") if score.over_budget else _Cell(fall)
            stored = f" → {score_text(task.metric, score.final)}" if score.quantized else ""
            rows.append((_Cell(f"{before} → {after}{stored}"), over))
        if any(cell.text for row in rows for cell in row):
            columns.append(
                _Columns(f"{task.name}: {metric_text(task.metric)}", (heading, drop_word(task.metric)), tuple(rows))
            )
    return columns


def _budget_line(manifest: Manifest) -> str | None:
    budgets = [
        f"{task.name} {drop_text(task.metric, task.max_drop)}" for task in manifest.tasks if task.max_drop is not None
    ]
    return f"Drop allowed: {', '.join(budgets)}." if budgets else None


def _workload_line(manifest: Manifest) -> str | None:
    expected = expected_macs(manifest)
    if expected is None:
        return None
    scale = scale_for("count", expected.by_variant.values())
    values = ", ".join(f"{HEADINGS[name]} {scale.text(value)}" for name, value in expected.by_variant.items())
    unit = f", {scale.unit}" if scale.unit else ""
    mark = f" ({change_text(expected.change)})" if expected.change else ""
    return f"Expected MACs{unit}: {values}{mark}. Workload: {workload_text(manifest)}."


def render_terminal(manifest: Manifest, *, width: int = 100, color: bool = False) -> str:
    """Summary and tables of all task sets, at most ``width`` columns wide where the names allow it."""
    names = task_sets(manifest)

    def prose(text: str | None, style: str | None = None) -> list[str]:
        return [_paint(line, style, color) for line in textwrap.wrap(_clean(text or ""), width)]

    size = _size_columns(manifest, names)
    blocks = [prose(f"{manifest.name} for {manifest.target}", "title"), prose(summary(manifest))]
    found = measures(manifest)
    costs = [_measure_columns(measure, names) for measure in found]
    groups = [_score_columns(manifest, names), [*costs, *([size] if size else [])]]
    blocks += [_table(names, row, width, color) for part in groups for row in _beside(names, part, width)]
    notes = [_workload_line(manifest), marks_legend(found), _budget_line(manifest), totals_text(manifest)]
    if manifest.latency is not None:
        notes.append(f"Latency measured on: {manifest.latency.environment}.")
    blocks.append([line for note in notes for line in prose(note)])
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"
