"""Findings about redundancy as tables for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from textwrap import wrap

from pamc.redundancy.findings import NOBODY, Knowledge, Layer, Redundancy
from pamc.views import View

__all__ = ["redundancy_view"]

WIDTH = 96
SIGMAS = 3
SATURATED = 0.9
ADVICE = "Uniting and releasing can cost accuracy, and only training tells how much."


def redundancy_view(found: Redundancy) -> View:
    """The findings layer by layer with the units by number, and what could be gained."""
    duplicates = {
        layer.space: [
            f"{pair.owners} {pair.unit} = {pair.twin_owners} {pair.twin} ({pair.correlation:.2f})"
            for pair in layer.duplicates
        ]
        for layer in found.layers
    }
    parts = [
        f"Redundancy, judged by {found.samples} training samples",
        "",
        *_table(_layer_rows(found), range(2, 5)),
        "",
        f"Duplicates: units of different tasks with a correlation of {found.similarity:g} or more",
        *_listed(duplicates),
        "",
        f"Partly needed: shared units that move some owners less than {found.importance:g} times the mean",
        *_listed({layer.space: _released(layer) for layer in found.layers}),
        "",
        "MACs as it is, and with the duplicates united and the partly needed units released",
        *_table(_gain_rows(found), range(1, 4)),
        "",
        ADVICE,
    ]
    return View("\n".join(parts), asdict(found))


def _known(known: Knowledge, entropy: float) -> str:
    """How much more than chance a group knows of a task, as a share of the label entropy; empty if not more.

    ``?`` where chance alone comes near to the whole entropy, so that the estimate says nothing.
    """
    if not entropy or known.shuffled >= SATURATED * entropy:
        return f"{known.task} ?"
    excess = known.nats - known.shuffled
    return f"{known.task} +{excess / entropy:.0%}" if excess > SIGMAS * known.spread else ""


def _layer_rows(found: Redundancy) -> list[tuple[str, ...]]:
    titles = ("layer", "owners", "units", "duplicates", "partly needed", "knows of other tasks, above chance")
    rows: list[tuple[str, ...]] = [titles]
    for layer in found.layers:
        for at, group in enumerate(layer.groups):
            twins = sum(group.owners in (pair.owners, pair.twin_owners) for pair in layer.duplicates)
            part = sum(group.owners == unit.owners for unit in layer.partly_needed)
            knows = [text for known in group.knows if (text := _known(known, found.entropy[known.task]))]
            counts = (str(group.units), str(twins or NOBODY), str(part or NOBODY))
            rows.append(("" if at else layer.space, group.owners, *counts, ", ".join(knows) or NOBODY))
    return rows


def _gain_rows(found: Redundancy) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("task set", "now", "then", "change")]
    for text, gain in found.gains.items():
        change = gain.then / gain.now - 1 if gain.now else 0.0
        rows.append((text, f"{gain.now:,}", f"{gain.then:,}", f"{change:+.1%}" if change else NOBODY))
    return rows


def _table(rows: Sequence[tuple[str, ...]], numbers: range) -> list[str]:
    """Rows under their titles; the columns ``numbers`` to the right, the last column wrapped."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    before = sum(widths[:-1]) + 2 * len(widths[:-1])
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if at in numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        first, *rest = wrap(cells[-1], max(WIDTH - before, 24), drop_whitespace=False)
        lines.append("  ".join([*cells[:-1], first]).rstrip())
        lines += [" " * before + line.strip() for line in rest if line.strip()]
    return lines


def _listed(items: Mapping[str, Sequence[str]]) -> list[str]:
    """What was found by layer, wrapped."""
    lines = [
        line
        for space, texts in items.items()
        if texts
        for line in wrap(f"{space}: {', '.join(texts)}", WIDTH, initial_indent="  ", subsequent_indent="    ")
    ]
    return lines or ["  none"]


def _released(layer: Layer) -> list[str]:
    """Unit numbers by what changes: ``a+b -> a: 0-3 7``."""
    units: dict[str, list[int]] = {}
    for part in layer.partly_needed:
        needed = "nobody" if part.needed_by == NOBODY else part.needed_by
        units.setdefault(f"{part.owners} -> {needed}", []).append(part.unit)
    return [f"{change}: {_ranges(numbers)}" for change, numbers in units.items()]


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, runs of three or more as ``first-last``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return " ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else " ".join(map(str, run)) for run in runs)
