"""What a report shows, computed from a manifest once for all of its forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pamc.bundle.manifest import Amounts, Latency, Manifest, TaskEntry, TaskSetEntry
from pamc.task_sets import sort_task_sets

__all__ = [
    "BASELINE",
    "HEADINGS",
    "LATENCY_NOISE",
    "VARIANTS",
    "Change",
    "Expected",
    "Measure",
    "Score",
    "Total",
    "change",
    "drop",
    "expected_macs",
    "formats",
    "measures",
    "quantized_formats",
    "scores",
    "task_sets",
    "totals",
]

BASELINE = "pruned_separately"
# Two sessions of one small network, interleaved for 7000 rounds, had medians up to 4 % apart: where their memory lies.
LATENCY_NOISE = 0.05
VARIANTS = ("separate", BASELINE, "bundle")
BYTES = {"float32": 4, "float16": 2, "int8": 1}
HEADINGS = {"separate": "separate", BASELINE: "pruned separately", "bundle": "bundle"}


@dataclass(frozen=True, slots=True)
class Change:
    """``fraction`` of ``against`` by which the bundle costs more (positive) or less (negative).

    Below ``noise`` it says nothing.
    """

    fraction: float
    against: str
    noise: float = 0.0

    @property
    def kind(self) -> Literal["more", "less", "same", "about"]:
        if self.fraction == 0:
            return "same"
        if abs(self.fraction) < self.noise:
            return "about"
        return "more" if self.fraction > 0 else "less"


@dataclass(frozen=True, slots=True)
class Measure:
    """One cost: values by task set and variant. ``variants`` are those that any task set has.

    ``key`` is macs, params, or latency; that of further formats is latency.<format>. Of devices, by number, there are
    latency.device<n> and memory.device<n>.
    """

    key: str
    title: str
    variants: tuple[str, ...]
    rows: Mapping[str, Mapping[str, float]]

    @property
    def timed(self) -> bool:
        """Whether the values are times."""
        return self.key.startswith("latency")

    @property
    def kind(self) -> Literal["latency", "bytes", "count"]:
        """What the values are, as :func:`pamc_bench.wording.scale_for` calls it."""
        return "latency" if self.timed else "bytes" if self.key.startswith("memory") else "count"

    @property
    def against(self) -> str | None:
        """The variant that the bundle is compared with: the networks pruned one by one, else the separate ones."""
        return next((name for name in (BASELINE, "separate") if name in self.variants), None)

    def change(self, task_set: str) -> Change | None:
        """None where a value is missing or the reference costs nothing."""
        return change(self.rows.get(task_set, {}), self.against, LATENCY_NOISE if self.timed else 0.0)

    @property
    def values(self) -> tuple[float, ...]:
        """All values that there are."""
        return tuple(value for row in self.rows.values() for value in row.values())


@dataclass(frozen=True, slots=True)
class Score:
    """The metric of one task within one task set. A drop is positive where the bundle is worse.

    ``bundle`` is the metric of its network in float32, ``quantized`` those of its files by format, where they differ.
    """

    task: TaskEntry
    separate: float
    pruned_separately: float | None
    bundle: float
    quantized: Mapping[str, float]

    @property
    def final(self) -> float:
        """The metric of the bundle's files: in the worst format."""
        values = self.quantized.values() or (self.bundle,)
        return max(values, key=lambda value: drop(self.task.metric, self.separate, value))

    @property
    def drop(self) -> float:
        return drop(self.task.metric, self.separate, self.final)

    @property
    def baseline_drop(self) -> float | None:
        """The drop of the network pruned alone."""
        after = self.pruned_separately
        return None if after is None else drop(self.task.metric, self.separate, after)

    @property
    def over_budget(self) -> bool:
        # 98.4 - 97.6 is a little more than 0.8 in floating point.
        return self.task.max_drop is not None and self.drop > self.task.max_drop + 1e-9


@dataclass(frozen=True, slots=True)
class Expected:
    """Expected MACs by variant over the task sets with known cost, which are ``coverage`` of the workload."""

    by_variant: Mapping[str, float]
    coverage: float
    change: Change | None


def change(row: Mapping[str, float], against: str | None, noise: float = 0.0) -> Change | None:
    """How the bundle compares with the variant ``against`` of the same row."""
    before, after = row.get(against or ""), row.get("bundle")
    if against is None or not before or after is None:
        return None
    return Change(after / before - 1.0, against, noise)


def drop(metric: str, before: float, after: float) -> float:
    """How much worse ``after`` is: points of accuracy, units of an error metric."""
    return before - after if metric == "accuracy" else after - before


def task_sets(manifest: Manifest) -> tuple[str, ...]:
    """The task sets of the manifest, small ones first, in task order."""
    return sort_task_sets(manifest.task_sets, manifest.task_names)


def _measure(key: str, title: str, rows: Mapping[str, Mapping[str, float]]) -> Measure:
    return Measure(key, title, tuple(name for name in VARIANTS if any(name in row for row in rows.values())), rows)


def _amounts(amounts: Amounts) -> dict[str, float]:
    values = {name: getattr(amounts, name) for name in VARIANTS}
    return {name: value for name, value in values.items() if value is not None}


def measures(manifest: Manifest) -> tuple[Measure, ...]:
    """MACs, parameters and, where it was measured, latency."""
    amounts: Sequence[tuple[str, str, Callable[[TaskSetEntry], Amounts]]] = (
        ("macs", "MACs", lambda entry: entry.macs),
        ("params", "parameters", lambda entry: entry.params),
    )
    order = task_sets(manifest)
    found = [
        _measure(key, title, {name: _amounts(get(manifest.task_sets[name])) for name in order})
        for key, title, get in amounts
    ]
    timed = [] if manifest.latency is None else [("latency", manifest.latency)]
    timed += [(f"latency.{further.format}", further) for further in manifest.further_latency]
    for key, latency in timed:
        title = f"latency, {latency.format}, median" if len(timed) > 1 else "latency, median"
        measure = _latency(latency, order, key, title)
        found += [measure] if measure.variants else []
    return tuple(found)


def _latency(latency: Latency, order: Sequence[str], key: str, title: str) -> Measure:
    timed = latency.sets
    rows = {
        name: {variant: timed[name][variant].p50_ms for variant in VARIANTS if variant in timed[name]}
        for name in order
        if name in timed
    }
    return _measure(key, title, rows)


def scores(manifest: Manifest, task_set: str) -> tuple[Score, ...]:
    """The scores of one task set in task order."""
    by_task = manifest.task_sets[task_set].scores
    return tuple(
        Score(task, found.separate, found.pruned_separately, found.bundle, found.quantized or {})
        for task in manifest.tasks
        if (found := by_task.get(task.name)) is not None
    )


def expected_macs(manifest: Manifest) -> Expected | None:
    """The sum over task sets R of P(R) times the MACs of R; None for a workload of unknown task sets only."""
    macs = measures(manifest)[0]
    weights = {name: manifest.workload.get(name, 0.0) for name in macs.rows}
    coverage = sum(weights.values())
    if coverage <= 0:
        return None
    by_variant = {
        variant: sum(weight * macs.rows[name][variant] for name, weight in weights.items() if weight) / coverage
        for variant in macs.variants
        if all(variant in macs.rows[name] for name, weight in weights.items() if weight)
    }
    return Expected(by_variant, coverage / sum(manifest.workload.values()), change(by_variant, macs.against))


def quantized_formats(manifest: Manifest) -> tuple[str, ...]:
    """Names of the formats whose files were scored themselves, since they hold other numbers than float32."""
    found = (score.quantized or {} for entry in manifest.task_sets.values() for score in entry.scores.values())
    return tuple(sorted({name for by_format in found for name in by_format}))


@dataclass(frozen=True, slots=True)
class Total:
    """Bytes of all files of a format, and of the weights of the network of all tasks, stored in the same way."""

    bytes: int
    weights: int


def totals(manifest: Manifest) -> Mapping[str, Total]:
    """The size of every format as a whole; empty where the manifest does not know the network of all tasks."""
    entry = manifest.task_sets.get("+".join(manifest.task_names))
    if entry is None:
        return {}
    weights = entry.params.bundle * BYTES[manifest.numerics.method]
    sizes = {
        name: sum(file.bytes for path, file in manifest.files.items() if path.startswith(f"{name}/"))
        for name in formats(manifest)
    }
    return {name: Total(size, weights) for name, size in sizes.items() if size and weights}


def formats(manifest: Manifest) -> tuple[str, ...]:
    """Names of the formats that any task set has a size in."""
    return tuple(sorted({name for entry in manifest.task_sets.values() for name in entry.bytes}))
