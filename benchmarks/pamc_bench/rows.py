"""The figures of a result, one row for each variant: what tables, CSV files and reports show."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from statistics import median

from pamc.task_sets import sort_task_sets
from pamc_bench.results import Block, Key, Result, Variant
from pamc_bench.stats import block_interval, block_variation, summarize

__all__ = ["Row", "Times", "rows", "sustained_text", "sustained_times", "to_csv"]

NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of one inference. ``p50`` is the median of the medians of the blocks, as are ``first`` and ``load``.

    ``low`` and ``high`` bound p50 with 95 % (bootstrap over blocks); p90, p99, least, mean and the median absolute
    deviation are over all runs of all blocks; ``variation`` is that of the medians of the blocks, a fraction.
    """

    p50: float
    low: float
    high: float
    p90: float
    p99: float
    least: float
    mean: float
    mad: float
    variation: float
    runs: int
    blocks: int
    first: float
    load: float


@dataclass(frozen=True, slots=True)
class Row:
    """One variant. ``times`` is None without blocks and for emulated devices, whose times are not latencies.

    ``sustained`` are the medians of the first and of the last tenth of the time, in ms, where one long block was run.
    """

    key: Key
    model: str
    emulated: bool
    runtime_version: str
    macs: int | None
    times: Times | None
    memory_kib: int | None
    millijoule: float | None
    instructions: int | None
    unstable: tuple[str, ...]
    sustained: tuple[float, float] | None = None


def sustained_times(block: Block) -> tuple[float, float]:
    """Medians in ms of what began in the first and in the last tenth of a block's time."""
    tenth = (block.start_ns[-1] + block.ns[-1]) / 10
    first = [ns for start, ns in zip(block.start_ns, block.ns, strict=True) if start <= tenth]
    last = [ns for start, ns in zip(block.start_ns, block.ns, strict=True) if start >= 9 * tenth]
    return median(first) / NS_PER_MS, median(last or block.ns[-1:]) / NS_PER_MS


def _times(variant: Variant, seed: int) -> Times:
    medians = [median(block.ns) / NS_PER_MS for block in variant.blocks]
    interval = block_interval(medians, seed=seed)
    every = summarize([value / NS_PER_MS for block in variant.blocks for value in block.ns])
    return Times(
        p50=interval.value,
        low=interval.low,
        high=interval.high,
        p90=every.p90,
        p99=every.p99,
        least=every.least,
        mean=every.mean,
        mad=every.mad,
        variation=block_variation(medians),
        runs=every.n,
        blocks=len(medians),
        first=median(block.first_ns for block in variant.blocks) / NS_PER_MS,
        load=median(block.load_ns for block in variant.blocks) / NS_PER_MS,
    )


def _row(result: Result, variant: Variant) -> Row:
    device = result.devices[variant.key.device]
    known = result.latency_known(variant)
    return Row(
        key=variant.key,
        model=device.model,
        emulated=device.emulated,
        runtime_version=variant.runtime_version,
        macs=result.bundles[variant.key.bundle].macs.get(variant.key.task_set),
        times=_times(variant, result.seed) if known else None,
        memory_kib=None if variant.memory is None else variant.memory.vm_hwm_kib,
        millijoule=None if variant.energy is None else variant.energy.millijoule,
        instructions=None if variant.counts is None else variant.counts.total,
        unstable=variant.unstable,
        sustained=sustained_times(variant.blocks[0]) if known and result.protocol.sustained else None,
    )


def sustained_text(row: Row) -> str | None:
    """How the times of one long block changed, in words; None for other rows."""
    if row.sustained is None:
        return None
    first, last = row.sustained
    return (
        f"{first:.4f} ms in the first tenth of the time, {last:.4f} ms in the last ({100 * (last / first - 1):+.1f} %)"
    )


def rows(result: Result) -> tuple[Row, ...]:
    """All variants: by device, runtime, threads and bundle in the order of the result, task sets small ones first."""
    devices, bundles = list(result.devices), list(result.bundles)

    def order(row: Row) -> tuple[object, ...]:
        key = row.key
        sets = _sorted_sets(result, key.bundle)
        place = devices.index(key.device), key.runtime, key.threads, key.cpus or ""
        return *place, sets.index(key.task_set), bundles.index(key.bundle)

    return tuple(sorted((_row(result, variant) for variant in result.variants), key=order))


def _sorted_sets(result: Result, bundle: str) -> Sequence[str]:
    found = dict.fromkeys(variant.key.task_set for variant in result.variants if variant.key.bundle == bundle)
    try:
        return sort_task_sets(found, result.bundles[bundle].tasks)
    except KeyError:
        return list(found)


def to_csv(result: Result) -> str:
    """One line for each variant, with a heading; times in ms, empty where there are none."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    key_names = [field.name for field in fields(Key)]
    time_names = [f"{field.name}_ms" for field in fields(Times)]
    plain = {"variation_ms": "variation", "runs_ms": "runs", "blocks_ms": "blocks", "least_ms": "min_ms"}
    rest = ["memory_kib", "energy_mj", "instructions", "sustained_first_ms", "sustained_last_ms"]
    rest += ["unstable", "complete", "created"]
    heads = [*key_names, "model", "emulated", "runtime_version", "macs"]
    writer.writerow([*heads, *(plain.get(name, name) for name in time_names), *rest])
    for row in rows(result):
        times = ("",) * len(time_names) if row.times is None else astuple(row.times)
        writer.writerow(
            [
                *astuple(row.key),
                row.model,
                row.emulated,
                row.runtime_version,
                row.macs,
                *times,
                row.memory_kib,
                row.millijoule,
                row.instructions,
                *(row.sustained or ("", "")),
                "; ".join(row.unstable),
                result.complete,
                result.created,
            ]
        )
    return stream.getvalue()
