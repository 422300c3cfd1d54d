"""What to measure: bundles, task sets, runtimes, threads and cores, as the variants of one measurement."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from pamc.errors import ConfigError, OutputError
from pamc.registry import did_you_mean
from pamc.task_sets import parse_task_set, sort_task_sets
from pamc_bench.results import BundleEntry, Key, Protocol

if TYPE_CHECKING:
    from pamc.bundle import Bundle

__all__ = [
    "COMPARING",
    "FORMATS",
    "Request",
    "bundle_entry",
    "chosen_sets",
    "files_of",
    "named_bundles",
    "parse_cpus",
    "parse_threads",
    "parse_time",
    "runtimes_of",
    "variants",
]

FORMATS = {"onnxruntime": "onnx", "litert": "tflite"}
"""The format that a runtime opens."""

COMPARING = Protocol(blocks=20, min_runs=20, min_seconds=0.02, warmup_seconds=0.02, precision=0.008, max_blocks=100)
"""How two bundles are compared: many short blocks, since what a process gets at its start differs more than its runs.

Rounds go on until the change is known to 0.8 %: then a goal of 3 % is decided wherever the change is not within 0.8 %
of it. docs/benchmarking.md has how often that was right.
"""

AGAIN = "again"
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
CORES = ("all", "big", "little")


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that decides what is run on every device. ``bundles`` are by name, the baseline is one of them.

    ``cores`` is all, big, little or a list such as 0-3,5.
    """

    bundles: Mapping[str, Bundle]
    baseline: str | None
    task_sets: tuple[str, ...]
    runtimes: tuple[str, ...]
    threads: tuple[int, ...]
    cores: str
    protocol: Protocol
    seed: int
    allow_unstable: bool


def named_bundles(bundles: Sequence[Bundle], *, again: bool) -> dict[str, Bundle]:
    """Bundles by different names: their own, with a number where two have the same.

    With ``again`` the first one is there once more, as its own baseline.
    """
    named: dict[str, Bundle] = {}
    for bundle in bundles:
        name = bundle.manifest.name
        count = 2
        while name in named:
            name = f"{bundle.manifest.name} {count}"
            count += 1
        named[name] = bundle
    if again:
        named[f"{bundles[0].manifest.name} {AGAIN}"] = bundles[0]
    return named


def chosen_sets(bundles: Mapping[str, Bundle], asked: Sequence[str]) -> tuple[str, ...]:
    """The emitted task sets that are ``asked`` for (``all``, or sets in any order) in the order of the first bundle.

    Of several bundles, only what all of them have: comparing needs both sides. Raises ConfigError for a set that one
    of them lacks.
    """
    first = next(iter(bundles.values())).manifest
    emitted = {
        name: {text for text, entry in bundle.manifest.task_sets.items() if entry.emitted}
        for name, bundle in bundles.items()
    }
    common = set.intersection(*emitted.values())
    if not asked or list(asked) == ["all"]:
        if not common:
            raise ConfigError("the bundles have no task set in common", cure="name bundles of the same tasks")
        return sort_task_sets(common, first.task_names)
    found = []
    for text in asked:
        try:
            task_set = parse_task_set(text.replace(",", "+"), first.task_names)
        except ValueError as error:
            tasks = f"the tasks are: {', '.join(first.task_names)}; give --tasks once for each task set"
            raise ConfigError(str(error), where=f"--tasks {text}", cure=tasks) from None
        for name, sets in emitted.items():
            if task_set not in sets:
                have = ", ".join(sort_task_sets(common, first.task_names)) or "none in common"
                raise ConfigError(
                    f"the bundle '{name}' has no network for {task_set}",
                    where=f"--tasks {text}",
                    cure=f"use one of: {have}; or build it with this task set",
                )
        found.append(task_set)
    return sort_task_sets(dict.fromkeys(found), first.task_names)


def runtimes_of(bundles: Mapping[str, Bundle], asked: str | None) -> tuple[str, ...]:
    """Runtimes from ``onnxruntime,litert``; without, those whose format every bundle has. Raises ConfigError."""
    possible = [name for name, form in FORMATS.items() if all(form in b.formats for b in bundles.values())]
    if asked is None:
        if not possible:
            raise ConfigError("the bundles have no format in common", cure="build them with the same --emit")
        return tuple(possible)
    names = tuple(dict.fromkeys(name.strip() for name in asked.split(",")))
    for name in names:
        if name not in FORMATS:
            cure = f"use one of: {', '.join(FORMATS)}"
            raise ConfigError(f"no runtime is called '{name}'{did_you_mean(name, list(FORMATS))}", cure=cure)
        if name not in possible:
            lack = [label for label, bundle in bundles.items() if FORMATS[name] not in bundle.formats]
            raise ConfigError(
                f"{name} cannot run {', '.join(lack)}",
                why=f"there are no {FORMATS[name]} files",
                cure=f"build with --emit {FORMATS[name]}",
            )
    return names


def parse_threads(text: str) -> tuple[int, ...]:
    """Numbers of threads from ``1,4``. Raises ConfigError."""
    found = []
    for part in text.split(","):
        if not part.strip().isdigit() or not 1 <= int(part) <= 256:
            cure = "write numbers, such as 1,4"
            raise ConfigError(f"'{part.strip()}' is no number of threads", where="--threads", cure=cure)
        found.append(int(part))
    return tuple(dict.fromkeys(found))


def parse_time(text: str) -> float:
    """Seconds from ``90``, ``90s``, ``5m`` or ``1h``. Raises ConfigError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if match is None or float(match[1]) <= 0:
        raise ConfigError(f"'{text}' is no length of time", cure="write it as 90s or 5m")
    return float(match[1]) * UNITS[match[2] or "s"]


def parse_cpus(text: str) -> str:
    """``all``, ``big``, ``little``, or a list (``0-3,5``) from a list or a mask (``0x2f``). Raises ConfigError."""
    if text in CORES:
        return text
    cpus: set[int] = set()
    if re.fullmatch(r"0[xX][0-9a-fA-F]{1,64}", text):
        mask = int(text, 16)
        cpus = {cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1}
    elif re.fullmatch(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*", text):
        for part in text.split(","):
            first, _, last = part.partition("-")
            cpus |= set(range(int(first), int(last or first) + 1))
    if not cpus:
        cure = "use all, big, little, a list such as 0-3,5 or a mask such as 0xf"
        raise ConfigError(f"'{text}' names no cores{did_you_mean(text, list(CORES))}", where="--cores", cure=cure)
    return cpu_list(cpus)


def cpu_list(cpus: set[int]) -> str:
    """The shortest list of ranges, such as 0-3,5."""

    def runs() -> Iterator[str]:
        ordered = sorted(cpus)
        start = ordered[0]
        for cpu, after in zip(ordered, [*ordered[1:], None], strict=True):
            if after != cpu + 1:
                yield str(start) if start == cpu else f"{start}-{cpu}"
                start = after if after is not None else start

    return ",".join(runs())


def variants(request: Request, device: str, cpus: str | None) -> tuple[Key, ...]:
    """Every variant on one device, whose processes are bound to ``cpus``."""
    return tuple(
        Key(device, bundle, task_set, runtime, threads, cpus)
        for bundle in request.bundles
        for task_set in request.task_sets
        for runtime in request.runtimes
        for threads in request.threads
    )


def files_of(bundle: Bundle, task_set: str, runtime: str) -> tuple[str, ...]:
    """The files that the runtime needs for a task set, relative to the bundle."""
    form = FORMATS[runtime]
    return tuple(name for name in bundle.manifest.task_sets[task_set].files if name.startswith(f"{form}/"))


def bundle_entry(bundle: Bundle, task_sets: Sequence[str], runtimes: Sequence[str]) -> BundleEntry:
    """What a result says about a bundle. Raises OutputError when a file is not the one that the build verified."""
    from pamc.bundle import file_entry

    names = dict.fromkeys(name for text in task_sets for run in runtimes for name in files_of(bundle, text, run))
    hashes = {}
    for name in names:
        entry = file_entry(bundle.file(name))
        if entry != bundle.manifest.files[name]:
            raise OutputError(
                f"{name} is not the file that the build verified",
                where=str(bundle.path),
                why="its sha256 is not that of the manifest",
                cure="copy or build the bundle again",
            )
        hashes[name] = entry.sha256
    manifest = bundle.manifest
    return BundleEntry(
        name=manifest.name,
        target=manifest.target,
        tasks=manifest.task_names,
        manifest_sha256=sha256(bundle.file("manifest.json").read_bytes()).hexdigest(),
        files=hashes,
        macs={text: manifest.task_sets[text].macs.bundle for text in task_sets},
    )
