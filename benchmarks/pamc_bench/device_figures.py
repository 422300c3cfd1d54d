"""What a report shows of results measured on devices: one panel for each device, runtime and number of threads."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from pamc.bundle.manifest import Manifest
from pamc.errors import ConfigError
from pamc_bench.compare import Pair, compare_baseline
from pamc_bench.figures import Measure, task_sets
from pamc_bench.results import Conditions, Result
from pamc_bench.rows import Row, Times, rows

__all__ = ["OURS", "Origin", "Panel", "check_results", "device_measures", "origins", "panels"]

OURS = "bundle"
MIB = 1024.0


@dataclass(frozen=True, slots=True)
class Panel:
    """Rows of one device, runtime, number of threads and set of CPUs: by task set, then by bundle.

    ``bundles`` are the names in the order of the result; the report's own bundle is called OURS. ``pairs`` are the
    changes against the baseline, by task set and bundle.
    """

    title: str
    device: str
    emulated: bool
    quick: bool
    complete: bool
    bundles: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Row]]
    pairs: Mapping[tuple[str, str], Pair]

    @property
    def timed(self) -> bool:
        """Whether it has latencies."""
        return any(row.times is not None for by_bundle in self.rows.values() for row in by_bundle.values())

    @property
    def counted(self) -> bool:
        """Whether it has instruction counts."""
        return any(row.instructions is not None for by_bundle in self.rows.values() for row in by_bundle.values())

    def times(self, task_set: str, bundle: str) -> Times | None:
        """The times of one variant, where there are any."""
        row = self.rows.get(task_set, {}).get(bundle)
        return None if row is None else row.times

    @property
    def unstable(self) -> Mapping[str, tuple[str, ...]]:
        """Reasons to doubt the times, by task set."""
        found = {
            name: tuple(dict.fromkeys(reason for row in by_bundle.values() for reason in row.unstable))
            for name, by_bundle in self.rows.items()
        }
        return {name: reasons for name, reasons in found.items() if reasons}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the figures of one device come from, as lines of a table."""

    device: str
    lines: tuple[tuple[str, str], ...]


def _own(result: Result, digest: str) -> str | None:
    return next((name for name, entry in result.bundles.items() if entry.manifest_sha256 == digest), None)


def check_results(results: Sequence[tuple[str, Result]], digest: str) -> tuple[Result, ...]:
    """The results, given with the files they are from. ConfigError for one that did not measure this very bundle.

    ``digest`` is the sha256 of the bundle's manifest.
    """
    for where, result in results:
        if _own(result, digest) is None:
            raise ConfigError(
                "the result is not of this bundle",
                where=where,
                why="no bundle in it has the sha256 of this manifest",
                cure="measure this bundle with pamc bench --out",
            )
    return tuple(result for _, result in results)


def _title(row: Row) -> str:
    key = row.key
    cpus = f", CPUs {key.cpus}" if key.cpus else ""
    emulated = " (emulated)" if row.emulated else ""
    threads = f"{key.threads} thread{'s' if key.threads != 1 else ''}"
    return f"{row.model}{emulated}: {key.runtime} {row.runtime_version}, {threads}{cpus}"


def panels(results: Sequence[Result], digest: str) -> tuple[Panel, ...]:
    """The panels of all results, in order."""
    return tuple(panel for result in results for panel in _panels(result, _own(result, digest)))


def _panels(result: Result, own: str | None) -> Iterator[Panel]:
    def name(bundle: str) -> str:
        return OURS if bundle == own else bundle

    pairs = compare_baseline(result).pairs if result.baseline is not None else ()
    changes = {pair.after.key: pair for pair in pairs}

    def place(row: Row) -> tuple[object, ...]:
        return row.key.device, row.key.runtime, row.key.threads, row.key.cpus

    for _, group in groupby(rows(result), key=place):
        found = list(group)
        table: dict[str, dict[str, Row]] = {}
        for row in found:
            table.setdefault(row.key.task_set, {})[name(row.key.bundle)] = row
        yield Panel(
            title=_title(found[0]),
            device=found[0].key.device,
            emulated=found[0].emulated,
            quick=result.protocol.quick,
            complete=result.complete,
            bundles=tuple(name(bundle) for bundle in result.bundles),
            rows=table,
            pairs={(row.key.task_set, name(row.key.bundle)): changes[row.key] for row in found if row.key in changes},
        )


def device_measures(manifest: Manifest, found: Sequence[Panel]) -> tuple[Measure, ...]:
    """Latency and memory of the report's own bundle for the table of task sets, one column for each panel that has any.

    Memory is in bytes.
    """
    order = task_sets(manifest)
    measures = []
    for number, panel in enumerate(found):
        own = {name: panel.rows[name][OURS] for name in order if OURS in panel.rows.get(name, {})}
        times = {name: {OURS: row.times.p50} for name, row in own.items() if row.times is not None}
        memory = {name: {OURS: MIB * row.memory_kib} for name, row in own.items() if row.memory_kib is not None}
        if times:
            measures.append(Measure(f"latency.device{number}", f"latency, {panel.title}", (OURS,), times))
        if memory:
            measures.append(Measure(f"memory.device{number}", f"memory, {panel.title}", (OURS,), memory))
    return tuple(measures)


def _span(conditions: Sequence[Conditions]) -> Iterator[tuple[str, str]]:
    first, last = conditions[0], conditions[-1]
    if first.load is not None:
        yield "load before", f"{first.load:.2f}"
    if first.celsius is not None and last.celsius is not None:
        yield "temperature", f"{first.celsius:.1f} °C at the start, {last.celsius:.1f} °C at the end"
    if first.governors:
        yield "governors", ", ".join(first.governors)
    if first.megahertz:
        yield "highest frequencies", ", ".join(f"{value} MHz" for value in first.megahertz)
    if first.battery:
        yield "battery", first.battery


def origins(results: Sequence[Result]) -> tuple[Origin, ...]:
    """Environment and command of every device of every result."""
    found = []
    for result in results:
        protocol = result.protocol
        for url, entry in result.devices.items():
            mine = [variant for variant in result.variants if variant.key.device == url]
            versions = dict.fromkeys(f"{v.key.runtime} {v.runtime_version}" for v in mine)
            blocks = {len(variant.blocks) for variant in mine}
            lines = [
                ("device", f"{url}: {entry.model}" + (", emulated" if entry.emulated else "")),
                ("system", f"{entry.system}, {entry.machine}, {entry.cpus} CPUs"),
                ("runtimes", ", ".join(versions)),
                *(_span(entry.conditions) if entry.conditions else ()),
                ("found", "; ".join(entry.findings)),
                ("failed", entry.failure or ""),
                (
                    "protocol",
                    f"{'/'.join(map(str, sorted(blocks)))} blocks each, at least {protocol.min_runs} runs and "
                    f"{protocol.min_seconds:g} s a block, seed {result.seed}" + (", quick" if protocol.quick else ""),
                ),
                ("complete", "" if result.complete else "no: only the rounds that were finished"),
                ("measured", f"{result.created}, pamc {result.pamc}"),
                ("energy", "" if any(v.energy for v in mine) else "not measured"),
                ("command", shlex.join(result.command)),
            ]
            found.append(Origin(url, tuple((name, text) for name, text in lines if text)))
    return tuple(found)
