"""The shape of model.yaml version 1 as pydantic models: the edge of the compiler, used by `pamc.config` alone."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pamc.spec import FOLD_BYTES, Effort, QuantizeKind

__all__ = [
    "MAX_TASKS",
    "TASK_NAME",
    "BudgetModel",
    "DataModel",
    "FileModel",
    "InputModel",
    "MergeModel",
    "NormalizeModel",
    "PruneModel",
    "QuantizeModel",
    "SettingsModel",
    "TaskModel",
    "TrainModel",
]

TASK_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_-]{0,31}$")
MAX_TASKS = 16

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NormalizeModel(_Model):
    """Per-channel normalisation: (x - mean) / std, made part of the exported graph."""

    mean: Annotated[list[_Number], Field(min_length=1, description="one number per channel, or per feature")]
    std: Annotated[list[_Positive], Field(min_length=1, description="one number above 0 per channel, or per feature")]


class InputModel(_Model):
    """One input, the same for every network."""

    shape: Annotated[
        list[Annotated[int, Field(ge=1, le=65536)]],
        Field(min_length=1, description="[channels, height, width] or [features], without the batch"),
    ]
    dtype: Annotated[
        Literal["float32", "uint8"], Field(description="uint8: raw pixels; the exported graph divides by 255")
    ] = "float32"
    normalize: NormalizeModel | None = None


class TaskModel(_Model):
    """One single-task network with its metric."""

    model: Annotated[str, Field(description='function that builds the network, as "file.py:function"')]
    args: Annotated[dict[str, object], Field(description="keyword arguments of that function")] = {}
    weights: Annotated[str, Field(description="safetensors file with the trained weights")]
    metric: Literal["accuracy", "mae", "mse"]
    loss: Annotated[
        Literal["cross_entropy", "binary", "mse"] | None,
        Field(description="default: cross_entropy for accuracy, mse for mae and mse"),
    ] = None
    max_drop: Annotated[
        float | None,
        Field(ge=0, allow_inf_nan=False, description="points for accuracy, units of the metric otherwise"),
    ] = None


class DataModel(_Model):
    """Functions that return the data."""

    train: Annotated[str, Field(description='function with the training data, as "file.py:function"')]
    eval: Annotated[str, Field(description="function with the data that accuracies are measured on")]
    validation: Annotated[str | None, Field(description="function with the data that decisions are made on")] = None
    samples: Annotated[int | None, Field(ge=1, description="use only so many training samples")] = None


class MergeModel(_Model):
    """How the networks are merged."""

    method: Annotated[str, Field(description="pam where the pruner is another than share")] = "separate"
    options: dict[str, object] = {}


class BudgetModel(_Model):
    """When pruning stops; exactly one of them."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    max_drop: Annotated[
        float | None,
        Field(ge=0, allow_inf_nan=False, description="largest loss per task: accuracy points, or metric units"),
    ] = None
    macs: Annotated[
        float | None,
        Field(gt=0, le=1, description="MACs of all tasks at once, as a fraction of the unpruned separate networks"),
    ] = None
    expected_macs: Annotated[
        float | None,
        Field(gt=0, le=1, description="MACs expected under the workload, as a fraction of the same networks"),
    ] = None


class PruneModel(_Model):
    """How the merged network is pruned."""

    method: Annotated[
        str, Field(description="a pruner, or none; taylor with a budget of MACs or another merge method than separate")
    ] = "share"
    budget: BudgetModel | None = None
    effort: Annotated[
        Effort, Field(description="how long the search for the smallest network may take; options go before it")
    ] = "normal"
    options: dict[str, object] = {}


class TrainModel(_Model):
    """Fine-tuning; what is not given is the pruner's own choice."""

    epochs: Annotated[int | None, Field(ge=0)] = None
    batch_size: Annotated[int | None, Field(ge=1)] = None
    learning_rate: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    distill: Annotated[
        float | None, Field(ge=0, le=1, description="share of the loss that imitates the original networks")
    ] = None


class QuantizeModel(_Model):
    """How the numbers of the bundle are stored."""

    kind: Annotated[
        QuantizeKind,
        Field(description="none: float32; fp16: weights as float16; int8: weights and values"),
    ]
    samples: Annotated[int, Field(ge=1, description="int8: training samples that ranges are measured on")] = 512
    reserve: Annotated[
        float, Field(ge=0, lt=1, description="int8: share of every accuracy budget that pruning leaves to it")
    ] = 0.2


class SettingsModel(_Model):
    """The keys of a file that hold plain values."""

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$", description="what the bundle is called")]
    emit: Annotated[list[str], Field(min_length=1, description="export formats")] = ["onnx"]
    baseline: Annotated[bool, Field(description="also prune the networks separately, for the report")] = True
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    fold_bytes: Annotated[
        int, Field(ge=0, description="what the weights of all task sets may come to for the sake of speed")
    ] = FOLD_BYTES


class FileModel(SettingsModel):
    """A whole model.yaml, for the JSON schema and the known keys."""

    model_config = ConfigDict(title="pamc model.yaml, version 1")

    input: InputModel | None = None
    tasks: Annotated[
        dict[Annotated[str, Field(pattern=TASK_NAME.pattern)], TaskModel], Field(min_length=2, max_length=MAX_TASKS)
    ]
    data: DataModel
    workload: Annotated[
        Literal["uniform"] | dict[str, Annotated[float, Field(ge=0, le=1)]],
        Field(description="probability of each task set, such as {a: 0.6, a+b: 0.4}"),
    ] = "uniform"
    merge: MergeModel = MergeModel()
    prune: PruneModel = PruneModel()
    train: TrainModel = TrainModel()
    quantize: QuantizeKind | QuantizeModel = "none"
    task_sets: Annotated[
        Literal["all"] | list[str] | None,
        Field(description="task sets to emit, such as [a, a+b]; default: all up to 4 tasks, else singles and all"),
    ] = None
