"""From instruction counts to a first estimate of the time: how long the busiest part of a processor has to work.

An estimate is no measurement. It knows no caches, no memory, no waiting for results, and takes every vector to be of
128 bits. A factor from a real board (:class:`Calibration`) carries what it does not know, as far as that is alike for
all networks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from pamc.bundle.decode import Damage, decode
from pamc.errors import ConfigError, OutputError
from pamc_bench.results import Counts, DeviceEntry, Result, Variant

__all__ = ["CORES", "Calibration", "Core", "Estimate", "Pipe", "estimate", "fit", "least_ms", "read_calibration"]

KIND = "pamc-counts-calibration"
SCHEMA_VERSION = 1
NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Pipe:
    """Equal units of a processor: ``units`` of them, and the cycles for which an instruction of a class takes one."""

    units: int
    cycles: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Core:
    """A processor: instructions that it decodes in a cycle, and its pipes."""

    decode: int
    pipes: tuple[Pipe, ...]

    def cycles(self, classes: Mapping[str, int]) -> float:
        """Cycles of what is busiest when ``classes`` are run: the decoder or one of the pipes."""
        pipes = (
            sum(cost * classes.get(name, 0) for name, cost in pipe.cycles.items()) / pipe.units for pipe in self.pipes
        )
        return max(sum(classes.values()) / self.decode, *pipes)


_LOADS = {"load": 1, "load_vector": 1}
_STORES = {"store": 1, "store_vector": 1}
CORES = {
    "cortex-a53": Core(
        2,
        (
            Pipe(1, {"fma_vector": 2, "fma_scalar": 1, "dot": 2}),
            Pipe(1, {"simd": 2, "float_scalar": 1}),
            Pipe(1, {**_LOADS, **_STORES}),
            Pipe(2, {"integer": 1}),
            Pipe(1, {"branch": 1}),
        ),
    ),
    "cortex-a72": Core(
        3,
        (
            Pipe(2, {"fma_vector": 2, "fma_scalar": 1, "dot": 2, "simd": 1, "float_scalar": 1}),
            Pipe(1, _LOADS),
            Pipe(1, _STORES),
            Pipe(3, {"integer": 1}),
            Pipe(1, {"branch": 1}),
        ),
    ),
    "cortex-a76": Core(
        4,
        (
            Pipe(2, {"fma_vector": 1, "fma_scalar": 1, "dot": 1, "simd": 1, "float_scalar": 1}),
            Pipe(2, {**_LOADS, **_STORES}),
            Pipe(3, {"integer": 1}),
            Pipe(1, {"branch": 1}),
        ),
    ),
}
"""The processors that are emulated.

After LLVM's scheduling models AArch64SchedA53, AArch64SchedA57 (which LLVM uses for Cortex-A72 as well) and
AArch64SchedNeoverseN1 (the server version of Cortex-A76; it decodes four instructions at a time).
"""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How many times the estimate a real board takes, for networks of one runtime on one processor.

    ``factor`` is the geometric mean over the variants that were compared, ``low`` and ``high`` are the least and the
    greatest. ``megahertz`` is the clock that the estimates are for, whatever the board's was.
    """

    cpu: str
    megahertz: int
    runtime: str
    runtime_version: str
    factor: float
    low: float
    high: float
    variants: int
    board: str
    measured: str
    kind: str = KIND
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps(asdict(self), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Milliseconds. ``low`` and ``high`` are the range of the calibration, None without one."""

    ms: float
    low: float | None = None
    high: float | None = None


def least_ms(classes: Mapping[str, int], cpu: str, megahertz: int) -> float | None:
    """Milliseconds at least of instructions by class; None for a processor that is not in CORES."""
    core = CORES.get(cpu)
    return None if core is None else core.cycles(classes) / (1e3 * megahertz)


def _megahertz(entry: DeviceEntry) -> int | None:
    found = entry.details.get("megahertz")
    return found if type(found) is int and found > 0 else None


def estimate(result: Result, variant: Variant, calibration: Calibration | None = None) -> Estimate | None:
    """The estimate for a variant that was counted; None for others, and for processors that are not in CORES.

    Raises ConfigError for the calibration of another processor, clock, runtime or version of it.
    """
    megahertz = _megahertz(result.devices[variant.key.device])
    if variant.counts is None or megahertz is None:
        return None
    plain = least_ms(variant.counts.classes, variant.counts.cpu, megahertz)
    if plain is None or calibration is None:
        return None if plain is None else Estimate(plain)
    counted = variant.counts.cpu, megahertz, variant.key.runtime, variant.runtime_version
    fitted = calibration.cpu, calibration.megahertz, calibration.runtime, calibration.runtime_version
    if counted != fitted:
        raise ConfigError(
            "the calibration is for something else",
            why=f"it is for {_words(fitted)}, the counts are of {_words(counted)}",
            cure="make one with pamc bench calibrate, or leave --calibration out",
        )
    return Estimate(plain * calibration.factor, plain * calibration.low, plain * calibration.high)


def _words(what: tuple[str, int, str, str]) -> str:
    return f"{what[0]} at {what[1]} MHz, {what[2]} {what[3]}"


def _place(result: Result, variant: Variant) -> tuple[str, str, str, str]:
    digest = result.bundles[variant.key.bundle].manifest_sha256
    return digest, variant.key.task_set, variant.key.runtime, variant.runtime_version


def fit(counted: Result, measured: Result) -> Calibration:
    """How many times the estimates of ``counted`` the board of ``measured`` takes, in one thread.

    The two hold the same bundles in the same version of the runtime. Unstable times are left out. Raises ConfigError
    when they have nothing in common, and for several boards or another processor.
    """
    counts = [variant for variant in counted.variants if variant.counts is not None]
    times = {
        _place(measured, variant): variant
        for variant in measured.variants
        if variant.key.threads == 1 and measured.latency_known(variant) and not variant.unstable
    }
    pairs = [
        (variant, times[_place(counted, variant)], found.ms)
        for variant in counts
        if _place(counted, variant) in times and (found := estimate(counted, variant)) is not None
    ]
    if not pairs:
        raise ConfigError(
            "the two results have no variant in common",
            why="a calibration needs counts and stable times of the same bundles, in the same version of the runtime, "
            "with one thread",
            cure="measure the same bundles with pamc bench, here with --counts and there on the board",
        )
    boards = {variant.key.device for _, variant, _ in pairs}
    places = {variant.key.device for variant, _, _ in pairs}
    if len(boards) > 1 or len(places) > 1:
        names = ", ".join(sorted(boards if len(boards) > 1 else places))
        raise ConfigError(f"the results are of several boards: {names}", cure="measure one of them alone")
    first, timed, _ = pairs[0]
    assert first.counts is not None
    board = measured.devices[timed.key.device]
    _check_processor(board, first.counts)
    ratios = [median(median(block.ns) for block in real.blocks) / NS_PER_MS / plain for _, real, plain in pairs]
    megahertz = _megahertz(counted.devices[first.key.device])
    assert megahertz is not None
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    return Calibration(
        cpu=first.counts.cpu,
        megahertz=megahertz,
        runtime=first.key.runtime,
        runtime_version=first.runtime_version,
        # Logarithms of equal numbers do not always come back as the same number.
        factor=min(max(mean, min(ratios)), max(ratios)),
        low=min(ratios),
        high=max(ratios),
        variants=len(ratios),
        board=board.model,
        measured=measured.created,
    )


def _check_processor(board: DeviceEntry, counts: Counts) -> None:
    """Raise ConfigError when the board says that it has other cores; one that does not say is believed."""
    cores = board.details.get("cores")
    listed = cores if isinstance(cores, Sequence) and not isinstance(cores, str) else ()
    parts = {core.get("part") for core in listed if isinstance(core, Mapping)} - {None}
    if parts and counts.cpu not in {str(part).lower() for part in parts}:
        raise ConfigError(
            f"the board has another processor: {', '.join(sorted(map(str, parts)))}, the counts are of {counts.cpu}",
            cure="count on the emulated device of the same processor",
        )


def read_calibration(path: Path) -> Calibration:
    """The calibration in ``path``. Raises OutputError when it is missing, damaged or of another version."""
    cure = "make it with pamc bench calibrate"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.get("kind") != KIND:
            raise Damage(f"it holds no object of the kind {KIND}")
        if data.get("schema_version") != SCHEMA_VERSION:
            raise Damage(f"its schema version is {data.get('schema_version')!r}, should be {SCHEMA_VERSION}")
        found: Calibration = decode(Calibration, data, "calibration")
        if not 0 < found.low <= found.factor <= found.high < math.inf:
            raise Damage("its factor is not between its bounds, all positive")
    except OSError as error:
        raise OutputError(f"the calibration cannot be read: {error.strerror}", where=str(path), cure=cure) from error
    except ValueError as error:
        raise OutputError(f"the calibration cannot be read: {error}", where=str(path), cure=cure) from error
    return found
