"""manifest.json: what a bundle holds, how it was made, what it costs and that it was verified."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from pamc.bundle.decode import Damage, decode
from pamc.errors import InternalError, OutputError
from pamc.spec import FOLD_BYTES
from pamc.task_sets import parse_task_set

__all__ = [
    "MANIFEST",
    "SCHEMA_VERSION",
    "Amounts",
    "Check",
    "FileEntry",
    "InputEntry",
    "Latency",
    "Manifest",
    "Method",
    "Normalize",
    "Scores",
    "TaskEntry",
    "TaskSetEntry",
    "Timing",
    "from_json",
    "to_json",
]

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """One task. ``max_drop`` is in points for accuracy, in units of the metric otherwise."""

    name: str
    metric: str
    max_drop: float | None
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Normalize:
    """``(x - mean) / std`` per channel, a part of the exported networks."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class InputEntry:
    """What a caller feeds: ``shape`` per sample, ``float32`` or ``uint8`` values before normalisation."""

    shape: tuple[int, ...]
    dtype: str
    normalize: Normalize | None


@dataclass(frozen=True, slots=True)
class Method:
    """A merge or prune method with all of its options; ``budget`` is where pruning stops."""

    method: str
    options: Mapping[str, object]
    budget: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Amounts:
    """A cost of one task set: by the separate networks, by those pruned one by one, and by the bundle."""

    separate: int
    pruned_separately: int | None
    bundle: int


@dataclass(frozen=True, slots=True)
class Scores:
    """The metric of one task, for the same three; ``quantized`` by format as the bundle's files answer.

    ``quantized`` is None where files hold float32: they answer as the bundle's network does.
    """

    separate: float
    pruned_separately: float | None
    bundle: float
    quantized: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class TaskSetEntry:
    """One task set; ``bytes`` by format are what a device needs for it alone."""

    emitted: bool
    macs: Amounts
    params: Amounts
    bytes: Mapping[str, int]
    scores: Mapping[str, Scores]
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """How far one output of one emitted network was from the PyTorch networks, over ``samples`` inputs."""

    format: str
    task_set: str
    output: str
    max_abs: float
    max_rel: float
    samples: int


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of the bundle."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of one inference over ``runs`` runs: median, 10th and 90th percentile."""

    p50_ms: float
    p10_ms: float
    p90_ms: float
    runs: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Timings of one format by task set and variant, measured on ``environment``."""

    environment: str
    sets: Mapping[str, Mapping[str, Timing]]
    format: str = "onnx"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole file.

    ``files`` and ``task_sets[...].files`` are relative to the bundle, with ``/``. ``owners`` counts units by channel
    space and task set. ``numerics`` is the kind of numbers in the files with the options of calibration. ``tools`` are
    versions by package, ``sources`` sha256 by path as the user wrote it. Times (``stage_seconds``, ``created`` in ISO
    8601, ``latency`` of the first format, ``further_latency``) are here and in the reports alone, so that every other
    file is reproducible byte by byte. ``slice_of`` is the sha256 of the manifest of the bundle that this one was cut
    from, if it was. ``fold_bytes`` is what the weights of all task sets may come to by running groups as one.
    """

    name: str
    tasks: tuple[TaskEntry, ...]
    input: InputEntry
    target: str
    seed: int
    merge: Method
    prune: Method
    workload: Mapping[str, float]
    task_sets: Mapping[str, TaskSetEntry]
    owners: Mapping[str, Mapping[str, int]]
    verification: tuple[Check, ...]
    files: Mapping[str, FileEntry]
    tools: Mapping[str, str]
    sources: Mapping[str, str]
    stage_seconds: Mapping[str, float]
    created: str
    latency: Latency | None = None
    further_latency: tuple[Latency, ...] = ()
    numerics: Method = Method("float32", {})
    slice_of: str | None = None
    fold_bytes: int = FOLD_BYTES
    schema_version: int = SCHEMA_VERSION

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the tasks in task order."""
        return tuple(task.name for task in self.tasks)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def to_json(manifest: Manifest) -> str:
    """The text of manifest.json. Raises InternalError for a value that JSON cannot hold, such as NaN."""
    data = {"schema_version": manifest.schema_version}
    data.update(_plain(manifest))
    try:
        return json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as error:
        raise InternalError(f"the manifest cannot be written: {error}") from error


def _check_names(manifest: Manifest) -> None:
    tasks = manifest.task_names
    if not tasks or len(set(tasks)) != len(tasks):
        raise Damage(f"tasks are {list(tasks)}, should be at least one and all different")
    for text in [*manifest.task_sets, *manifest.workload]:
        if parse_task_set(text, tasks) != text:
            raise Damage(f"task set '{text}' is not in the order of the tasks")


def from_json(text: str) -> Manifest:
    """The inverse of :func:`to_json`. Raises OutputError for another schema version and for damage."""
    try:
        data = json.loads(text)
        if not isinstance(data, dict):
            raise Damage("the file does not hold an object")
        version = data.get("schema_version")
        if version != SCHEMA_VERSION or isinstance(version, bool):
            raise OutputError(
                f"the bundle has schema version {version!r}, this pamc reads {SCHEMA_VERSION}",
                where=MANIFEST,
                cure="build it again, or use the version of pamc that built it",
            )
        manifest: Manifest = decode(Manifest, data, "manifest")
        _check_names(manifest)
    except (ValueError, RecursionError) as error:
        raise OutputError(
            f"the manifest cannot be read: {error}",
            where=MANIFEST,
            why="the bundle is damaged, or this is no bundle",
            cure="copy or build it again",
        ) from error
    return manifest
