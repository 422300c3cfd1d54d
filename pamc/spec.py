"""What a build is asked to do: model.yaml as checked, plain, immutable values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = [
    "FOLD_BYTES",
    "Budget",
    "DataSpec",
    "Effort",
    "FunctionRef",
    "InputSpec",
    "MethodSpec",
    "Normalize",
    "PruneSpec",
    "QuantizeKind",
    "QuantizeSpec",
    "Spec",
    "TaskSpec",
    "TrainSpec",
]

DEFAULT_MAX_DROP = 1.0

FOLD_BYTES = 1 << 20
"""What the weights of all task sets may come to for the sake of speed: phones and boards are not short of it."""

QuantizeKind = Literal["none", "fp16", "int8"]
"""The numbers of a bundle; none: float32."""

Effort = Literal["quick", "normal", "thorough"]
"""How long the search for the smallest network may take."""


@dataclass(frozen=True, slots=True)
class FunctionRef:
    """A function in a Python file of the user."""

    file: Path
    function: str

    def __str__(self) -> str:
        return f"{self.file.name}:{self.function}"


@dataclass(frozen=True, slots=True)
class Normalize:
    """(x - mean) / std, one entry per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The input of one sample, without the batch: (channels, height, width) or (features,)."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    normalize: Normalize | None = None


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task: its trained network, its metric, and how much of the metric may be lost."""

    name: str
    model: FunctionRef
    args: Mapping[str, object]
    weights: Path
    metric: str
    loss: str
    max_drop: float | None = None


@dataclass(frozen=True, slots=True)
class DataSpec:
    """The functions that return data; `samples` caps the training samples."""

    train: FunctionRef
    eval: FunctionRef
    validation: FunctionRef | None = None
    samples: int | None = None


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """A merge method and its options, checked against the method's own dataclass."""

    method: str = "separate"
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Budget:
    """When pruning stops: exactly one is set. A task's own `max_drop` goes before this one. MACs are fractions of those
    of the unpruned separate networks: for all tasks at once, or as the workload makes expect."""

    max_drop: float | None = None
    macs: float | None = None
    expected_macs: float | None = None


@dataclass(frozen=True, slots=True)
class PruneSpec:
    """A pruner (or "none"), its budget and its options; `effort` stands in for options that are not given."""

    method: str = "share"
    budget: Budget = Budget(max_drop=DEFAULT_MAX_DROP)
    options: Mapping[str, object] = field(default_factory=dict)
    effort: Effort = "normal"


@dataclass(frozen=True, slots=True)
class QuantizeSpec:
    """How the bundle's numbers are stored: `none`, `fp16` or `int8`.

    int8 is calibrated on so many training `samples`; pruning leaves the share `reserve` of every accuracy budget to it.
    """

    kind: str = "none"
    samples: int = 512
    reserve: float = 0.2


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """Fine-tuning settings; None leaves the choice to the pruner."""

    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    distill: float | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """A checked model.yaml: paths are absolute, task sets canonical, defaults filled in.

    `path` is the file as it was named, `root` its folder; the workload sums to 1. `format_options` are those of export
    formats, checked by their exporters.
    """

    path: Path
    root: Path
    name: str
    input: InputSpec | None
    tasks: tuple[TaskSpec, ...]
    data: DataSpec
    workload: Mapping[str, float]
    merge: MethodSpec
    prune: PruneSpec
    train: TrainSpec
    task_sets: tuple[str, ...]
    emit: tuple[str, ...]
    format_options: Mapping[str, Mapping[str, object]]
    quantize: QuantizeSpec
    baseline: bool
    seed: int
    fold_bytes: int

    @property
    def max_drops(self) -> dict[str, float | None]:
        """What each task may lose; None where nothing is asked."""
        budget = self.prune.budget.max_drop
        return {task.name: budget if task.max_drop is None else task.max_drop for task in self.tasks}

    @property
    def task_names(self) -> tuple[str, ...]:
        """Task names in task order."""
        return tuple(task.name for task in self.tasks)
