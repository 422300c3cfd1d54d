"""Instruction counts as tables: by task set and class, and by kernel; estimates are labelled as such."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.table import Table

from pamc_bench.counts_estimate import Calibration, Estimate, estimate
from pamc_bench.results import Result, Variant
from pamc_bench.table import key_text, plain_text

__all__ = ["as_data", "counts_table", "estimate_note"]

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "FMA": ("fma_vector", "fma_scalar"),
    "dot": ("dot",),
    "SIMD": ("simd",),
    "float": ("float_scalar",),
    "load": ("load_vector", "load"),
    "store": ("store_vector", "store"),
    "branch": ("branch",),
    "integer": ("integer",),
    "other": ("other",),
}
"""Columns of the tables, and the classes that each of them sums up."""


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for head in ("instructions", *COLUMNS):
        table.add_column(head, justify="right", no_wrap=True)
    return table


def _cells(classes: Mapping[str, int]) -> Iterator[str]:
    yield f"{sum(classes.values()):,}"
    for names in COLUMNS.values():
        yield f"{sum(classes.get(name, 0) for name in names):,}"


def _estimate_text(found: Estimate | None) -> str:
    if found is None:
        return "–"
    text = f"~{found.ms:.3g}"
    return text if found.low is None else f"{text} ({found.low:.3g} to {found.high:.3g})"


def estimate_note(calibration: Calibration | None) -> str:
    """What the column of estimates means."""
    if calibration is None:
        return (
            "estimate, ms: how long the busiest part of the processor works. NOT CALIBRATED: no caches, no memory; "
            "the times of a real board are longer"
        )
    return (
        f"estimate, ms: calibrated on {calibration.board} with {calibration.variants} networks on "
        f"{calibration.measured}; an estimate, no measurement"
    )


def _counted(result: Result) -> list[Variant]:
    return [variant for variant in result.variants if variant.counts is not None]


def counts_table(result: Result, *, layers: bool = False, calibration: Calibration | None = None) -> RenderableType:
    """A table for each device, then with ``layers`` one for each variant whose kernels were counted.

    Raises ConfigError for a calibration that does not fit.
    """
    parts: list[RenderableType] = []
    counted = _counted(result)
    for device in dict.fromkeys(variant.key.device for variant in counted):
        mine = [variant for variant in counted if variant.key.device == device]
        first = mine[0].counts
        assert first is not None
        parts.append(plain_text(f"{device}: exact A64 instructions of one inference, {first.cpu}, {first.tool}"))
        table = _table("task set")
        table.add_column("estimate, ms", justify="right", no_wrap=True)
        for variant in mine:
            assert variant.counts is not None
            name = key_text(variant.key, bundle=len(result.bundles) > 1)
            found = estimate(result, variant, calibration)
            cells = [name, *_cells(variant.counts.classes), _estimate_text(found)]
            table.add_row(*map(plain_text, cells))
        parts.append(table)
    if counted:
        parts.append(plain_text(estimate_note(calibration)))
    for variant in counted if layers else ():
        assert variant.counts is not None
        if variant.counts.layers:
            name = key_text(variant.key, bundle=len(result.bundles) > 1)
            parts.append(plain_text(f"{variant.key.device}, {name}: by kernel, in the order in which they run"))
            table = _table("kernel")
            for kernel, classes in variant.counts.layers.items():
                table.add_row(*map(plain_text, (kernel, *_cells(classes))))
            parts.append(table)
    return Group(*parts)


def as_data(result: Result, calibration: Calibration | None = None) -> list[dict[str, object]]:
    """What the tables show, for JSON: estimates stand under a key of their own that says what they are."""
    found = []
    for variant in _counted(result):
        assert variant.counts is not None
        guess = estimate(result, variant, calibration)
        label = "uncalibrated" if calibration is None else f"calibrated on {calibration.board}"
        found.append(
            {
                "device": variant.key.device,
                "bundle": variant.key.bundle,
                "task_set": variant.key.task_set,
                "runtime": variant.key.runtime,
                "runtime_version": variant.runtime_version,
                "cpu": variant.counts.cpu,
                "instructions": variant.counts.total,
                "classes": dict(variant.counts.classes),
                "layers": {name: dict(classes) for name, classes in variant.counts.layers.items()},
                "estimate": None
                if guess is None
                else {"what": f"estimate, {label}", "ms": guess.ms, "low_ms": guess.low, "high_ms": guess.high},
            }
        )
    return found
