"""The result of a benchmark, one JSON schema for every device; docs/benchmarking.md describes its fields."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pamc.bundle.decode import Damage, decode
from pamc.errors import InternalError, OutputError

__all__ = [
    "SCHEMA_VERSION",
    "Block",
    "BundleEntry",
    "Conditions",
    "Counts",
    "DeviceEntry",
    "Energy",
    "Key",
    "Memory",
    "Protocol",
    "Result",
    "Variant",
    "from_json",
    "read_result",
    "to_json",
    "write_result",
]

SCHEMA_VERSION = 1
KIND = "pamc-bench"
LARGEST = 2 * 1024**3  # bytes of a result, unpacked
GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Protocol:
    """How it was measured. A block is one process; ``blocks`` is their number for each variant.

    The warm-up goes on until times are steady: the median of the last 10 changes by less than 1 %. With ``precision``
    rounds go on, up to ``max_blocks``, until every compared pair is known to that half-width. ``gap_seconds`` is the
    longest wait for the device to cool. ``quick`` marks runs shorter than the standard ones, ``sustained`` one long
    block.
    """

    blocks: int = 5
    min_runs: int = 100
    min_seconds: float = 3.0
    max_seconds: float = 60.0
    warmup_runs: int = 5
    warmup_seconds: float = 1.0
    warmup_max_seconds: float = 30.0
    gap_seconds: float = 60.0
    precision: float | None = None
    max_blocks: int = 60
    quick: bool = False
    sustained: bool = False

    def __post_init__(self) -> None:
        if self.blocks < 1 or self.min_runs < 1:
            raise ValueError("a measurement needs at least one block of one run")
        if self.max_blocks < self.blocks:
            raise ValueError(f"max_blocks is {self.max_blocks}, should be at least {self.blocks}, the blocks")
        if (
            min(self.min_seconds, self.warmup_seconds, self.warmup_max_seconds, self.gap_seconds) < 0
            or self.max_seconds <= 0
        ):
            raise ValueError("times should not be negative")
        if self.precision is not None and not 0 < self.precision < 1:
            raise ValueError(f"precision is {self.precision}, should be a fraction such as 0.01")


@dataclass(frozen=True, slots=True)
class Block:
    """One process: cold load, first inference, warm-up, then every sample with its time since the first one.

    Blocks of the same ``round`` ran one after another in an order drawn by lot. ``started`` is in seconds since the
    measurement began.
    """

    round: int
    started: float
    load_ns: int
    first_ns: int
    warmup_runs: int
    warmup_ns: int
    steady: bool
    start_ns: tuple[int, ...]
    ns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a process of its own: the largest and the last resident size."""

    vm_hwm_kib: int
    vm_rss_kib: int


@dataclass(frozen=True, slots=True)
class Energy:
    """Of one inference, by a real meter."""

    millijoule: float
    meter: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Instructions of one inference by class, exact; ``layers`` are the same by operation where they were counted.

    ``tool`` says what counted, ``cpu`` is the processor that was emulated.
    """

    classes: Mapping[str, int]
    tool: str
    cpu: str
    layers: Mapping[str, Mapping[str, int]]

    @property
    def total(self) -> int:
        """All instructions."""
        return sum(self.classes.values())


@dataclass(frozen=True, slots=True)
class Key:
    """What tells the variants of one result apart. ``cpus`` are those that the process was bound to, such as 0-3."""

    device: str
    bundle: str
    task_set: str
    runtime: str
    threads: int
    cpus: str | None


@dataclass(frozen=True, slots=True)
class Variant:
    """All that was measured of one task set in one runtime. ``unstable`` are the reasons to doubt the times."""

    key: Key
    runtime_version: str
    blocks: tuple[Block, ...]
    memory: Memory | None = None
    energy: Energy | None = None
    counts: Counts | None = None
    unstable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """A bundle: sha256 of its manifest and of the files that were run, its tasks in order, MACs by task set."""

    name: str
    target: str
    tasks: tuple[str, ...]
    manifest_sha256: str
    files: Mapping[str, str]
    macs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Conditions:
    """The state of a device ``seconds`` after the measurement began; None or empty where it cannot be read.

    ``megahertz`` are the highest frequencies that the system allows each CPU, which heat lowers on phones.
    ``throttled`` are the reasons for which it runs slower now, ``throttled_before`` those since it was switched on.
    """

    seconds: float
    load: float | None = None
    celsius: float | None = None
    governors: tuple[str, ...] = ()
    megahertz: tuple[int, ...] = ()
    throttled: tuple[str, ...] = ()
    throttled_before: tuple[str, ...] = ()
    battery: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """A device: what it is, its state at the start, in between and at the end, and what preflight found.

    ``emulated`` devices have counts and no latency: their times are those of the emulator. ``failure`` is the error
    that ended its part of the measurement.
    """

    model: str
    machine: str
    emulated: bool
    system: str
    cpus: int
    details: Mapping[str, object]
    conditions: tuple[Conditions, ...]
    findings: tuple[str, ...] = ()
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The whole file. Bundles and devices are by the names that keys use.

    ``baseline`` is the bundle that the others are compared with. ``complete`` is False after an interruption, and
    when a device failed: the blocks are then those of the rounds that were finished. ``command`` is what was called,
    ``created`` is in ISO 8601.
    """

    created: str
    pamc: str
    command: tuple[str, ...]
    seed: int
    complete: bool
    protocol: Protocol
    bundles: Mapping[str, BundleEntry]
    devices: Mapping[str, DeviceEntry]
    variants: tuple[Variant, ...]
    baseline: str | None = None
    kind: str = KIND
    schema_version: int = SCHEMA_VERSION

    def latency_known(self, variant: Variant) -> bool:
        """Whether its times are latencies: there are some, and not of an emulator."""
        return bool(variant.blocks) and not self.devices[variant.key.device].emulated


def to_json(result: Result) -> str:
    """One line of JSON for each variant. Raises InternalError for a value that JSON cannot hold, such as NaN."""
    data = asdict(result)
    variants = data.pop("variants")
    head = {name: data.pop(name) for name in ("kind", "schema_version")}

    def text(value: object) -> str:
        return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))

    try:
        lines = [f"{json.dumps(name)}: {text(value)}" for name, value in {**head, **data}.items()]
        rows = ",\n  ".join(text(variant) for variant in variants)
    except (TypeError, ValueError) as error:
        raise InternalError(f"the result cannot be written: {error}") from error
    lines.append(f'"variants": [\n  {rows}\n ]' if variants else '"variants": []')
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def _check(result: Result) -> None:
    keys = [variant.key for variant in result.variants]
    if len(set(keys)) != len(keys):
        raise Damage("two variants have the same key")
    for variant in result.variants:
        key = variant.key
        for name, known in ((key.device, result.devices), (key.bundle, result.bundles)):
            if name not in known:
                raise Damage(f"a variant names '{name}', which is not listed")
        for block in variant.blocks:
            if len(block.ns) != len(block.start_ns) or not block.ns:
                raise Damage(f"a block of {key.task_set} has {len(block.ns)} times and {len(block.start_ns)} starts")
            if min(block.ns) <= 0:
                raise Damage(f"a block of {key.task_set} has a time that is not positive")
    if result.baseline is not None and result.baseline not in result.bundles:
        raise Damage(f"the baseline '{result.baseline}' is not listed")


def from_json(text: str, where: str = "the result") -> Result:
    """The inverse of :func:`to_json`. Raises OutputError for another schema version, another file and for damage."""
    try:
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("kind") != KIND:
            raise Damage(f"it holds no object of the kind {KIND}")
        version = data.get("schema_version")
        if version != SCHEMA_VERSION or isinstance(version, bool):
            raise OutputError(
                f"the result has schema version {version!r}, this pamc reads {SCHEMA_VERSION}",
                where=where,
                cure="measure again, or use the version of pamc that wrote it",
            )
        result: Result = decode(Result, data, "result")
        _check(result)
    except (ValueError, RecursionError) as error:
        raise OutputError(
            f"the result cannot be read: {error}",
            where=where,
            why="the file is damaged, or pamc bench did not write it",
            cure="measure again with pamc bench --out",
        ) from error
    return result


def write_result(path: Path, result: Result) -> None:
    """Write ``path``, packed by gzip when its name ends in .gz; beside it first, so never half of it.

    Raises OutputError when that is not possible.
    """
    data = to_json(result).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        cure = "name another file with --out"
        raise OutputError(f"the result cannot be written: {error.strerror}", where=str(path), cure=cure) from error


def _unpacked(data: bytes) -> bytes:
    if not data.startswith(GZIP):
        return data
    unpack = zlib.decompressobj(wbits=31)
    text = unpack.decompress(data, LARGEST)
    if not unpack.eof:
        raise ValueError("the packed text is cut off or too long")
    return text


def read_result(path: Path) -> Result:
    """The result in ``path``. Raises OutputError when it is missing, damaged or of another version."""
    try:
        text = _unpacked(path.read_bytes()).decode()
    except OSError as error:
        cure = "measure with pamc bench --out"
        raise OutputError(f"the result cannot be read: {error.strerror}", where=str(path), cure=cure) from error
    except (ValueError, zlib.error) as error:
        why = f"the file is damaged: {error}"
        raise OutputError("the result cannot be read", where=str(path), why=why, cure="copy it again") from error
    return from_json(text, str(path))
