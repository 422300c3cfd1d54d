"""Results and comparisons as text: a table for each device, in plain lines or with colours on a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pamc_bench.compare import Comparison, Finding, Pair
from pamc_bench.differences import Interval
from pamc_bench.goals import MEASURES
from pamc_bench.results import Key, Result
from pamc_bench.rows import Row, rows, sustained_text

__all__ = ["change_text", "comparison_table", "device_line", "key_text", "plain_text", "result_table"]

MARKS = {"missed": "bold red", "met": "green", "undecided": "yellow", None: "dim"}


def plain_text(text: str) -> Text:
    """``text`` without control characters. Names come from files and devices, and none of it is taken for markup."""
    return Text(re.sub(r"[\x00-\x1f\x7f-\x9f]", "?", text))


def key_text(key: Key, *, bundle: bool = False) -> str:
    """A variant in a few words; its device is said elsewhere."""
    cpus = f", CPUs {key.cpus}" if key.cpus else ""
    name = f"{key.bundle}: " if bundle else ""
    return f"{name}{key.task_set}, {key.runtime}, {key.threads} thread{'s' if key.threads != 1 else ''}{cpus}"


def _ms(value: float) -> str:
    return f"{value:.4f}" if value < 1 else f"{value:.3f}" if value < 100 else f"{value:.1f}"


def device_line(result: Result, name: str) -> str:
    """A device in one line."""
    entry = result.devices[name]
    emulated = ", EMULATED: its times are no latencies" if entry.emulated else ""
    return f"{name}: {entry.model}, {entry.machine}, {entry.cpus} CPUs, {entry.system}{emulated}"


def _cells(row: Row, bundles: bool) -> list[str]:
    times = row.times
    cells = [row.key.bundle] if bundles else []
    cells += [row.key.task_set, row.key.runtime, str(row.key.threads)]
    if times is None:
        cells += ["–"] * 7
    else:
        cells += [
            _ms(times.p50),
            f"{_ms(times.low)} – {_ms(times.high)}",
            _ms(times.p90),
            _ms(times.p99),
            f"{100 * times.variation:.1f} %",
            _ms(times.first),
            _ms(times.load),
        ]
    cells.append("–" if row.memory_kib is None else f"{row.memory_kib / 1024:.1f}")
    cells.append("–" if row.instructions is None else f"{row.instructions:,}")
    return cells


def _table(found: Sequence[Row], bundles: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    heads = [*(["bundle"] if bundles else []), "task set", "runtime"]
    for head in heads:
        table.add_column(head, overflow="fold")
    table.add_column("threads", justify="right")
    for head in ("p50 ms", "95 % interval", "p90", "p99", "blocks vary", "first ms", "load ms", "MiB", "instructions"):
        if head != "instructions" or any(row.instructions is not None for row in found):
            table.add_column(head, justify="right", no_wrap=True)
    for row in found:
        cells = _cells(row, bundles)[: len(table.columns)]
        table.add_row(*map(plain_text, cells), style="yellow" if row.unstable else None)
    return table


def _unstable_lines(found: Iterable[Row]) -> list[str]:
    reasons: dict[tuple[str, ...], list[str]] = {}
    for row in found:
        if row.unstable:
            reasons.setdefault(row.unstable, []).append(row.key.task_set)
    return [f"UNSTABLE ({', '.join(dict.fromkeys(sets))}): {'; '.join(why)}" for why, sets in reasons.items()]


def result_table(result: Result) -> RenderableType:
    """All devices of a result, each with its table, what was found about it, and what makes its times doubtful."""
    parts: list[RenderableType] = []
    bundles = len(result.bundles) > 1
    for name, group in groupby(rows(result), key=lambda row: row.key.device):
        found = list(group)
        parts += [plain_text(device_line(result, name)), _table(found, bundles)]
        parts += [plain_text(f"{key_text(row.key)}: {text}") for row in found if (text := sustained_text(row))]
        parts += [plain_text(line) for line in _unstable_lines(found)]
    for name, entry in result.devices.items():
        parts += [plain_text(f"{name}: {finding}") for finding in entry.findings]
        if entry.failure is not None:
            parts.append(plain_text(f"{name}: FAILED: {entry.failure}"))
    notes = ["energy: not measured (no meter)"] if all(v.energy is None for v in result.variants) else []
    if result.protocol.quick:
        notes.append("QUICK: fewer and shorter blocks than the standard; for a first look")
    if not result.complete:
        notes.append("NOT COMPLETE: only the rounds that were finished are here")
    return Group(*parts, *map(plain_text, notes))


def change_text(change: Interval) -> str:
    """``+4.8 % (+4.1 to +5.6)``, or ``+4.8 %`` for exact figures."""
    if change.low == change.high:
        return f"{100 * change.value:+.3g} %" if change.value else "the same"
    return f"{100 * change.value:+.1f} % ({100 * change.low:+.1f} to {100 * change.high:+.1f})"


def _why(finding: Finding) -> str:
    goal, change = finding.goal, finding.pair.changes.get(finding.goal.measure)
    limit = f"{100 * goal.limit:g} %"
    if change is None or finding.verdict is None:
        return f"{goal.measure}: not measured on both sides"
    sure = f"{100 * change.confidence:.3g} %"
    text = f"{goal.measure} {change_text(change)}"
    if change.confidence == 1.0:
        return f"{text}: {finding.verdict}, the limit is {limit}"
    reason = {
        "missed": f"even the lower bound is above {limit}",
        "met": f"even the upper bound is within {limit}",
        "undecided": f"{limit} lies inside the {sure} interval; measure more blocks",
    }[finding.verdict]
    return f"{text}: {finding.verdict}, {reason}"


def _pair_line(pair: Pair) -> str:
    found = [f"{measure} {change_text(change)}" for measure, change in pair.changes.items()]
    return ", ".join(found) if found else "nothing to compare"


def comparison_table(comparison: Comparison) -> RenderableType:
    """Every pair with its changes, then the goals with the reason for each verdict."""
    parts: list[RenderableType] = [plain_text(f"note: {note}") for note in comparison.notes]
    how = "in the same rounds" if comparison.paired else "apart"
    parts.append(
        plain_text(
            f"changes with 95 % intervals, measured {how}; {', '.join(f'{k}: {v}' for k, v in MEASURES.items())}"
        )
    )
    for pair in comparison.pairs:
        parts.append(plain_text(f"{key_text(pair.after.key, bundle=comparison.paired)}: {_pair_line(pair)}"))
        parts += [plain_text(f"  {note}") for note in pair.notes]
    for finding in comparison.findings:
        line = plain_text(f"goal {finding.goal}, {key_text(finding.pair.after.key)}: {_why(finding)}")
        line.stylize(MARKS[finding.verdict])
        parts.append(line)
    return Group(*parts)
